"""What a run shows while it goes: a bar on a terminal, a line a row elsewhere, a small table at the end."""

from __future__ import annotations

import contextlib
import math
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxnn import tree
from jaxnn.config.names import GENERATIVE, PICTURED
from jaxnn.config.request import Request
from jaxnn.config.settings import Config
from jaxnn.data.dataset import Dataset
from jaxnn.devices import mesh, sharding
from jaxnn.errors import printable
from jaxnn.report import flops, summary
from jaxnn.store import history
from jaxnn.store.folder import REPORT
from jaxnn.training.loop import Event, Session
from jaxnn.training.plan import Plan
from jaxnn.types import Model, State

Show = Callable[[dict[str, Any]], None]
SHOWN = tuple(f"/{name}" for name in history.MAIN)  # metrics that have room in a line
WIDTH_OF_BAR = 16
LINES = 20  # about so many rows are shown where there is no terminal; the history has them all


class Screen(Console):
    """A console that shows text as it is."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


def warn(kind: str, lines: Iterable[str]) -> None:
    """Each as one line on stderr: a `note`, or a `warning`."""
    for line in lines:
        print(f"{kind}: {printable(line)}", file=sys.stderr)


def opening(
    console: Console, config: Config, data: Dataset, devices: str, state: State, folder: Path, lines: Sequence[str]
) -> None:
    """What is trained, on what, and where it is written; what the same bits on other devices cost; and `lines`."""
    scaled = ["features"] * (data.mean is not None) + ["amounts to predict"] * (data.spread is not None)
    standardised = f", {' and '.join(scaled)} standardised" if scaled else ""
    pair = data.classes if data.outputs == 1 and data.classes and len(data.classes) == 2 else None
    positive = f", {pair[1]} is the positive class" if pair else ""
    examples = f"{len(data.train.weight):,} training examples{positive}{standardised}"
    about = f"{config.name}: {data.name}, {examples}; {devices}; {folder}"
    if config.exact:
        size = f"{config.exact * tree.nbytes(state.params) / 2**20:.2f} MiB"
        cost = f"exact: up to {config.exact} gradients at once, {size}, and steps that take up to four times as long"
        lines = (cost, *lines)
    for line in (about, *lines):
        console.print(line, soft_wrap=True)


def dry_run(
    console: Console, name: str, data: Dataset, plan: Plan, devices: str, model: Model, example: Any, state: State
) -> None:
    """What a run would do: its network, its steps, its memory."""
    print(summary.summary(model, example))
    steps = f"{plan.examples:,} training examples, {plan.total:,} steps of {plan.batch_size}"
    console.print(f"{name}: {data.name}, {steps}; {devices}", soft_wrap=True)
    size = f"{tree.nbytes(state) / 2**20:.2f} MiB of state, {tree.nbytes(data.splits) / 2**20:.2f} MiB of data"
    if (on_each := sharding.nbytes(state)) < tree.nbytes(state):
        print(summary.aligned(sharding.table(state.params)))
        size += f"; {on_each / 2**20:.2f} MiB of state on each device"
    print(f"memory: {size}")


@contextlib.contextmanager
def progress(console: Console, steps: int, epochs: float) -> Iterator[Show]:
    """Yields `show(row)`: a row of the history, to be called as each is made. A terminal is shown which of its values
    are the best so far.

    Args:
      console: where to print; a terminal gets one line that is always as wide as it is.
      steps, epochs: of the whole run.
    """
    if not console.is_terminal:
        yield _sparingly(console, steps)
        return
    from rich import progress as bars  # imported for a terminal only: a run into a pipe starts sooner

    class Fitted(bars.ProgressColumn):
        """As many whole metrics as the line has room for."""

        def render(self, task: bars.Task) -> Text:
            used = len(f"epoch {task.fields['epoch']:g}/{epochs:g}") + WIDTH_OF_BAR + len(" 0:00:00") + 3
            return Text(fitting(task.fields["row"], console.width - used, task.fields["best"]))

    columns = (
        bars.TextColumn(f"epoch {{task.fields[epoch]:g}}/{epochs:g}"),
        bars.BarColumn(bar_width=WIDTH_OF_BAR),
        bars.TimeRemainingColumn(),
        Fitted(),
    )
    with bars.Progress(*columns, console=console) as bar:
        task, most = bar.add_task("train", total=steps, epoch=0, row={}, best=()), dict[str, float]()
        yield lambda row: bar.update(task, completed=row["step"], epoch=row["epoch"], row=row, best=gains(row, most))


def gains(row: dict[str, Any], most: dict[str, float]) -> list[str]:
    """The validation metrics of a row (or those of training, where none are) that are better than in all rows before.

    most: of each metric the best so far, its sign turned where less is better; brought up to date.

    >>> most = {}
    >>> [gains({"val/loss": loss, "train/loss": 0.0}, most) for loss in (0.5, 0.6, 0.4)]
    [['val/loss'], [], ['val/loss']]
    """
    part = "val/" if any(name.startswith("val/") for name in row) else "train/"
    signed = {name: -row[name] if name.endswith("/loss") else row[name] for name in row if name.startswith(part)}
    found = [name for name, value in signed.items() if name.endswith(SHOWN) and value > most.get(name, -math.inf)]
    most |= {name: signed[name] for name in found}
    return found


@contextlib.contextmanager
def told(console: Console, plan: Plan, alarms: Callable[..., Iterable[str]]) -> Iterator[Callable[[Event], None]]:
    """Yields `tell(event)`: the row of an event as `progress` shows it, and what is odd about it as warnings.

    alarms: `alarms(row, params, still)`, what is odd (`jaxnn.report.diagnosis.Alarms`).
    """
    with progress(console, plan.total, plan.epoch(plan.total)) as show:

        def tell(event: Event) -> None:
            assert event.row
            show(event.row)
            warn("warning", alarms(event.row, event.progress.state.params, event.still))

        yield tell


def _sparingly(console: Console, steps: int) -> Show:
    """Shows the first row of each twentieth of a run, and the last row."""
    shown = -1

    def show(row: dict[str, Any]) -> None:
        nonlocal shown
        part = LINES * row["step"] // steps
        if part > shown:
            shown = part
            console.print(line(row), soft_wrap=True)

    return show


def metrics(row: dict[str, Any], best: Sequence[str] = ()) -> list[str]:
    """Losses and the first metrics, then the speed, as text; those that are the `best` so far are marked as such."""
    parts = [f"{name} {row[name]:.4f}{' best' * (name in best)}" for name in row if name.endswith(SHOWN)]
    speed = row.get("examples_per_s")
    return parts if speed is None else [*parts, f"{speed:,.0f} examples/s"]


def fitting(row: dict[str, Any], width: int, best: Sequence[str] = ()) -> str:
    """The metrics of a row that have room in so many columns, the first ones first, none of them cut.

    >>> fitting({"train/loss": 0.5, "val/loss": 0.25, "examples_per_s": 1e6}, 36)
    'train/loss 0.5000  val/loss 0.2500'
    """
    text = ""
    for part in metrics(row, best):
        longer = f"{text}  {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    return text


def line(row: dict[str, Any]) -> str:
    """One row in one line: position, then the metrics."""
    return f"epoch {row['epoch']:<6g} step {row['step']:<8} " + "  ".join(metrics(row))


def table(console: Console, row: dict[str, Any], title: str) -> None:
    """The last row: a line for each metric, a column for each part of the data. Those of one class, as iou/3, of which
    there may be many, are in the history alone."""
    parts = [part for part in ("train", "val", "test") if any(name.startswith(f"{part}/") for name in row)]
    names = list(dict.fromkeys(name.partition("/")[2] for name in row if name.count("/") == 1))
    console.print(title, soft_wrap=True)
    result = Table("", *parts)
    for metric in names:
        values = (row.get(f"{part}/{metric}") for part in parts)
        result.add_row(
            metric,
            *("" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}" for value in values),
        )
    console.print(result)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, of one value that value.

    >>> spread([0.5, 0.7]), spread([0.5])
    ('0.6000 ± 0.1414', '0.5000')
    """
    if not values:
        return ""
    mean = sum(values) / len(values)
    text = f"{mean:.4g}" if abs(mean) >= 1e6 else f"{mean:.4f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.4f}"


def value(given: Any) -> str:
    """The value of a setting in a table, as a sweep takes it: lists with a plus between."""
    if isinstance(given, tuple | list):
        return "+".join(map(value, given))
    return f"{given:.6g}" if isinstance(given, float) else str(given)


def ending(console: Console, name: str, session: Session, event: Event, row: dict[str, Any], first_step: int) -> None:
    """The last row as a table, where the time went, and how fast the steps were."""
    clock, plan, step = session.clock, session.plan, event.step
    of = f", the weights of step {row['best_step']:,}" if "best_step" in row else ""
    table(console, row, f"{name} after {step:,} steps, {clock.elapsed:.1f} s{of}")
    seconds = clock.seconds.get("steps", 0.0) + clock.seconds.get("waiting", 0.0)
    total = sum(clock.seconds.values())
    shares = ", ".join(f"{part} {value / total:.0%}" for part, value in clock.seconds.items())
    examples = plan.seen(step) - plan.seen(first_step)
    rate = f"; {examples / seconds:,.0f} examples/s" if examples else ""
    console.print(shares + rate, soft_wrap=True)
    over = plan.is_over(step, event.progress.tally, row)
    if seconds > 1 and over:  # the machine's own rate takes a third of a second to measure
        each = flops.of_example(session.recipe, event.progress.state.params, session.splits["train"])
        reached, most = examples * each / seconds, mesh.processors() * flops.benchmark_peak(0.3)
        share = f"{reached / most:.0%} of the {most / 1e9:,.0f} that it reaches on large ones"
        console.print(f"matrix products: {reached / 1e9:,.0f} GFLOP/s on this machine, {share}", soft_wrap=True)


def next_steps(console: Console, folder: Path, request: Request, data: Dataset, *, finished: bool) -> None:
    """What can be done with a run: the commands, and where its report is; and how one that was stopped goes on."""
    run, own, file = shlex.quote(str(folder)), request.brought, shlex.quote(request.file or "")
    if not finished:
        file = f"{file} " * bool(own.names())
        config = shlex.quote(str(folder / "config.json"))
        console.print(f"resume   jaxnn train {file}--config {config} --workdir {run}", soft_wrap=True)
        return
    more = f" --config {file}" * bool(own.model or own.task)
    if request.flags.run.task.name in GENERATIVE:
        use = f"sample   jaxnn sample {run}{more}"
    else:
        new = "new.csv" if data.features else "images" if len(data.shape) == 3 else "new.npz"
        use = f"predict  jaxnn predict {run} {new}{' --output DIR' * (data.task in PICTURED)}{more}"
    console.print(use, soft_wrap=True)
    report = folder / REPORT
    console.print(f"report   {report if report.exists() else f'jaxnn report {run}{more}'}", soft_wrap=True)
    if request.flags.run.task.name not in GENERATIVE:
        console.print(f"export   jaxnn export {run} --to onnx,numpy{more}", soft_wrap=True)
