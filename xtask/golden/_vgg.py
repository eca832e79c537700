"""torchvision's VGG-11 from one channel on."""

import torch
import torchvision
from torch import nn
from torchvision.models import vgg

from _blocks import settle
from _write import SEED, write


def golden(batch_norm):
    torch.manual_seed(SEED)
    widths = [width if width == "M" else width // 64 for width in vgg.cfgs["A"]]
    model = vgg.VGG(vgg.make_layers(widths, batch_norm=batch_norm), num_classes=3)
    sizes = [8 * 49, 6, 6, 3]
    for place, layer in enumerate((0, 3, 6)):
        model.classifier[layer] = nn.Linear(sizes[place], sizes[place + 1])
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.bias, 0.1, 0.5)  # no unit shall be dead
    model = settle(model, 8, 3, 48, 48) if batch_norm else model.eval()
    with torch.no_grad():
        x = torch.randn(1, 3, 40, 33)
        tensors = {"input": x, "output": model(x)}
        write("kiln-models", model, tensors, torchvision=torchvision.__version__)
