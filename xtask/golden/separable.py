"""A strided, dilated depthwise separable convolution with batch norm and ReLU."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class SeparableConv(nn.Module):
    def __init__(self, norm=True):
        super().__init__()
        depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4, bias=False)
        pointwise = nn.Conv2d(4, 6, 1, bias=not norm)
        norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.depthwise = nn.ModuleDict({"conv": depthwise})
        self.pointwise = nn.ModuleDict({"conv": pointwise, "norm": norm})

    def forward(self, x):
        x = self.pointwise["conv"](self.depthwise["conv"](x))
        return torch.relu(self.pointwise["norm"](x))


def golden(**options):
    torch.manual_seed(SEED)
    layer = SeparableConv(**options)
    x = settle(layer, 2, 4, 9, 7)
    prove("kiln-layers", layer, x)


if __name__ == "__main__":
    golden()
