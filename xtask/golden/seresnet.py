"""timm's SE-ResNet of basic blocks, one per stage, from two channels on."""

import timm
import torch
from timm.layers import SEModule
from timm.models.resnet import BasicBlock, ResNet, downsample_conv
from torch import nn

from _blocks import settle
from _write import SEED, prove

torch.manual_seed(SEED)
model = ResNet(BasicBlock, [1, 1, 1, 1], block_args={"attn_layer": "se"})
model.conv1 = nn.Conv2d(3, 2, 7, stride=2, padding=3, bias=False)
model.bn1 = nn.BatchNorm2d(2)
channels = 2
for stage in range(4):
    width = 2 << stage
    stride = 1 if stage == 0 else 2
    downsample = downsample_conv(channels, width, 1, stride) if stage else None
    block = BasicBlock(channels, width, stride, downsample, attn_layer=SEModule)
    setattr(model, f"layer{stage + 1}", nn.Sequential(block))
    channels = width
model.fc = nn.Linear(16, 3)
x = settle(model, 1, 3, 37, 33)
prove("kiln-models", model, x, timm=timm.__version__)
