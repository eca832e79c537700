"""COCO's figures of random boxes, by pycocotools (`pip install pycocotools` into the venv)."""

import contextlib
import json
import os
import random

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from _write import SEED, path

CLASSES = 4  # the last one is in no image, the one before is never found
draw = random.Random(int(os.environ.get("KILN_SEED", SEED)))


def box(side):
    width, height = (round(draw.uniform(4, side), 1) for _ in "wh")
    return [round(draw.uniform(0, 300), 1), round(draw.uniform(0, 300), 1), width, height]


def moved(bbox):
    x, y, w, h = bbox
    shift = lambda side: round(draw.gauss(0, 0.12) * side, 1)
    sides = [x + shift(w), y + shift(h), max(1.0, w + shift(w)), max(1.0, h + shift(h))]
    return [round(side, 1) for side in sides]


truth, found = [], []
for image in range(1, 21):
    for _ in range(draw.randint(0, 7)):
        bbox = box(draw.choice([20, 60, 200]))
        crowd = int(draw.random() < 0.1)
        area = round(bbox[2] * bbox[3] * draw.uniform(0.5, 1.0), 2)
        object = {"id": len(truth) + 1, "image_id": image, "category_id": draw.choice([0, 0, 1, 2])}
        truth.append(object | {"bbox": bbox, "area": area, "iscrowd": crowd})
        for _ in range(draw.choice([0, 1, 1, 2])):
            # Two decimals, so that some scores are equal.
            name = object["category_id"] if draw.random() < 0.85 else draw.choice([0, 1])
            if name < 2:
                score = round(draw.random(), 2)
                found.append({"image_id": image, "category_id": name, "bbox": moved(bbox), "score": score})
    for _ in range(draw.randint(0, 3)):
        score = round(draw.random() * 0.6, 2)
        found.append({"image_id": image, "category_id": draw.choice([0, 1]), "bbox": box(120), "score": score})
# More boxes of a class than count in an image.
for _ in range(130):
    found.append({"image_id": 3, "category_id": 0, "bbox": box(90), "score": round(draw.random() * 0.3, 2)})

with contextlib.redirect_stdout(None):
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(1, 21)],
        "categories": [{"id": name} for name in range(CLASSES)],
        "annotations": truth,
    }
    coco.createIndex()
    measured = COCOeval(coco, coco.loadRes([dict(one) for one in found]), "bbox")
    measured.evaluate()
    measured.accumulate()
    measured.summarize()

value = lambda x: None if x == -1 else float(x)
precision = measured.eval["precision"]  # overlap, recall, class, size, most boxes
by_class = []
for name in range(CLASSES):
    cell = precision[:, :, name, 0, 2]
    by_class.append(None if (cell == -1).all() else float(cell.mean()))
golden = {
    "figures": [value(x) for x in measured.stats],
    "by_class": by_class,
    "curve50": [round(float(x), 12) for x in precision[0, :, 0, 0, 2]],
    "truth": [[t["image_id"], t["category_id"], t["iscrowd"], t["area"], *t["bbox"]] for t in truth],
    "found": [[d["image_id"], d["category_id"], d["score"], *d["bbox"]] for d in found],
}
file = path("kiln-metrics", "json")
file.parent.mkdir(exist_ok=True)
file.write_text(json.dumps(golden) + "\n")
