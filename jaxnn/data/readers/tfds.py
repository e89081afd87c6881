"""Any prepared tensorflow-datasets data set, read from its array_record files without TensorFlow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.data.source import Source, Table
from jaxnn.errors import DataError, InputError
from jaxnn.tasks.labels import Label

INFO = "features.json"  # in the folder of each version
NAME = re.compile(r"(\w+)(?:/([\w.+-]+))?(?::([\d.]+))?")  # name/config:version


def is_one(name: str) -> bool:
    """Whether `--data.name` is a prepared data set: by its name, or the folder of a version."""
    return name.startswith("tfds:") or os.path.isfile(paths.expand("--data.name", name) / INFO)


def read(name: str, folder: str | None) -> Source:
    """`train`, and `validation` and `test` if there; features and labels are the data set's supervised keys.

    Only the disk is looked at: asking tensorflow-datasets for a data set that is not there would try the network
    for minutes. `digits` is ours and is prepared when it is first asked for. A `name` that is the path of a folder is
    the folder of one version.
    """
    found = prepared(name, folder)
    parts = {part: _table(found.builder, part, found.x, found.y) for part in found.parts}
    split = (parts["train"], parts.get("validation"), parts.get("test"))
    return Source(*split, classes=found.classes, scale=found.scale)


class Prepared(NamedTuple):
    """A data set on the disk: its builder, the names of its features and labels, and what is known of them."""

    builder: Any
    x: str
    y: str
    parts: tuple[str, ...]
    classes: tuple[Label, ...] | None
    scale: float | None


def prepared(name: str, folder: str | None) -> Prepared:
    """What is there of a data set, without its examples. Raises `InputError`."""
    flag = f"--data.name=tfds:{name}"
    builder: Any = _builder_of_path(Path(name)) if (Path(name) / INFO).is_file() else _builder(name, folder)
    info = builder.info
    keys: Any = info.supervised_keys
    if not keys or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        raise InputError(f"{flag}: supervised keys are {keys}, not (input, label); save it as .npz")
    if "train" not in info.splits:
        raise InputError(f"{flag}: has no train split, only {', '.join(info.splits)}; save it as .npz")
    label, parts = info.features[keys[1]], [part for part in ("train", "validation", "test") if part in info.splits]
    names = getattr(label, "names", None)  # of a ClassLabel
    scale = (info.metadata or {}).get("scale")
    return Prepared(builder, keys[0], keys[1], tuple(parts), _classes(names) if names else None, scale)


def _builder_of_path(path: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(path)


def _builder(name: str, folder: str | None) -> Any:
    usual = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = paths.expand("--data.dir", usual if folder is None else folder)
    if name == "digits" and not _prepared(name, root):
        from jaxnn.data.readers import digits_builder

        digits_builder.prepare(root)
    found = _prepared(name, root)
    how = f'run tfds.builder("{name}", data_dir="{root}").download_and_prepare(file_format="array_record")'
    if not found:
        raise InputError(f"--data.name=tfds:{name}: not prepared in {root}; {how}")
    if len(found) > 1:
        several = ", ".join(str(path.relative_to(root)) for path in found)
        raise InputError(f"--data.name=tfds:{name}: there are several ({several}); write tfds:NAME/CONFIG:VERSION")

    import tensorflow_datasets as tfds

    *parents, version = found[0].relative_to(root).parts
    try:  # given a version, tfds reads the files on the disk instead of the code that could make them
        return tfds.builder(f"{'/'.join(parents)}:{version}", data_dir=root, file_format="array_record")
    except ValueError as error:
        raise InputError(f"--data.name=tfds:{name}: not prepared as array_record in {found[0]}; {how}") from error


def _prepared(name: str, root: Path) -> list[Path]:
    """Folders below `root` that hold the data set, whatever their config and version."""
    match = NAME.fullmatch(name)
    if not match:
        raise InputError(f"--data.name=tfds:{name}: must be tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:VERSION")
    folder = root / match[1] / (match[2] or "")
    found = [path.parent for path in folder.rglob("features.json") if (path.parent / "dataset_info.json").exists()]
    whole = [path for path in found if not path.name.startswith("incomplete.")]
    return sorted(path for path in whole if match[3] in (None, path.name))


def _classes(names: list[str]) -> tuple[Label, ...]:
    """The names of a ClassLabel, as numbers where it was only told how many."""
    numbers = tuple(range(len(names)))
    return numbers if names == [str(k) for k in numbers] else tuple(names)


def _table(builder: Any, part: str, x_key: str, y_key: str) -> Table:
    try:
        source = builder.as_data_source(split=part)
        examples = [source[i] for i in range(len(source))]
    except Exception as error:  # what array_record raises for damaged files is not documented
        reason = str(error).split("\n")[0]
        raise DataError(f"{builder.data_dir}: damaged {part} split ({reason}); prepare it again") from error
    return Table(_stack([e[x_key] for e in examples], x_key), _stack([e[y_key] for e in examples], y_key))


def _stack(values: list[Any], name: str) -> np.ndarray:
    shape = np.shape(values[0]) if values else ()
    for i, value in enumerate(values):
        if np.shape(value) != shape:
            raise InputError(f"{name}[{i}]={np.shape(value)}: all must have the shape of the first, {shape}")
    return np.asarray(values)
