"""Pieces that several golden scripts are made of, with kiln's names."""

import torch
from torch import nn


class ConvBlock(nn.Module):
    """Convolution, batch norm (or a bias), ReLU."""

    def __init__(self, channels_in, channels_out, kernel, stride=1, epsilon=1e-5, active=True, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=not norm
        )
        self.norm = nn.BatchNorm2d(channels_out, eps=epsilon) if norm else nn.Identity()
        self.active = active

    def forward(self, x):
        x = self.norm(self.conv(x))
        return torch.relu(x) if self.active else x


def settle(module, *shape, shift=0.25, scale=1):
    """Gives every layer values that count, and every norm the statistics of images of `shape`; returns such images.

    So a map neither dies nor fades on its way through a deep and narrow network: whatever precedes an activation has a
    deviation of one or so, and a mean between `shift` and `shift + 1`; both are multiplied by `scale` where there is no norm.
    """
    hooks = []
    for part in module.train().modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, shift, shift + 1)
            part.momentum = None  # the statistics of all batches, which are one
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                hooks.append(part.register_forward_hook(lambda *call: standardize(*call, shift, scale)))
    with torch.no_grad():
        module(images(16, *shape[1:]))
    for hook in hooks:
        hook.remove()
    for part in module.eval().modules():
        if isinstance(part, nn.BatchNorm2d):  # a mean of nearly nothing would hardly count
            part.running_mean.add_(part.running_mean.sign() * part.running_var.sqrt() / 10)
    return images(*shape)


def standardize(layer, _, y, shift, scale):
    """Scales and shifts a layer without a norm, and its output `y`, as a norm would."""
    over = [axis for axis in range(y.dim()) if axis != 1]
    along = (1, -1) + (1,) * (y.dim() - 2)
    deviation, mean = torch.std_mean(y, over)
    deviation /= scale
    bias = torch.empty_like(mean).uniform_(scale * shift, scale * (shift + 1))
    layer.weight.div_(deviation.view((-1,) + (1,) * (layer.weight.dim() - 1)))
    layer.bias.copy_(bias + (layer.bias - mean) / deviation)
    return (y - mean.view(along)) / deviation.view(along) + bias.view(along)


def images(*shape):
    return torch.randn(shape) + 0.5
