"""Pictures inside a page: examples that were answered wrongly, and what the first layer looks for."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn import tree
from jaxnn.report.page.answers import Answers
from jaxnn.report.page.html import number

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

            each["image"] = thumbnail(as_bytes(found.x[i : i + 1], data["scale"])[0])
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
    leaves = {path: leaf for path, leaf in tree.by_name(params).items() if not tree.is_kept(path)}
    size = math.prod(shape)
    for path, w in leaves.items():
        if w.ndim == 4 and w.shape[2] == shape[2] and w.shape[0] > 1:
            return _sheet(np.moveaxis(np.asarray(w, np.float32), -1, 0)), path
    for path, w in leaves.items():
        w = w.T if path.endswith("kernel") and w.ndim == 2 else w
        if w.ndim > 1 and w.shape[-1] == size:
            return _sheet(np.asarray(w, np.float32).reshape(-1, *shape)), path
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
    sheet = grid.grid(np.round(np.clip(colours, 0, 1) * 255).astype(np.uint8), 8)
    return _source(grid.png(sheet), "png")


def kept(folder: Path) -> list[tuple[str, str]]:
    """The pictures that a run has left in its folder, by name: of masks, of boxes, of images that it generates."""
    from PIL import Image

    found = []
    for path in sorted((folder / "pictures").glob("*.png")):
        content, kind = path.read_bytes(), "png"
        if len(content) > LARGE:
            content, kind = _jpeg(Image.open(io.BytesIO(content)), 1600), "jpeg"
        found.append((path.stem, _source(content, kind)))
    return found


def thumbnail(image: np.ndarray) -> str:
    """An image u8[H, W, 1 or 3] as the source of `<img>`: PNG where it is small, JPEG of at most 160 pixels beyond."""
    from PIL import Image

    from jaxnn.pictures import grid

    if max(image.shape[:2]) <= 32:
        return _source(grid.png(image), "png")
    return _source(_jpeg(Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]), 160), "jpeg")


def _jpeg(picture: Any, longest: int) -> bytes:
    picture, file = picture.convert("RGB"), io.BytesIO()
    picture.thumbnail((longest, longest))
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _source(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
