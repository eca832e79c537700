"""timm's SENet-154 with one unit per stage, two groups, and from one channel on, in half precision."""

import timm
import torch
from timm.models.senet import SEBottleneck, SENet
from torch import nn

from _blocks import settle
from _narrow import residual_layers
from _write import SEED, prove

torch.manual_seed(SEED)
shape = {"groups": 2, "reduction": 2}
wide = {"downsample_kernel_size": 3, "downsample_padding": 1}
model = SENet(SEBottleneck, (1, 1, 1, 1), inplanes=128, input_3x3=True, **shape, **wide)
for number, (channels_in, channels_out) in enumerate([(3, 1), (1, 1), (1, 2)], 1):
    stride = 2 if number == 1 else 1
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    setattr(model.layer0, f"conv{number}", conv)
    setattr(model.layer0, f"bn{number}", nn.BatchNorm2d(channels_out))
model = residual_layers(model, SEBottleneck, 1, 2, **shape, **wide)
model.inplanes = 2
model.layer1 = model._make_layer(SEBottleneck, 1, 1, **shape)  # only a stride is projected wide
model.last_linear = nn.Linear(32, 3)
x = settle(model, 1, 3, 21, 17)
model = model.half().float()
prove("kiln-models", model, x, precision=torch.half, timm=timm.__version__)
