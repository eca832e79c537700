"""A squeeze-and-excitation gate of eight channels, by way of two."""

import torch
from torch import nn

from _write import SEED, prove


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        hidden = channels // reduction
        self.reduce = nn.ModuleDict({"conv": nn.Conv2d(channels, hidden, 1)})
        self.expand = nn.ModuleDict({"conv": nn.Conv2d(hidden, channels, 1)})

    def forward(self, x):
        pooled = x.mean((2, 3), keepdim=True)
        hidden = torch.relu(self.reduce["conv"](pooled))
        return x * torch.sigmoid(self.expand["conv"](hidden))


if __name__ == "__main__":
    torch.manual_seed(SEED)
    gate = SqueezeExcite(8, 4)
    x = torch.randn(2, 8, 3, 5)
    prove("kiln-layers", gate, x)
