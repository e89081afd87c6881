"""New examples for a trained network, with labels or without: a table, images, or an archive.

To predict, they are read a part at a time, so that memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config.names import PICTURED
from jaxnn.config.values import unicode
from jaxnn.data import check, encoded, pictured
from jaxnn.data.columns import Column
from jaxnn.data.grid import Grid, is_frame
from jaxnn.data.readers import decoding, folder, image_table, npz, table
from jaxnn.data.readers.image_form import Form
from jaxnn.data.source import Table
from jaxnn.errors import Error, InputError
from jaxnn.tasks import targets
from jaxnn.tasks.labels import Label

MAX_IMAGES, MAX_BYTES = 1024, 2**26  # of one part
SUFFIXES = (*table.SUFFIXES, ".npz", *sorted(folder.SUFFIXES))


class Known(NamedTuple):
    """What is known of the data that a network was trained on."""

    about: dict[str, Any]
    """`Dataset.describe`"""
    columns: tuple[Column, ...] | None
    """None where these were arrays without names"""
    roles: table.Roles
    form: Form | None = None
    """what images were made to be"""

    def refuse_table(self, name: str) -> None:
        """Refuse a table for a network that has no names of columns, of features or of the paths of images."""
        if self.columns is None and self.roles.images is None:
            what = "images" if len(self.shape) == 3 else "arrays without names of columns"
            cure = f"give {'images or ' if len(self.shape) == 3 else ''}a .npz with x"
            raise InputError(f"{name}: is a table, and the network was trained on {what}, {self.shape}; {cure}")

    def refuse_images(self, name: str) -> None:
        """Refuse images for a network of rows."""
        if len(self.shape) != 3:
            cure = "a .npz with x" if self.columns is None else "a table with these columns"
            raise InputError(f"{name}: images, and the network was trained on rows of {self._listed()}; give {cure}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.about["shape"])

    @property
    def whole_form(self) -> Form | None:
        """What images are made to be, the colour too that the training images turned out to have."""
        return self.form and self.form._replace(color="grey" if self.shape[-1] == 1 else "rgb")

    def decoded(self, name: object, files: Sequence[Path]) -> tuple[np.ndarray, list[str]]:
        """u8[n, H, W, C]: images of any size and colour, if they were so in training; and what was done to them."""
        images, _ = decoding.read(name, files, self.whole_form, shape=self.shape)
        return images.x, decoding.told(name, Counter(images.told))

    def _listed(self) -> str:
        names = [column.name for column in self.columns or ()]
        return ", ".join(names[:10]) + ", ..." * (len(names) > 10) if names else f"{self.shape} numbers"


class Part(NamedTuple):
    """Some of the rows, in their order: cells that are still to be encoded, or an array; images with their files."""

    x: Any
    files: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def standard_input() -> Iterator[Path]:
    """Standard input as a CSV file, since a table is read more than once; errors name it as what it is."""
    if sys.stdin is None:
        raise InputError("-: standard input is closed; give it a CSV file, or name one")
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        try:
            yield Path(file.name)
        except Error as error:
            raise type(error)(str(error).replace(file.name, "standard input")) from None


def kind(source: Path) -> str:
    """table, npz, images or folder."""
    suffix = source.suffix.lower()
    if source.is_dir():
        return "folder"
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the path")
    if suffix in table.SUFFIXES:
        return "table"
    if suffix == ".npz":
        return "npz"
    if suffix in folder.SUFFIXES:
        return "images"
    raise InputError(f"{source}: must be a folder of images, or a file ({', '.join(SUFFIXES)}); convert it")


def parts(sources: Sequence[Path], known: Known) -> Iterator[Part]:
    """The examples of a file or folder, or of several image files.

    Raises `InputError` for what is missing or of another kind than the network was trained on, and for images of
    another size or other channels.
    """
    with _readable(sources[0]):
        kinds = {source: kind(source) for source in sources}
        for source in sources if len(sources) > 1 else ():
            if kinds[source] != "images":
                raise InputError(f"{source}: is one of several, which may only be image files; give it alone")
        if kinds[sources[0]] == "table":
            yield from _rows(sources[0], known)
        elif kinds[sources[0]] == "npz":
            yield Part(check.features(npz.read_x(sources[0]), "x"))
        else:
            yield from _images(sources, known)


def labelled(source: Any, known: Known, positive: str | None) -> Table:
    """Examples with their labels, as the task takes them: a table or data frame, a .npz, a folder of images by class.

    The x of a table are its cells, still to be encoded. `positive`: the label against which all others are one class.
    Raises what `parts` does, and `InputError` for a label that no training example had.
    """
    about, classes = known.about, known.about.get("labels") or known.about["classes"]
    classes = classes and tuple(classes)
    if about["task"] in PICTURED:
        return _pictured(source, known, classes or ())
    with _readable(source):
        if is_frame(source) or kind(source) == "table":
            given = _table(source, known, classes)
        elif kind(source) == "npz":
            given = npz.read(source, known.roles.weight)
            if given.test is not None:
                raise InputError(f"{source}: has x_train and x_test; save the examples to evaluate as x and y")
            given = given.train._replace(x=check.features(given.train.x, "x"))
        else:
            given = _folder(source, known, classes)
    y = targets.encode_known(given.y, about, positive)
    if len(y) != len(given.x) and not isinstance(given.x, Grid):
        raise InputError(f"x={given.x.shape}, y={y.shape}: must have the same length; check the file")
    if y.ndim == 2 and y.shape[1] != about["outputs"]:
        raise InputError(f"y={y.shape}: must be [n, {about['outputs']}], as in the training examples; check the file")
    return Table(given.x, y, check.weights(given.weight, "weight", len(y)))


@contextlib.contextmanager
def _readable(source: Any) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, Error):
            raise
        raise InputError(f"{error.filename or source}: {error.strerror or error}; check the path") from error


def _rows(source: Path, known: Known) -> Iterator[Part]:
    known.refuse_table(str(source))
    if known.roles.images is not None:
        files = image_table.files(source, table.to_grid(source, known.roles), None, known.roles)[1]
        yield from _in_parts(files, known, ())
        return
    grids, extra = table.in_parts(source, known.columns or (), known.roles)
    listed = ", ".join(extra[:10]) + ", ..." * (len(extra) > 10)
    notes = (f"{source}: not looked at, as the network was trained without: {listed}",) if extra else ()
    for grid in grids:
        yield Part(grid, notes=notes)
        notes = ()


def _images(sources: Sequence[Path], known: Known) -> Iterator[Part]:
    """The images of some files, or of a folder, u8[n, H, W, C]."""
    known.refuse_images(str(sources[0]))
    files, notes = list(sources), ()
    if sources[0].is_dir():
        files, others = folder.images(sources[0])
        if not files:
            cure = f"must hold at least one ({', '.join(sorted(folder.SUFFIXES))}); check the path"
            raise InputError(f"{sources[0]}=0 images: {cure}")
        notes = tuple(f"{sources[0]}: {note}" for note in folder.left_out(others))
    yield from _in_parts(files, known, notes)


def _in_parts(files: Sequence[Path], known: Known, notes: tuple[str, ...]) -> Iterator[Part]:
    n = max(1, min(MAX_IMAGES, MAX_BYTES // int(np.prod(known.shape))))
    for start in range(0, len(files), n):
        some = files[start : start + n]
        for path in some:
            unicode("file", str(path))
        x, told = known.decoded(files[0].parent, some)
        yield Part(x, tuple(map(str, some)), (*notes, *told))
        notes = ()


def _table(source: Any, known: Known, classes: tuple[Label, ...] | None) -> Table:
    grid = table.to_grid(source, known.roles)
    known.refuse_table(grid.name)
    features = [column.name for column in known.columns or ()]
    given = known.roles.target or grid.names[-1]
    names = [given] if isinstance(given, str) else list(given)
    if names[0] in features:
        raise InputError(f"{grid.name}: has no column beside the features; add the one with the labels")
    texts = None
    if classes is not None and isinstance(classes[0], str) and len(names) == 1:
        texts = tuple(map(str, classes))
    y, weight = table.labels(grid, tuple(Column(name, texts) for name in names), known.roles)
    if classes is not None and texts is None and len(names) == 1:
        if (alien := ~np.isin(y, classes)).any():
            listed = ", ".join(map(str, classes[:10]))
            where = grid.at(names[0], int(np.argmax(alien)))
            raise InputError(f"{where}: not a class of the training examples ({listed}); repair it")
    if known.roles.images is None:
        return Table(grid, y, weight)
    return Table(known.decoded(grid.name, image_table.files(source, grid, None, known.roles)[1])[0], y, weight)


def _pictured(source: Any, known: Known, classes: tuple[Label, ...]) -> Table:
    """Images with masks or boxes: a .npz, or one of the formats of `layouts`."""
    from jaxnn.data.readers import layouts

    with _readable(source):
        if is_frame(source) or (layouts.kind(source) is None and kind(source) not in ("folder", "npz")):
            rule = "must be a .npz with x and y, COCO's .json, a list of VOC's, or a folder of images and their labels"
            raise InputError(f"{'the table' if is_frame(source) else source}: {rule}; see docs/guide/labels.md")
        if source.suffix.lower() != ".npz":
            whole: dict[str, Any] = {"task": known.about["task"], "classes": classes, "shape": known.shape}
            found = layouts.labelled(source, known.whole_form, **whole).train
            return found._replace(weight=check.weights(None, "weight", len(found.y)))
        given = npz.read(source, known.roles.weight)
    if given.test is not None:
        raise InputError(f"{source}: has x_train and x_test; save the examples to evaluate as x and y")
    if given.classes not in (None, classes):
        rule = f"must be those of training, {list(classes)[:10]}"
        raise InputError(f"{source}: classes={list(given.classes)[:10]}: {rule}; number them so")
    task = known.about["task"]
    if pictured.kind(given) != task:
        shape, what = np.shape(given.train.y), pictured.KINDS[task][0]
        raise InputError(f"{source}: y={shape}: the network was trained on {what}; give examples with {what}")
    batch = encoded.encode(given._replace(classes=classes), task, None)[0]["train"]
    return Table(batch.x, batch.y, batch.weight)


def _folder(source: Path, known: Known, classes: tuple[Label, ...] | None) -> Table:
    known.refuse_images(str(source))
    found = folder.read(source, known.whole_form, shape=known.shape)
    if more := [part for part in found.parts if part != "train"]:
        raise InputError(f"{source}: has the parts train and {', '.join(more)}; name the folder of one of them")
    for label in sorted(set(found.train.y.tolist()) - set(classes or ())):
        listed = ", ".join(map(str, (classes or ())[:10]))
        raise InputError(f"{source / label}: not a class of the training examples ({listed}); rename it, or remove it")
    return found.train
