"""A short Darknet whose convolutions are counted from 1."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class Darknet(nn.Module):
    def __init__(self, stages, classes):
        super().__init__()
        self.stages = stages
        channels, number = 3, 0
        for width in (width for stage in stages for width in stage):
            number += 1
            kernel = 1 if width < channels and number > 1 else 3
            conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width, eps=1e-3))
            channels = width
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        number = 0
        for stage, widths in enumerate(self.stages):
            if stage > 0:
                x = nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)
            for _ in widths:
                number += 1
                x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
                x = nn.functional.leaky_relu(x, 0.1)
        return self.head(x).mean((2, 3))


torch.manual_seed(SEED)
model = Darknet([[4], [6, 3, 6], [8]], classes=5)
x = settle(model, 2, 3, 13, 9)
prove("kiln-models", model, x)
