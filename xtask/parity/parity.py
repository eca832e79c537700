"""PyTorch's side of `cargo xtask parity`.

    parity.py list                  the models that have a twin, as JSON
    parity.py make MODEL FOLDER     random weights, an input and the scores that PyTorch computes from them
    parity.py accept MODEL FOLDER   loads what kiln converted, strictly, and compares every tensor
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models import MODELS

SEED = 1998

# How far PyTorch's own single-precision scores may lie from its double-precision ones. Where they lie further, the draw
# measures rounding and not programs.
OWN = 3e-5


def listing():
    import timm
    import torchvision

    modules = {"torch": torch, "torchvision": torchvision, "timm": timm}
    models = [
        {"name": name, "twin": model["twin"], "size": model["size"], "options": model["options"]}
        for name, model in MODELS.items()
    ]
    versions = {name: module.__version__ for name, module in modules.items()}
    print(json.dumps({"versions": versions, "models": models}))


def make(model, size, folder):
    """Weights of a size that keeps every layer alive, norms with the statistics that belong to them.

    The last norm of a bottleneck is drawn small, as training leaves it: with branches as large as their shortcuts, fifty
    units in a row double a rounding error again and again, PyTorch's too.
    """
    torch.manual_seed(SEED)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.normal_(part.bias, std=0.1)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
    for part in model.modules():
        if isinstance(getattr(part, "bn3", None), nn.BatchNorm2d):
            nn.init.uniform_(part.bn3.weight, 0.1, 0.5)
    images = torch.randn(2, *size)
    model.eval()
    if norms:
        for norm in norms:
            norm.train()
            norm.momentum = None
        model(images)
        for norm in norms:
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25))
        model.eval()
    scores = model(images)
    assert scores.isfinite().all() and scores.std() > 0
    torch.save(model.state_dict(), folder / "weights.pth")
    exact = model.double()(images.double())
    own = ((scores - exact).abs().max() / exact.abs().max()).item()
    print(f"{own:.1e} between PyTorch's single and double precision", file=sys.stderr)
    assert own <= OWN, f"{own:.1e} > {OWN:.0e}"
    save_file({"input": images}, folder / "input.safetensors")
    save_file({"output": scores.contiguous()}, folder / "expected.safetensors")


def accept(model, folder):
    original = torch.load(folder / "weights.pth", weights_only=True)
    files = {
        "back.pth": lambda path: torch.load(path, weights_only=True),
        "back.safetensors": load_file,
    }
    for name, load in files.items():
        state = load(folder / name)
        model.load_state_dict(state, strict=True)
        for key, value in model.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert value.equal(original[key]), f"{name}: {key} changed"
    print(len(original))


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "list":
        listing()
    else:
        name, folder = rest[0], Path(rest[1])
        with torch.no_grad():
            model = MODELS[name]["build"]()
            if verb == "make":
                make(model, MODELS[name]["size"], folder)
            else:
                accept(model, folder)
