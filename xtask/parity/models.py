"""The PyTorch modules that kiln's networks are held against, by kiln's names.

Most are torchvision's and timm's. Families that neither has come from the scripts that make golden files.
"""

import contextlib
import importlib
import io
import sys
import types
from pathlib import Path


def torchvision(name, size=224, options=(), **arguments):
    def build():
        import torchvision

        return getattr(torchvision.models, name)(weights=None, **arguments)

    return {"twin": f"torchvision `{name}`", "build": build, "size": (3, size, size), "options": options}


def timm(name, size=224):
    def build():
        import timm

        return timm.create_model(name, pretrained=False)

    return {"twin": f"timm `{name}`", "build": build, "size": (3, size, size), "options": ()}


def segmentation(name):
    def build():
        from torchvision.models import segmentation

        model = getattr(segmentation, name)(weights=None, weights_backbone=None, aux_loss=True)
        base = type(model)
        model.__class__ = type("Scores", (base,), {"forward": lambda self, x: base.forward(self, x)["out"]})
        return model

    return {"twin": f"torchvision `{name}`", "build": build, "size": (3, 224, 224), "options": ()}


def golden(script, build, size, options=()):
    return {
        "twin": f"`xtask/golden/{script}.py`",
        "build": lambda: build(script_of(script)),
        "size": size,
        "options": options,
    }


def script_of(name):
    """A golden script as a module; it writes nothing."""
    silent = types.ModuleType("_write")
    silent.SEED = 1998
    silent.prove = silent.write = lambda *_, **__: None
    silent.path = lambda *_, **__: io.BytesIO()
    sys.modules["_write"] = silent
    folder = str(Path(__file__).resolve().parents[1] / "golden")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(name)


def darknet(stages, number):
    """The golden script's network with its last convolution numbered as the published files number it."""

    def build(script):
        model = script.Darknet(stages, 1000)
        model.add_module(f"conv{number}", model.head)
        del model.head
        head = property(lambda self: getattr(self, f"conv{number}"))
        model.__class__ = type("Numbered", (script.Darknet,), {"head": head})
        return model

    return build


def alexnet_2012(script):
    return script.alexnet((96, 256, 384, 384, 256), 4096, 1000, groups=2, lrn=True)


def fcn(stride):
    build = lambda script: script.Fcn(stride, 21, (2, 2, 3, 3, 3), width=64, hidden=4096)
    return golden("_fcn", build, (3, 120, 160), options=("border=true",))


def cifar(depth):
    return golden("resnet_cifar", lambda script: script.ResNet(16, (depth - 2) // 6, 10), (3, 32, 32))


TINY = [[16], [32], [16, 128, 16, 128], [32, 256, 32, 256], [64, 512, 64, 512, 128]]
DARKNET19 = [[32], [64], [128, 64, 128], [256, 128, 256], [512, 256] * 2 + [512], [1024, 512] * 2 + [1024]]

MODELS = {
    "lenet5": golden("lenet5", lambda script: script.LeNet5(), (1, 28, 28)),
    "lenet5-tanh": golden("lenet_tanh", lambda script: script.LeNet(), (1, 32, 32)),
    "lenet-caffe": golden("lenet_caffe", lambda script: script.LeNet(), (1, 28, 28)),
    "cnn": golden("cnn", lambda script: script.Cnn(), (1, 28, 28)),
    "alexnet": torchvision("alexnet"),
    "alexnet-2012": golden("_alexnet", alexnet_2012, (3, 224, 224)),
    **{f"vgg{depth}{bn}": torchvision(f"vgg{depth}{bn}") for bn in ("", "_bn") for depth in (11, 13, 16, 19)},
    "googlenet": torchvision(
        "googlenet", options=("aux=true",), aux_logits=True, transform_input=False, init_weights=False
    ),
    "googlenet-2014": golden("googlenet_2014", lambda script: script.GoogLeNet(64, 1000), (3, 224, 224)),
    **{f"resnet{depth}": torchvision(f"resnet{depth}") for depth in (18, 34, 50, 101, 152)},
    **{f"seresnet{depth}": timm(f"seresnet{depth}") for depth in (50, 101, 152)},
    **{f"legacy_seresnet{depth}": timm(f"legacy_seresnet{depth}") for depth in (18, 34, 50, 101, 152)},
    "legacy_senet154": timm("legacy_senet154"),
    **{f"resnet{depth}": cifar(depth) for depth in (20, 32, 44, 56, 110)},
    "xception": timm("legacy_xception", 299),
    "darknet-tiny": golden("darknet", darknet(TINY, 16), (3, 224, 224)),
    "darknet19": golden("darknet", darknet(DARKNET19, 19), (3, 224, 224)),
    "darknet53": timm("darknet53", 256),
    **{f"fcn{stride}s": fcn(stride) for stride in (32, 16, 8)},
    **{f"fcn-resnet{depth}": segmentation(f"fcn_resnet{depth}") for depth in (50, 101)},
    "unet": golden("_unet", lambda script: script.UNet(64, 4, 2, norm=False), (1, 128, 128)),
}
