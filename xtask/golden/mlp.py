"""Three dense layers, the hidden ones with rectifiers, with kiln's names."""

import torch
from torch import nn

from _write import SEED, write

torch.manual_seed(SEED)
model = nn.Module()
model.layers = nn.ModuleList()
widths = [9, 6, 5, 4]
for pair in zip(widths, widths[1:]):
    layer = nn.Module()
    layer.linear = nn.Linear(*pair)
    model.layers.append(layer)
x = torch.randn(3, widths[0])
y = x
for layer in model.layers[:-1]:
    y = torch.relu(layer.linear(y))
write("kiln-layers", model, {"input": x, "output": model.layers[-1].linear(y)})
