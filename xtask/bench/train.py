"""PyTorch's side of `cargo xtask bench train`: a process that answers each line with one.

    train.py contiguous | channels_last

    load MODEL FOLDER BATCH IMAGES   version and memory format; the weights that `parity.py make` drew
    scores                           the first image's, in inference
    time                             milliseconds of training on IMAGES images, BATCH at a time
    memory                           most bytes resident so far
"""

import os
import sys
import time
from pathlib import Path

import torch
from infer import FILL, THREADS, images, network


class Training:
    def __init__(self, layout, name, folder, batch, count):
        self.layout = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
        torch.set_num_threads(THREADS)
        self.model = network(name, folder)
        if hasattr(self.model, "aux_logits"):
            self.model.aux_logits, self.model.aux1, self.model.aux2 = False, None, None
        self.model = self.model.to(memory_format=self.layout)
        self.batch, self.images = batch, images(folder, count)
        with torch.inference_mode():
            self.first = self.model(self.images[:1])[0].tolist()
        self.labels = torch.arange(count) % len(self.first)
        self.model.train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)

    def step(self, start):
        x = self.images[start : start + self.batch].contiguous(memory_format=self.layout)
        loss = torch.nn.functional.cross_entropy(self.model(x), self.labels[start : start + self.batch])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def time(self):
        """One step brings caches and threads back and doesn't count."""
        self.step(0)
        times = []
        while sum(times) < FILL:
            start = time.perf_counter()
            for first in range(0, len(self.images), self.batch):
                self.step(first)
            times.append((time.perf_counter() - start) * 1e3)
        return sorted(times)[len(times) // 2]


def peak():
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def serve(layout):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    training = None
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "load":
            training = None
            training = Training(layout, words[0], Path(words[1]), int(words[2]), int(words[3]))
            answer = f"{torch.__version__.split('+')[0]} {layout}"
        elif verb == "scores":
            answer = " ".join(f"{score:.6e}" for score in training.first)
        elif verb == "memory":
            answer = str(peak())
        else:
            answer = f"{training.time():.4f}"
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
