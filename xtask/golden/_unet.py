"""U-Net with padded convolutions."""

import torch
from torch import nn
from torch.nn import functional

from _blocks import ConvBlock, settle
from _write import SEED, prove


class Step(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.convs = pair(2 * width, width, norm)

    def forward(self, x, beside):
        x = self.upsample(x)[:, :, : beside.shape[2], : beside.shape[3]]
        return self.convs(torch.cat([beside, x], 1))


def pair(channels_in, width, norm):
    return nn.Sequential(ConvBlock(channels_in, width, 3, norm=norm), ConvBlock(width, width, 3, norm=norm))


class UNet(nn.Module):
    def __init__(self, width, depth, classes, norm):
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(pair(a, b, norm) for a, b in zip([1, *widths], widths))
        self.up = nn.ModuleList(Step(width, norm) for width in reversed(widths[:-1]))
        self.head = ConvBlock(width, classes, 1, active=False, norm=False)

    def forward(self, x):
        beside = []
        for level, convs in enumerate(self.down):
            if level > 0:
                beside.append(x)
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = convs(x)
        for step, fine in zip(self.up, reversed(beside)):
            x = step(x, fine)
        return self.head(x)


def golden(norm):
    torch.manual_seed(SEED)
    model = UNet(2, 3, 3, norm)
    prove("kiln-models", model, settle(model, 1, 1, 13, 21))
