"""Losses of pixels: cross entropy, focal and Dice, where some pixels are of no class."""

import torch
from torch import nn
from torch.nn import functional as F

from _write import SEED, write

VOID = 255
GAMMA = 2

torch.manual_seed(SEED)
scores = 2 * torch.randn(2, 4, 5, 6)
classes = torch.randint(0, 3, (2, 5, 6))  # the last class isn't there
classes[torch.rand(classes.shape) < 0.2] = VOID
weights = torch.tensor([0.5, 2.0, 1.5, 1.0])


def focal(weights):
    """A mean over pixels as cross entropy has it."""
    counts = classes != VOID
    of = classes[counts]
    p = scores.softmax(1).movedim(1, -1)[counts].gather(1, of[:, None]).squeeze(1)
    return (-weights[of] * (1 - p) ** GAMMA * p.log()).sum() / weights[of].sum()


def dice():
    counts = classes != VOID
    p = scores.softmax(1).movedim(1, -1)[counts]
    t = F.one_hot(classes[counts], 4)
    there = t.sum(0) > 0
    return (1 - 2 * (p * t).sum(0) / (p.sum(0) + t.sum(0)))[there].mean()


def cross_entropy(scores, weights=None):
    return F.cross_entropy(scores, classes, weight=weights, ignore_index=VOID)


results = {
    "plain": cross_entropy(scores),
    "weighted": cross_entropy(scores, weights),
    "focal": focal(torch.ones(4)),
    "focal_weighted": focal(weights),
    "dice": dice(),
    "with_aux": cross_entropy(scores, weights)
    + 0.5 * (cross_entropy(0.5 * scores, weights) + cross_entropy(-scores, weights)),
}
tensors = {"scores": scores, "classes": classes.float()}
write("kiln-layers", nn.Module(), tensors | {name: value.reshape(1) for name, value in results.items()})
