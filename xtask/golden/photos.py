"""Small images as cameras, scanners and drawing programs write them, and the pixels that Pillow reads from each."""

import io
import struct
import zlib

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps

from _write import SEED, write

WIDTH, HEIGHT = 20, 12
random = np.random.default_rng(SEED)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
slopes = np.stack([30 + 9 * x, 50 + 12 * y, 220 - 5 * x - 6 * y], axis=-1)
slopes[2:6, 3:9] = [200, 60, 80]
picture = Image.fromarray(np.clip(slopes, 0, 255).astype(np.uint8))
grey = picture.convert("L")
alpha = Image.fromarray((11 * x + 3 * y).astype(np.uint8))
ORIENTATION = 0x0112


def file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def deep_png(values):
    """A PNG of 16 bits a value, which Pillow can't write in colours."""
    height, width, channels = values.shape

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )


JPEG = {"quality": 95, "subsampling": 0, "optimize": True}
files = {f"turned_{at}.jpg": file(picture, "JPEG", exif=turned(at), **JPEG) for at in range(1, 9)}
files |= {
    "halved.jpg": file(picture, "JPEG", **JPEG | {"subsampling": 2}),
    "progressive.jpg": file(picture, "JPEG", progressive=True, **JPEG),
    "grey.jpg": file(grey, "JPEG", **JPEG),
    "cmyk.jpg": file(picture.convert("CMYK"), "JPEG", quality=95),
    "colours.png": file(picture, "PNG"),
    "grey.png": file(grey, "PNG"),
    "bits.png": file(grey.convert("1"), "PNG"),
    "palette.png": file(picture.quantize(16), "PNG"),
    "clear_palette.png": file(picture.quantize(16), "PNG", transparency=3),
    "alpha.png": file(Image.merge("RGBA", [*picture.split(), alpha]), "PNG"),
    "grey_alpha.png": file(Image.merge("LA", [grey, alpha]), "PNG"),
    "turned.png": file(picture, "PNG", exif=turned(6)),
    "colours.gif": file(picture.quantize(16), "GIF"),
    "colours.bmp": file(picture, "BMP"),
    "palette.bmp": file(picture.quantize(16), "BMP"),
    "lossless.webp": file(picture, "WEBP", lossless=True),
    "lossy.webp": file(picture, "WEBP", quality=90),
    "alpha.webp": file(Image.merge("RGBA", [*picture.split(), alpha]), "WEBP", lossless=True, exact=True),
    "turned.webp": file(picture, "WEBP", lossless=True, exif=turned(8)),
}
tensors = {}
for name, content in files.items():
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    tensors[name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    tensors[f"{name}.pixels"] = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)

# Pillow cuts the lower bits of some deep images off and clips others; scaled to 8 bits is what is meant.
deep = random.integers(0, 65536, (HEIGHT, WIDTH, 4))
for name, channels in [("grey_16.png", 1), ("grey_alpha_16.png", 2), ("colours_16.png", 3), ("alpha_16.png", 4)]:
    kept = 1 if channels < 3 else 3
    tensors[name] = torch.frombuffer(bytearray(deep_png(deep[..., :channels])), dtype=torch.uint8)
    tensors[f"{name}.pixels"] = torch.from_numpy(np.round(deep[..., :kept] / 257).astype(np.uint8))

write("kiln-data", torch.nn.Identity(), tensors, pillow=PIL.__version__)
