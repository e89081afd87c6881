"""`jaxnn configs`: the configs that there are, and one as the beginning of one's own."""

from __future__ import annotations

import sys

from jaxnn.commands import shown
from jaxnn.commands.arguments import promises
from jaxnn.commands.words import parsed
from jaxnn.config.paths import CONFIGS
from jaxnn.errors import InputError, choices, printable

USAGE = """usage: jaxnn configs [NAME] [--copy [FILE.py]]

The configs that there are, each with what it promises: a table on a terminal, CSV in a pipe. With NAME, that config as
it is written.

  --copy [FILE.py]         write it to a file of your own (default: NAME.py here), to change and to train
  --force                  replace a file that is there
  --traceback              show where an error was raised
"""


def configs(argv: list[str]) -> int:
    """`jaxnn configs`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    argv = [part for word in argv for part in (word.split("=", 1) if word.startswith("--copy=") else [word])]
    words, given = parsed(argv, (), ("--copy", "--force", "--traceback"))
    copied = "--copy" in given
    if len(words) > 1 + copied:
        raise InputError(f"{words[1 + copied]}: configs takes one NAME; see jaxnn configs --help")
    if not words:
        if copied:
            raise InputError("--copy: needs the config to copy; write jaxnn configs NAME --copy")
        shown.table(["config", "what"], list(promises(CONFIGS).items()))
        return 0
    names = {path.stem: path for path in CONFIGS.glob("*.py")}
    name = words[0].replace("-", "_").removesuffix(".py")
    if name not in names:
        raise choices("config", words[0], names)
    text = names[name].read_text(encoding="utf-8")
    if not copied:
        print(text, end="")
        return 0
    file = words[1] if len(words) > 1 else f"{name}.py"

    from jaxnn.store import durable, predictions

    path = predictions.check_output(file, (".py",), force="--force" in given, flag="--copy")
    durable.replace(path, [text.encode()])
    print(f"note: {printable(file)} is {name}; change it, and jaxnn train {printable(file)}", file=sys.stderr)
    return 0
