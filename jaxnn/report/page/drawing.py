"""Pages that another process draws: to import matplotlib takes as long as a small run, and Python's lock lets no two
imports run at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxnn.report.page.html import Page

CHILD = "import sys; sys.path[:] = sys.argv[2:]; from jaxnn.report.page import drawing; drawing.serve(int(sys.argv[1]))"


class Drawing:
    """A process that gets ready to draw while a run goes on, and ends with it, however that ends."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def page(self, template: str, pictures: Any, **values: Any) -> Page:
        """`jaxnn.report.page.html.page`, drawn there. Raises `RuntimeError` where that fails."""
        from jaxnn.report.page.html import Page

        try:
            self.connection.send((template, pictures, values))
            text, error = self.connection.recv()
        except (OSError, EOFError) as reason:
            raise RuntimeError("the process that draws has ended") from reason
        if error:
            raise RuntimeError(error)
        return Page(text, pictures)


@contextlib.contextmanager
def beside() -> Iterator[Drawing | None]:
    """Have a process get ready; None where none can be started."""
    if os.name != "posix":  # its end of the pipe could not be handed over
        yield None
        return
    ours, theirs = Pipe()
    with ours:
        number = theirs.fileno()
        command = [sys.executable, "-c", CHILD, str(number), *sys.path]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the run, not for its child
        try:
            process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL)
        except OSError:
            process = None
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        try:
            yield process and Drawing(ours)
        finally:
            if process:
                process.kill()
                process.wait()


def serve(number: int) -> None:
    """Draw each page that is asked for, until nobody is there to ask."""
    from jaxnn.report.page import html

    with Connection(number) as connection, contextlib.suppress(EOFError, OSError):
        html.warm()
        while True:
            template, pictures, values = connection.recv()
            try:
                answer = html.page(template, pictures, **values).text, None
            except Exception as error:
                answer = None, f"{type(error).__name__}: {error}"
            connection.send(answer)
