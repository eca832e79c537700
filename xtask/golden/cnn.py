"""A plain stack of convolutions for small grey images, narrow."""

import torch
from torch import nn

from _blocks import settle
from _write import SEED, prove


class Cnn(nn.Module):
    def __init__(self, classes=10, channels=(64, 128, 256), hidden=(128, 64)):
        super().__init__()
        a, b, c = channels
        self.conv1 = nn.Conv2d(1, a, 7, padding=3)
        self.conv2 = nn.Conv2d(a, b, 3, padding=1)
        self.conv3 = nn.Conv2d(b, b, 3, padding=1)
        self.conv4 = nn.Conv2d(b, c, 3, padding=1)
        self.conv5 = nn.Conv2d(c, c, 3, padding=1)
        self.fc1 = nn.Linear(9 * c, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.relu(self.conv3(torch.relu(self.conv2(x))))
        x = torch.relu(self.conv5(torch.relu(self.conv4(nn.functional.max_pool2d(x, 2)))))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


torch.manual_seed(SEED)
assert sum(p.numel() for p in Cnn().parameters()) == 1_413_834
model = Cnn(4, (2, 3, 4), (6, 5))
x = settle(model, 2, 1, 28, 28)
prove("kiln-models", model, x)
