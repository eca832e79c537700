"""Ten steps of each optimizer on a small net: what its weight and bias are then.

As in a recipe, weight decay is for the weight alone and not for the bias, except where a name ends in `all`.
"""

import copy

import torch
from torch import nn

from _write import SEED, write

STEPS = 10


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return torch.tanh(x @ self.weight + self.bias)


torch.manual_seed(SEED)
net = Net()
x, y = torch.randn(STEPS, 3, 5), torch.randn(STEPS, 3, 4)

DECAY = 0.05
CASES = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "dampening": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "plain": (torch.optim.SGD, {"lr": 0.1}),
    "all": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "norm": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "value": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "amsgrad": (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.9), "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.9}),
    "centered": (torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "centered": True}),
}

tensors = {"x": x, "y": y}
for name, (optimizer, constants) in CASES.items():
    trained = copy.deepcopy(net)
    optimizer = optimizer(
        [
            {"params": [trained.weight], "weight_decay": DECAY},
            {"params": [trained.bias], "weight_decay": DECAY if name == "all" else 0},
        ],
        **constants,
    )
    for step in range(STEPS):
        optimizer.zero_grad()
        (trained(x[step]) - y[step]).square().mean().backward()
        if name == "norm":
            torch.nn.utils.clip_grad_norm_(trained.parameters(), 0.2)
        if name == "value":
            torch.nn.utils.clip_grad_value_(trained.parameters(), 0.05)
        optimizer.step()
    tensors[f"{name}_weight"] = trained.weight.detach()
    tensors[f"{name}_bias"] = trained.bias.detach()

write("kiln-train", net, tensors)
