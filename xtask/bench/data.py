"""The Python side of `cargo xtask bench data`: photos to read, and the loaders that kiln's is held against.

    data.py make FOLDER COUNT [PHOTOS]   COUNT JPEG files of 500×375 below FOLDER, from the photos below PHOTOS if given
    data.py serve pil|tensor FOLDER WORKERS
                                         answers each line with the images per second of an epoch over them
"""

import pathlib
import sys
import time


def make(folder, count, photos=None):
    import numpy
    from PIL import Image

    folder, count = pathlib.Path(folder), int(count)
    sources = sorted(pathlib.Path(photos).rglob("*.jpg")) if photos else []
    random = numpy.random.default_rng(0)
    for number in range(count):
        if sources:
            image = Image.open(sources[number * len(sources) // count]).convert("RGB")
        else:
            # A photograph's smoothness: noise of a few pixels, enlarged.
            image = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=numpy.uint8))
        part = "test" if number % 10 == 0 else "train"
        path = folder / part / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((500, 375), Image.BICUBIC).save(path, quality=90)


def serve(kind, folder, workers):
    import torch
    from torchvision import datasets, io, transforms
    from torchvision.transforms import v2

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if kind == "pil":
        loader = datasets.folder.default_loader
        transform = transforms.Compose([
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ])
    else:

        def loader(path):
            return io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)

        transform = v2.Compose([
            v2.RandomResizedCrop(224, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ])
    torch.set_num_threads(1)
    photos = datasets.ImageFolder(f"{folder}/train", transform=transform, loader=loader)
    batches = torch.utils.data.DataLoader(
        photos, batch_size=64, shuffle=True, num_workers=int(workers), persistent_workers=True
    )
    for _ in sys.stdin:
        start, images = time.perf_counter(), 0
        for batch, _ in batches:
            images += len(batch)
        print(images / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    {"make": make, "serve": serve}[sys.argv[1]](*sys.argv[2:])
