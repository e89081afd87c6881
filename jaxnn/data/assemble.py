"""From a name or a path to a `Dataset`: read, check, encode, split, weigh."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.names import LAYOUTS, MISSING, TASKS
from jaxnn.config.values import class_weights, unicode
from jaxnn.data import encoded, fitted, images, overlap, split
from jaxnn.data.columns import Rules
from jaxnn.data.dataset import Dataset
from jaxnn.data.frame import Frame
from jaxnn.data.grid import is_frame
from jaxnn.data.kinds import CONVERTED, LISTED, check_options, kind_of
from jaxnn.data.readers import bundled, folder, idx, image_form, image_table, npz, table, tfds
from jaxnn.data.source import Source, finite, refuse_missing
from jaxnn.data.streams import folder as converted
from jaxnn.errors import InputError, choices
from jaxnn.tasks import targets
from jaxnn.tasks.labels import Label
from jaxnn.types import Batch


def load(
    name_or_path: Any,
    *,
    dir: str | os.PathLike[str] | None = None,
    images: str | None = None,
    image_size: str | int | None = None,
    resize: str = "fit",
    color: str | None = None,
    target: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = (),
    weight: str | None = None,
    text: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
    delimiter: str | None = None,
    positive: Label | None = None,
    class_weight: Sequence[float] | Mapping[Any, float] | Literal["balanced"] | None = None,
    validation: Any = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    fold: str | None = None,
    split_by: str | None = None,
    split: str | None = None,
    standardize: bool | None = None,
    nan: str = "refuse",
    bad_records: int = 0,
    max_boxes: int = 100,
    allow_overlap: bool = False,
    feed: str = "auto",
    task: str = "auto",
) -> Dataset:
    """Data that are ready to be learned from; the arguments are those of `jaxnn.config.DataConfig`.

    Args:
      name_or_path: digits, iris, wine, breast_cancer, diabetes; mnist (in `dir`); tfds:NAME; the path of a table (.csv,
        .tsv, .parquet, .feather), of a .npz file, of a folder of IDX files or of images (`CLASS/**`, or that in
        train, val and test), of images with masks or boxes (folders of masks, YOLO and Pascal VOC, COCO's .json); or a
        data frame (pandas, polars, pyarrow).
      images: the column of a table that holds paths of images.
      class_weight: weights in the order of the classes, or by label (1 for those left out), or "balanced".
      validation: a path or a data frame.
      task: binary, multiclass, multilabel, regression, segmentation, detection, or auto: read off the labels
        (`jaxnn.tasks.targets.encode`).

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
    path = lambda value: None if value is None else "a table" if is_frame(value) else os.fspath(value)
    config = DataConfig(
        name="a table" if is_frame(name_or_path) else bundled.name_of(name_or_path),
        dir=path(dir),
        images=images,
        image_size=None if image_size is None else str(image_size),
        resize=resize,
        color=color,
        target=target if target is None or isinstance(target, str) else tuple(target),
        drop=(drop,) if isinstance(drop, str) else tuple(drop),
        weight=weight,
        text=(text,) if isinstance(text, str) else tuple(text),
        missing=tuple(missing),
        delimiter=delimiter,
        positive=None if positive is None else str(positive),
        class_weight=class_weights(class_weight),
        validation=path(validation),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
        fold=fold,
        split_by=split_by,
        split=split,
        standardize=standardize,
        nan=nan,
        bad_records=bad_records,
        max_boxes=max_boxes,
        allow_overlap=allow_overlap,
        feed=feed,
    )
    if task not in TASKS:
        raise choices("--task.name", task, TASKS)
    frames = {name: value for name, value in (("source", name_or_path), ("validation", validation)) if is_frame(value)}
    return from_config(config, task, **frames)


def from_config(
    config: DataConfig,
    task: str = "auto",
    *,
    source: Any = None,
    validation: Any = None,
    keep: bool = False,
    arrays: Callable[[], Any] | None = None,
) -> Dataset:
    """What `load` gives for these settings; data frames are given besides, since a config names paths alone.

    keep: decoded images, in the user's cache folder. arrays: `data()` of a config file, what it is learned from.

    >>> from jaxnn.config import DataConfig
    >>> from_config(DataConfig("wine")).task
    'multiclass'
    """
    if arrays is not None:
        check_options(config, "data()")
        config = replace(config, name="data()") if config.name == DataConfig.name else config
    if arrays is None and source is None and (streamed := _streamed(config, task)) is not None:
        return streamed
    found = npz.own(arrays()) if arrays is not None else _read(config, task, source, validation, keep)
    if config.nan == "drop":
        found = finite(found, config.missing)
    refuse_missing(found, config.missing)
    given, labels = encoded.encode(found, task, config.positive)
    shown, scale, told = images.to_bytes({part: batch.x for part, batch in given.items()}, found.scale)
    rows, split_notes = parts_of(found, labels, config)
    rows_of_features = isinstance(shown["train"], Frame) or shown["train"].ndim == 2
    standardize = rows_of_features if config.standardize is None else config.standardize
    x = fitted.inputs(shown, rows, found.features, standardize=standardize)
    parts = {part: batch._replace(x=x.x[part]) for part, batch in given.items() if part not in rows}
    whole = given["train"]
    parts |= {part: Batch(x.x[part], whole.y[index], whole.weight[index]) for part, index in rows.items()}
    refuse_weightless(parts)
    notes = bundled.passed_over(config.name, config.dir) + found.notes + split_notes + told
    notes += overlap.found(parts, rows, refuse=not config.allow_overlap) + x.notes
    for name in (*(labels.classes or ()), *(x.features or ()), *(found.targets or ())):
        unicode("class or feature", name)
    train = parts.pop("train")
    mean, std = fitted.moments(train.x if x.offset is None else train.x - x.offset) if standardize else (None, None)
    center, spread = fitted.amounts(train.y) if labels.classes is None else (0.0, None)
    train, by_class = fitted.weighed(config.class_weight, labels, train)
    return Dataset(
        config.name, labels.task, labels.outputs, train, parts.get("validation"), parts.get("test"),
        classes=labels.classes, labels=labels.labels, class_weight=by_class, features=x.features,
        scale=scale, offset=x.offset, mean=mean, std=std,
        columns=whole.x.columns if isinstance(whole.x, Frame) else None, missing=config.missing,
        targets=found.targets, fill=x.fill, absent=_absent(given.values()),
        center=center, spread=None if config.standardize is False else spread, notes=notes,
    )  # fmt: skip


def _absent(parts: Iterable[Batch]) -> dict[str, int] | None:
    """The missing cells of each column that has any; None where no cell was filled."""
    frames = [part.x for part in parts if isinstance(part.x, Frame) and part.x.fill is not None]
    counts = {c.name: sum(int(f.missing(j).sum()) for f in frames) for f in frames[:1] for j, c in enumerate(f.columns)}
    return {name: count for name, count in counts.items() if count} if frames else None


def refuse_weightless(parts: Mapping[str, Any]) -> None:
    """Refuse parts (each with its `weight`) of which one would count for nothing."""
    for part, given in parts.items():
        if not given.weight.any():
            raise InputError(f"{part} weight=0 everywhere: one must be > 0; change --data.split_seed or the weights")


def _streamed(config: DataConfig, task: str) -> Dataset | None:
    """The data set, where its rows may stay on the disk. Raises `InputError` where they are to, and cannot."""
    try:
        kind = kind_of(config, task)
    except OSError as error:
        raise _unreadable(config, error) from error
    if kind == CONVERTED:
        check_options(config, kind)
        return converted.read(paths.expand("--data.name", config.name), config, task)
    if kind == "tfds" and config.feed != "resident":
        from jaxnn.data.streams import prepared

        check_options(config, kind)
        return prepared.read(config, task)
    if config.feed == "stream":
        cure = f"convert them with jaxnn convert {config.name} --to DIR, and name that folder"
        raise InputError(f"--data.feed=stream: {kind} data are read whole; {cure}")
    return None


def _unreadable(config: DataConfig, error: OSError) -> InputError:
    return InputError(f"{error.filename or config.name}: {error.strerror or error}; check the path")


def _read(config: DataConfig, task: str, frame: Any, validation_frame: Any, keep: bool) -> Source:
    try:
        kind = "table" if frame is not None else kind_of(config, task)
        kind = LISTED if kind == "table" and config.images is not None else kind
        check_options(config, kind)
        path, validation = paths.expand("--data.name", config.name), config.validation
        validation = None if validation is None else paths.expand("--data.validation", validation)
        if kind == "bundled":
            return bundled.read(config.name)
        if kind == "tfds":
            return tfds.read(config.name.removeprefix("tfds:"), config.dir)
        form = image_form.of(config)
        if kind in ("table", LISTED):
            rules, by = Rules(config.text, config.missing, config.nan), (config.split_by, config.time_column)
            roles = table.Roles(config.target, config.weight, config.delimiter, rules, config.drop, *by, config.images)
            other = validation if validation_frame is None else validation_frame
            given = path if frame is None else frame
            if config.images is None:
                return table.read(given, roles, other)
            return image_table.read(given, config.dir, roles, form, other, config.bad_records, keep=keep)
        if kind in LAYOUTS:
            from jaxnn.data.readers import layouts

            if task == layouts.MASKED and config.max_boxes != DataConfig.max_boxes:
                raise InputError(f"--data.max_boxes={config.max_boxes}: is for boxes, not masks; leave it out")
            dir = None if config.dir is None else paths.expand("--data.dir", config.dir)
            return layouts.read(
                path, form, task=task, dir=dir, validation=validation, most=config.max_boxes,
                bad_records=config.bad_records, keep=keep,
            )  # fmt: skip
        if kind == "folder":
            return folder.read(path, form, bad_records=config.bad_records, validation=validation, keep=keep)
        if kind == "mnist":
            if config.dir is None:
                raise InputError("--data.dir=None: mnist needs the folder of its four IDX files; add --data.dir DIR")
            path = paths.expand("--data.dir", config.dir)
        read = (lambda p: npz.read(p, config.weight)) if kind == "npz" else idx.read
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
        raise _unreadable(config, error) from error


def parts_of(
    source: Source, found: targets.Targets, config: DataConfig
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Which rows of the training table go into which part, and what to tell of that."""
    key, other = source.train.key, source.validation and source.validation.key
    if key is None:
        return split.parts(found, config), ()
    if other is not None and not config.allow_overlap:
        key.refuse_shared(other)
    rows = split.parts(found, config, key)
    return rows, split.told(found, config, key, rows)
