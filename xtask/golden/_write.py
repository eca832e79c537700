"""Writes a golden file: the tensors, and in the metadata what they were made with.

A file that mistakes pass by asserts nothing, so `prove` writes none unless its outputs depend on the input and on every
parameter by far more than the tests tolerate, which is 1e-4. `write` is for what is no function of one input.
"""

import sys
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

SEED = 1998
LEAST_BY_INPUT = 1e-2  # of the largest value of an output, by which another input must move it
LEAST_BY_STATE = 1e-3  # the same for another value of one parameter or running statistic


def path(crate, suffix="safetensors", ending=""):
    """The script's own name in the crate's `golden` folder, unless it was called with another path."""
    script = Path(sys.argv[0])
    beside = script.resolve().parents[2] / "crates" / crate / "golden" / script.stem
    file = Path(sys.argv[1] if len(sys.argv) > 1 else beside).with_suffix("." + suffix)
    return file.with_stem(file.stem + ending)


@torch.no_grad()
def prove(crate, module, x, run=None, constants=None, precision=torch.float, **versions):
    """Writes the input `x` and what `run` makes of it, `module` by itself: one output, or several by name. `constants`
    are saved beside them."""
    run = run or module
    outputs = named(run(x))
    demand_sensitivity(module, x, run, outputs)
    write(crate, module, {"input": x} | outputs | (constants or {}), precision, **versions)


def write(crate, module, tensors, precision=torch.float, **versions):
    """Saves the state of `module`, which a test of `crate` will load, and `tensors`."""
    state = {name: value.to(precision) for name, value in floats(module)}
    tensors = {name: value.contiguous() for name, value in (state | tensors).items()}
    made_with = {"torch": torch.__version__, "safetensors": safetensors.__version__} | versions
    path(crate).parent.mkdir(exist_ok=True)
    save_file(tensors, path(crate), {"seed": str(SEED)} | made_with)
    path(crate).chmod(0o644)


def named(outputs):
    return outputs if isinstance(outputs, dict) else {"output": outputs}


def floats(module):
    """Parameters and running statistics."""
    return [(name, value) for name, value in module.state_dict().items() if value.is_floating_point()]


def demand_sensitivity(module, x, run, outputs):
    """Refuses what could be right by chance: every image must count in every output, and each tensor of the state in
    one output at least."""
    draws = torch.Generator().manual_seed(SEED)
    shuffled = x.flatten()[torch.randperm(x.numel(), generator=draws)].view_as(x)
    by_input = {
        name: min(moved(value[None], other[None]) for value, other in zip(outputs[name], others))
        for name, others in named(run(shuffled)).items()
    }
    by_state = {}
    for name, value in floats(module):
        before = value.clone()
        signs = torch.randint(2, value.shape, generator=draws) * 2 - 1
        value.mul_(1 + signs / 2)  # half as much or half as much again, so that a variance stays positive
        others = named(run(x))
        by_state[name] = max(moved(outputs[output], others[output]) for output in outputs)
        value.copy_(before)
    report(by_input, by_state)


def moved(value, other):
    """The largest difference, as a part of the largest value."""
    return ((value - other).abs().max() / value.abs().max()).item()


def report(by_input, by_state):
    print(f"another input moves the outputs by {min(by_input.values()):.1e} or more", end="")
    print(f", another value of a tensor by {min(by_state.values()):.1e} or more" if by_state else "")
    unseen = [f"{name} doesn't see its input: {by:.1e}" for name, by in by_input.items() if not by >= LEAST_BY_INPUT]
    unseen += [f"nothing sees {name}: {by:.1e}" for name, by in by_state.items() if not by > LEAST_BY_STATE]
    if unseen:
        sys.exit("this file would assert too little\n" + "\n".join(unseen))
