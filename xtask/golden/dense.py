"""A dense layer with an activation, with kiln's names."""

import torch
from torch import nn

from _write import SEED, prove

torch.manual_seed(SEED)
layer = nn.Module()
layer.linear = nn.Linear(7, 5)
prove("kiln-layers", layer, torch.randn(3, 7), lambda x: torch.tanh(layer.linear(x)))
