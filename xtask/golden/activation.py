"""Activations of values small and large, both slopes of the leaky rectifiers."""

import torch
from torch.nn import functional as F

from _write import SEED, prove

torch.manual_seed(SEED)
x = torch.cat([torch.randn(1, 16), 10 * torch.randn(1, 16)])
prove("kiln-layers", torch.nn.Identity(), x, lambda x: {
    "relu": F.relu(x),
    "tanh": torch.tanh(x),
    "scaled_tanh": 1.7159 * torch.tanh(2 * x / 3),
    "sigmoid": torch.sigmoid(x),
    "leaky_relu": F.leaky_relu(x, 0.1),
    "slightly_leaky_relu": F.leaky_relu(x),
})  # fmt: skip
