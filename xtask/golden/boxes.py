"""Overlaps of boxes and what non-maximum suppression keeps, by torchvision."""

import json

import torch
import torchvision
from torchvision import ops

from _write import SEED, path

torch.manual_seed(SEED)


def boxes(count, side, least, most):
    corner = side * torch.rand(count, 2, dtype=torch.float64)
    size = least + (most - least) * torch.rand(count, 2, dtype=torch.float64)
    return torch.cat([corner, corner + size], 1).round(decimals=2)


pairs = boxes(2 * 24, 40.0, 1.0, 60.0)
a, b = pairs[:24], pairs[24:]
overlaps = {
    "iou": ops.box_iou(a, b).diagonal(),
    "giou": ops.generalized_box_iou(a, b).diagonal(),
    "diou": ops.distance_box_iou(a, b).diagonal(),
    "ciou": ops.complete_box_iou(a, b).diagonal(),
}
crowd = boxes(150, 100.0, 5.0, 40.0)
scores = torch.rand(150).round(decimals=2).float()  # some are equal
# Of equal scores torchvision's choice is its sort's: make them differ by what float32 still tells apart.
scores = scores - torch.arange(150) * 1e-5
classes = torch.randint(0, 3, (150,))
kept = {
    str(iou): {
        "all": ops.nms(crowd.float(), scores, iou).tolist(),
        "by_class": ops.batched_nms(crowd.float(), scores, classes, iou).tolist(),
    }
    for iou in [0.1, 0.3, 0.45, 0.7]
}
golden = {
    "made with": {"torch": torch.__version__, "torchvision": torchvision.__version__, "seed": SEED},
    "pairs": [a.tolist(), b.tolist()],
    "overlaps": {name: value.tolist() for name, value in overlaps.items()},
    "boxes": crowd.tolist(),
    "scores": scores.tolist(),
    "classes": classes.tolist(),
    "kept": kept,
}
file = path("kiln-metrics", "json")
file.parent.mkdir(exist_ok=True)
file.write_text(json.dumps(golden) + "\n")
