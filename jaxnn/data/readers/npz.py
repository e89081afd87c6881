"""NumPy archives: x and y (and weight), or x_train, y_train, x_test, y_test (and weight_train, weight_test); `classes`,
the names of the classes, where y has their numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.check import file_size, unpacked_size
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError
from jaxnn.tasks.labels import Label


def read(path: Path, weight: str | None) -> Source:
    """The arrays of an archive; `weight` names the array of weights (default: `weight`, if there)."""
    weights = weight or "weight"
    arrays = _arrays(path, lambda names: _check_names(path, names, weights, weight is not None))
    return source(arrays, weights, path)


def source(arrays: dict[str, np.ndarray], weights: str = "weight", name: object = "data()") -> Source:
    """Arrays by the names that an archive has; those of weights are called `weights`."""
    tail = "" if "x" in arrays else "_train"

    def table(tail: str) -> Table:
        return Table(arrays[f"x{tail}"], arrays[f"y{tail}"], arrays.get(f"{weights}{tail}"))

    test = table("_test") if "x_test" in arrays else None
    return Source(table(tail), test=test, classes=_classes(name, arrays))


def own(given: Any) -> Source:
    """What the `data()` of a config file gives. Raises `InputError` for anything but arrays by these names."""
    if not isinstance(given, dict):
        raise InputError(f"data()={type(given).__name__}: must be a dict of arrays, x and y; return one")
    _check_names("data()", [str(name) for name in given], "weight", needed=False)
    for name, array in given.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"data(): {name} is a {type(array).__name__}; make it an array, numpy.asarray(...)")
    return source(given)


def _classes(name: object, arrays: dict[str, np.ndarray]) -> tuple[Label, ...] | None:
    """The names of the classes, each once."""
    if (classes := arrays.get("classes")) is None:
        return None
    if classes.ndim != 1 or classes.dtype.kind not in "Uiu" or len(set(classes.tolist())) < max(len(classes), 1):
        rule = "must be the names of the classes, [K] texts or whole numbers, each once"
        raise InputError(f"{name}: classes={classes.dtype}{classes.shape}: {rule}; repair them")
    return tuple(classes.tolist())


def read_x(path: Path) -> np.ndarray:
    """The array x; others are not looked at."""

    def check(names: list[str]) -> None:
        if "x" not in names:
            raise InputError(f"{path}={', '.join(sorted(names))[:200] or 'no arrays'}: must hold x; save it so")

    return _arrays(path, check, only=("x",))["x"]


def read_all(path: Path) -> dict[str, np.ndarray]:
    """All arrays by their names, whatever they are called."""
    return _arrays(path, lambda names: None)


def ndim(path: Path) -> int:
    """How many axes x has, from its header alone. Raises what zipfile and NumPy do if it is no archive."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name in ("x.npy", "x_train.npy"))
        with archive.open(name) as file:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            return len(read[np.lib.format.read_magic(file)](file)[0])


def _check_names(path: object, names: list[str], weights: str, needed: bool) -> None:
    """Refuse an archive that lacks an array, or has one that would be ignored; no name is ever a path on the disk."""
    wholes = {"x", "y", weights}
    parts = {f"{name}_{part}" for name in wholes for part in ("train", "test")}
    found = set(names) - {"classes"}
    tail = "" if "x" in found else "_train"
    expected = wholes if "x" in found else parts
    wanted = {f"x{tail}", f"y{tail}"} | ({f"{weights}{tail}"} if needed else set())
    if found & {"x_test", "y_test", f"{weights}_test"}:
        wanted |= {"x_test", "y_test"}
    if not wanted <= found <= expected or len(set(names)) < len(names):
        given = ", ".join(sorted(names))[:200] or "no arrays"
        raise InputError(
            f"{path}={given}: must hold x, y or x_train, y_train, x_test, y_test, "
            f"with or without {weights}, {weights}_train, {weights}_test, classes, each once, and no others; save it so"
        )


def _arrays(path: Path, check: Callable[[list[str]], None], only: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an archive, all of them or `only` some; never unpickles."""
    name, packed = "", file_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member: member.filename.removesuffix(".npy") for member in archive.infolist()}
            unpacked_size(path, sum(member.file_size for member in members), packed)
            check(list(members.values()))
            members = {member: name for member, name in members.items() if not only or name in only}
            arrays = {}
            for member, name in members.items():
                with archive.open(member) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                    if file.read(1):  # reading past the end makes zipfile compare the checksum
                        raise ValueError("more bytes than its shape has")
                if arrays[name].dtype.kind == "U" and not _is_text(arrays[name]):
                    raise ValueError("text that is no Unicode")
            return arrays
    except InputError:
        raise
    except Exception as error:  # what NumPy and zipfile raise for damaged bytes is not documented
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the disk failed, not the archive
        reason = str(error).split("\n")[0]
        what = f"{path} array {name}" if name else path
        raise InputError(f"{what}: not a readable .npz of plain arrays ({reason}); save it with numpy.savez") from error


def _is_text(array: np.ndarray) -> bool:
    """Whether all its characters exist; NumPy keeps any 32 bits and fails when one of them is used."""
    codes = np.frombuffer(array.astype(array.dtype.newbyteorder("=")).tobytes(), np.uint32)
    return bool((codes < 0x110000).all())
