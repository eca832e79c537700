"""A short Darknet whose convolutions are counted from 1."""

import torch
from torch import nn

from _write import SEED, write


class Darknet(nn.Module):
    def __init__(self, stages, classes):
        super().__init__()
        self.stages = stages
        channels, number = 3, 0
        for width in (width for stage in stages for width in stage):
            number += 1
            kernel = 1 if width < channels and number > 1 else 3
            conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width, eps=1e-3))
            channels = width
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        number = 0
        for stage, widths in enumerate(self.stages):
            if stage > 0:
                x = nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)
            for _ in widths:
                number += 1
                x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
                x = nn.functional.leaky_relu(x, 0.1)
        return self.head(x).mean((2, 3))


def randomize(model):
    """Norms with scales, shifts and statistics of their own."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model.eval()


if __name__ == "__main__":
    torch.manual_seed(SEED)
    model = randomize(Darknet([[4], [6, 3, 6], [8]], classes=5))
    with torch.no_grad():
        x = torch.randn(2, 3, 13, 9)
        write("kiln-models", model, {"input": x, "output": model(x)})
