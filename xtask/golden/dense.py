"""A dense layer with an activation, with kiln's names."""

import torch
from torch import nn

from _write import SEED, write

torch.manual_seed(SEED)
layer = nn.Module()
layer.linear = nn.Linear(7, 5)
x = torch.randn(3, 7)
write("kiln-layers", layer, {"input": x, "output": torch.tanh(layer.linear(x))})
