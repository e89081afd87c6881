"""`jaxnn report`: a page to look at, of a run or a sweep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jaxnn.commands import words
from jaxnn.config import paths
from jaxnn.errors import Error, InputError, choices, printable

KINDS = ("pdf", "png", "svg")
USAGE = """usage: jaxnn report RUN [flags]

A page to look at, in one file without script or remote address: learning curves, confusion matrix, the most confident
mistakes, calibration, the weights of the first layer, where the time went; of a sweep its metric over what was swept.
Examples are read again from where the run had them; where they are not the same any more, the page has all but them.

  RUN                      the folder of a run, finished or not, or of a sweep

  --output FILE.html       (default: report.html in RUN, which is replaced, but not by less)
  --pictures png|svg|pdf   its pictures as files beside it, too
  --config FILE.py         the config file of a run that brought a model, a task or data of its own
  --force                  replace files that are there
  --traceback              show where an error was raised
"""


def report(argv: list[str]) -> int:
    """`jaxnn report`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    given_words, given = words.parsed(argv, ("--output", "--pictures", "--config"), ("--force", "--traceback"))
    if len(given_words) != 1:
        raise InputError(f"{' '.join(['report', *given_words])}: needs one RUN; see jaxnn report --help")
    kind = given.get("--pictures")
    if kind is not None and kind not in KINDS:
        raise choices("--pictures", kind, KINDS)

    from jaxnn.store import durable, sweeps

    folder = paths.expand("run", given_words[0])
    is_sweep = sweeps.is_one(folder)
    if not is_sweep:
        words.known(given_words[0])
    output = _output(folder, given)
    page = _of_sweep(folder) if is_sweep else _of_run(folder, given, output)
    files = {output: page.text.encode()} | _pictures(page, output, kind, given)
    for path, content in files.items():
        durable.replace(path, [content])
    print(printable(str(output)))
    return 0


def _output(folder: Path, given: dict[str, str]) -> Path:
    """Where the page is written: what is there is replaced if it is the run's own, or with --force."""
    from jaxnn.store import predictions
    from jaxnn.store.folder import REPORT

    own = folder / REPORT
    if "--output" not in given or paths.expand("--output", given["--output"]).absolute() == own.absolute():
        return own
    return predictions.check_output(given["--output"], (".html",), force="--force" in given)


def _pictures(page: Any, output: Path, kind: str | None, given: dict[str, str]) -> dict[Path, bytes]:
    """The files of the pictures, by their paths beside the page. Raises `InputError` for one that is there."""
    from jaxnn.report.page import html

    if kind is None:
        return {}
    found = {output.with_name(f"{output.stem}-{name}.{kind}"): b for name, b in html.files(page, kind).items()}
    there = next((path for path in found if path.exists()), None)
    if there is not None and "--force" not in given:
        raise InputError(f"--pictures={kind}: {there} is there already; add --force to replace it")
    return found


def _of_sweep(folder: Path) -> Any:
    from jaxnn.report.page import html, sweep

    html.warm()
    return sweep.made(folder)


def _of_run(folder: Path, given: dict[str, str], output: Path) -> Any:
    """The page of a run, with what its network answers where network and data are to be had.

    Raises `InputError` where they are not, and `output` is there and may have more.
    """
    from jaxnn.store import weights

    run, notes = None, []
    if (folder / weights.NAME).exists():
        try:
            run = words.load(str(folder), {"--partial": ""} | given)
        except Error as reason:
            if "--config" in given:
                raise
            notes.append(f"The network could not be loaded, and the page has what the history says: {reason}")
    from jaxnn.report.page import html
    from jaxnn.report.page import run as of_run

    html.warm()
    ask = None
    if run is not None:
        ask, told = _question(run, folder, given)
        notes += told
    if notes and output.exists() and "--force" not in given:
        cure = "name --output FILE.html, or add --force to replace it"
        raise InputError(f"{output}: is there, and may have more than a page now ({notes[0].rstrip('.')}); {cure}")
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    return of_run.made(folder, run, ask, tuple(notes))


def _question(run: Any, folder: Path, given: dict[str, str]) -> tuple[Any, list[str]]:
    """What gives the answers of a network to the data that it was trained with, read again; and why there are none."""
    from jaxnn.commands import config_file
    from jaxnn.data import from_config
    from jaxnn.report.page import answers

    own = config_file.run(Path(given["--config"]), given["--config"]).own if "--config" in given else None
    try:
        data = from_config(run.config.data, run.config.task.name, keep=True, arrays=own and own.data)
    except Error as reason:
        return None, [f"The data could not be read again, and the page has what the history says: {reason}"]
    if data.digest != run.data["digest"]:
        return None, ["The data are not those that the run had, and the page has what the history says."]
    asked = answers.question(run.model, run.task, run.params, data.parts)
    return asked and (lambda: answers.answered(asked, run.task, run.params, data.parts)), []
