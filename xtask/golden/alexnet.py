"""torchvision's AlexNet, narrow."""

from _alexnet import count, golden

assert count((64, 192, 384, 256, 256), 4096, 1000) == 61_100_840
golden()
