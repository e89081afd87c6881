"""The command line: a config by name, flags on top of it, every mistake answered in one line.

Imports no jax: `--help` and a misspelt flag are answered at once.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import itertools
import os
import re
import shutil
import typing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import tyro

from jaxnn.commands import config_file
from jaxnn.config import paths
from jaxnn.config.request import Flags, Request, SweepFlags
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.errors import InputError, choices, nearest, printable
from jaxnn.store import identity

DEFAULT = "digits_mlp"
DESCRIPTION = "A config by name or the path of a file, flags on top of it; every mistake is answered in one line."
PARTS = 8  # of --exact without a number
NUMBER = re.compile(r"[-+.\de]+")
KINDS = {"INT": "a whole number", "FLOAT": "a number", "{full}": "full", "{balanced}": "balanced"}


def parse(argv: Sequence[str], configs: Path) -> Request:
    """Read `[CONFIG] [flags]`; CONFIG is a name in the folder `configs` or the path of a .py file.

    Raises:
      InputError: a name, flag or value that cannot be used; `SystemExit(0)` after `--help`.
    """
    argv = list(argv)
    named = argv.pop(0) if argv and not argv[0].startswith("-") else None
    _check_flags(argv, {path.stem for path in configs.glob("*.py")})
    replay = _value_of(argv, "config")
    replayed = None if replay is None else identity.read(paths.expand("--config", replay), "--config")
    if replayed and not {"-h", "--help"}.isdisjoint(argv):
        replayed["config"] = _shown(replayed["config"])
    source = named if named is not None else replayed["source"] if replayed else _default(argv)
    path = _find(source, configs, by_path=named is not None)
    if named and replayed and path and replayed["source"] not in (None, path.stem):
        raise InputError(f"config={named}: the run in {replay} is of {replayed['source']}; leave the name out")
    brought = config_file.run(path, source or path.stem) if path else config_file.Brought()
    default = from_dict(replayed["config"], Config) if replayed else brought.config
    if replayed:
        config_file.check_replayed(source, brought, replayed)
    if brought.own.optimizer and (name := _value_of(argv, "optim.name")):
        raise InputError(f"--optim.name={name}: {source} brings an optimizer; leave out one of them")
    if brought.own.data and (name := _value_of(argv, "data.name")):
        raise InputError(f"--data.name={name}: {source} brings its data; leave out one of them")
    swept = f" {_value_of(argv, 'sweep') or ''}"
    if _value_of(argv, "optim.name") not in (None, default.optim.name) or " optim.name=" in swept:
        own = {name: None for name in ("lr", "momentum", "b1", "b2", "eps", "weight_decay")}
        default = replace(default, optim=replace(default.optim, nesterov=False, **own))
    flags = _tyro(argv, Flags(run=replace(default, workdir=None) if replayed else default), configs)
    if flags.run.data.name != default.data.name and flags.run.name == default.name:
        flags = replace(flags, run=replace(flags.run, name=_called(flags.run.data.name)))
    digest = replayed["data"].get("digest") if replayed and flags.run.data == default.data else None
    start = replayed.get("start") if replayed and flags.run.init_from == default.init_from else None
    # A replay needs a config file again only if it brought functions; config.json has all its values.
    name = path.stem if path and (path.parent == configs or brought.own.names()) else None
    file = source if source and source.endswith(".py") else name
    return Request(flags, name, file, brought.own, brought.digest, digest, start, flags.runs())


def _default(argv: list[str]) -> str:
    """The config where none is named: what suits a table where the data are one."""
    name = _value_of(argv, "data.name")
    if name is None or _value_of(argv, "data.images") or not {"-h", "--help"}.isdisjoint(argv):
        return DEFAULT
    from jaxnn.data.kinds import is_table  # imports NumPy, which --help does without

    return "table" if is_table(name) else DEFAULT


def _called(data: str) -> str:
    """What a run on data of one's own is called, unless --name says it: as their file or folder is."""
    name = os.path.basename(os.path.abspath(data.removeprefix("tfds:")))
    return re.sub(r"^\W", "_", re.sub(r"[^\w.+-]", "_", os.path.splitext(name)[0] or "run"))[:100]


def _spelt_out(argv: list[str]) -> list[str]:
    """The words as tyro has them: switches of three states with True and False, lists without commas (`100,50`)."""
    words, flag = [], ""
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            words += _listed(flag, word)
            continue
        flag = name.replace("_", "-")
        if word == "--exact" and all(after.startswith("--") for after in argv[i + 1 : i + 2]):
            words += [word, str(PARTS)]
        elif FLAGS.get(flag) == bool | None:
            words += [flag.replace(".no-", "."), str(".no-" not in flag)]
        else:
            words += [name, *_listed(flag, value)] if equals and "," in value else [word]
    return words


def _listed(flag: str, word: str) -> list[str]:
    """A word as the several that it may stand for: labels and columns of one's own (--data) may hold a comma, numbers
    and the names that jaxnn gives do not."""
    parts = word.removesuffix(",").split(",")  # `100, 50` is two words
    own = flag.startswith(("--data", "--sweep")) and flag != "--data.augment"
    several = _is_list(FLAGS.get(flag)) and all(NUMBER.fullmatch(p) if own else p for p in parts)
    return parts if several else [word]


def _is_list(kind: Any) -> bool:
    return any(typing.get_origin(each) is tuple for each in (kind, *typing.get_args(kind)))


def _switches_of_three() -> tyro.constructors.ConstructorRegistry:
    """How tyro reads what `_spelt_out` wrote, and shows such a switch: without a value."""
    registry = tyro.constructors.ConstructorRegistry()
    spec = tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="",
        instance_from_str=lambda words: words == ["True"],
        is_instance=lambda value: value is None or isinstance(value, bool),
        str_from_instance=lambda value: ["auto" if value is None else str(value)],
    )
    registry.primitive_rule(lambda info: spec if info.type == bool | None else None)
    return registry


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a run for the page of --help, which prints them as they are."""
    shown = {str: printable, dict: _shown}
    return {name: shown.get(type(value), lambda value: value)(value) for name, value in values.items()}


def _tyro(argv: list[str], default: Flags, configs: Path) -> Flags:
    """tyro's parser, its boxed errors turned into one line."""
    if not argv:
        return default
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), _wide():
            page: Any = {"prog": "jaxnn train [CONFIG]", "config": (tyro.conf.HelptextFromCommentsOff,)}
            if not {"-h", "--help"}.isdisjoint(argv):  # its words are looked for in many files
                listed = "\n".join(f"  {name:24} {promise}" for name, promise in promises(configs).items())
                page |= {"description": f"{DESCRIPTION}\n\nconfigs:\n{listed}", "config": ()}
            return tyro.cli(Flags, args=_spelt_out(argv), default=default, registry=_switches_of_three(), **page)
    except SystemExit as end:
        if end.code == 0:
            raise
    raise InputError(one_line(printed.getvalue(), argv))


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """80 columns at least: in a few, tyro's layout never ends, and in less than a flag needs it cuts that."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(max(80, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        os.environ |= {} if before is None else {"COLUMNS": before}


def one_line(printed: str, argv: list[str]) -> str:
    """Cause, then cure, from what tyro printed; words that are not known are given as they are, without the box."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)  # tyro colours its box where standard output is a terminal
    text = " ".join(line.strip("│╭╮╰╯─ ") for line in plain.splitlines() if "───" not in line)
    missing = re.search(r"Missing value for argument '(--[\w.-]+)'", text)
    unknown = re.search(r"Unrecognized options: (\S+?),? ", text + " ")
    own = re.search(r"Error parsing [\w.]+: (--\S+=.*?)(?: For full helptext|$)", text)  # raised by jaxnn.config
    value = re.search(r"Error parsing (--[\w.-]+): (.*?) Argument helptext: --[\w.-]+ (.*)", text)
    if unknown and unknown[1].startswith("-"):
        return f"{unknown[1]}: unknown flag; flags begin with two dashes, see --help"
    if unknown:
        return f"{unknown[1]}: belongs to no flag; a config's name comes first, before all flags"
    if missing:
        return f"{missing[1]}: needs a value; see --help"
    if own:
        return own[1].strip()
    if value:
        flag = value[1]
        words = [KINDS[word] for word in KINDS if word in value[3]] or [value[3]]
        return f"{flag}={_value_of(argv, flag.lstrip('-'))}: must be {' or '.join(words)}; see --help"
    rest = re.sub(r"\s*For full helptext.*", "", text).strip()
    return f"{rest or ' '.join(argv)}; see --help"


def _check_flags(argv: list[str], configs: set[str]) -> None:
    """Refuse a flag that is unknown, cut short or given twice, a switch with a value, and a config's name after it."""
    seen: set[str] = set()
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name.startswith("--tyro-"):  # --tyro-print-completion belongs to tyro
            continue
        flag = name.replace("_", "-")
        if flag not in FLAGS:
            near = _nearest_flag(flag)
            raise InputError(f"{name}: unknown flag; {f'did you mean {near}?' if near else 'see --help'}")
        positive = flag.replace(".no-", ".")
        if positive in seen:
            raise InputError(f"{positive}: given twice; keep one")
        seen.add(positive)
        words = [value] * bool(equals) + list(itertools.takewhile(lambda w: not w.startswith("--"), argv[i + 1 :]))
        kind, is_switch = FLAGS[flag], FLAGS[flag] in (bool, bool | None)
        beyond = words if is_switch or _is_list(kind) else words[1:]
        late = next((word for word in beyond if word in configs), None)
        if late and not (_is_list(kind) and "str" in str(kind)):  # a column may be called as a config is
            rest = " ".join(other for other in argv if other != late)
            raise InputError(f"{late}: a config's name comes first, before all flags; write {late} {rest}")
        if is_switch and words and (equals or not words[0].startswith("-")):
            raise InputError(f"{flag}={words[0]}: is a switch, which takes no value; write {flag} alone")


def _nearest_flag(flag: str) -> str | None:
    """The flag that a misspelt one was meant to be: of the same last word, or spelt alike."""
    word, names = flag.strip("-"), {known.strip("-") for known in FLAGS}
    alike = sorted(name for name in names if name.rpartition(".")[2] == word)
    if alike:
        return " or ".join(f"--{name}" for name in alike)
    near = nearest(flag, FLAGS)
    if near and SequenceMatcher(None, near.strip("-"), word).ratio() > 0.55:  # the two dashes alone are no likeness
        return near
    last = {name.rpartition(".")[2]: name for name in sorted(names, reverse=True)}
    near = nearest(word, last)
    return None if near is None else f"--{last[near]}"


def _flags(kind: Any, prefix: str = "--") -> dict[str, Any]:
    """Each flag and the type of its value; a switch has the opposite one besides."""
    found = {}
    kinds, without_name = typing.get_type_hints(kind), {(Flags, "run"), (SweepFlags, "over")}
    for item in dataclasses.fields(kind):
        flag, of = prefix + item.name.replace("_", "-"), kinds[item.name]
        if (kind, item.name) in without_name:
            flag = prefix.rstrip(".")
        if dataclasses.is_dataclass(of):
            found |= _flags(of, f"{flag}." if flag.strip("-") else prefix)
            continue
        found[flag] = of
        if of in (bool, bool | None) and kind not in (Flags, SweepFlags):
            found[f"{prefix}no-{flag.removeprefix(prefix)}"] = of
    return found


FLAGS = {"--help": bool} | _flags(Flags)


def _value_of(argv: list[str], flag: str) -> str | None:
    """What follows a flag, as it was typed: all words up to the next flag."""
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == f"--{flag}".replace("_", "-"):
            return value if equals else " ".join(itertools.takewhile(lambda w: not w.startswith("--"), argv[i + 1 :]))
    return None


def _find(source: str | None, configs: Path, *, by_path: bool) -> Path | None:
    """The file of a config; a run's config.json may name one in `configs`, only a person may name a path."""
    if source is None:  # the run was of a config file that brought no model
        return None
    names = {path.stem: path for path in configs.glob("*.py")}
    if by_path and source.endswith(".py"):
        path = paths.expand("config", source)
        if not os.path.isfile(path):  # pathlib raises an error for a name that is too long
            raise InputError(f"config={source}: no such file; name one, or one of {', '.join(sorted(names))}")
        return path
    name = source.replace("-", "_")
    if name not in names and not by_path:
        rule = f"the run had a file of that name; name it: train.py {source}.py --config ..."
        raise InputError(f"config={source}: {rule}")
    if name not in names:
        raise choices("config", source, names)
    return names[name]


def promises(configs: Path) -> dict[str, str]:
    """What each config promises: the first line of its docstring, read without running it."""
    doc = lambda path: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return {path.stem: doc(path).partition("\n")[0] for path in sorted(configs.glob("*.py"))}
