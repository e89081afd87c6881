"""`jaxnn style`: a picture with the content of one picture and the style of another."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxnn.commands import environment
from jaxnn.commands.words import parsed
from jaxnn.config import paths
from jaxnn.errors import InputError, check, known, printable
from jaxnn.training import process

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
DEFAULTS: dict[str, int | float] = {
    "--size": 256, "--steps": 200, "--seed": 0, "--content_weight": 1.0, "--style_weight": 50.0, "--tv_weight": 10.0,
}  # fmt: skip
HELP = f"""usage: jaxnn style CONTENT STYLE --output FILE [flags]

A picture with the content of one picture and the style of another: by descent on its pixels, to the features of the
one and the Gram matrices of those of the other.

  CONTENT, STYLE           pictures of any two sizes

  --output FILE            .png or .jpg, written whole or not at all
  --size N                 pixels of the longer side, to which larger pictures are made smaller ({DEFAULTS["--size"]})
  --steps N                of Adam ({DEFAULTS["--steps"]})
  --style_weight W         of the squared distance of the Gram matrices ({DEFAULTS["--style_weight"]:g})
  --content_weight W       of the squared distance of the features ({DEFAULTS["--content_weight"]:g})
  --tv_weight W            of the squared differences of neighbouring pixels ({DEFAULTS["--tv_weight"]:g})
  --features RUN|FILE      convolutions of a run of your own, or a .npz or .safetensors file of kernels (default: random
                           weights)
  --seed N                 of the random weights and of the noise that the picture begins with ({DEFAULTS["--seed"]})
  --force                  replace an output that is there
  --traceback              show where an error was raised
"""


def style(argv: list[str]) -> int:
    """`jaxnn style`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(HELP.strip())
        return 0
    words, given = parsed(argv, (*DEFAULTS, "--output", "--features"), ("--force", "--traceback"))
    if len(words) != 2:
        raise InputError(f"{' '.join(['style', *words])}: needs CONTENT and STYLE; see jaxnn style --help")
    if "--output" not in given:
        raise InputError("--output: needs a value; add --output picture.png")
    size, steps, seed, *weights = (_number(flag, given) for flag in DEFAULTS)

    from jaxnn.store import durable, predictions

    output = predictions.check_output(given["--output"], tuple(FORMATS), force="--force" in given)
    content, style = (_read(word, int(size)) for word in words)
    with environment.for_jax():
        import jax

        from jaxnn import style as transfer
        from jaxnn.devices import cache
    cache.keep_programs()
    process.collect_garbage()
    named = dict(zip(("content_weight", "style_weight", "tv_weight"), weights, strict=True))
    begun, seen = time.perf_counter(), []
    with _progress(int(steps)) as show:

        def shown(step: int, losses: dict[str, float]) -> None:
            seen.append(losses)
            show(step, losses)

        key, features = jax.random.key(int(seed)), given.get("--features")
        picture = transfer.style_transfer(
            content, style, key, features=features, steps=int(steps), **named, show=shown
        )  # fmt: skip
    durable.replace(output, [_packed(picture, FORMATS[output.suffix.lower()])])
    first, last = seen[0], seen[-1]
    each = ", ".join(f"{name} {last[name]:.4f}" for name in ("content", "style", "tv"))
    seconds = time.perf_counter() - begun
    print(f"loss {first['loss']:.4g} -> {last['loss']:.4g} ({each}); {seconds:.0f} s; {printable(str(output))}")
    return 0


def _number(flag: str, given: dict[str, str]) -> float:
    """The number that a flag is given, or its default."""
    if flag not in given:
        return DEFAULTS[flag]
    text, whole = given[flag], isinstance(DEFAULTS[flag], int)
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise InputError(f"{flag}={text}: must be a {'whole ' * whole}number; see --help") from None
    if flag == "--seed":
        check(flag, text, "in [0, 2^32)", 0 <= value < 2**32)
    elif whole:
        check(flag, text, "in [1, 65,536]" if flag == "--size" else "in [1, 1,000,000]",
              1 <= value <= (65536 if flag == "--size" else 10**6))  # fmt: skip
    else:
        number = known(value)
        check(flag, text, "finite and >= 0", number is not None and 0 <= number < float("inf"))
    return value


def _read(word: str, longest: int) -> Any:
    """A picture u8[H, W, 3], upright, on white, with a longer side of at most so many pixels."""
    from jaxnn.data.readers import image_file
    from jaxnn.data.readers.image_form import Form

    path = paths.expand("picture", word)
    if not path.is_file():
        raise InputError(f"picture={word}: {'is a folder' if path.is_dir() else 'no such file'}; name a picture")
    size = image_file.size(path)
    if size is None:
        pixels, _ = image_file.read(path, Form(None, "fit", "rgb"))  # says what is wrong
        size = pixels.shape[0], pixels.shape[1]
    scale = min(1.0, longest / max(size))
    smaller = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    pixels, _ = image_file.read(path, Form(smaller, "stretch", "rgb"))
    return pixels


def _packed(picture: Any, kind: str) -> bytes:
    """The bytes of a file of a picture f32[H, W, 3] in 0..1."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    more = {"quality": 95} if kind == "JPEG" else {}
    Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(file, kind, **more)
    return file.getvalue()


@contextlib.contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yields `show(step, losses)`: a bar on a terminal, a line for each tenth of the steps elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        shown = -1

        def line(step: int, losses: dict[str, float]) -> None:
            nonlocal shown
            if 10 * step // steps > shown:
                shown = 10 * step // steps
                print(f"step {step:<8} loss {losses['loss']:.4g}", flush=True)

        yield line
        return
    from rich import progress as bars

    columns = (bars.TextColumn("step {task.completed}/{task.total}"), bars.BarColumn(), bars.TimeRemainingColumn(),
               bars.TextColumn("{task.fields[loss]}"))  # fmt: skip
    with bars.Progress(*columns) as bar:
        task = bar.add_task("style", total=steps, loss="")
        yield lambda step, losses: bar.update(task, completed=step, loss=f"loss {losses['loss']:.4g}")
