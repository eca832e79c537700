"""The AlexNet of the paper, narrow: two groups and local response normalization."""

from _alexnet import count, golden

assert count((96, 256, 384, 384, 256), 4096, 1000, groups=2, lrn=True) == 60_965_224
golden(groups=2, lrn=True)
