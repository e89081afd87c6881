"""What every peer shares: the cases, the data, the flags, the clock and the line of JSON that it prints."""

# ruff: noqa: E402
from __future__ import annotations

import time

START = time.perf_counter()  # before the heavy imports, which belong to the process's time

import argparse
import copy
import gzip
import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

FILES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Case:
    """A network, its optimizer and what is measured; float32, cross-entropy, no weight decay, no momentum."""

    about: str
    hidden: tuple[int, ...] | None  # None: conv 32 of 3x3, max-pool, conv 64 of 3x3, max-pool
    opt: str = "sgd"
    lr: float = 0.1
    batch: int = 32
    epochs: int = 2  # samples_per_s: timed epochs, after one to warm up; otherwise: all epochs
    measure: str = "samples_per_s"  # what the ratio compares: samples_per_s, process_s or fit_s
    nets: int = 1
    target: float | None = None
    iris: bool = False  # 150 rows: all epochs are one call of the peer's fit
    peers: str = "sklearn,keras,torch,flax"

    @property
    def classes(self) -> int:
        return 3 if self.iris else 10


CASES = {
    "lecture": Case("784-50-50-10, SGD, batch 32", (50, 50)),
    "sklearn_defaults": Case("784-100-10, Adam, batch 200 (short: sklearn)", (100,), "adam", 1e-3, 200),
    "wide": Case("784-2048-2048-10, SGD, batch 1024", (2048, 2048), batch=1024),
    "cnn": Case(
        "two convolutions with max-pools, Adam, batch 128",
        None, "adam", 1e-3, 128, peers="keras,keras-tf,torch,torch-nhwc,torch-compile,flax",
    ),
    "population": Case("32 lecture networks with 32 seeds", (50, 50), nets=32, peers="jaxnn-one,sklearn"),
    "cold": Case("lecture, one epoch, the second time: s of the process", (50, 50), epochs=1, measure="process_s"),
    "small": Case(
        "iris, 4-16-3, Adam, 200 epochs: seconds of the whole fit, compilation included",
        (16,), "adam", 1e-2, epochs=200, measure="fit_s", iris=True, peers="sklearn,keras,torch",
    ),
    "target98": Case(
        "sklearn_defaults, the second time: seconds until 98 % of the validation rows are right",
        (100,), "adam", 1e-3, 200, epochs=30, measure="fit_s", target=0.98,
    ),
    "target99": Case(
        "cnn, the second time: seconds until 99 % of the validation rows are right",
        None, "adam", 1e-3, 128, epochs=30, measure="fit_s", target=0.99,
    ),
}  # fmt: skip
ALIASES = {"sklearn": "sklearn_defaults"}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The array in the IDX file `name`, packed with gzip or not."""
    packed = folder / f"{name}.gz"
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    shape = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def write_idx(folder: Path, name: str, array: np.ndarray) -> None:
    """The uint8 `array` as an IDX file."""
    shape = np.array(array.shape, ">i4").tobytes()
    (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + shape + array.tobytes())


def write_split(folder: Path, name: str, x: np.ndarray, y: np.ndarray) -> None:
    """The images and labels of `train` or `test`."""
    write_idx(folder, f"{FILES[name]}-images-idx3-ubyte", x)
    write_idx(folder, f"{FILES[name]}-labels-idx1-ubyte", y)


def split(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The uint8 images (n, 28, 28) and labels (n,) of `train` or `test`."""
    name = FILES[name]
    return read_idx(folder, f"{name}-images-idx3-ubyte"), read_idx(folder, f"{name}-labels-idx1-ubyte")


def prepare(limit: int | None, scratch: Path) -> tuple[str, Path]:
    """What the images are, in words, and the folder with their IDX files: the user's, or one made in `scratch`."""
    if source := os.environ.get("MNIST_DIR"):
        folder = Path(source).absolute()
        if limit is None:
            return "MNIST", folder
        train, test = split(folder, "train"), split(folder, "test")
        name = f"the first {limit:,} rows of MNIST"
    else:
        rows = limit or 60_000
        rng = np.random.default_rng(0)
        prototypes = rng.integers(0, 96, (10, 28, 28), np.uint8)

        def images(n: int) -> tuple[np.ndarray, np.ndarray]:
            y = rng.integers(0, 10, n, np.uint8)
            return prototypes[y] + rng.integers(0, 160, (n, 28, 28), np.uint8), y

        train, test = images(rows), images(10_000)
        name = f"{rows:,} synthetic images in the shape of MNIST (set MNIST_DIR for MNIST)"
    write_split(scratch, "train", *(part[:limit] for part in train))
    write_split(scratch, "test", *test)
    return name, scratch


def load(case: Case, limit: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y of training and of test: uint8 images (n, 28, 28, 1) or iris (float32, tested on itself), int32 labels."""
    if case.iris:
        from sklearn.datasets import load_iris

        x, y = load_iris(return_X_y=True)
        x, y = x.astype(np.float32)[:limit], y.astype(np.int32)[:limit]
        return x, y, x, y
    with tempfile.TemporaryDirectory() as scratch:
        folder = prepare(None, Path(scratch))[1]
        (x, y), (x_test, y_test) = split(folder, "train"), split(folder, "test")
    return x[:limit, ..., None], y[:limit].astype(np.int32), x_test[..., None], y_test.astype(np.int32)


def held_out(rows: int) -> int:
    """How many of the last training rows are for validation when there is a target: 5,000 of MNIST's 60,000."""
    return rows // 12


def pixels(case: Case, x: np.ndarray) -> np.ndarray:
    """The rows as they are stored, flat unless the network is convolutional."""
    return x if case.hidden is None else x.reshape(len(x), -1)


def floats(case: Case, x: np.ndarray) -> np.ndarray:
    """float32 rows, images scaled to [0, 1]."""
    x = pixels(case, x)
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def accuracy(predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """The share of rows whose label `predict` finds, 1,000 rows at a time."""
    found = [np.asarray(predict(x[i : i + 1000])) for i in range(0, len(x), 1000)]
    return float(np.mean(np.concatenate(found) == y))


def parse(variants: Sequence[str]) -> argparse.Namespace:
    """The flags of a peer's script."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--case", choices=CASES, type=lambda name: ALIASES.get(name, name), default="lecture")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int, help="train on the first LIMIT rows")
    parser.add_argument("--cold", action="store_true", help="no epoch to warm up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--target", type=float, help="stop at this accuracy on the last twelfth of the training rows")
    return parser.parse_args()


def asked(variants: Sequence[str]) -> tuple[argparse.Namespace, Case]:
    """The flags, and the case with their batch and epochs."""
    args = parse(variants)
    case = CASES[args.case]
    return args, replace(case, batch=args.batch or case.batch, epochs=args.epochs or case.epochs)


def report(
    peer: str,
    args: argparse.Namespace,
    case: Case,
    packages: Sequence[str],
    *,
    samples_per_s: float,
    first_epoch_s: float | None,
    fit_s: float | None,
    epochs: int,
    accuracy: float,
    nets: int = 1,
) -> None:
    """Prints the line of JSON, the last thing that a peer does; `fit_s` is None if the target was not reached."""
    line = {
        "peer": peer,
        "variant": args.variant,
        "case": args.case,
        "batch": case.batch,
        "samples_per_s": round(samples_per_s, 1),
        "first_epoch_s": None if first_epoch_s is None else round(first_epoch_s, 3),
        "fit_s": None if fit_s is None else round(fit_s, 4),
        "epochs": epochs,
        "nets": nets,
        "accuracy": round(accuracy, 4),
        "process_s": round(time.perf_counter() - START, 3),
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
    }
    print(json.dumps(line), flush=True)


def main(
    peer: str,
    build: Callable[..., tuple[Callable[[int], None], Callable[[np.ndarray, np.ndarray], float]]],
    packages: Sequence[str],
    variants: Sequence[str] = ("default",),
    prepare: Callable[[Case, np.ndarray], np.ndarray] = floats,
    drops: bool = False,
) -> None:
    """Trains what the flags ask for and prints the line of JSON.

    `build(case, x, y, args)` returns `run(epochs)`, which trains so many more shuffled epochs and returns when they are
    finished, and `evaluate(x, y)`, the accuracy; it starts from `args.seed`. Of many networks four are trained, one
    after the other: `samples_per_s` counts the rows of every network, so it stands for any number of them. A peer that
    `drops` the last, shorter batch of an epoch has only the other rows counted.
    """
    args, case = asked(variants)
    x, y, x_test, y_test = load(case, args.limit)
    x, x_test = prepare(case, x), prepare(case, x_test)
    if args.target:
        n = len(x) - held_out(len(x))
        (x, x_valid), (y, y_valid) = (x[:n], x[n:]), (y[:n], y[n:])

    trained = min(case.nets, 4)
    begin = time.perf_counter()
    nets = []
    for i in range(trained):
        one = copy.copy(args)
        one.seed = args.seed * case.nets + i
        nets.append(build(case, x, y, one))
    times, reached = [], not args.target
    per_call = case.epochs if case.iris else 1
    for _ in range(1 if case.iris else case.epochs + (case.measure == "samples_per_s" and not args.cold)):
        lap = time.perf_counter()
        for run, _ in nets:
            run(per_call)
        times.append(time.perf_counter() - lap)
        if args.target and nets[0][1](x_valid, y_valid) >= args.target:
            reached = True
            break
    fit = time.perf_counter() - begin
    found = statistics.mean(float(evaluate(x_test, y_test)) for _, evaluate in nets)
    steady = times if args.cold else times[1:] or times
    rows = len(x) // case.batch * case.batch if drops else len(x)
    report(
        peer, args, case, packages, samples_per_s=rows * per_call * trained / statistics.median(steady),
        first_epoch_s=None if case.iris else times[0], fit_s=fit if reached else None, epochs=len(times) * per_call,
        accuracy=found, nets=trained,
    )  # fmt: skip
