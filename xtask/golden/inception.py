"""An inception module with batch norm and a 5×5 branch."""

import torch
from torch import nn

from _blocks import ConvBlock, settle
from _write import SEED, prove


class Inception(nn.Module):
    def __init__(self, channels, widths, kernel=5):
        super().__init__()
        one, three_reduce, three, five_reduce, five, projection = widths

        def conv(channels_in, channels_out, kernel):
            return ConvBlock(channels_in, channels_out, kernel, epsilon=1e-3)

        self.one = conv(channels, one, 1)
        self.three = nn.Sequential(conv(channels, three_reduce, 1), conv(three_reduce, three, 3))
        self.five = nn.Sequential(conv(channels, five_reduce, 1), conv(five_reduce, five, kernel))
        self.projection = conv(channels, projection, 1)

    def forward(self, x):
        pooled = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.projection(pooled)], 1)


torch.manual_seed(SEED)
module = Inception(3, (2, 2, 4, 1, 3, 2))
x = settle(module, 2, 3, 6, 5)
prove("kiln-layers", module, x)
