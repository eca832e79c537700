"""torchvision's FCN on a dilated ResNet of bottlenecks, from one channel on, with its auxiliary head."""

import torch
import torchvision
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import Bottleneck
from torchvision.models.segmentation.fcn import FCN, FCNHead

from _blocks import settle
from _write import SEED, prove

torch.manual_seed(SEED)
backbone = torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1])
backbone.conv1 = nn.Conv2d(3, 1, 7, stride=2, padding=3, bias=False)
backbone.bn1 = nn.BatchNorm2d(1)
backbone.inplanes = 1
for stage, units in enumerate([1, 1, 1, 2]):
    stride = 1 if stage == 0 else 2
    layer = backbone._make_layer(Bottleneck, 1 << stage, units, stride=stride, dilate=stage > 1)
    setattr(backbone, f"layer{stage + 1}", layer)
maps = IntermediateLayerGetter(backbone, {"layer4": "out", "layer3": "aux"})
model = FCN(maps, FCNHead(32, 3), FCNHead(16, 3))
# Five rows of the last map: as many as the largest dilation reaches over.
x = settle(model, 1, 3, 33, 9)


def run(x):
    scores = model(x)
    return {"output": scores["out"], "aux": scores["aux"]}


prove("kiln-models", model, x, run, torchvision=torchvision.__version__)
