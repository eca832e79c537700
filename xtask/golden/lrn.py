"""Local response normalization over five maps, with an alpha large enough to be seen."""

import torch
from torch import nn

from _write import SEED, prove

ALPHA = 0.2  # of the paper's sum; PyTorch's is of the mean

torch.manual_seed(SEED)
layer = nn.LocalResponseNorm(5, alpha=5 * ALPHA, beta=0.75, k=2.0)
prove("kiln-layers", layer, 2 * torch.randn(2, 9, 3, 4))
