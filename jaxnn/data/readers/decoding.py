"""Many images at once: decoded on all cores, in the order of their files, and put into one array."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxnn.config import paths
from jaxnn.data.check import unpacked_size
from jaxnn.data.readers import image_file, kept_images
from jaxnn.data.readers.image_form import TOLD, Form
from jaxnn.data.readers.kept_images import Images
from jaxnn.errors import DataError, InputError

PATIENCE = 1.0  # seconds before a bar is shown
S = TypeVar("S")
T = TypeVar("T")


def read(
    root: object,
    files: Sequence[Path],
    form: Form | None,
    *,
    bad_records: int = 0,
    shape: tuple[int, ...] | None = None,
    keep: bool = False,
) -> tuple[Images, tuple[str, ...]]:
    """The images of these files, and what to tell of them.

    Args:
      root: what the files belong to, for messages.
      files: in the order of the rows.
      form: what they are made to be; None keeps them as stored.
      bad_records: how many may be left out because they are damaged.
      shape: [H, W, C], where a network was trained on images of that shape.
      keep: in the user's cache folder, so that they are decoded once.

    Raises:
      DataError: for more damaged images than `bad_records`.
      InputError: for images of several shapes, or of another one than `shape`.
    """
    if form is not None and form.size is not None:
        unpacked_size(root, len(files) * form.size[0] * form.size[1])
    notes: tuple[str, ...] = ()
    if keep := keep and paths.keeps():
        name = kept_images.key(each(lambda path: _sha(image_file.content(path)), files, "reading"), form)
        images, notes = kept_images.read(name)
        if images is not None and len(files) - len(images.kept) <= bad_records:
            return images, notes
    hashes: list[bytes] = []
    with contextlib.closing(_decoded(files, form, hashes if keep else None)) as found:
        images = _stacked(root, files, found, form, bad_records, shape)
    if keep:
        notes += kept_images.write(kept_images.key(hashes, form), images)
    return images, notes


def parts(
    root: Path, given: Mapping[str, tuple[Path, Sequence[Path]]], form: Form | None, *, bad_records: int = 0,
    shape: tuple[int, ...] | None = None, keep: bool = False,
) -> tuple[dict[str, Images], tuple[str, ...]]:  # fmt: skip
    """The images of each part, by their folder and files, and what to tell of them; the arguments are those of `read`.

    Raises what `read` does, and `InputError` where some parts are grey and others in colour.
    """
    found: dict[str, Images] = {}
    bad: list[Path] = []
    counts, troubles = Counter[str](), []
    for part, (folder, files) in given.items():
        images, trouble = read(folder, files, form, bad_records=bad_records - len(bad), shape=shape, keep=keep)
        found[part] = images
        bad += [files[i] for i in sorted({*range(len(files))} - {*images.kept})]
        counts.update(images.told)
        troubles += trouble
    channels = {part: images.x.shape[3] for part, images in found.items() if images.kept}
    other = next((part for part in sorted(channels) if channels[part] != channels.get("train", channels[part])), None)
    if form is not None and form.size is not None and other is not None:
        rule = f"the {other} images are {'grey' if channels[other] == 1 else 'in colour'}, and those of training not"
        raise InputError(f"{root}: {rule}; add --data.color rgb (or grey)")
    return found, (*damaged(root, bad), *told(root, counts), *dict.fromkeys(troubles))


def told(root: object, counts: Counter[str]) -> list[str]:
    """What was done to the images of a data set."""
    return [f"{root}: {counts[word]} images {what}" for word, what in TOLD.items() if counts[word]]


def damaged(root: object, files: Sequence[Path]) -> list[str]:
    """Which images are left out."""
    listed = ", ".join(map(str, files[:10])) + ", ..." * (len(files) > 10)
    return [f"{root}: {len(files)} damaged images left out: {listed}"] if files else []


def _sha(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()


Found = tuple[np.ndarray, tuple[str, ...]] | DataError


def _decoded(files: Sequence[Path], form: Form | None, hashes: list[bytes] | None) -> Generator[Found]:
    """What is in each file, or how it is damaged. `hashes` are filled with the SHA-256 of what was decoded."""

    def one(path: Path) -> tuple[bytes, Found]:
        packed = image_file.content(path)
        sha = b"" if hashes is None else _sha(packed)
        try:
            return sha, image_file.decode(path, packed, form)
        except DataError as error:
            return sha, error

    with image_file.quiet():
        for sha, found in each(one, files, "decoding"):
            if hashes is not None:
                hashes.append(sha)
            yield found


def _stacked(
    root: object,
    files: Sequence[Path],
    found: Iterator[Found],
    form: Form | None,
    bad_records: int,
    shape: tuple[int, ...] | None,
) -> Images:
    """The images in one array, the damaged left out."""
    x: Any = np.empty((0, 0, 0, 0), np.uint8)
    kept: list[int] = []
    counts = Counter[str]()
    for i, one in enumerate(found):
        if isinstance(one, DataError):
            if i - len(kept) >= bad_records:
                raise one
            continue
        pixels, words = one
        if shape is not None and pixels.shape != shape:
            check_shape(files[i], pixels.shape, shape)
        if not kept:
            unpacked_size(root, len(files) * pixels.size)
            x = np.empty((len(files), *pixels.shape), np.uint8)
        size, channels = pixels.shape[:2], pixels.shape[2]
        if size != x.shape[1:3] or (form is None and channels != x.shape[3]):
            raise _mixed(files, i, pixels.shape, files[kept[0]], x.shape[1:])
        if channels > x.shape[3]:  # the first one in colour makes all of them RGB
            unpacked_size(root, len(files) * pixels.size)
            x = np.repeat(x, channels, axis=3)
        x[len(kept)] = pixels
        kept.append(i)
        counts.update(words)
    return Images(x[: len(kept)], kept, dict(counts))


def check_shape(path: Path, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse an image of another shape than those that the network was trained on."""
    rule = f"the network was trained on images [H, W, C]={shape}"
    what = "resize" if given[2] == shape[2] else "convert"
    raise InputError(f"{path}={given}: {rule}; {what} it")


def _mixed(files: Sequence[Path], i: int, given: tuple[int, ...], first: Path, shape: tuple[int, ...]) -> InputError:
    """The refusal of images of several shapes, with those that there are and the cure."""
    rule = f"{files[i]}={given}: all images must have one size and number of channels, [H, W, C]={shape} as {first}"
    if given[:2] == shape[:2]:
        return InputError(f"{rule}; add --data.color rgb")
    sizes = Counter(size for path in files if (size := image_file.size(path)))
    if not sizes:
        return InputError(f"{rule}; add --data.image_size 64")
    (most, count), listed = sizes.most_common(1)[0], sorted(sizes, key=lambda size: size[0] * size[1])
    seen = f"{len(sizes)} sizes, HEIGHTxWIDTH, the commonest {_by(most)} ({count} of {len(files)} images)"
    shorter = sorted(map(min, sizes.elements()))
    cure = f"add --data.image_size {min(64, shorter[len(shorter) // 2])}"
    return InputError(f"{rule}; {seen}, the smallest {_by(listed[0])}, the largest {_by(listed[-1])}; {cure}")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def each(call: Callable[[S], T], files: Sequence[S], what: str) -> Generator[T]:
    """`map(call, files)` in as many threads as there are cores: decoding and hashing let other threads go on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool, _bar(what, len(files)) as step:
        waiting: deque[Any] = deque()
        for path in files:
            waiting.append(pool.submit(call, path))
            if len(waiting) > 4 * cores:  # so many images are in memory besides those of the array
                yield waiting.popleft().result()
                step()
        while waiting:
            yield waiting.popleft().result()
            step()


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Yields a function to be called after each image: from the second second on, a bar on a terminal shows them."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    begun, done, shown = time.monotonic(), 0, []

    def step() -> None:
        nonlocal done
        done += 1
        if not shown and time.monotonic() - begun > PATIENCE:
            from rich import progress
            from rich.console import Console

            columns = (progress.TextColumn(f"{what} images"), progress.BarColumn(), progress.MofNCompleteColumn())
            bar = progress.Progress(
                *columns, progress.TimeRemainingColumn(), console=Console(stderr=True), transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            bar.add_task(what, total=total)
            bar.start()
            shown.append(bar)
        if shown:
            shown[0].update(shown[0].task_ids[0], completed=done)

    try:
        yield step
    finally:
        for bar in shown:
            bar.stop()
