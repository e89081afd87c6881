"""`jaxnn sample`: images that a trained network generates, as one picture and as arrays."""

from __future__ import annotations

import io
import math
import re
from typing import Any

from jaxnn.commands.words import known, load, parsed
from jaxnn.errors import InputError, check, non_negative, printable

USAGE = """usage: jaxnn sample RUN [flags]

Images that a network generates which was trained with --task.name flow_matching or vae.

  RUN                      the folder of a finished run

  -n N                     how many (default: 64); image i is the same whatever N is
  --label LABEL            one of the labels of the data (default: images of any)
  --seed SEED              another one gives other images (default: 0)
  --guidance G             flow_matching: how far beyond what the label asks for (default: 0); clearer, and less varied
  --steps N                flow_matching: steps from noise to image (default: 25)
  --output DIR             a new folder, written whole or not at all, with grid.png and samples.npz, whose x (and y) are
                           as those of the data (default: samples in RUN)
  --force                  replace a folder that is there
  --weights last|best      those of the end of the run, or of its best checkpoint (--checkpoint.best, --stop_on)
  --partial                a run that was stopped before its end, too
  --config FILE.py         the config file of a run that brought a model of its own
  --traceback              show where an error was raised
"""
HOLDS = ("grid.png", "samples.npz")
VALUED = ("-n", "--label", "--seed", "--guidance", "--steps", "--output", "--weights", "--config")


def sample(argv: list[str]) -> int:
    """`jaxnn sample`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    words, given = parsed(argv, VALUED, ("--force", "--partial", "--traceback"))
    if len(words) != 1:
        raise InputError(f"{' '.join(['sample', *words])}: needs one RUN; see jaxnn sample --help")
    n, seed, steps = (_whole(given, *flag) for flag in (("-n", 64, 1), ("--seed", 0, 0), ("--steps", 25, 1)))
    guidance = _number(given, "--guidance", 0.0)

    from jaxnn.store import durable

    known(words[0])  # a run, in whose folder the samples are, unless told otherwise
    output = given.get("--output", f"{words[0]}/samples")
    folder = durable.check_new_folder("--output", output, HOLDS, force="--force" in given)
    run = load(words[0], given)

    import jax

    from jaxnn import generation

    label = given.get("--label")
    images = generation.sample(run, jax.random.key(seed), n, label=label, guidance=guidance, steps=steps)
    with durable.new_folder(folder) as beside:
        for name, content in _files(images, run.data, label).items():
            durable.write(beside / name, [content], 0o666)
    print(f"{n} image{'s' * (n > 1)} in {printable(output)}")
    return 0


def _whole(given: dict[str, str], flag: str, default: int, least: int) -> int:
    text = given.get(flag, str(default))
    ok = re.fullmatch(r"\d{1,9}", text, re.ASCII) is not None and int(text) >= least
    check(flag, text, f"a whole number >= {least}", ok)
    return int(text)


def _number(given: dict[str, str], flag: str, default: float) -> float:
    text = given.get(flag, str(default))
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{flag}={text}: must be a number") from None
    non_negative(flag, value)
    return value


def _files(images: Any, data: dict[str, Any], label: str | None) -> dict[str, bytes]:
    """What is written: the arrays, and the picture."""
    import numpy as np

    from jaxnn.pictures.grid import grid, png
    from jaxnn.pictures.shown import as_bytes

    arrays = {"x": images}
    if label is not None:
        arrays["y"] = np.full(len(images), next(each for each in data["classes"] if str(each) == label))
    file = io.BytesIO()
    np.savez(file, **arrays)
    sheet = grid(as_bytes(images, data["scale"]), math.ceil(math.sqrt(len(images))))
    return dict(zip(HOLDS, (png(sheet), file.getvalue()), strict=True))
