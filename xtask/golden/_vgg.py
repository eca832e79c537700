"""torchvision's VGG-11 from one channel on."""

import torch
import torchvision
from torch import nn
from torchvision.models import vgg

from _blocks import settle
from _write import SEED, prove


def golden(batch_norm):
    torch.manual_seed(SEED)
    widths = [width if width == "M" else width // 64 for width in vgg.cfgs["A"]]
    model = vgg.VGG(vgg.make_layers(widths, batch_norm=batch_norm), num_classes=3)
    sizes = [8 * 49, 6, 6, 3]
    for place, layer in enumerate((0, 3, 6)):
        model.classifier[layer] = nn.Linear(sizes[place], sizes[place + 1])
    x = settle(model, 1, 3, 40, 33)
    prove("kiln-models", model, x, torchvision=torchvision.__version__)
