"""The Python side of `cargo xtask bench`: files to measure with, and the program that kiln is held against.

    start.py make FOLDER MODEL      MODEL.pth and MODEL.safetensors (random weights), photo.jpg, input.safetensors
    start.py predict WEIGHTS PHOTO  the five likeliest classes of a photo, as a script of a torchvision user has it
"""

import sys


def make(folder, name):
    import torch
    import torchvision
    from PIL import Image
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = getattr(torchvision.models, name)(weights=None).state_dict()
    torch.save(weights, f"{folder}/{name}.pth")
    save_file(weights, f"{folder}/{name}.safetensors")
    save_file({"input": torch.randn(1, 3, 224, 224)}, f"{folder}/input.safetensors")
    # A photograph's size and smoothness: noise of a few pixels, enlarged.
    pixels = (torch.rand(24, 32, 3) * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).resize((640, 480), Image.BICUBIC).save(f"{folder}/photo.jpg", quality=90)


def predict(weights, photo):
    import torch
    from PIL import Image
    from torchvision import models, transforms

    network = models.resnet50(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    preprocess = transforms.Compose([
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    with torch.inference_mode():
        scores = network(preprocess(Image.open(photo).convert("RGB"))[None]).softmax(1)[0]
    for score, label in zip(*scores.topk(5)):
        print(f"{label.item()} {score.item():.4f}")


if __name__ == "__main__":
    {"make": make, "predict": predict}[sys.argv[1]](*sys.argv[2:])
