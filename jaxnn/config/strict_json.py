"""JSON as its standard has it (RFC 8259), and no more: what Python's own reader lets through is refused.

That one takes NaN and Infinity, turns 1e999 into infinity, keeps the last of two equal keys, and dies of deep nesting.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jaxnn.errors import InputError

MAX_SIZE = 2**22  # characters
MAX_DEPTH = 64

# The tokens that `loads` looks at: strings, brackets, large numbers and Python's constants. All quantifiers are
# possessive, and an unfinished string is one token, so that the time is linear in the text whatever it holds.
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))(?P<key>\s*+:)?'
    r"|(?P<open>[\[{])|(?P<close>[\]}])"
    r"|(?P<number>\d[\d.]*+[eE][+-]?\d++|\d{300,}+)|(?P<constant>NaN|Infinity)",
    re.DOTALL,
)


def loads(text: str, name: str) -> Any:
    """The value of a JSON text; `name` is what errors call it.

    Raises:
      InputError: `<name>: line:column: <rule>`, for a text that is no JSON, NaN or Infinity, a number beyond float64, a
        key that stands twice, half a surrogate pair, nesting deeper than 64, or more than 4 Mi characters.

    >>> loads('{"lr": 0.1}', "config.json")
    {'lr': 0.1}
    >>> loads('{"lr": 0.1,\\n "lr": 0.2}', "config.json")
    Traceback (most recent call last):
    jaxnn.errors.InputError: config.json: 2:2: "lr" stands twice; keep one
    """

    def refuse(at: int, rule: str) -> InputError:
        return InputError(f"{name}: {text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}: {rule}")

    if len(text) > MAX_SIZE:
        raise InputError(f"{name}: 1:1: must be at most {MAX_SIZE} characters of JSON")
    keys: list[set[str]] = []  # a set for each object or array that is open
    for token in _TOKEN.finditer(text):
        kind, word, at = token.lastgroup, token[0], token.start()
        if kind == "open":
            keys.append(set())
            if len(keys) > MAX_DEPTH:
                raise refuse(at, f"must be nested at most {MAX_DEPTH} deep")
        elif kind == "close" and keys:
            keys.pop()
        elif kind == "constant":
            raise refuse(at, f"{word} is no JSON; write null, or a number")
        elif kind == "number" and float(word) == float("inf"):
            raise refuse(at, f"{word[:20]} does not fit float64; write a smaller number")
        elif kind in ("string", "key"):
            value = _string(token["string"])
            if value is None:
                continue  # json.loads below says what is wrong with the string
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise refuse(at, "holds half a surrogate pair; write the whole character")
            if kind == "key" and keys:
                if value in keys[-1]:
                    raise refuse(at, f"{json.dumps(value)[:100]} stands twice; keep one")
                keys[-1].add(value)
    try:
        return json.loads(text)
    except json.JSONDecodeError as reason:
        raise refuse(reason.pos, f"is no JSON ({reason.msg})") from None


def _string(token: str) -> str | None:
    if "\\" not in token:
        return token[1:-1]
    try:
        return json.loads(token)
    except ValueError:
        return None
