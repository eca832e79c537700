"""Local response normalization over five maps, with an alpha large enough to be seen."""

import torch
from torch import nn

from _write import SEED, write

ALPHA = 0.2  # of the paper's sum; PyTorch's is of the mean

torch.manual_seed(SEED)
layer = nn.LocalResponseNorm(5, alpha=5 * ALPHA, beta=0.75, k=2.0)
x = 2 * torch.randn(2, 9, 3, 4)
write("kiln-layers", layer, {"input": x, "output": layer(x)})
