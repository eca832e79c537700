"""A narrow Darknet-53 from timm."""

import timm
import torch
from timm.models.cspnet import CspModelCfg, CspNet, CspStagesCfg, CspStemCfg

from _blocks import settle
from _write import SEED, prove

torch.manual_seed(SEED)
stages = CspStagesCfg(
    depth=(1, 2, 1, 1, 1),
    out_chs=(4, 4, 4, 6, 6),
    stride=2,
    bottle_ratio=0.5,
    block_ratio=1.0,
    stage_type="dark",
    block_type="dark",
)
stem = CspStemCfg(out_chs=3, kernel_size=3, stride=1, pool="")
model = CspNet(CspModelCfg(stem=stem, stages=stages), num_classes=5)
x = settle(model, 2, 3, 33, 20)
prove("kiln-models", model, x, timm=timm.__version__)
