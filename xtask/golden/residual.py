"""A strided bottleneck with a squeeze-and-excitation gate and a projection."""

import torch
from torch import nn

from _blocks import ConvBlock, settle
from _write import SEED, prove
from squeeze_excite import SqueezeExcite


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(
            ConvBlock(4, 2, 1), ConvBlock(2, 2, 3, stride=2), ConvBlock(2, 8, 1, active=False)
        )
        self.shortcut = ConvBlock(4, 8, 1, stride=2, active=False)
        self.se = SqueezeExcite(8, 2)

    def forward(self, x):
        return torch.relu(self.se(self.branch(x)) + self.shortcut(x))


torch.manual_seed(SEED)
unit = Residual()
x = settle(unit, 2, 4, 6, 7)
prove("kiln-layers", unit, x)
