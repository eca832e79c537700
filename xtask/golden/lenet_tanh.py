"""A narrow LeNet-5 with tanh and average pooling, named as a widespread script names it."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class LeNet(nn.Module):
    def __init__(self, classes=10, maps=(6, 16), hidden=(120, 84)):
        super().__init__()
        self.convLayer1 = nn.Conv2d(1, maps[0], 5)
        self.convLayer2 = nn.Conv2d(maps[0], maps[1], 5)
        self.fcNLayer1 = nn.Linear(25 * maps[1], hidden[0])
        self.fcNlayer2 = nn.Linear(hidden[0], hidden[1])
        self.fcNlayer3 = nn.Linear(hidden[1], classes)

    def forward(self, x):
        for conv in (self.convLayer1, self.convLayer2):
            x = nn.functional.avg_pool2d(torch.tanh(conv(x)), 2)
        x = torch.tanh(self.fcNLayer1(x.flatten(1)))
        return self.fcNlayer3(torch.tanh(self.fcNlayer2(x)))


torch.manual_seed(SEED)
assert sum(p.numel() for p in LeNet().parameters()) == 61_706
model = LeNet(classes=4, maps=(2, 3), hidden=(6, 5))
x = settle(model, 2, 1, 32, 32)
prove("kiln-models", model, x)
