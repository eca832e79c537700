"""A narrow LeNet-5 with the paper's layer names."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, path, prove
from trainable_subsample import TrainableSubsample


class LeNet5(nn.Module):
    def __init__(self, classes=10, maps=(6, 16, 120), hidden=84):
        super().__init__()
        self.c1 = nn.Conv2d(1, maps[0], 5, padding=2)
        self.s2 = TrainableSubsample(maps[0])
        self.c3 = nn.Conv2d(maps[0], maps[1], 5)
        self.s4 = TrainableSubsample(maps[1])
        self.c5 = nn.Conv2d(maps[1], maps[2], 5)
        self.f6 = nn.Linear(maps[2], hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x):
        x = self.s2(torch.tanh(self.c1(x)))
        x = self.s4(torch.tanh(self.c3(x)))
        x = torch.tanh(self.c5(x)).flatten(1)
        return self.output(torch.tanh(self.f6(x)))


torch.manual_seed(SEED)
assert sum(p.numel() for p in LeNet5().parameters()) == 61_750
model = LeNet5(classes=4, maps=(2, 3, 6), hidden=5)
x = settle(model, 2, 1, 28, 28)
prove("kiln-models", model, x)

# The same as a training script leaves it: wrapped for several devices, beside other state.
wrapped = {"module." + name: value for name, value in model.state_dict().items()}
optimizer = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
checkpoint = {"epoch": 3, "state_dict": wrapped, "optimizer": optimizer}
torch.save(checkpoint, path("kiln-models", "pth"))
# And in the format from before torch 1.6.
torch.save(checkpoint, path("kiln-models", "pth", "_legacy"), _use_new_zipfile_serialization=False)
