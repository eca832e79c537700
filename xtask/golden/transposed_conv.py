"""A transposed convolution whose stride doesn't divide its kernel, with a border that is cut off."""

import torch
from torch import nn

from _write import SEED, prove

torch.manual_seed(SEED)
prove("kiln-layers", nn.ConvTranspose2d(3, 4, 5, stride=3, padding=1), torch.randn(2, 3, 4, 5))
