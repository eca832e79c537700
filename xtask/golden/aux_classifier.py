"""An auxiliary classifier with batch norm, on a map of 9×7 pixels."""

import torch
from torch import nn

from _blocks import ConvBlock, settle
from _write import SEED, prove


class AuxClassifier(nn.Module):
    def __init__(self, channels, classes, maps, units, norm=True):
        super().__init__()
        self.conv = ConvBlock(channels, maps, 1, epsilon=1e-3, norm=norm)
        self.hidden = nn.ModuleDict({"linear": nn.Linear(maps * 16, units)})
        self.output = nn.ModuleDict({"linear": nn.Linear(units, classes)})

    def forward(self, x):
        x = self.conv(nn.functional.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.output["linear"](torch.relu(self.hidden["linear"](x)))


def golden(**options):
    torch.manual_seed(SEED)
    head = AuxClassifier(3, 4, 2, 5, **options)
    x = settle(head, 2, 3, 9, 7)
    prove("kiln-layers", head, x)


if __name__ == "__main__":
    golden()
