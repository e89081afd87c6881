"""`jaxnn data`: a look at the data before anything is trained on them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxnn.commands import arguments, environment, shown
from jaxnn.commands.words import own_flags
from jaxnn.config.data import DataConfig
from jaxnn.config.paths import CONFIGS
from jaxnn.config.request import Request
from jaxnn.errors import InputError, check, choices, nearest, printable

USAGE = """usage: jaxnn data DATA [--data.*] [flags]

What is in the data: classes and how many examples each has, shapes and ranges, missing values, duplicates. A table on a
terminal, JSON in a pipe.

  DATA                     a config by name or the path of its file, or what --data.name may be: a table, a .npz, a
                           folder of images, ...; - for CSV on standard input

  --data.*                 how the data are read, split and augmented, as of jaxnn train
  --task.name NAME         as of jaxnn train, where the labels do not say it
  --output DIR             images: a new folder with images.png, training examples as the network is given them, a row a
                           class (or with their masks or boxes), and with --data.augment augmented.png, what one step
                           makes of them
  --seed SEED              of what --data.augment draws (default: 0)
  --image I                images: training example I as a table of numbers, alone
  --force                  replace a folder that is there
  --traceback              show where an error was raised
"""
OWN = ("--output", "--image", "--force")
ALSO = ("--task.name", "--seed", "--traceback", "--no-cache")  # flags of jaxnn train that are taken besides --data.*
HOLDS = ("images.png", "augmented.png")
CLASSES = 40  # of which a terminal is shown the counts


def data(argv: list[str]) -> int:
    """`jaxnn data`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    rest, given = own_flags(argv, OWN[:2], OWN[2:])
    if not rest or rest[0].startswith("--"):
        raise InputError("data: needs DATA, a config or a source of data; see jaxnn data --help")
    if (text := given.get("--image")) is not None:
        check("--image", text, "a whole number >= 0, of a training example", text.isascii() and text.isdigit())
    source, *flags = rest
    _check_flags(flags)
    with _words(source) as words:
        named = (words[-1], "standard input") if source == "-" else ("", "")
        return _look(arguments.parse([*words, *flags], CONFIGS), given, named)


def _check_flags(flags: Sequence[str]) -> None:
    """Refuse flags that change nothing of the data."""
    for word in flags:
        if not word.startswith("--"):
            continue
        name = word.partition("=")[0].replace("_", "-")
        known = [flag for flag in arguments.FLAGS if flag.startswith("--data.")]
        if name in arguments.FLAGS and name not in (*known, *ALSO):
            rule = f"is no flag of data, which has --data.*, {', '.join((*ALSO, *OWN))}; leave it out"
            raise InputError(f"{word}: {rule}")
        if name not in arguments.FLAGS and (near := nearest(name, (*OWN, *ALSO, *known))):
            raise InputError(f"{word.partition('=')[0]}: unknown flag; did you mean {near}?")


@contextlib.contextmanager
def _words(source: str) -> Iterator[list[str]]:
    """The words of `jaxnn train` that name these data."""
    from jaxnn.data import incoming
    from jaxnn.data.readers.bundled import BESIDE

    names = {path.stem for path in CONFIGS.glob("*.py")}
    if source == "-":
        with incoming.standard_input() as path:
            yield ["--data.name", str(path)]
    elif source.replace("-", "_") in names or source.endswith(".py"):
        yield [source]
    elif source.isidentifier() and source not in BESIDE and not Path(source).exists():
        raise choices("data", source, (*names, *BESIDE, "tfds:NAME", "path/to/data"))
    else:
        yield ["--data.name", source]


def _look(request: Request, given: dict[str, str], named: tuple[str, str]) -> int:
    """Read, draw and tell; `named`: a text that is in no name of the user's, and what is told in its place."""
    from jaxnn.data import from_config
    from jaxnn.data.survey import survey
    from jaxnn.store import durable

    config, own = request.flags.run.data, request.brought
    output = given.get("--output")
    folder = output and durable.check_new_folder("--output", output, HOLDS, force="--force" in given)
    config, refuses = replace(config, allow_overlap=True), config.nan == "refuse"
    if refuses and own.data is None and not config.images and _is_table(config):
        config = replace(config, nan="category")  # which refuses no cell, and leaves none out
    keep = not request.flags.no_cache
    found = from_config(config, request.flags.run.task.name, keep=keep, arrays=own.data)
    if (output or "--image" in given) and len(found.shape) != 3:
        flag = "--output" if output else "--image"
        raise InputError(f"{flag}={given[flag]}: the examples are no images, but {list(found.shape)}; leave it out")
    numbers = _numbers(found, int(given["--image"])) if "--image" in given else None
    if folder:
        _draw(request, found, folder)
    if numbers is not None:
        shown.values(numbers, _show_numbers)
    else:
        found = replace(found, name=found.name.replace(*named), notes=tuple(n.replace(*named) for n in found.notes))
        shown.values(survey(found), _show)
    if found.absent and refuses:
        print("note: missing cells are refused in training; choose --data.nan drop, mean, median or category",
              file=sys.stderr)  # fmt: skip
    if folder:
        files = " and ".join(sorted(path.name for path in folder.iterdir()))
        print(f"note: {printable(str(output))} has {files}", file=sys.stderr)
    return 0


def _is_table(config: DataConfig) -> bool:
    from jaxnn.data.kinds import kind_of

    with contextlib.suppress(OSError):  # it is told when they are read
        return kind_of(config) == "table"
    return False


def _draw(request: Request, found: Any, folder: Path) -> None:
    """The contact sheets."""
    from jaxnn.store import durable

    with environment.for_jax():
        from jaxnn.report import pictures
    with durable.new_folder(folder) as beside:
        for name, content in pictures.sheets(request.flags.run, request.brought, found).items():
            durable.write(beside / f"{name}.png", [content], 0o666)


def _numbers(found: Any, i: int) -> dict[str, Any]:
    """One example: its numbers, `[H, W, C]`, or `[H, W]` of one channel, and its label."""
    train = found.train
    check("--image", i, f"in [0, {len(train.x)}), a training example", i < len(train.x))
    x, y = train.x[i], train.y[i]
    label = y.tolist() if found.classes is None or y.ndim else found.classes[int(y)]
    return {"image": i, "label": label, "pixels": (x[..., 0] if x.shape[-1] == 1 else x).tolist()}


def _show_numbers(one: dict[str, Any]) -> None:
    """A table of numbers for each channel."""
    import numpy as np

    pixels = np.asarray(one["pixels"])
    label = "" if isinstance(one["label"], list) else f", {printable(str(one['label']))}"
    channels = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
    for k, channel in enumerate(channels):
        print(f"image {one['image']}{label}" + f", channel {k}" * (len(channels) > 1))
        cells = [[f"{v:d}" if isinstance(v, int) else f"{v:.2f}" for v in row] for row in channel.tolist()]
        width = max(len(text) for row in cells for text in row)
        for row in cells:
            print(" ".join(f"{text:>{width}}" for text in row))


def _show(found: dict[str, Any]) -> None:
    """The survey as tables."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in found["examples"].items())
    print(printable(f"{found['name']}: {found['task']}, {sizes} examples"))
    for name, what in (("x", found["x"]), ("y", found["y"])):
        span = f", {what['range'][0]:.6g} to {what['range'][1]:.6g}" if "range" in what else ""
        white = f", white is {what['white']:g}" if what.get("white") else ""
        print(f"{name}: {what['dtype']}{['n', *what['shape']]}{span}{white}".replace("'", ""))
    for rows in (found["classes"], found["targets"], found["columns"]):
        if not rows:
            continue
        most = [row | {"most": ", ".join(f"{k} {v}" for k, v in row["most"].items())} if "most" in row else row
                for row in rows[:CLASSES]]  # fmt: skip
        names = list(dict.fromkeys(name for row in most for name in row))
        shown.table(names, [[row.get(name) for name in names] for row in most])
        if len(rows) > CLASSES:
            print(f"... and {len(rows) - CLASSES:,} more; a pipe gets all of them as JSON")
    for name in ("missing", "duplicates"):
        counts = {key: count for key, count in (found[name] or {}).items() if count}
        listed = ", ".join(f"{count:,} {key}" for key, count in counts.items())
        print(printable(f"{name}: {listed or 'none'}"))
    for note in found["notes"]:
        print(f"note: {printable(note)}")
