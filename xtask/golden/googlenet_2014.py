"""The paper's GoogLeNet without auxiliary heads, with a 64th of the channels and torchvision's names."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove

MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def conv(channels_in, channels_out, kernel, stride=1):
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2)
    return Named(layer)


class Named(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.conv = layer

    def forward(self, x):
        return torch.relu(self.conv(x))


class Inception(nn.Module):
    def __init__(self, channels, one, three_reduce, three, five_reduce, five, projection):
        super().__init__()
        self.branch1 = conv(channels, one, 1)
        self.branch2 = nn.Sequential(conv(channels, three_reduce, 1), conv(three_reduce, three, 3))
        self.branch3 = nn.Sequential(conv(channels, five_reduce, 1), conv(five_reduce, five, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(channels, projection, 1))
        self.channels = one + three + five + projection

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self, width, classes):
        super().__init__()

        def scaled(channels):
            return -(-channels * width // 64)

        self.conv1 = conv(3, scaled(64), 7, stride=2)
        self.conv2 = conv(scaled(64), scaled(64), 1)
        self.conv3 = conv(scaled(64), scaled(192), 3)
        channels = scaled(192)
        for name, widths in MODULES.items():
            module = Inception(channels, *map(scaled, widths))
            self.add_module("inception" + name, module)
            channels = module.channels
        self.fc = nn.Linear(channels, classes)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.lrn = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)

    def forward(self, x):
        x = self.lrn(self.pool(self.conv1(x)))
        x = self.pool(self.lrn(self.conv3(self.conv2(x))))
        for name in MODULES:
            if name in ("4a", "5a"):
                x = self.pool(x)
            x = self.get_submodule("inception" + name)(x)
        return self.fc(x.mean((2, 3)))


torch.manual_seed(SEED)
assert sum(p.numel() for p in GoogLeNet(64, 1000).parameters()) == 6_998_552
model = GoogLeNet(1, 3)
x = settle(model, 1, 3, 47, 49, shift=2, scale=10)  # so large that response norms count
prove("kiln-models", model, x)
