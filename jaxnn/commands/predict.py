"""`jaxnn predict` and `jaxnn evaluate`: what a trained network makes of new examples."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxnn.commands import environment
from jaxnn.config import paths
from jaxnn.config.names import PICTURED, UNKNOWN, WEIGHTS
from jaxnn.errors import InputError, choices, nearest, printable
from jaxnn.training import process

FLAGS = """\
  --unknown refuse|ignore  a category that the training table has not: refused (default), or read as none
  --force                  replace an output that is there
  --weights last|best      those of the end of the run, or of its best checkpoint (--checkpoint.best, --stop_on)
  --partial                a run that was stopped before its end, too
  --flips                  images: the mean of the network's outputs for each and for its mirror image
  --config FILE.py         the config file of a run that brought a model, a loss or metrics of its own
  --traceback              show where an error was raised
"""
PREDICT = f"""usage: jaxnn predict RUN SOURCE... [flags]

The predictions of a trained network, a row for each example in its order.

  RUN                      the folder of a finished run
  SOURCE                   a table (.csv .tsv .parquet .feather), - for CSV on standard input, an image file or several,
                           a folder of images, or a .npz with the array x

  --output FILE            .csv, .jsonl or .parquet, written whole or not at all (default: CSV on standard output);
                           where masks or boxes are predicted a new folder, which has them and pictures of them
  --proba                  a column P(label) for each class, too
{FLAGS}"""
EVALUATE = f"""usage: jaxnn evaluate RUN LABELLED [flags]

The metrics of a run's task on labelled examples.

  RUN                      the folder of a finished run
  LABELLED                 a table with the target (and the weight, if the run had one), - for CSV on standard input, a
                           folder of images with a sub-folder for each class, or a .npz with x and y; for masks or boxes
                           a folder of images and their labels, COCO's .json, a list of Pascal VOC's, or a .npz

  --output FILE.json       the metrics as JSON, too
{FLAGS}"""
VALUED = ("--output", "--unknown", "--weights", "--config")


def predict(argv: list[str]) -> int:
    """`jaxnn predict`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(PREDICT.strip())
        return 0
    words, given = parsed(argv, VALUED, ("--proba", "--partial", "--flips", "--force", "--traceback"))
    if len(words) < 2:
        raise InputError(f"{' '.join(['predict', *words])}: needs RUN and SOURCE; see jaxnn predict --help")

    from jaxnn.store import predictions

    pictured = _lies_in_images(words[0])
    output = None if pictured else _output(given, predictions.SUFFIXES)
    with _sources(words[1:]) as (sources, shown):
        if pictured:
            return _mark(words[0], sources, given)
        run = load(words[0], given)
        if "--proba" in given and run.task.distribution is None:
            raise InputError(f"--proba: a {run.task.name} has no probabilities; leave it out")
        with predictions.writing(output) as write:
            for part in run.outputs_of(sources, given.get("--unknown", "refuse")):
                for note in part.notes:
                    print(f"note: {printable(note.replace(*shown))}", file=sys.stderr)
                proba = run.task.distribution(part.outputs) if run.task.distribution and "--proba" in given else None
                answers = run.task.columns(part.outputs) if run.task.columns else run.answers(part.outputs)
                write(predictions.named(run.data, answers, proba, part.files))
    return 0


def _lies_in_images(folder: str) -> bool:
    """Whether a run answers with masks or boxes: told by its config, before jax is imported."""
    from jaxnn.store import identity

    path = paths.expand("run", folder)
    identity.refuse_no_run(path)
    return identity.read(path / "config.json", "run")["data"].get("task") in PICTURED


def _mark(folder: str, sources: list[Path], given: dict[str, str]) -> int:
    """`jaxnn predict` where the answers lie in the images: a folder of them."""
    if "--proba" in given:
        raise InputError("--proba: is for classes of whole examples; leave it out")
    if (text := given.get("--output")) is None:
        raise InputError("--output=None: the answers lie in the images; name a new folder, --output DIR")
    from jaxnn.data.readers import image_form
    from jaxnn.store import durable, marked

    output = durable.check_new_folder("--output", text, marked.HOLDS, force="--force" in given)
    run = load(folder, given)
    if run.task.labels == "whole":
        rule = "its config file's task has labels=whole, and this is for answers that lie in the images"
        raise InputError(f"run={folder}: {rule}; give the task labels=mask or boxes, or use jaxnn.load_run")
    how = (run.task.labels, run.data, image_form.of(run.config.data))
    with marked.writing(output, sources, *how) as write:
        for part in run.outputs_of(sources):
            for note in part.notes:
                print(f"note: {printable(note)}", file=sys.stderr)
            write(part.x, run.answers(part.outputs), part.files)
    return 0


def evaluate(argv: list[str]) -> int:
    """`jaxnn evaluate`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(EVALUATE.strip())
        return 0
    words, given = parsed(argv, VALUED, ("--partial", "--flips", "--force", "--traceback"))
    if len(words) != 2:
        raise InputError(f"{' '.join(['evaluate', *words])}: needs RUN and one LABELLED; see jaxnn evaluate --help")

    from jaxnn.store import durable

    output = _output(given, (".json",))
    with _sources(words[1:]) as (sources, _):
        metrics = load(words[0], given).evaluate(sources[0], given.get("--unknown", "refuse"))
    if output is not None:
        known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
        durable.replace(output, [json.dumps(known, indent=2).encode()])
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:{width}}  {value:.4f}" if abs(value) < 1e6 else f"{name:{width}}  {value:.4g}")
    return 0


def parsed(argv: list[str], valued: Sequence[str], switches: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of a command line, and its flags with their values."""
    words: list[str] = []
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag not in (*valued, *switches):
            near = nearest(flag, (*valued, *switches))
            raise InputError(f"{flag}: unknown flag; {f'did you mean {near}?' if near else 'see --help'}")
        if flag in given:
            raise InputError(f"{flag}: given twice; keep one")
        if flag in switches and equals:
            raise InputError(f"{word}: is a switch, which takes no value; write {flag} alone")
        if flag in valued and not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{flag}: needs a value; see --help")
            value = rest.pop(0)
        given[flag] = value
    if (unknown := given.get("--unknown", "refuse")) not in UNKNOWN:
        raise choices("--unknown", unknown, UNKNOWN)
    if (weights := given.get("--weights", "last")) not in WEIGHTS:
        raise choices("--weights", weights, WEIGHTS)
    return words, given


def _output(given: dict[str, str], suffixes: Sequence[str]) -> Path | None:
    from jaxnn.store import predictions

    text = given.get("--output")
    return None if text is None else predictions.check_output(text, suffixes, force="--force" in given)


@contextlib.contextmanager
def _sources(words: list[str]) -> Iterator[tuple[list[Path], tuple[str, str]]]:
    """The files that are named, and what is to be shown in the place of the name of one that nobody gave."""
    from jaxnn.data import incoming

    if "-" not in words:
        yield [paths.expand("source", word) for word in words], ("", "")
        return
    if len(words) > 1:
        raise InputError("-: standard input is one of several sources; give it alone")
    with incoming.standard_input() as path:
        yield [path], (str(path), "standard input")


def load(folder: str, given: dict[str, str]) -> Any:
    """The run in a folder, with the weights that are asked for and the functions that its config file brought."""
    config, weights = given.get("--config"), given.get("--weights", "last")
    from jaxnn.store import identity

    path = paths.expand("run", folder)
    identity.refuse_no_run(path)
    saved = identity.read(path / "config.json", "run")
    brought = ["model"] * saved["own_model"] + saved.get("own", [])
    if config is None and (needed := [name for name in brought if name in ("model", "task")]):
        cure = f"add --config {saved['source']}.py, that file"
        raise InputError(f"run={folder}: its config file brought a {needed[0]}; {cure}")
    if config is not None and not brought:
        raise InputError(f"--config={config}: the run brought nothing of its own; leave it out")
    with environment.for_jax():
        own = {} if config is None else _own(config, saved.get("source_digest"))
        from jaxnn.devices import cache
        from jaxnn.predict import load_run
    cache.keep_programs()
    process.collect_garbage()
    return load_run(path, weights=weights, partial="--partial" in given, flips="--flips" in given, **own)


def _own(config: str, digest: str | None) -> dict[str, Any]:
    """What a config file brings to a trained network; it must be the file that the run was trained with."""
    from jaxnn.commands import config_file

    path = paths.expand("--config", config)
    if not path.is_file():
        raise InputError(f"--config={config}: no such file; check the path")
    brought = config_file.run(path, config)
    if not brought.own.names() or digest not in (None, brought.digest):
        had = f" (SHA-256 {digest[:12]}...)" if digest else ""
        raise InputError(f"--config={config}: is not the file that the run was trained with{had}; name that file")
    return {name: getattr(brought.own, name) for name in ("model", "loss", "metrics", "task")}
