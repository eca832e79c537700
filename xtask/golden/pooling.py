"""Pools over pixels and over neighbouring maps, of one map of odd sides."""

import torch
from torch.nn import functional as F

from _write import SEED, prove

torch.manual_seed(SEED)
prove("kiln-layers", torch.nn.Identity(), torch.randn(2, 6, 8, 7), lambda x: {
    "max": F.max_pool2d(x, 3, 2),
    "max_padded": F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "mean": F.avg_pool2d(x, 3, 2, padding=1),
    "mean_inner": F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True, count_include_pad=False),
    "adaptive": F.adaptive_avg_pool2d(x, 3),
    "global": x.mean((2, 3)),
    "depth_max": torch.amax(x.unflatten(1, (2, 3)), 2),
})  # fmt: skip
