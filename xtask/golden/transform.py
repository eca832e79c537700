"""torchvision's v2 transforms of one small picture at fixed parameters, on Pillow images; boxes and masks along with it."""

import math

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from _write import SEED, write

WIDTH, HEIGHT = 23, 15
BILINEAR = InterpolationMode.BILINEAR

torch.manual_seed(SEED)
random = np.random.default_rng(SEED)

# Slopes, an edge, and noise; no channel reaches both ends of its range, so that autocontrast has something to do.
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
slopes = np.stack([20 + 6 * x, 40 + 9 * y, 200 - 3 * x - 4 * y], axis=-1)
slopes[4:12, 8:18] = [210, 60, 90]
picture = np.clip(slopes + random.integers(-15, 16, slopes.shape), 5, 240).astype(np.uint8)
image = Image.fromarray(picture)
grey = image.convert("L")

shape = np.zeros((HEIGHT, WIDTH), np.uint8)
shape[4:12, 8:18] = 1
shape[7:9, 3:22] = 1
shape[0:2, 18:23] = 2
mask = Image.fromarray(shape)

corners = torch.tensor([[8.0, 4.0, 18.0, 12.0], [3.0, 7.0, 22.0, 9.0], [18.0, 0.0, 23.0, 2.0], [1.5, 9.25, 6.5, 14.5]])
boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(HEIGHT, WIDTH))


def affine(angle=0.0, translate=(0, 0), scale=1.0, shear=(0.0, 0.0), center=None):
    def change(it):
        nearest = it is mask or isinstance(it, tv_tensors.BoundingBoxes)
        interpolation = InterpolationMode.NEAREST if nearest else BILINEAR
        return F.affine(it, angle, list(translate), scale, list(shear), interpolation, None, center)

    return change


def resize(width, height):
    return lambda it: F.resize(it, [height, width], InterpolationMode.NEAREST if it is mask else BILINEAR)


def resized_crop(left, top, width, height, size):
    def change(it):
        interpolation = InterpolationMode.NEAREST if it is mask else BILINEAR
        return F.resized_crop(it, top, left, height, width, size, interpolation)

    return change


SHAPES = {
    "resize_down": resize(11, 9),
    "resize_up": resize(33, 19),
    "crop": lambda it: F.crop(it, 3, 5, 9, 14),
    "crop_outside": lambda it: F.crop(it, -4, -3, 15, 22),
    "center_crop": lambda it: F.center_crop(it, [10, 14]),
    "resized_crop": resized_crop(4, 2, 15, 11, [12, 20]),
    "flip": F.horizontal_flip,
    "flip_vertical": F.vertical_flip,
    "rotate": lambda it: F.rotate(it, -20.0, InterpolationMode.NEAREST if it is mask else BILINEAR),
    "translate": affine(translate=(3, -2)),
    "scale": affine(scale=1.4),
    "shear": affine(shear=(18.0, 0.0)),
    "shear_both": affine(shear=(12.0, -9.0)),
    "all": affine(angle=33.0, translate=(2, 1), scale=0.8, shear=(10.0, 4.0)),
    "shear_corner": affine(shear=(math.degrees(math.atan(0.3)), 0.0), center=[0, 0]),
}
COLOURS = {
    "brightness": lambda it: F.adjust_brightness(it, 1.35),
    "brightness_down": lambda it: F.adjust_brightness(it, 0.4),
    "contrast": lambda it: F.adjust_contrast(it, 1.6),
    "contrast_down": lambda it: F.adjust_contrast(it, 0.3),
    "saturation": lambda it: F.adjust_saturation(it, 1.7),
    "saturation_down": lambda it: F.adjust_saturation(it, 0.25),
    "hue": lambda it: F.adjust_hue(it, 0.2),
    "hue_back": lambda it: F.adjust_hue(it, -0.37),
    "grayscale": lambda it: F.to_grayscale(it, num_output_channels=len(it.getbands())),
    "invert": F.invert,
    "posterize": lambda it: F.posterize(it, 3),
    "solarize": lambda it: F.solarize(it, 110.0),
    "autocontrast": F.autocontrast,
    "equalize": F.equalize,
    "sharpness": lambda it: F.adjust_sharpness(it, 1.9),
    "sharpness_down": lambda it: F.adjust_sharpness(it, 0.2),
    "blur": lambda it: F.gaussian_blur(it, [5, 5], [1.3, 1.3]),
    "blur_wide": lambda it: F.gaussian_blur(it, [13, 13], [2.5, 2.5]),
}


def pixels(it):
    return torch.from_numpy(np.array(it))


tensors = {"image": pixels(image), "grey": pixels(grey), "mask": pixels(mask), "boxes": corners}
for name, change in SHAPES.items():
    tensors[name] = pixels(change(image))
    # A rotation whose interpolation is the nearest pixel is Pillow's own, so masks are held against the same program.
    tensors[f"{name}.mask"] = pixels(change(mask))
    moved = change(boxes)
    tensors[f"{name}.boxes"] = F.clamp_bounding_boxes(moved, clamping_mode="hard").as_subclass(torch.Tensor)
for name, change in COLOURS.items():
    tensors[name] = pixels(change(image))
for name in ["contrast", "equalize", "sharpness", "blur", "solarize"]:
    tensors[f"{name}.grey"] = pixels(COLOURS[name](grey))

# AlexNet's lighting is in no torchvision; this is its formula, rounded.
values = torch.tensor([0.2175, 0.0188, 0.0045])
vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
amounts = torch.tensor([0.15, -0.2, 0.3])
lit = pixels(image).float() + 255 * vectors @ (amounts * values)
tensors["lighting"] = lit.round().clamp(0, 255).to(torch.uint8)
erased = pixels(image).permute(2, 0, 1)
tensors["erase"] = F.erase(erased, 6, 4, 5, 9, torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None]).permute(1, 2, 0)

write("kiln-data", torch.nn.Identity(), tensors, torchvision=torchvision.__version__, pillow=PIL.__version__)
