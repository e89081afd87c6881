"""The members of a sweep at work: a thread for each, and what they compute together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data.dataset import Dataset
from jaxnn.devices import mesh
from jaxnn.engine.tally import Tally, score
from jaxnn.errors import NumericsError, StorageError
from jaxnn.report import flops, log, stopwatch
from jaxnn.store import history, resume
from jaxnn.store.resume import Begun
from jaxnn.store.saver import Saver
from jaxnn.sweep import group, results
from jaxnn.sweep.group import Ready
from jaxnn.sweep.halving import Halving
from jaxnn.sweep.programs import Lane, Shared, compile_all
from jaxnn.sweep.together import AtOnce
from jaxnn.training import loop, process, recorded
from jaxnn.types import Batch, Params


class Hand(NamedTuple):
    """A member that has steps left: its number, where it begins, its place among those that it computes with."""

    k: int
    begun: Begun
    lane: Lane
    place: int
    shared: Shared
    splits: dict[str, Batch]
    length: Callable[[int], int]


class Crew:
    """Trains the members of a sweep in their folders.

    Args:
      path: the folder of the sweep.
      members: all of them.
      by: the metric that they are judged by.
      mode: map or vmap.
      halving: where the worse half is to stop.
      stop: asked before each chunk of steps.
      pool: in whose threads is compiled and saved.
      show: `show(row)` after each row of a history.
      loggers: what opens the loggers of each member, in its folder.
    """

    path: Path
    members: Sequence[Ready]
    by: str
    mode: str
    halving: Halving | None
    stop: Callable[[], Any]
    pool: Executor
    show: Callable[[dict[str, Any]], None]
    loggers: Mapping[str, log.Open]
    at: list[int]
    total: int
    epochs: float
    lock: threading.Lock

    def __init__(
        self,
        path: Path,
        members: Sequence[Ready],
        by: str,
        mode: str,
        halving: Halving | None,
        stop: Callable[[], Any],
        pool: Executor,
        show: Callable[[dict[str, Any]], None],
        loggers: Mapping[str, log.Open],
    ):
        self.path, self.members, self.by, self.mode, self.halving = path, members, by, mode, halving
        self.stop, self.pool, self.show, self.loggers = stop, pool, show, loggers
        self.at = [ready.plan.first for ready in members]  # the step that each has come to
        self.total = sum(ready.plan.total - ready.plan.first for ready in members)  # steps
        self.epochs = members[0].plan.epoch(members[0].plan.total)
        self.best: dict[str, Any] = {}
        self.failed: dict[int, Exception] = {}
        self.lock = threading.Lock()

    def train(self, wave: Sequence[Sequence[int]]) -> None:
        """Train the members of some groups, all at once, until they end or are stopped."""
        hands = [hand for each in wave for hand in self._compiled(each)]
        process.collect_garbage()
        threads = [threading.Thread(target=self._train, args=(hand,), daemon=True) for hand in hands]
        for hand in hands:
            hand.lane.together.join(hand.place)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _compiled(self, numbers: Sequence[int]) -> list[Hand]:
        """The members of one group that have steps left, their programs compiled."""
        left: dict[int, Begun] = {}
        for k in numbers:
            ready, config = self.members[k], self.members[k].member.config
            config = replace(config, workdir=str(self.path / ready.member.name))
            try:
                begun = resume.begin(config, ready.about, ready.shapes, ready.plan, ready.data.statistics)
            except StorageError as reason:  # the checkpoints of one are no reason to stop the others
                self._ended(k, reason)
                continue
            self._told(k, begun.folder)
            if begun.finished:
                log.complete(begun.folder, self.loggers, config)
                self._ended(k)
            else:
                left[k] = begun
        if not left:
            return []
        lanes, sets = _lanes(list(left), self.members)
        first, size = self.members[next(iter(left))], len(lanes[0].members)
        splits = _placed(sets)
        after_each_other = first.plan.batch_size * size // mesh.count()
        whole = first.plan._replace(batch_size=after_each_other)  # the steps of all in ten seconds
        rows = first.data.parts["train"]
        most = flops.longest_chunk(first.recipe, whole, first.shapes.params, rows, own_model=first.about["own_model"])
        cuts = {k: self.members[k].plan.cut(begun.step, most) for k, begun in left.items()}
        lengths = set[int]().union(*(lengths for _, lengths in cuts.values()))
        builds = [next(self.members[k].build for k in left if self.members[k].data is data) for data in sets]
        shared = compile_all(
            builds, first.plan, lengths, first.shapes, splits, lanes[0], first.example, self.mode, self.pool
        )
        shared.wait()
        return [
            Hand(k, left[k], lane, place, shared, splits, cuts[k][0])
            for lane in lanes
            for place, k in enumerate(lane.members)
            if k in left and place == lane.members.index(k)
        ]

    def _train(self, hand: Hand) -> None:
        """A member from where it begins to its end, as `jaxnn.train` has a single run."""
        k, begun = hand.k, hand.begun
        ready, together, reason = self.members[k], hand.lane.together, None
        config, clock = ready.member.config, stopwatch.Stopwatch("start", since=time.perf_counter())
        try:
            with mesh.of(config, split=False):
                key = jax.random.key(config.seed)
                programs = hand.lane.programs(hand.place, hand.shared, hand.splits, hand.length)
                saver = Saver(begun.folder, ready.about, config, self.pool, begun.step if begun.progress else None)
                progress = begun.progress or loop.Progress(
                    ready.origin.put(ready.recipe, programs.first_state(key), ready.shapes), Tally()
                )
                saver.finish(begun.step, progress)
                stop = lambda: self._stops(hand)
                feed = lambda step, n: hand.splits["train"]
                session = loop.Session(
                    ready.recipe, ready.plan, key, programs, hand.splits, feed, AtOnce(), stop, clock
                )
                start, tell = loop.Event(begun.step, progress), lambda event: self._row(k, event)
                with log.following(saver, self.loggers, config):
                    event, row = recorded.take_steps(session, start, begun.row, saver, tell, explain)
                    event, row, _ = recorded.end(
                        config, session, saver, event, row, ready.shapes, ready.data.statistics
                    )
                loop.check_finite(event.step, row)
        except Exception as error:
            reason = error
        together.leave(hand.place)
        self._ended(k, reason)

    def _stops(self, hand: Hand) -> bool:
        """Whether a member is to stop before its next chunk; at a rung, the others of its lane go on without it."""
        if self.stop() or self.halving is None or not self.halving.is_rung(hand.k, self.at[hand.k]):
            return bool(self.stop())
        hand.lane.together.leave(hand.place)
        goes_on = self.halving.goes_on(hand.k, self.at[hand.k], self.stop)
        hand.lane.together.join(hand.place)
        return not goes_on

    def _row(self, k: int, event: loop.Event) -> None:
        row, task = event.row or {}, self.members[k].recipe.task
        value = score(task, row, self.by)
        if self.halving:
            self.halving.scored(k, event.step, value)
        with self.lock:
            self.at[k] = event.step
            if not self.best or value > score(task, self.best, self.by):
                self.best = row
            shown = {name: value for name, value in self.best.items() if name.startswith(("train/", "val/"))}
            done = sum(at - ready.plan.first for at, ready in zip(self.at, self.members, strict=True))
            self.show({"step": done, "epoch": round(self.epochs * done / self.total, 2)} | shown)

    def _told(self, k: int, folder: Path) -> None:
        """What the history of a member says already."""
        for row in history.rows(folder):
            if "seconds" in row:
                self.at[k] = row["step"]
                if self.halving and row.get(self.by) is not None:
                    self.halving.scored(k, row["step"], score(self.members[k].recipe.task, row, self.by))

    def _ended(self, k: int, reason: Exception | None = None) -> None:
        if reason is not None:
            self.failed[k] = reason
        if self.halving:
            ready = self.members[k]
            self.halving.leave(k, results.read(self.path, ready.member, ready.recipe.task, self.by).score)


def explain(session: loop.Session, failed: loop.NotFinite) -> tuple[Params, NumericsError]:
    """The parameters before the chunk of steps in which a number is not finite. (A run alone replays it, and tells the
    step, the leaf and the rows.)"""
    first, rate = int(failed.before.step), failed.info.get("lr", [float("nan")])[0]
    cause = f"step={first} to {first + failed.n - 1}: a number is not finite, at lr={rate:g}"
    error = NumericsError(f"{cause}; lower --optim.lr or set --optim.clip_norm")
    return loop.final(failed.before), error


def _lanes(numbers: Sequence[int], members: Sequence[Ready]) -> tuple[list[Lane], list[Dataset]]:
    """Who computes together, and their data sets: members over all devices in one lane. On a CPU a small network leaves
    all cores but one idle, so that one device has as many lanes as cores."""
    count = min(_cores() if jax.default_backend() == "cpu" and mesh.count() == 1 else 1, len(numbers))
    size = -(-len(numbers) // (count * mesh.count())) * mesh.count()
    sets = list({id(members[k].data): members[k].data for k in numbers}.values())
    lanes = []
    for begin in range(0, len(numbers), size):
        part = list(numbers[begin : begin + size])
        part += part[-1:] * (size - len(part))
        ready = [members[k] for k in part]
        keys = jnp.stack([jax.random.key(each.member.config.seed) for each in ready])
        which = np.array([next(i for i, data in enumerate(sets) if data is each.data) for each in ready], np.int32)
        lanes.append(Lane(part, keys, group.settings_of(ready), which, several=len(sets) > 1))
    return lanes, sets


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _placed(sets: Sequence[Dataset]) -> dict[str, Batch]:
    """The rows on the devices: of one data set, or `[D, n, ...]` of D of them."""
    parts = [data.parts for data in sets]
    return mesh.replicate(parts[0] if len(parts) == 1 else jax.tree.map(lambda *arrays: np.stack(arrays), *parts))
