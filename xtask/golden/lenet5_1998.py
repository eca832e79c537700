"""LeNet-5 of 1998 with four maps in C5, and its loss. The codes of the digits are read off the Rust source, which draws
them; they come back as a tensor that was parsed another way."""

import re
from pathlib import Path

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove
from trainable_subsample import TrainableSubsample as Subsample

RUBBISH = 10.0
ROWS = [  # table I, map of S2 after map of S2: the maps of C3 that see it
    [0, 4, 5, 6, 9, 10, 11, 12, 14, 15],
    [0, 1, 5, 6, 7, 10, 11, 12, 13, 15],
    [0, 1, 2, 6, 7, 8, 11, 13, 14, 15],
    [1, 2, 3, 6, 7, 8, 9, 12, 14, 15],
    [2, 3, 4, 7, 8, 9, 10, 12, 13, 15],
    [3, 4, 5, 8, 9, 10, 11, 13, 14, 15],
]


def squash(x):
    return 1.7159 * torch.tanh(2 * x / 3)


def digit_codes():
    source = Path(__file__).parents[2] / "crates/kiln-models/src/lenet5_1998.rs"
    lines = re.findall(r'"([#.]{7}(?: [#.]{7}){4})"', source.read_text())
    drawings = ["".join(line.split()[i] for line in half) for half in (lines[:12], lines[12:]) for i in range(5)]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in drawing] for drawing in drawings])


class PartialConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = [[s2 for s2 in range(6) if c3 in ROWS[s2]] for c3 in range(16)]
        self.weight = nn.Parameter(0.2 * torch.randn(sum(map(len, self.seen)), 5, 5))
        self.bias = nn.Parameter(0.2 * torch.randn(16))

    def forward(self, x):
        kernels = iter(self.weight)
        maps = []
        for seen, bias in zip(self.seen, self.bias):
            kernel = torch.stack([next(kernels) for _ in seen])
            maps.append(nn.functional.conv2d(x[:, seen], kernel[None], bias[None]))
        return torch.cat(maps, 1)


class LeNet5(nn.Module):
    def __init__(self, c5=120):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Squashed(6)
        self.c3 = PartialConv()
        self.s4 = Squashed(16)
        self.c5 = nn.Conv2d(16, c5, 5)
        self.f6 = nn.Linear(c5, 84)

    def forward(self, x):
        x = self.s2(squash(self.c1(x)))
        x = self.s4(squash(self.c3(x)))
        x = squash(self.f6(squash(self.c5(x)).flatten(1)))
        return -((x[:, None] - digit_codes()) ** 2).sum(2)


class Squashed(Subsample):
    def forward(self, x):
        means = nn.functional.avg_pool2d(x, 2)
        return squash(means * self.coefficient[:, None, None] + self.bias[:, None, None])


torch.manual_seed(SEED)
assert sum(p.numel() for p in LeNet5().parameters()) == 60_000
model = LeNet5(c5=4)
targets = torch.tensor([7, 2])


def run(x):
    scores = model(x)
    distances = -scores.double()
    others = torch.log(torch.exp(torch.tensor(-RUBBISH).double()) + torch.exp(-distances).sum(1))
    loss = (distances[torch.arange(2), targets] + others).mean().float()[None]
    return {"output": scores, "loss": loss}


constants = {"codes": digit_codes(), "targets": targets.float()}
x = settle(model, 2, 1, 32, 32)
prove("kiln-models", model, x, run, constants)
