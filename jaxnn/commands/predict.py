"""`jaxnn predict` and `jaxnn evaluate`: what a trained network makes of new examples."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxnn.commands import shown
from jaxnn.commands.words import known, load, parsed
from jaxnn.config import paths
from jaxnn.config.names import PICTURED
from jaxnn.errors import InputError, printable

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

  --output FILE            .csv, .jsonl or .parquet, written whole or not at all (default: on standard output, CSV in a
                           pipe, a table of the first rows on a terminal); where masks or boxes are predicted a new
                           folder, which has them and pictures of them
  --proba                  a column P(label) for each class, too
{FLAGS}"""
EVALUATE = f"""usage: jaxnn evaluate RUN LABELLED [flags]

The metrics of a run's task on labelled examples: a table on a terminal, JSON in a pipe.

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

    pictured = known(words[0])[1]["data"].get("task") in PICTURED  # masks or boxes
    output = None if pictured else _output(given, predictions.SUFFIXES)
    with _sources(words[1:]) as (sources, named):
        if pictured:
            return _mark(words[0], sources, given)
        run = load(words[0], given)
        if "--proba" in given and run.task.distribution is None:
            raise InputError(f"--proba: a {run.task.name} has no probabilities; leave it out")
        table = output is None and shown.on_terminal()
        with shown.predictions() if table else predictions.writing(output) as write:
            for part in run.outputs_of(sources, given.get("--unknown", "refuse")):
                for note in part.notes:
                    print(f"note: {printable(note.replace(*named))}", file=sys.stderr)
                proba = run.task.distribution(part.outputs) if run.task.distribution and "--proba" in given else None
                answers = run.task.columns(part.outputs) if run.task.columns else run.answers(part.outputs)
                write(predictions.named(run.data, answers, proba, part.files))
    return 0


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
        durable.replace(output, [json.dumps(shown.known(metrics), indent=2).encode()])
    shown.values(metrics, lambda found: shown.table(["metric", "value"], list(found.items())))
    return 0


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
