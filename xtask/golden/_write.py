"""Writes a golden file: the tensors, and in the metadata what they were made with."""

import sys
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

SEED = 1998


def path(crate, suffix="safetensors"):
    """The script's own name in the crate's `golden` folder, unless it was called with another path."""
    script = Path(sys.argv[0])
    beside = script.resolve().parents[2] / "crates" / crate / "golden" / script.stem
    return Path(sys.argv[1] if len(sys.argv) > 1 else beside).with_suffix("." + suffix)


def write(crate, module, tensors, **versions):
    """Saves the state of `module`, which a test of `crate` will load, and `tensors`."""
    state = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    tensors = {name: value.contiguous() for name, value in (state | tensors).items()}
    made_with = {"torch": torch.__version__, "safetensors": safetensors.__version__} | versions
    path(crate).parent.mkdir(exist_ok=True)
    save_file(tensors, path(crate), {"seed": str(SEED)} | made_with)
    path(crate).chmod(0o644)
