"""Activations of values small and large, both slopes of the leaky rectifiers."""

import torch
from torch.nn import functional as F

from _write import SEED, write

torch.manual_seed(SEED)
x = torch.cat([torch.randn(1, 16), 10 * torch.randn(1, 16)])
write("kiln-layers", torch.nn.Identity(), {
    "input": x,
    "relu": F.relu(x),
    "tanh": torch.tanh(x),
    "sigmoid": torch.sigmoid(x),
    "leaky_relu": F.leaky_relu(x, 0.1),
    "slightly_leaky_relu": F.leaky_relu(x),
})  # fmt: skip
