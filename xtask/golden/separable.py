"""A strided, dilated depthwise separable convolution with batch norm and ReLU."""

import torch
from torch import nn

from _write import SEED, write


class SeparableConv(nn.Module):
    def __init__(self):
        super().__init__()
        depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4, bias=False)
        pointwise = nn.Conv2d(4, 6, 1, bias=False)
        self.depthwise = nn.ModuleDict({"conv": depthwise})
        self.pointwise = nn.ModuleDict({"conv": pointwise, "norm": nn.BatchNorm2d(6)})

    def forward(self, x):
        x = self.pointwise["conv"](self.depthwise["conv"](x))
        return torch.relu(self.pointwise["norm"](x))


torch.manual_seed(SEED)
layer = SeparableConv()
nn.init.normal_(layer.pointwise["norm"].weight)
nn.init.normal_(layer.pointwise["norm"].bias)
with torch.no_grad():
    for _ in range(3):  # gives the norm statistics of its own
        layer(2 * torch.randn(8, 4, 9, 7) + 1)
    layer.eval()
    x = torch.randn(2, 4, 9, 7)
    write("kiln-layers", layer, {"input": x, "output": layer(x)})
