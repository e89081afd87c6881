"""Calls that several threads make at about the same time, as one call for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

Program = Callable[[dict[int, Any]], dict[int, Any]]


class Together:
    """A meeting point of threads, each with a number: what they ask for is computed once all that take part have asked.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> together, double = Together(), lambda given: {k: 2 * value for k, value in given.items()}
    >>> for k in range(3):
    ...     together.join(k)
    >>> with ThreadPoolExecutor(3) as pool:
    ...     list(pool.map(lambda k: together(k, double, 10 * k), range(3)))
    [0, 20, 40]
    """

    def __init__(self) -> None:
        self.changed: threading.Condition = threading.Condition()
        self.members: set[int] = set()
        self.asked: dict[int, tuple[Program, Any]] = {}
        self.answers: dict[int, Any] = {}

    def join(self, k: int) -> None:
        """From now on the others wait for thread k."""
        with self.changed:
            self.members.add(k)

    def leave(self, k: int) -> None:
        """Thread k asks for no more: the others no longer wait for it."""
        with self.changed:
            self.members.discard(k)
            self._compute()

    def __call__(self, k: int, program: Program, given: Any) -> Any:
        """The part of thread k of `program({k: given, ...})`, with all that ask for that program too."""
        with self.changed:
            self.asked[k] = program, given
            self._compute()
            self.changed.wait_for(lambda: k in self.answers)
            answer = self.answers.pop(k)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _compute(self) -> None:
        """Where nobody is left to wait for: each program that is asked for, in the thread that asked last."""
        if not self.asked or self.members - self.asked.keys():
            return
        asked, self.asked = self.asked, {}
        for program in dict.fromkeys(program for program, _ in asked.values()):
            given = {k: value for k, (wanted, value) in asked.items() if wanted is program}
            try:
                self.answers |= program(given)
            except Exception as reason:
                self.answers |= dict.fromkeys(given, reason)
        self.changed.notify_all()


class AtOnce(Executor):
    """An executor that calls what it is given in the thread that gives it: a member has a thread of its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as reason:
            future.set_exception(reason)
        return future
