"""FCN on a VGG, with the border, the crops and the names of the authors' program."""

import torch
from torch import nn
from torch.nn import functional

from _blocks import settle
from _write import SEED, prove


class Fcn(nn.Module):
    def __init__(self, stride, classes, depths, width, hidden):
        super().__init__()
        self.stride = stride
        self.depths = depths
        widths = [width * times for times in (1, 2, 4, 8, 8)]
        channels = 3
        for stage, (depth, width) in enumerate(zip(depths, widths), 1):
            for block in range(1, depth + 1):
                border = 100 if stage == block == 1 else 1
                self.add_module(f"conv{stage}_{block}", nn.Conv2d(channels, width, 3, padding=border))
                channels = width
        self.fc6 = nn.Conv2d(channels, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, classes, 1)

        def up(factor):
            return nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, bias=False)

        if stride == 32:
            self.upscore = up(32)
            return
        self.upscore2 = up(2)
        self.score_pool4 = nn.Conv2d(widths[3], classes, 1)
        if stride == 16:
            self.upscore16 = up(16)
            return
        self.upscore_pool4 = up(2)
        self.score_pool3 = nn.Conv2d(widths[2], classes, 1)
        self.upscore8 = up(8)

    def forward(self, images):
        pools = []
        x = images
        for stage, depth in enumerate(self.depths, 1):
            for block in range(1, depth + 1):
                x = torch.relu(getattr(self, f"conv{stage}_{block}")(x))
            x = functional.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        x = torch.relu(self.fc7(torch.relu(self.fc6(x))))
        x = self.score_fr(x)
        if self.stride == 32:
            return crop(self.upscore(x), 19, images)
        x = self.upscore2(x)
        x = x + crop(self.score_pool4(pools[3]), 5, x)
        if self.stride == 16:
            return crop(self.upscore16(x), 27, images)
        x = self.upscore_pool4(x)
        x = x + crop(self.score_pool3(pools[2]), 9, x)
        return crop(self.upscore8(x), 31, images)


def crop(x, offset, like):
    return x[:, :, offset : offset + like.shape[2], offset : offset + like.shape[3]]


def golden(stride, classes):
    torch.manual_seed(SEED)
    model = Fcn(stride, classes, (1, 1, 2, 1, 1), width=1, hidden=4)
    prove("kiln-models", model, settle(model, 1, 3, 33, 21))
