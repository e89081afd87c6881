"""60 images of a red and a green rectangle, in the four forms that masks and boxes come in.

python examples/shapes.py      makes shapes_masks, shapes_coco, shapes_yolo and shapes_voc in the working folder
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
NAMES, COLOURS = ("red", "green"), ([220, 40, 40], [40, 220, 40])


class Shape(NamedTuple):
    """A rectangle: class, left upper corner, width and height, in pixels."""

    kind: int
    x: int
    y: int
    w: int
    h: int


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[Shape]]:
    """An image u8[48, 64, 3] of a rectangle of each class side by side, its mask u8[48, 64], and the rectangles."""
    image, mask = rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    shapes = []
    for kind, colour in enumerate(COLOURS):
        w, h = rng.integers(10, 24, 2).tolist()
        x, y = int(rng.integers(0, 32 - w)) + 32 * kind, int(rng.integers(0, HEIGHT - h))
        image[y : y + h, x : x + w], mask[y : y + h, x : x + w] = colour, kind + 1  # 0 is the background
        shapes.append(Shape(kind, x, y, w, h))
    return image, mask, shapes


def yolo(shapes: list[Shape]) -> str:
    """A line for each box: class, centre and size as fractions of the image."""
    lines = [f"{k} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}" for k, x, y, w, h in shapes]
    return "\n".join(lines)


def voc(shapes: list[Shape]) -> str:
    """XML, in which pixels are counted from 1 and both ends belong to a box."""
    objects = [
        f"<object><name>{NAMES[k]}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for k, x, y, w, h in shapes
    ]
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def coco(drawn: list[list[Shape]]) -> str:
    """JSON of all images, with boxes (left, top, width, height) and outlines (polygons)."""
    annotations = [
        {
            "id": len(NAMES) * i + k,
            "image_id": i,
            "category_id": k + 1,
            "bbox": [x, y, w, h],
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for i, shapes in enumerate(drawn)
        for k, x, y, w, h in shapes
    ]
    images = [{"id": i, "file_name": f"{i:03}.png", "height": HEIGHT, "width": WIDTH} for i in range(len(drawn))]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def write(path: str, content: np.ndarray | str) -> None:
    """An image or a text, in folders that are made where they are not there."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        Path(path).write_text(content)
    else:
        Image.fromarray(content).save(path)


def main(count: int = 60) -> None:
    rng = np.random.default_rng(0)
    drawn = []
    for i in range(count):
        image, mask, shapes = draw(rng)
        for folder in ("shapes_masks/images", "shapes_coco", "shapes_yolo/images", "shapes_voc/JPEGImages"):
            write(f"{folder}/{i:03}.png", image)
        write(f"shapes_masks/masks/{i:03}.png", mask)
        write(f"shapes_yolo/labels/{i:03}.txt", yolo(shapes))
        write(f"shapes_voc/Annotations/{i:03}.xml", voc(shapes))
        drawn.append(shapes)
    write("shapes_coco/labels.json", coco(drawn))
    write("shapes_masks/classes.txt", "background\nred\ngreen\n")
    write("shapes_yolo/classes.txt", "red\ngreen\n")


if __name__ == "__main__":
    main()
