"""Pictures inside a page: examples that were answered wrongly, and what the first layer looks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn import tree
from jaxnn.report.page.answers import Answers
from jaxnn.report.page.html import data_uri, number

FEATURES = 8  # of a row of a table
UNITS = 32
LARGE = 300_000  # bytes of a picture beyond which it is packed again


def examples(found: Answers, chosen: Sequence[int] | np.ndarray, data: dict[str, Any], captions: list[Any]) -> Any:
    """Some examples to look at: `{row, image or cells, truth, answer, sure}` each."""
    is_image = found.x.ndim == 4 and found.x.shape[-1] <= 4
    shown = []
    for i, (truth, answer, sure) in zip(chosen, captions, strict=True):
        each = {"row": int(found.rows[i]), "truth": truth, "answer": answer, "sure": sure, "image": None, "cells": []}
        if is_image:
            from jaxnn.pictures.shown import as_bytes

            each["image"] = data_uri(as_bytes(found.x[i : i + 1], data["scale"])[0])
        else:
            names = data.get("features") or [f"x[{k}]" for k in range(found.x[i].size)]
            values = _as_read(found.x[i].ravel()[: len(names)], data)
            each["cells"] = [(name, number(float(v))) for name, v in zip(names[:FEATURES], values, strict=False)]
        shown.append(each)
    return shown


def _as_read(x: np.ndarray, data: dict[str, Any]) -> np.ndarray:
    """A row as it stood in the data, before the offset of its columns was taken off."""
    return x if data.get("offset") is None else x + np.array(data["offset"])[: len(x)]


def filters(params: Any, shape: Sequence[int]) -> tuple[str, str] | None:
    """The weights of the first layer as a sheet of images, and their path; None where it sees no image `[H, W, C]`.

    Of kernels `[h, w, C, units]`, or of units that see all pixels. Each is as bright as its greatest weight: blue is
    below 0, white 0, red above; of three channels grey is 0.
    """
    if len(shape) != 3:
        return None
    trained = {path: leaf for path, leaf in tree.by_name(params).items() if not tree.is_kept(path)}
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in trained.items()}
    size = math.prod(shape)
    for path, w in leaves.items():
        if w.ndim == 4 and w.shape[2] == shape[2] and w.shape[0] > 1:
            return _sheet(np.moveaxis(w, -1, 0)), path
    for path, w in leaves.items():
        w = w.T if path.endswith("kernel") and w.ndim == 2 else w
        if w.ndim > 1 and w.shape[-1] == size:
            return _sheet(w.reshape(-1, *shape)), path
    return None


def _sheet(units: np.ndarray) -> str:
    from jaxnn.pictures import grid

    units = units[:UNITS] / np.maximum(np.abs(units[:UNITS]).max((1, 2, 3), keepdims=True), 1e-30)
    if units.shape[-1] == 3:
        colours = 0.5 + 0.5 * units
    else:
        mean = units.mean(-1, keepdims=True)
        mean = mean / np.maximum(np.abs(mean).max((1, 2, 3), keepdims=True), 1e-30)
        end = np.where(mean > 0, np.array([213, 94, 0]), np.array([0, 114, 178])) / 255
        colours = 1 + np.abs(mean) * (end - 1)
    return _png(grid.grid(np.round(np.clip(colours, 0, 1) * 255).astype(np.uint8), 8))


def _png(image: np.ndarray) -> str:
    import base64

    from jaxnn.pictures import grid

    return "data:image/png;base64," + base64.b64encode(grid.png(image)).decode()


def kept(folder: Path) -> list[tuple[str, str]]:
    """The pictures that a run has left in its folder, by name: of masks, of boxes, of images that it generates."""
    import base64
    import io

    from PIL import Image

    found = []
    for path in sorted((folder / "pictures").glob("*.png")):
        content, kind = path.read_bytes(), "png"
        if len(content) > LARGE:
            file = io.BytesIO()
            picture = Image.open(io.BytesIO(content)).convert("RGB")
            picture.thumbnail((1600, 1600))
            picture.save(file, "JPEG", quality=85)
            content, kind = file.getvalue(), "jpeg"
        found.append((path.stem, f"data:image/{kind};base64,{base64.b64encode(content).decode()}"))
    return found
