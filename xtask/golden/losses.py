"""Losses of a classifier: cross entropy, binary cross entropy, focal loss."""

import torch
from torch import nn
from torch.nn import functional as F

from _write import SEED, write

torch.manual_seed(SEED)
scores = 2 * torch.randn(3, 4)
classes = torch.tensor([2, 0, 1])
hot = F.one_hot(classes, 4).float()
soft = torch.softmax(2 * torch.randn(3, 4), dim=1)
weights = torch.tensor([0.5, 2.0, 1.5, 1.0])
SMOOTHING = 0.2
GAMMA = 2


def focal(weights):
    """A mean over samples, or where classes have weights over those, as cross entropy has it."""
    p = torch.softmax(scores, dim=1)[torch.arange(3), classes]
    of = weights[classes]
    return (-of * (1 - p) ** GAMMA * p.log()).sum() / of.sum()


smooth_soft = soft * (1 - SMOOTHING) + SMOOTHING / 4
results = {
    "plain": F.cross_entropy(scores, classes),
    "smooth": F.cross_entropy(scores, classes, label_smoothing=SMOOTHING),
    "weighted": F.cross_entropy(scores, classes, weight=weights),
    "smooth_weighted": F.cross_entropy(scores, classes, weight=weights, label_smoothing=SMOOTHING),
    "of_soft": F.cross_entropy(scores, soft),
    "soft_smooth_weighted": F.cross_entropy(scores, soft, weight=weights, label_smoothing=SMOOTHING),
    "binary": F.binary_cross_entropy_with_logits(scores, hot),
    "binary_soft_smooth_weighted": F.binary_cross_entropy_with_logits(scores, smooth_soft, weight=weights),
    "focal": focal(torch.ones(4)),
    "focal_weighted": focal(weights),
}
write(
    "kiln-layers",
    nn.Module(),
    {"scores": scores, "soft": soft, "weights": weights} | {name: value.reshape(1) for name, value in results.items()},
)
