"""The peers of `cargo xtask bench infer`: one process per engine, which answers each line with one.

    infer.py export MODEL FOLDER BATCH   FOLDER/MODEL-BATCH.onnx, of the weights that `parity.py make` drew
    infer.py serve ENGINE                pytorch, onnxruntime or openvino

    load MODEL FOLDER BATCH   what runs: version and settings
    scores                    the first image's
    time                      milliseconds of one forward pass
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
# A short pass is repeated until this many milliseconds are full; the median of the passes is the answer.
FILL = 120.0


def median_ms(run):
    """One pass brings caches and threads back and doesn't count."""
    run()
    times = []
    while sum(times) < FILL:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


def network(name, folder):
    import torch
    from models import MODELS

    model = MODELS[name]["build"]().eval()
    model.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    # Auxiliary heads take no part in inference.
    return model


def images(folder, batch):
    from safetensors.torch import load_file

    some = load_file(folder / "input.safetensors")["input"]
    return some.repeat(-(-batch // len(some)), 1, 1, 1)[:batch].contiguous()


def export(name, folder, batch):
    import torch

    path = str(folder / f"{name}-{batch}.onnx")
    with torch.no_grad():
        torch.onnx.export(network(name, folder), (images(folder, batch),), path, input_names=["input"], external_data=False)


def pytorch(name, folder, batch):
    """The fastest of four ways to run it."""
    import torch

    torch.set_num_threads(THREADS)
    plain, x = network(name, folder), images(folder, batch)
    last = x.to(memory_format=torch.channels_last)
    ways = {"eager": (plain, x)}
    ways["channels_last"] = (network(name, folder).to(memory_format=torch.channels_last), last)
    frozen = torch.jit.freeze(torch.jit.trace(plain, x))
    ways["torch.jit.optimize_for_inference"] = (torch.jit.optimize_for_inference(frozen), x)
    if os.environ.get("KILN_BENCH_COMPILE") != "0":
        import torch._inductor.config as inductor

        torch._dynamo.reset()
        inductor.freezing = True
        ways["torch.compile"] = (torch.compile(network(name, folder)), x)

    def runner(model, x):
        def run():
            with torch.inference_mode():
                return model(x)

        return run

    speeds, runs = {}, {}
    for way, (model, x) in ways.items():
        run = runner(model, x)
        try:
            run()
            speeds[way], runs[way] = [], run
        except Exception as error:
            print(f"{name}: {way} fails: {error}"[:200], file=sys.stderr)
    # They take turns, so that other work on the machine chooses none.
    for _ in range(5):
        for way, run in runs.items():
            speeds[way].append(median_ms(run))
    way = min(speeds, key=lambda way: min(speeds[way]))
    run = runs[way]
    return f"{torch.__version__.split('+')[0]} {way}", run, lambda: run()[0].tolist()


def onnxruntime(name, folder, batch):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        str(folder / f"{name}-{batch}.onnx"), options, providers=["CPUExecutionProvider"]
    )
    feed = {"input": images(folder, batch).numpy()}
    run = lambda: session.run(None, feed)[0]
    return onnxruntime.__version__, run, lambda: run()[0].tolist()


def openvino(name, folder, batch):
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        # Where the processor has bf16, OpenVINO would use it unasked.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(str(folder / f"{name}-{batch}.onnx"), "CPU", settings)
    request = compiled.create_infer_request()
    x = images(folder, batch).numpy()
    run = lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]
    return openvino.__version__.split("-")[0], run, lambda: run()[0].tolist()


def serve(engine):
    engine = {"pytorch": pytorch, "onnxruntime": onnxruntime, "openvino": openvino}[engine]
    # Libraries write to standard output as they please; the answers alone belong there.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run = scores = None
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "load":
            run = scores = None
            name, folder, batch = words[0], Path(words[1]), int(words[2])
            answer, run, scores = engine(name, folder, batch)
        elif verb == "scores":
            answer = " ".join(f"{score:.6e}" for score in scores())
        else:
            answer = f"{median_ms(run):.4f}"
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "serve":
        serve(rest[0])
    else:
        export(rest[0], Path(rest[1]), int(rest[2]))
