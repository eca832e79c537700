"""Average pooling with one coefficient and one bias per map, and tanh."""

import torch
from torch import nn

from _write import SEED, prove


class TrainableSubsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.coefficient = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x):
        means = nn.functional.avg_pool2d(x, 2)
        return torch.tanh(means * self.coefficient[:, None, None] + self.bias[:, None, None])


if __name__ == "__main__":
    torch.manual_seed(SEED)
    layer = TrainableSubsample(3)
    x = torch.randn(2, 3, 6, 4)
    prove("kiln-layers", layer, x)
