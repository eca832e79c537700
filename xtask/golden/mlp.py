"""Three dense layers, the hidden ones with rectifiers, with kiln's names."""

import torch
from torch import nn

from _write import SEED, prove

torch.manual_seed(SEED)
model = nn.Module()
model.layers = nn.ModuleList()
widths = [9, 6, 5, 4]
for pair in zip(widths, widths[1:]):
    layer = nn.Module()
    layer.linear = nn.Linear(*pair)
    model.layers.append(layer)


def run(x):
    for layer in model.layers[:-1]:
        x = torch.relu(layer.linear(x))
    return model.layers[-1].linear(x)


prove("kiln-layers", model, torch.randn(3, widths[0]), run)
