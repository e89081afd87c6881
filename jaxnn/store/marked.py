"""Answers that lie in images, as a folder: masks or boxes, and pictures of them. It is there whole, or not at all.

    masks       classes.txt, masks/NAME.png (numbers of classes, with a palette), overlays/NAME.png
    boxes       detections.json (COCO's form, with a score each), pictures/NAME.png

Both are in the pixels of the files that were given, not in those of the network.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.readers import decoding, geometry
from jaxnn.data.readers.image_form import Form
from jaxnn.pictures import boxes, masks
from jaxnn.pictures.shown import as_bytes
from jaxnn.store import durable

Files = Sequence[str] | None
Write = Callable[[np.ndarray, np.ndarray, Files], None]  # images, answers, and the files that they are of
HOLDS = ("classes.txt", "masks", "overlays", "detections.json", "pictures")  # what may be in such a folder
COLOURED = Form(None, "fit", "rgb")


@contextlib.contextmanager
def writing(
    folder: Path, roots: Sequence[Path], labels: str, data: dict[str, Any], form: Form | None
) -> Iterator[Write]:
    """Yields `write(images, answers, files)`, to be called for one part of the examples after another.

    Args:
      folder: what is made.
      roots: the sources; the names of pictures are those of the files in them.
      labels: `mask` or `boxes`.
      data: what is known of those that the network was trained on (`Dataset.describe`).
      form: what images were made to be.

    Raises `StorageError` where the folder cannot be written.
    """
    with durable.new_folder(folder) as beside:
        writer = (_Masks if labels == "mask" else _Boxes)(beside, data["classes"])
        names = _Names(roots)

        def write(images: np.ndarray, answers: np.ndarray, files: Sequence[str] | None) -> None:
            for i, answer in enumerate(answers):
                file = None if files is None else files[i]
                if file is None:
                    image = as_bytes(images[i : i + 1], data["scale"])[0]
                else:
                    image = decoding.read(file, [Path(file)], COLOURED)[0].x[0]
                place = geometry.of((image.shape[0], image.shape[1]), None if file is None else form)
                writer.add(names(file), file, image, answer, place)

        yield write
        writer.close()


class _Names:
    """A name for the pictures of each file: its own, in the folders below the source; none is given twice."""

    def __init__(self, roots: Sequence[Path]):
        self.root = roots[0] if len(roots) == 1 and roots[0].is_dir() else None
        self.given: set[str] = set()

    def __call__(self, file: str | None) -> str:
        if file is None:
            name = f"{len(self.given):06}"
        else:
            path = Path(file)
            path = path.relative_to(self.root) if self.root else Path(path.name)
            stem = str(path.with_suffix(""))
            name = next(n for n in (stem, str(path), *(f"{path}-{k}" for k in range(2, 10**6))) if n not in self.given)
        self.given.add(name)
        return name


def _save(path: Path, picture: np.ndarray, palette: np.ndarray | None = None) -> None:
    from PIL import Image

    image = Image.fromarray(picture)
    if palette is not None:
        image.putpalette(palette.tobytes())  # of an image of 8 bits: its numbers are those of colours
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


class _Masks:
    def __init__(self, folder: Path, classes: Sequence[Any]):
        self.folder, self.palette = folder, masks.palette()
        lines = [f"{name} {' '.join(map(str, self.palette[k]))}" for k, name in enumerate(classes)]
        (folder / "classes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, name: str, file: str | None, image: np.ndarray, answer: np.ndarray, place: geometry.Geometry) -> None:
        del file
        mask = geometry.mask_back(place, answer)
        _save(self.folder / "masks" / f"{name}.png", mask, self.palette)
        _save(self.folder / "overlays" / f"{name}.png", masks.overlay(image[None], mask[None])[0])

    def close(self) -> None:
        """All is written."""


class _Boxes:
    def __init__(self, folder: Path, classes: Sequence[Any]):
        self.folder, self.classes = folder, classes
        self.images: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    def add(self, name: str, file: str | None, image: np.ndarray, answer: np.ndarray, place: geometry.Geometry) -> None:
        there = answer[answer[:, 5] >= 0].astype(np.float64)
        there[:, :4] = geometry.boxes_back(place, there[:, :4])
        there = there[(there[:, 2:4] > there[:, :2]).all(1)]  # what was found in the black edges is not in the image
        number = len(self.images) + 1
        height, width = image.shape[:2]
        self.images.append({"id": number, "file_name": file or name, "height": height, "width": width})
        for x1, y1, x2, y2, score, kind in there.tolist():
            corners = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
            about = {"id": len(self.found) + 1, "image_id": number, "category_id": int(kind) + 1, "bbox": corners}
            self.found.append(
                about | {"area": round(corners[2] * corners[3], 2), "iscrowd": 0, "score": round(score, 5)}
            )
        _save(self.folder / "pictures" / f"{name}.png", boxes.drawn(image, there, self.classes))

    def close(self) -> None:
        categories = [{"id": k + 1, "name": str(name)} for k, name in enumerate(self.classes)]
        whole = {"images": self.images, "categories": categories, "annotations": self.found}
        (self.folder / "detections.json").write_text(json.dumps(whole), encoding="utf-8")
