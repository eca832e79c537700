"""A CIFAR ResNet of eight layers with parameter-free shortcuts, from four channels on."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class Unit(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.side = (width - channels) // 2

    def forward(self, x):
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(branch + nn.functional.pad(shortcut, (0, 0, 0, 0, self.side, self.side)))


class ResNet(nn.Module):
    def __init__(self, width, units, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage in range(3):
            layer = nn.Sequential()
            for unit in range(units):
                layer.append(Unit(channels, width << stage, 2 if stage > 0 and unit == 0 else 1))
                channels = width << stage
            self.add_module(f"layer{stage + 1}", layer)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


torch.manual_seed(SEED)
assert sum(p.numel() for p in ResNet(16, 3, 10).parameters()) == 269_722
model = ResNet(4, 1, 3)
x = settle(model, 2, 3, 13, 16)
prove("kiln-models", model, x)
