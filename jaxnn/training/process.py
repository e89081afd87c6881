"""The process around a run: the signals that end it early, what its output becomes, and its end."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether SIGINT or SIGTERM has asked the run to end; a second one ends it at once.

    To be made before anything heavy is imported: a signal that comes before this is answered as Python does.
    """

    def __init__(self) -> None:
        self.number: int = 0
        self.agreed: Callable[[int], int] = lambda number: number  # of several processes: the number for all of them
        for each in SIGNALS:
            signal.signal(each, self._asked)

    def _asked(self, number: int, _: object) -> None:
        self.number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def __call__(self) -> bool:
        """Asked by all processes of a run at the same step: a signal to one of them stops all there."""
        number = self.agreed(self.number)  # meanwhile this process may get a signal, which is answered the next time
        self.number = self.number or number
        return number != 0

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 and the number of the signal, or 0."""
        return 128 + self.number if self.number else 0


class Output(io.FileIO):
    """Standard output or standard error: what cannot be written is left out, and `lost` says why.

    A run goes on without the terminal, the pipe or the disk that its lines went to.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as reason:
            self.lost = self.lost or reason
            return memoryview(data).nbytes


def open_output() -> None:
    """Have `print`, and all that writes to `sys.stdout` and `sys.stderr`, never fail; what has no letter is escaped."""
    # Where a shell has closed a stream (`>&-`), the next file that is opened would get its number, and its lines.
    while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        old: Any = getattr(sys, name)
        if old is not getattr(sys, f"__{name}__"):  # whoever put another stream there wants it
            continue
        lines = number == 2 or old is not None and (old.line_buffering or old.write_through)
        encoding = old.encoding if old is not None else "utf-8"
        buffer = io.BufferedWriter(Output(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines))


def lost() -> OSError | None:
    """Why standard output has not taken all since this was last asked; None where only its reader has left."""
    sys.stdout.flush()
    output: Any = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(output, Output) or output.lost is None:
        return None
    reason, output.lost = output.lost, None
    return None if reason.errno == errno.EPIPE else reason


def collect_garbage() -> None:
    """From now on: the collector, off since the start, need not look through what was imported and compiled."""
    gc.freeze()
    gc.enable()


def leave(code: int) -> None:
    """End the process once its threads have ended and what was registered for its end has run, without taking apart the
    interpreter's modules: that would take as long as reading the data."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # as a process of multiprocessing ends
    atexit._run_exitfuncs()
    end(code)


def end(code: int) -> None:
    """End the process, whatever its threads are doing."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
