"""The watchdog of a process that trains with others: it ends that process where another one is gone, stopped or stuck.

A collective waits for ever for a process that does not come. So each process writes what it is doing into the store
that all share, twice a second (its beat), reads the beat of the next process by rank, and looks at how long it has been
waiting itself. It ends by `os._exit`: the main thread is inside a collective, and the barriers at Python's end would
wait for those who are gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from jaxnn import errors
from jaxnn.errors import Error, PeerError

TICK = 0.5  # seconds between two beats
SHORT = 1.0  # seconds without a beat after which a process is asked for at its door
LEAST = 10.0  # seconds that are waited for another process, once the steps have begun
BEFORE = 45.0  # the same before that, and in a part of the run that has not been seen to its end yet
SILENT = 30.0  # seconds without a beat, before the steps have begun
TIMES = 10  # as long is waited as a part took at its slowest
# Seconds that are waited for what one process does alone: reading data, saving, and compiling, for which the others may
# have found the program in their caches.
LONG = 3600.0
TOGETHER = ("steps", "evaluation", "agreement")  # the parts of a run in which processes wait for one another
CURE = "the same command goes on from the last checkpoint"


class Watch:
    """The two threads of a process that watch over it and its neighbour, from `start` to `stop`.

    Args:
      rank, count: which process this is, of how many.
      store: the client of the coordinator, which may never answer: one thread alone asks it.
      clock: the stopwatch of the run: the part it is in, since when, its slowest time of each part, the last step.
      is_gone: whether nobody is at a door (an address); the system answers there for one that lives, even stopped.
    """

    rank: int
    count: int
    store: Any
    clock: Any
    is_gone: Callable[[str], bool]
    over: threading.Event
    ending: threading.Lock
    beats: int
    answered: float
    threads: list[threading.Thread]

    def __init__(self, rank: int, count: int, store: Any, clock: Any, is_gone: Callable[[str], bool]):
        self.rank, self.count, self.store, self.clock, self.is_gone = rank, count, store, clock, is_gone
        self.over, self.ending, self.beats = threading.Event(), threading.Lock(), 0
        self.answered = time.monotonic()  # when the store has last answered
        self.heard: dict[int, tuple[str, float]] = {}  # of those that are listened to: the last beat, and since when
        self.doors: dict[int, str] = {}  # of these: the address, of a door that could be reached from here
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self._beat, self._look)]

    def start(self) -> None:
        """Begin to watch."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """No more: the run has ended well."""
        self.over.set()
        for thread in self.threads:
            thread.join()

    def cause(self, reason: Exception) -> Error | None:
        """Why an exception was raised here, where that is another process: what it has told, or that it is gone."""
        import jax

        said = str(reason).splitlines()[0][:160] if str(reason) else ""
        try:
            told = self._read("failed")
            if not told and isinstance(reason, jax.errors.JaxRuntimeError):
                before = self._read("beat")
                time.sleep(3 * TICK)
                told, now = self._read("failed"), self._read("beat")
                same = [f"process {rank}" for rank, beat in before.items() if now.get(rank) == beat]
                gone = [name for name in same if name != f"process {self.rank}"]
                if not told and gone:
                    return PeerError(f"{self._where()}: {' and '.join(gone)} is gone ({said}); {CURE}")
        except RuntimeError:  # no answer from the store
            return PeerError(f"{self._where()}: process 0, where all meet, is gone ({said}); {CURE}")
        return _error(told) if told else None

    def tell(self, error: Exception) -> None:
        """Have the other processes end with this error, and wait a little until they have; this one ends next."""
        self.ending.acquire()  # no other thread of this process ends it any more
        self.over.set()
        sender = threading.Thread(target=self._send, args=(error,), daemon=True)  # the store may never answer
        sender.start()
        sender.join(4 * TICK)

    def _send(self, error: Exception) -> None:
        text = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
        told = [text if text.startswith("process ") else f"process {self.rank}: {text}", type(error).__name__]
        with contextlib.suppress(RuntimeError):
            self.store.key_value_set(f"jaxnn/failed/{self.rank}", json.dumps(told), allow_overwrite=True)
            while self.rank == 0 and self._left():  # with process 0 the store goes
                time.sleep(TICK / 10)

    def _left(self) -> list[int]:
        """Those that have not heard of the error yet, and are still there."""
        told = self._read("failed")
        return [rank for rank in range(self.count) if rank not in told and not self._is_gone(rank)]

    def _is_gone(self, rank: int) -> bool:
        return bool(door := self.doors.get(rank)) and self.is_gone(door)

    # ---- the two threads ----

    def _beat(self) -> None:
        """Say what this process does, hear what others do, and whether one of them has failed."""
        while not self.over.wait(TICK):
            with contextlib.suppress(RuntimeError):  # no answer: `_look` sees since when
                self.beats += 1
                beat = json.dumps([self.beats, self.clock.part, self.clock.step])
                self.store.key_value_set(f"jaxnn/beat/{self.rank}", beat, allow_overwrite=True)
                told, now = self._read("failed"), time.monotonic()
                if told and not self.over.is_set():
                    self._end(_error(told), stacks=False)
                # Who waits for long listens to all, otherwise each to the next one: so the store is asked little.
                all_of_them = self._waited() > LEAST / 3
                beats = self._read("beat") if all_of_them else self._next()
                last = {rank: self.heard.get(rank, ("", now)) for rank in beats if rank != self.rank}
                self.heard = {rank: was if was[0] == beats[rank] else (beats[rank], now) for rank, was in last.items()}
                self.doors |= {rank: self._door(rank) for rank in self.heard if rank not in self.doors}
                self.answered = now

    def _look(self) -> None:
        """End this process where it has heard nothing, or waited, for too long."""
        while not self.over.wait(TICK):
            now, silent = time.monotonic(), LEAST if "steps" in self.clock.longest else SILENT
            if now - self.answered > silent:
                self._lost(f"process 0, where all meet, has not answered for {now - self.answered:.0f} s")
            for rank, (beat, since) in self.heard.items():
                _, part, step = json.loads(beat)
                doing = f"it was at step {step} ({part})"
                if now - since > SHORT and self._is_gone(rank):
                    self._lost(f"process {rank} is gone; {doing}")
                if now - since > silent:
                    self._lost(f"process {rank} has not been heard of for {now - since:.0f} s; {doing}")
            others = {rank: json.loads(beat)[1:] for rank, (beat, _) in self.heard.items()}
            parts = [self.clock.part, *(part for part, _ in others.values())]
            if (waited := self._waited()) > max(map(self._limit, parts)):
                listed = [f"process {rank} is at step {step} ({part})" for rank, (part, step) in others.items()]
                self._lost(f"stuck for {waited:.0f} s in {self.clock.part}; {', '.join(listed)}")

    def _waited(self) -> float:
        """Seconds that this process has been in a part in which it may be waiting for others."""
        return time.perf_counter() - self.clock.since if self.clock.part in TOGETHER else 0.0

    def _limit(self, part: str) -> float:
        """Seconds that others wait for a process that is in this part."""
        slowest = self.clock.longest.get(part)
        if part not in TOGETHER:
            return LONG
        if slowest is None or "steps" not in self.clock.longest:
            return BEFORE
        return max(LEAST, TIMES * slowest)

    # ---- the end ----

    def _where(self) -> str:
        return f"process {self.rank} of {self.count}: step {self.clock.step}"

    def _lost(self, cause: str) -> None:
        self._end(PeerError(f"{self._where()}: {cause}; {CURE}"), stacks=True)

    def _end(self, error: Error, *, stacks: bool) -> None:
        """End this process, whatever its other threads are doing, with what the others are to end with."""
        self.tell(error)
        os.write(2, f"error: {error}\n".encode())
        if stacks:
            faulthandler.dump_traceback(2)
        os._exit(error.exit_code)

    def _next(self) -> dict[int, str]:
        """The beat of the next process by rank."""
        rank = (self.rank + 1) % self.count
        try:
            return {rank: self.store.key_value_try_get(f"jaxnn/beat/{rank}")}
        except RuntimeError:  # it has none yet
            return {rank: json.dumps([0, "start", 0])}

    def _door(self, rank: int) -> str:
        """The address of a process; none where it cannot be reached from here, as through a firewall."""
        try:
            door = self.store.key_value_try_get(f"jaxnn/door/{rank}")
        except RuntimeError:  # it has none
            return ""
        return "" if self.is_gone(door) else door

    def _read(self, place: str) -> dict[int, str]:
        """What the processes have written there, by rank."""
        found = self.store.key_value_dir_get(f"jaxnn/{place}")
        return {int(key.rpartition("/")[2]): value for key, value in found}


def _error(told: dict[int, str]) -> Error:
    """The error of a process that has failed: the lowest by rank."""
    text, kind = json.loads(told[min(told)])
    return errors.of(kind, text)
