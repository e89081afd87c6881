"""What a sweep has come to: sweep.json, a table on the screen, and the best member."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich.table import Table

from jaxnn.config.settings import Config
from jaxnn.config.sweep import REPEATED, Member, Sweep
from jaxnn.engine.tally import WORST, score
from jaxnn.errors import InputError
from jaxnn.report import screen
from jaxnn.store import history, sweeps, weights
from jaxnn.training.loop import FAILED, STOPPED
from jaxnn.types import Task

BEGUN = "not begun"
WIDTH = 160  # of the table, in a file


class Outcome(NamedTuple):
    """What a member has come to: how it ended, the last row of its history, and its score, greater is better."""

    member: Member
    ending: str
    row: dict[str, Any]
    score: float


def metric(config: Config, *, validation: bool) -> str:
    """What the members are judged by: the metric of the best checkpoint, or the loss."""
    return config.best or ("val/loss" if validation else "train/loss")


def read(folder: Path, member: Member, task: Task, by: str) -> Outcome:
    """What the folder of a member says."""
    place = folder / member.name
    try:
        rows = history.rows(place)
        ending = weights.read(place).ending
    except (OSError, ValueError):
        return Outcome(member, BEGUN, {}, WORST)
    last = rows[-1] if rows else {}
    at = last.get("best_step", last.get("step"))
    of = next((row for row in rows if row["step"] == at and "seconds" in row), {})
    row = {k: math.nan if v is None else v for k, v in (of | last).items() if not k.startswith("seconds")}
    return Outcome(member, ending, row, WORST if ending == FAILED or by not in row else score(task, row, by))


def described(asked: Sweep) -> dict[str, Any]:
    """What a sweep is, as sweep.json has it."""
    members = [{"folder": member.name, "values": member.values} for member in asked.members]
    return {"format": 1, "halve": asked.halve, "members": members}


def check_same(folder: Path, asked: Sweep) -> None:
    """Refuse a folder that holds another sweep, or a run."""
    cure = "name another folder"
    if (folder / "config.json").exists():
        raise InputError(f"--workdir={folder}: holds a run, which is no sweep; {cure}")
    if not sweeps.is_one(folder):
        return
    saved = sweeps.read(folder, "--workdir")
    now = json.loads(json.dumps(described(asked)))
    had = [{key: each[key] for key in ("folder", "values")} for each in saved["members"]]
    if had != now["members"] or saved.get("halve") != asked.halve:
        differ = next((a["folder"] for a, b in zip(had, now["members"], strict=False) if a != b), None)
        what = f"{len(had)} runs, of which {differ} is none of these" if differ else f"{len(had)} runs"
        raise InputError(f"--workdir={folder}: holds another sweep ({what}, this one has {len(asked.members)}); {cure}")


def save(folder: Path, asked: Sweep, outcomes: Sequence[Outcome] = (), by: str = "") -> None:
    """Write sweep.json: what the sweep is, and what each member has come to so far."""
    about = described(asked)
    for place, outcome in zip(about["members"], outcomes, strict=False):
        number = lambda v: v if isinstance(v, str) or math.isfinite(v) else None
        place |= {"ending": outcome.ending, "row": {k: number(v) for k, v in outcome.row.items()}}
    if outcomes:
        found = best(outcomes)
        about |= {"metric": by, "best": None if found is None else found.member.name}
    sweeps.write(folder, about)


def best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The member with the best score of the setting with the best mean score; None where all have failed."""
    by_setting = {setting: fmean(o.score for o in each) for setting, each in settings(outcomes).items()}
    setting = max(by_setting, key=lambda s: by_setting[s])
    found = max(settings(outcomes)[setting], key=lambda outcome: outcome.score)
    return None if found.score == WORST else found


def settings(outcomes: Sequence[Outcome]) -> dict[Any, list[Outcome]]:
    """The outcomes by what is swept but for seeds and folds; those that were stopped by halving are judged as such."""
    found: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.member.setting, []).append(outcome)
    return found


def show(
    console: screen.Screen, asked: Sweep, outcomes: Sequence[Outcome], by: str, path: Path, seconds: float
) -> None:
    """A line for each setting, mean ± deviation over its seeds and folds; the best one; where the results are."""
    by_setting = settings(outcomes)
    if len(by_setting) == 1:
        rows = {tuple(o.member.values.items()): [o] for o in outcomes} | {(("", "all"),): list(outcomes)}
    else:
        rows = by_setting
    names = [axis.name for axis in asked.axes if len(by_setting) == 1 or axis.name not in REPEATED]
    there = dict.fromkeys(name for outcome in outcomes for name in outcome.row)
    shown = [
        name for name in there if name == by or (name.startswith(("val/", "test/")) and name.endswith(screen.SHOWN))
    ]
    table = Table(*(name.rpartition(".")[2] for name in names), "runs", *shown, "")
    for setting, each in rows.items():
        values = dict(setting)
        cells = [screen.value(values[name]) if name in values else "" for name in names]
        cells[0] = cells[0] or "mean"
        numbers = [screen.spread([o.row[name] for o in each if name in o.row]) for name in shown]
        table.add_row(*cells, str(len(each)), *numbers, _endings(each))
    console.print(f"{len(outcomes)} runs, {seconds:.1f} s; {path}", soft_wrap=True)
    (console if console.is_terminal else screen.Screen(width=WIDTH)).print(table)
    found = best(outcomes)
    if found is None:
        return
    where = f"best by {by}: {path / found.member.name} ({by} {found.row[by]:.4f})"
    console.print(where, soft_wrap=True)


def _endings(each: Sequence[Outcome]) -> str:
    counts = {ending: sum(o.ending == ending for o in each) for ending in (STOPPED, FAILED, BEGUN)}
    alone = len(each) == 1
    return ", ".join(ending if alone else f"{n} {ending}" for ending, n in counts.items() if n)
