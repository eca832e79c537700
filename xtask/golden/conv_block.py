"""A grouped, dilated, strided convolution with batch norm and leaky ReLU."""

import torch
from torch import nn

from _write import SEED, prove


class ConvBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(6, eps=1e-3)

    def forward(self, x):
        return nn.functional.leaky_relu(self.norm(self.conv(x)), 0.1)


torch.manual_seed(SEED)
block = ConvBlock()
nn.init.normal_(block.norm.weight)
nn.init.normal_(block.norm.bias)
with torch.no_grad():
    for _ in range(3):  # gives the norm statistics of its own
        block(2 * torch.randn(8, 4, 9, 7) + 1)
prove("kiln-layers", block.eval(), torch.randn(2, 4, 9, 7))
