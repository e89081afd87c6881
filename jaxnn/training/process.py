"""The process around a run: the signals that end it early, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether SIGINT or SIGTERM has asked the run to end; a second one ends it at once.

    To be made before anything heavy is imported: a signal that comes before this is answered as Python does.
    """

    def __init__(self) -> None:
        self.number = 0
        for each in SIGNALS:
            signal.signal(each, self._asked)

    def _asked(self, number: int, _: object) -> None:
        self.number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 and the number of the signal, or 0."""
        return 128 + self.number if self.number else 0


def end(code: int) -> None:
    """End the process, whatever its threads are doing."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
