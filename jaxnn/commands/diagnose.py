"""`jaxnn diagnose`: what is wrong with a run, layer by layer, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxnn.commands import environment, shown
from jaxnn.commands.words import brought, known, parsed
from jaxnn.errors import InputError, printable

if TYPE_CHECKING:  # which imports jax
    from jaxnn.report.evidence import Evidence
    from jaxnn.report.findings import Finding

USAGE = """usage: jaxnn diagnose RUN [flags]

What is wrong with a run: a table of its layers, before the first step and in the end, and what was found, each with the
flag that mends it. On a terminal a table, in a pipe JSON. Its examples are read again, as its config says.

  RUN                      the folder of a run that has ended: finished, stopped or failed

  --config FILE.py         the config file of a run that brought functions of its own
  --traceback              show where an error was raised
"""
COLUMNS = ("gradient", "update", "dead", "saturated")


def diagnose(argv: list[str]) -> int:
    """`jaxnn diagnose`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    words, given = parsed(argv, ("--config",), ("--traceback",))
    if len(words) != 1:
        raise InputError(f"{' '.join(['diagnose', *words])}: needs one RUN; see jaxnn diagnose --help")
    folder, saved = known(words[0])
    with environment.for_jax():
        needed = ("model", "loss", "optimizer", "task", "data")
        own = brought(words[0], saved, given.get("--config"), needed)
        from jaxnn.devices import cache
        from jaxnn.report import evidence, findings
    cache.keep_programs()
    seen = evidence.gather(folder, saved, own)
    found = findings.findings(seen)
    values = {"run": str(folder)} | _values(seen) | {"findings": [each._asdict() for each in found]}
    shown.values(values, lambda _: show(seen, found))
    return 0


def _values(seen: Evidence) -> dict[str, Any]:
    """What was seen, for a pipe."""
    looks = {when: look for when, look in (("start", seen.start), ("end", seen.end)) if look}

    def layer(path: str) -> dict[str, Any]:
        sides = {when: look.layers[path] for when, look in looks.items()}
        numbers = {when: {name: getattr(side, name) for name in COLUMNS} for when, side in sides.items()}
        return {"parameters": seen.end.layers[path].parameters} | numbers

    losses = {when: look.loss for when, look in looks.items()}
    layers = {path: layer(path) for path in seen.end.layers}
    return {"loss": losses, "guess": seen.guess, "moved": seen.moved, "layers": layers}


def show(seen: Evidence, found: list[Finding]) -> None:
    """Print the table of the layers, and what was found."""
    from rich.table import Table

    from jaxnn.report.screen import Screen

    console = Screen()
    titles = ("layer", "gradient", "update / weights", "dead", "saturated")
    table = Table(*titles, title="before the first step → in the end" if seen.start else "in the end")
    for column in table.columns[1:]:
        column.justify = "right"
    for path, end in seen.end.layers.items():
        start = seen.start.layers[path] if seen.start else None
        cells = []
        for name, form in zip(COLUMNS, (".1e", ".1e", ".0%", ".0%"), strict=True):
            sides = [getattr(layer, name) for layer in (start, end) if layer]
            cells.append("" if None in sides else " → ".join(format(side, form) for side in sides))
        table.add_row(printable(path), *cells)
    console.print(table)
    for finding in found:
        console.print(f"{finding.name}: {finding.text}", soft_wrap=True)
    if not found:
        console.print("nothing found", soft_wrap=True)
