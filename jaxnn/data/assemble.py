"""From a name or a path to a `Dataset`: read, check, encode, split, weigh."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxnn.config import paths
from jaxnn.config.names import TASKS
from jaxnn.config.settings import DataConfig
from jaxnn.config.values import unicode
from jaxnn.data import check, fitted, overlap
from jaxnn.data.dataset import Dataset
from jaxnn.data.readers import bundled, folder, idx, npz, table, tfds
from jaxnn.data.source import Source, finite
from jaxnn.data.split import stratified
from jaxnn.errors import InputError, choices
from jaxnn.tasks import targets
from jaxnn.tasks.labels import Label
from jaxnn.types import Batch

# The kinds of source that an option is for. With any other kind the option would be ignored, so it is refused.
OPTIONS = {
    "dir": ("mnist", "tfds"),
    "target": ("csv",),
    "weight": ("csv", "npz"),
    "validation": ("csv", "npz", "idx", "mnist", "folder"),
    "bad_records": ("folder",),
}


def load(
    name_or_path: str | os.PathLike[str],
    *,
    dir: str | os.PathLike[str] | None = None,
    target: str | None = None,
    weight: str | None = None,
    positive: Label | None = None,
    class_weight: Sequence[float] | Literal["balanced"] | None = None,
    validation: str | os.PathLike[str] | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    standardize: bool = False,
    nan: str = "refuse",
    bad_records: int = 0,
    allow_overlap: bool = False,
    task: str = "auto",
) -> Dataset:
    """Data that are ready to be learned from; the arguments are those of `jaxnn.config.DataConfig`.

    Args:
      name_or_path: digits, iris, wine, breast_cancer, diabetes; mnist (in `dir`); tfds:NAME; or the path of a .csv
        file, a .npz file, a folder of IDX files, or a folder of images.
      task: binary, multiclass, multilabel, regression, or auto: read off the labels (`jaxnn.tasks.targets.encode`).

    Returns:
      A `Dataset` of NumPy arrays; `validation` or `test` is None where its fraction is 0.

    Raises:
      InputError: for anything that could not be learned from as it stands.
      DataError: for an image that cannot be decoded.

    >>> import jaxnn.data
    >>> data = jaxnn.data.load("iris")
    >>> data.task, data.classes
    ('multiclass', ('setosa', 'versicolor', 'virginica'))
    >>> data.shapes
    {'train': (108, 4), 'validation': (12, 4), 'test': (30, 4)}
    """
    config = DataConfig(
        name=os.fspath(name_or_path),
        dir=None if dir is None else os.fspath(dir),
        target=target,
        weight=weight,
        positive=None if positive is None else str(positive),
        class_weight=class_weight if class_weight is None or isinstance(class_weight, str) else tuple(class_weight),
        validation=None if validation is None else os.fspath(validation),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
        standardize=standardize,
        nan=nan,
        bad_records=bad_records,
        allow_overlap=allow_overlap,
    )
    if task not in TASKS:
        raise choices("--task.name", task, TASKS)
    return from_config(config, task)


def from_config(config: DataConfig, task: str = "auto") -> Dataset:
    """What `load` gives for these settings.

    >>> from jaxnn.config import DataConfig
    >>> from_config(DataConfig("wine")).task
    'multiclass'
    """
    source = _read(config)
    if config.nan == "drop":
        source = finite(source)
    parts, found = _encode(source, task, config.positive)
    given, hashes = dict(parts), overlap.hashes(parts["train"].x)
    notes = source.notes + overlap.found(given, hashes, refuse=not config.allow_overlap)
    parts = _split(parts, found, config)
    if len(np.unique(hashes)) < len(hashes):  # the split may have put copies of one example into two parts
        own = {part: split for part, split in parts.items() if part == "train" or part not in given}
        notes += overlap.found(own, overlap.hashes(parts["train"].x), refuse=False)
    parts, features, unseen = fitted.categories(parts, source)
    for name in (*(found.classes or ()), *(features or ())):
        unicode("class or feature", name)
    train = parts["train"]
    mean, std = fitted.moments(train.x) if config.standardize else (None, None)
    center = 0.0 if found.classes is not None else train.y.mean(0).tolist()
    if config.class_weight is not None:
        train = train._replace(weight=train.weight * fitted.class_weights(config.class_weight, found, train.y)[train.y])
    return Dataset(
        config.name, found.task, found.outputs, train, parts.get("validation"), parts.get("test"),
        classes=found.classes, features=features, mean=mean, std=std, center=center, notes=notes + unseen,
        scale=(source.scale or 255.0) if train.x.dtype == np.uint8 else None,
    )  # fmt: skip


def _kind(config: DataConfig) -> str:
    """Which reader a name or path is for."""
    name, path = config.name, paths.expand("--data.name", config.name)
    if name in bundled.NAMES:
        return "bundled"
    if name == "mnist":
        return "mnist"
    if name.startswith("tfds:"):
        return "tfds"
    if path.is_dir():
        return "idx" if idx.image_files(path) else "folder"
    if not path.exists():
        if not path.suffix and len(path.parts) == 1:
            raise choices("--data.name", name, (*bundled.NAMES, "mnist", "tfds:NAME", "path/to/data"))
        raise InputError(f"--data.name={name}: no such file or folder; check the path")
    if path.suffix.lower() in (".csv", ".npz"):
        return path.suffix.lower()[1:]
    raise InputError(f"--data.name={name}: must be a .csv or .npz file, or a folder of images or IDX files; convert it")


def _read(config: DataConfig) -> Source:
    try:
        kind = _kind(config)
        for option, kinds in OPTIONS.items():
            value = getattr(config, option)
            if value not in (None, 0) and kind not in kinds:
                raise InputError(f"--data.{option}={value}: is for {', '.join(kinds)} data, not {kind}; leave it out")
        path, validation = paths.expand("--data.name", config.name), config.validation
        validation = None if validation is None else paths.expand("--data.validation", validation)
        if kind == "bundled":
            return bundled.read(config.name)
        if kind == "tfds":
            return tfds.read(config.name.removeprefix("tfds:"), config.dir)
        if kind == "csv":
            return table.read(path, config.target, config.weight, validation, config.nan == "drop")
        if kind == "mnist":
            if config.dir is None:
                raise InputError("--data.dir=None: mnist needs the folder of its four IDX files; add --data.dir DIR")
            path = paths.expand("--data.dir", config.dir)
        readers = {
            "npz": lambda p: npz.read(p, config.weight),
            "folder": lambda p: folder.read(p, config.bad_records),
        }
        read = readers.get(kind, idx.read)
        source = read(path)
        if validation is None:
            return source
        other = read(validation)
        if other.test is not None:
            raise InputError(f"--data.validation={validation}: has a test part of its own; give a set in one piece")
        return source._replace(validation=other.train, notes=source.notes + other.notes)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{error.filename or config.name}: {error.strerror or error}; check the path") from error


def _encode(source: Source, task: str, positive: str | None) -> tuple[dict[str, Batch], targets.Targets]:
    """Checked arrays of each part that the source came in."""
    tables = {"train": source.train, "validation": source.validation, "test": source.test}
    given = {part: t for part, t in tables.items() if t is not None}
    xs, prefix = {}, {part: "" if part == "train" else f"{part} " for part in given}
    for part, t in given.items():
        if np.ndim(t.y) == 0 or np.ndim(t.x) == 0 or len(t.x) != len(t.y):
            raise InputError(f"{prefix[part]}x={t.x.shape}, y={t.y.shape}: must have the same length; check the file")
        xs[part] = check.features(t.x, f"{prefix[part]}x", source.features)
        train = xs["train"]
        if (xs[part].shape[1:], xs[part].dtype) != (train.shape[1:], train.dtype):
            raise InputError(
                f"{part} x={xs[part].dtype}{xs[part].shape}: examples must be as the training examples, "
                f"{train.dtype}{train.shape}; convert them"
            )
    labels = {part: t.y for part, t in given.items()}
    task = source.task if task == "auto" else task
    found = targets.encode(labels, task, known=source.classes, positive=positive)
    return {
        part: Batch(xs[part], found.y[part], check.weights(t.weight, f"{prefix[part]}weight", len(t.y)))
        for part, t in given.items()
    }, found


def _split(parts: dict[str, Batch], found: targets.Targets, config: DataConfig) -> dict[str, Batch]:
    """The test examples first, then validation from what is left, so that the test does not depend on it."""
    parts = dict(parts)
    fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
    wanted = {part: fraction for part, fraction in fractions.items() if fraction and part not in parts}
    if wanted and found.numbered and found.classes is not None:
        (alone,) = np.nonzero(np.bincount(parts["train"].y) == 1)
        if len(alone):
            label = found.classes[alone[0]]
            raise InputError(f"class {label}=1 example: a stratified split needs 2 or more; add some, or leave it out")
    rng = np.random.default_rng(config.split_seed)
    for part, fraction in wanted.items():
        y = parts["train"].y
        rest, cut = stratified(rng, y if found.numbered else np.zeros(len(y), np.int32), fraction)
        if len(cut) == 0 or len(rest) == 0:
            raise InputError(
                f"--data.{part}_fraction={fraction}: leaves {len(cut)} of {len(y)} examples for {part} "
                f"and {len(rest)} for training; neither may be 0, so change it, or use 0 for no {part} split"
            )
        whole = parts["train"]
        parts["train"], parts[part] = (Batch(*(array[rows] for array in whole)) for rows in (rest, cut))
    for part, split in parts.items():
        if not split.weight.any():
            raise InputError(f"{part} weight=0 everywhere: one must be > 0; change --data.split_seed or the weights")
    return parts
