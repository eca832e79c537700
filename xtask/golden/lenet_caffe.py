"""A narrow LeNet as in Caffe's examples, with Caffe's names."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class LeNet(nn.Module):
    def __init__(self, classes=10, maps=(20, 50), hidden=500):
        super().__init__()
        self.conv1 = nn.Conv2d(1, maps[0], 5)
        self.conv2 = nn.Conv2d(maps[0], maps[1], 5)
        self.ip1 = nn.Linear(16 * maps[1], hidden)
        self.ip2 = nn.Linear(hidden, classes)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = nn.functional.max_pool2d(conv(x), 2)
        return self.ip2(torch.relu(self.ip1(x.flatten(1))))


torch.manual_seed(SEED)
assert sum(p.numel() for p in LeNet().parameters()) == 431_080
model = LeNet(classes=4, maps=(2, 3), hidden=6)
x = settle(model, 2, 1, 28, 28)
prove("kiln-models", model, x)
