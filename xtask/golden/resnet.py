"""torchvision's ResNet of bottlenecks, one per stage, from two channels on."""

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck

from _blocks import settle
from _narrow import residual_layers
from _write import SEED, prove

torch.manual_seed(SEED)
model = torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1])
model.conv1 = nn.Conv2d(3, 2, 7, stride=2, padding=3, bias=False)
model.bn1 = nn.BatchNorm2d(2)
model = residual_layers(model, Bottleneck, 2, 2)
model.fc = nn.Linear(64, 3)
x = settle(model, 1, 3, 9, 11)
prove("kiln-models", model, x, torchvision=torchvision.__version__)
