"""A narrow Xception of timm's blocks, with a middle flow of one block."""

import timm
import torch
from timm.models.xception import Block, SeparableConv2d
from torch import nn

from _blocks import settle
from _write import SEED, prove


class Xception(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 2, 3, 2, bias=False), nn.BatchNorm2d(2)
        self.conv2, self.bn2 = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.block1 = Block(4, 4, 2, 2, start_with_relu=False)
        self.block2 = Block(4, 6, 2, 2)
        self.block3 = Block(6, 6, 2, 2)
        self.block4 = Block(6, 6, 3, 1)
        self.block5 = Block(6, 8, 2, 2, grow_first=False)
        self.conv3, self.bn3 = SeparableConv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.conv4, self.bn4 = SeparableConv2d(8, 10, 3, 1, 1), nn.BatchNorm2d(10)
        self.fc = nn.Linear(10, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        for block in (self.block1, self.block2, self.block3, self.block4, self.block5):
            x = block(x)
        x = torch.relu(self.bn3(self.conv3(x)))
        x = torch.relu(self.bn4(self.conv4(x)))
        return self.fc(x.mean((2, 3)))


torch.manual_seed(SEED)
model = Xception(classes=5)
x = settle(model, 2, 3, 31, 24)
prove("kiln-models", model, x, timm=timm.__version__)
