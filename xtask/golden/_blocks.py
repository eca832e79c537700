"""Pieces that several golden scripts are made of, with kiln's names."""

import torch
from torch import nn


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels_in, channels_out, kernel, stride=1, epsilon=1e-5, active=True):
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(channels_out, eps=epsilon)
        self.active = active

    def forward(self, x):
        x = self.norm(self.conv(x))
        return torch.relu(x) if self.active else x


def settle(module, *shape):
    """Gives every norm a scale, a shift and statistics of its own, then stops learning."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.5)
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(shape) + 0.5)
    return module.eval()
