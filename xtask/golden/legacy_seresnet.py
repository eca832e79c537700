"""timm's legacy SE-ResNet of basic blocks, one per stage, from two channels on."""

import timm
import torch
from timm.models.senet import SENet, SEResNetBlock
from torch import nn

from _blocks import settle
from _narrow import residual_layers
from _write import SEED, prove

torch.manual_seed(SEED)
model = SENet(SEResNetBlock, (1, 1, 1, 1), groups=1, reduction=2)
model.layer0.conv1 = nn.Conv2d(3, 2, 7, stride=2, padding=3, bias=False)
model.layer0.bn1 = nn.BatchNorm2d(2)
model = residual_layers(model, SEResNetBlock, 2, 2, groups=1, reduction=2)
model.last_linear = nn.Linear(16, 3)
x = settle(model, 1, 3, 37, 33)
prove("kiln-models", model, x, timm=timm.__version__)
