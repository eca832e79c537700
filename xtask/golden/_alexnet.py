"""A narrow AlexNet with torchvision's names."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class AlexNet(nn.Module):
    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 6)
        return self.classifier(x.flatten(1))


def alexnet(channels, hidden, classes, in_channels=3, groups=1, lrn=False):
    a, b, c, d, e = channels
    response = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if lrn else nn.Identity()
    # The norm shares the place of the activation before it, so that the numbers stay torchvision's.
    relu = nn.Sequential(nn.ReLU(), response)
    model = AlexNet()
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
    return model


def count(*arguments, **options):
    return sum(p.numel() for p in alexnet(*arguments, **options).parameters())


def golden(**options):
    torch.manual_seed(SEED)
    model = alexnet((4, 4, 6, 4, 2), 8, 5, in_channels=1, **options)
    x = settle(model, 1, 1, 80, 72, scale=10)  # so large that response norms count
    prove("kiln-models", model, x)
