"""Which of the formats of images with boxes or masks a path is in, and its parts as a `Source`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxnn.config.names import PICTURED
from jaxnn.data.readers import annotated, coco, masks, voc, yolo
from jaxnn.data.readers.annotated import Part
from jaxnn.data.readers.image_form import Form
from jaxnn.data.source import Source
from jaxnn.errors import InputError
from jaxnn.tasks.labels import Label

MASKED = "segmentation"  # the task whose labels are masks


def kind(path: Path, task: str = "auto") -> str | None:
    """One of `LAYOUTS`, or None; a folder is one of images by class where another task is asked for."""
    if path.is_dir() and task not in ("auto", *PICTURED):
        return None
    if coco.files(path):
        return "coco"
    if path.is_dir() and masks.folders(path):
        return "masks"
    if path.is_dir() and yolo.folders(path):
        return "yolo"
    return "voc" if voc.is_layout(path) else None


def read(
    path: Path, form: Form | None, *, task: str, dir: Path | None = None, validation: Path | None = None,
    most: int | None = None, bad_records: int = 0, keep: bool = False,
) -> Source:  # fmt: skip
    """The arrays of a data set to train on; the arguments are those of `annotated.source`.

    Raises `InputError` where there is no training part, or two sets to validate on.
    """
    parts = _parts(path, dir, task)
    if "train" not in parts:
        raise InputError(f"{path}: has {', '.join(parts)} and no train; add it, or name the folders differently")
    if validation is not None:
        if "validation" in parts:
            own = parts["validation"].root
            raise InputError(f"--data.validation={validation}: {own} is a validation set too; leave out one of them")
        parts["validation"] = _one(validation, None, task, "--data.validation=")
    return annotated.source(parts, form, most=most, bad_records=bad_records, keep=keep)


def labelled(path: Path, form: Form | None, *, task: str, classes: Sequence[Label], shape: tuple[int, ...]) -> Source:
    """Examples for a network that was trained on images of that shape, with the numbers of its classes."""
    return annotated.source({"train": _one(path, None, task)}, form, known=classes, shape=shape)


def _one(path: Path, dir: Path | None, task: str, flag: str = "") -> Part:
    """The labels of a set in one piece."""
    if kind(path) is None:
        raise InputError(f"{flag}{path}: no such data with boxes or masks; see docs/guide/labels.md")
    parts = _parts(path, dir, task)
    if len(parts) > 1:
        roots = ", ".join(str(part.root) for part in parts.values())
        raise InputError(f"{flag}{path}: has the parts {', '.join(parts)}; name one of them ({roots})")
    return next(iter(parts.values()))


def _parts(path: Path, dir: Path | None, task: str) -> dict[str, Part]:
    found = kind(path)
    own = MASKED if found == "masks" else "detection"
    if found != "coco" and task not in ("auto", own):
        raise InputError(f"--task.name={task}: {path} has {'masks' if found == 'masks' else 'boxes'}; use {own}")
    if found == "coco":
        return coco.read(path, dir, masks=task == MASKED)
    return {"masks": masks.read, "voc": voc.read, "yolo": yolo.read}[found or ""](path)
