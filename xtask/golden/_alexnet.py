"""A narrow AlexNet with torchvision's names."""

import torch
from torch import nn

from _write import SEED, write


def alexnet(channels, hidden, classes, in_channels=3, groups=1, lrn=False):
    a, b, c, d, e = channels
    response = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if lrn else nn.Identity()
    # The norm shares the place of the activation before it, so that the numbers stay torchvision's.
    relu = nn.Sequential(nn.ReLU(), response)
    model = nn.Module()
    model.features = nn.Sequential(
        nn.Conv2d(in_channels, a, 11, stride=4, padding=2), relu, nn.MaxPool2d(3, 2),
        nn.Conv2d(a, b, 5, padding=2, groups=groups), relu, nn.MaxPool2d(3, 2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1, groups=groups), nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    model.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(36 * e, hidden), nn.ReLU(),
        nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
    )  # fmt: skip
    return model.eval()


def count(*arguments, **options):
    return sum(p.numel() for p in alexnet(*arguments, **options).parameters())


def golden(**options):
    torch.manual_seed(SEED)
    model = alexnet((4, 4, 6, 4, 2), 8, 5, in_channels=1, **options)
    with torch.no_grad():
        for parameter in model.parameters():  # no unit shall be dead, and norms shall count
            if parameter.dim() == 4:
                nn.init.kaiming_normal_(parameter)
        x = 10 * torch.randn(1, 1, 80, 72)
        map = nn.functional.adaptive_avg_pool2d(model.features(x), 6)
        write("kiln-models", model, {"input": x, "output": model.classifier(map.flatten(1))})
