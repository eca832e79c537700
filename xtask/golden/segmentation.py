"""Measures of segmentation as torchvision's reference script defines them, on maps of random blobs.

The script isn't part of its package: what it computes is said here once more. Rows of its matrix are truth, and a pixel
counts if its true class is one of the classes.
"""

import json

import torch
from torch.nn import functional

from _write import SEED, path

CLASSES = 5
VOID = 255

torch.manual_seed(SEED)


def blobs(count, height, width):
    coarse = torch.rand(count, CLASSES, 4, 5, dtype=torch.float64)
    return functional.interpolate(coarse, (height, width), mode="bilinear").argmax(1)


truth = blobs(3, 17, 23)
wrong = torch.rand(truth.shape) < 0.3
predicted = torch.where(wrong, blobs(3, 17, 23), truth)
truth[torch.rand(truth.shape) < 0.1] = VOID

counted = truth < CLASSES
cells = CLASSES * truth[counted] + predicted[counted]
matrix = torch.bincount(cells, minlength=CLASSES**2).view(CLASSES, CLASSES).double()
right = matrix.diag()
overlap = right / (matrix.sum(0) + matrix.sum(1) - right)
golden = {
    "made with": {"torch": torch.__version__, "seed": SEED},
    "truth": truth.flatten(1).tolist(),
    "predicted": predicted.flatten(1).tolist(),
    "pixel_accuracy": (right.sum() / matrix.sum()).item(),
    "accuracy": (right / matrix.sum(1)).tolist(),
    "iou": overlap.tolist(),
    "mean_accuracy": (right / matrix.sum(1)).mean().item(),
    "mean_iou": overlap.mean().item(),
    "weighted_iou": ((matrix.sum(1) / matrix.sum()) * overlap).sum().item(),
}
path("kiln-metrics", "json").write_text(json.dumps(golden) + "\n")
