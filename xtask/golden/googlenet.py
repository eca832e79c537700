"""torchvision's GoogLeNet without auxiliary heads, with a 64th of the channels."""

import torch
import torchvision
from torch import nn
from torchvision.models.googlenet import BasicConv2d, Inception

from _blocks import settle
from _write import SEED, prove


def scaled(channels):
    return -(-channels // 64)


class NarrowConv(BasicConv2d):
    def __init__(self, channels_in, channels_out, **options):
        channels_in = 3 if channels_in == 3 else scaled(channels_in)
        super().__init__(channels_in, scaled(channels_out), **options)


class NarrowInception(Inception):
    """Its widths are scaled one by one, so its input is the sum of the scaled ones before."""

    channels = scaled(192)

    def __init__(self, channels_in, *widths):
        super().__init__(NarrowInception.channels, *map(scaled, widths), conv_block=BasicConv2d)
        NarrowInception.channels = sum(scaled(widths[view]) for view in (0, 2, 4, 5))


torch.manual_seed(SEED)
blocks = [NarrowConv, NarrowInception, None]
model = torchvision.models.GoogLeNet(3, aux_logits=False, init_weights=False, blocks=blocks)
model.fc = nn.Linear(NarrowInception.channels, 3)
x = settle(model, 1, 3, 31, 33, shift=1.5)
prove("kiln-models", model, x, torchvision=torchvision.__version__)
