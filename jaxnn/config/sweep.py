"""Many runs from one command line: which settings they have. No jax, so that a mistake is answered at once."""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple

from jaxnn.config.request import SweepFlags
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import InputError, check, choices

RANGE = re.compile(r"(?P<low>[^:,]+?)\.\.(?P<high>[^:,]+)(?::(?P<count>-?\d+))?(?::(?P<space>log|linear))?")
MOST = 4096  # members
REPEATED = ("seed", "data.fold")  # what results are averaged over
# One value for all members; what begins with `data.` and `checkpoint.` too.
SHARED = (
    *("name", "workdir", "devices", "mesh", "sharding", "tensor", "exact", "init_from"),
    *("eval_every", "stop_on", "restore", "task.name"),
)


class Axis(NamedTuple):
    """One field that is swept; `low` and `high` where it is a range."""

    name: str
    values: tuple[Any, ...]
    low: float | None = None
    high: float | None = None
    log: bool = False


class Member(NamedTuple):
    """One run of a sweep: the name of its folder, its config, and the values of what is swept."""

    name: str
    config: Config
    values: dict[str, Any]

    @property
    def setting(self) -> tuple[tuple[str, Any], ...]:
        """What is swept but for the seed and the fold, over which results are averaged."""
        return tuple((name, value) for name, value in self.values.items() if name not in REPEATED)


class Sweep(NamedTuple):
    """The runs that one command line asks for."""

    members: tuple[Member, ...]
    axes: tuple[Axis, ...]
    mode: str
    halve: bool


def expand(config: Config, flags: SweepFlags, seeds: int | None, folds: int | None) -> Sweep | None:
    """The sweep that the flags ask for on top of a config; None where they ask for one run. Raises `InputError`.

    >>> sweep = expand(Config(), SweepFlags(over=("optim.lr=0.01..1:3",)), seeds=2, folds=None)
    >>> [member.name for member in sweep.members][:3], sweep.members[-1].values
    (['0-lr=0.01-seed=0', '1-lr=0.01-seed=1', '2-lr=0.1-seed=0'], {'optim.lr': 1.0, 'seed': 1})
    """
    if not (flags.over or seeds is not None or folds is not None):
        given = {"random": flags.random, "halve": flags.halve or None, "mode": flags.mode}
        for flag, value in given.items():
            if value not in (None, "auto"):
                raise InputError(f"--sweep.{flag}={value}: needs what is swept; add --sweep optim.lr=1e-4..1e-1:8")
        return None
    axes = [_axis(word, config, counted=flags.random is None) for word in flags.over or ()]
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--sweep={name}: given twice; keep one")
    if flags.random is not None:
        check("--sweep.random", flags.random, ">= 1", flags.random >= 1)
        if not axes:
            raise InputError(f"--sweep.random={flags.random}: needs what is swept; add --sweep optim.lr=1e-4..1e-1")
    settings = list(_settings(axes, flags.random, config.seed))
    repeats = [*_seeds(config, seeds, names), *_folds(config, folds)]
    settings = [s | dict(zip([a.name for a in repeats], v, strict=True))
                for s in settings for v in itertools.product(*(a.values for a in repeats))]  # fmt: skip
    check("--sweep", f"{len(settings):,} runs", f"at most {MOST:,}", len(settings) <= MOST)
    members = [_member(config, i, len(settings), values) for i, values in enumerate(settings)]
    if flags.halve and len({member.setting for member in members}) < 2:
        raise InputError("--sweep.halve=True: needs two settings to choose from; add --sweep optim.lr=1e-4..1e-1:8")
    return Sweep(tuple(members), (*axes, *repeats), flags.mode, flags.halve)


@functools.cache
def kinds(kind: Any = Config, prefix: str = "") -> dict[str, Any]:
    """The type of each field of a config, by its path: `{"optim.lr": float | None, ...}`."""
    found: dict[str, Any] = {}
    types = typing.get_type_hints(kind)
    for item in fields(kind):
        of, name = types[item.name], prefix + item.name
        found |= kinds(of, f"{name}.") if is_dataclass(of) else {name: of}
    return found


def _axis(word: str, config: Config, *, counted: bool) -> Axis:
    """`FIELD=VALUES` as typed."""
    given, equals, text = word.partition("=")
    name = given.removeprefix("--").replace("-", "_")
    flag, found = f"--sweep={word}", kinds()
    if not (equals and text):
        raise InputError(f"{flag}: must be FIELD=VALUES; write optim.lr=1e-4..1e-1:16 or optim.lr=0.1,0.3")
    if name not in found:
        raise choices("--sweep", name, [each for each in found if not _is_shared(each)])
    if _is_shared(name):
        cure = "use --folds to change the validation examples" if name.startswith("data.") else "leave it out"
        raise InputError(f"{flag}: {name} is the same for all runs of a sweep; {cure}")
    match = RANGE.fullmatch(text)
    if match:
        return _range(flag, name, found[name], match.groupdict(), counted=counted)
    values = tuple(_value(flag, word, found[name]) for word in text.split(","))
    if len(set(values)) < len(values):
        raise InputError(f"{flag}: names a value twice; keep one")
    for value in values:
        _set(config, {name: value})
    return Axis(name, values)


def _is_shared(name: str) -> bool:
    return name in SHARED or name.startswith(("data.", "checkpoint."))


def _range(flag: str, name: str, kind: Any, parts: dict[str, Any], *, counted: bool) -> Axis:
    whole = float not in _options(kind)
    if whole and int not in _options(kind):
        raise InputError(f"{flag}: {name} is no number; write a list, {name}=A,B")
    try:
        low, high = float(parts["low"]), float(parts["high"])
    except ValueError:
        raise InputError(f"{flag}: must be LOW..HIGH:COUNT, two numbers; write {name}=1e-4..1e-1:16") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{flag}: both ends must be finite")
    if low >= high:
        raise InputError(f"{flag}: {low:g} is not below {high:g}; write LOW..HIGH")
    log = parts["space"] != "linear"
    if log and low <= 0:
        raise InputError(f"{flag}: {low:g} has no logarithm; begin above 0, or write :linear at the end")
    if counted and parts["count"] is None:
        raise InputError(f"{flag}: needs how many values; write {parts['low']}..{parts['high']}:8")
    if not counted and parts["count"] is not None:
        raise InputError(f"{flag}: --sweep.random says how many; leave :{parts['count']} out")
    count = int(parts["count"] or 1)
    if count < 1:
        raise InputError(f"{flag}: must be of 1 value or more")
    at = lambda u: between(low, high, u, log=log, whole=whole)
    values = tuple(at(i / max(count - 1, 1)) for i in range(count)) if counted else ()
    if len(set(values)) < len(values):
        raise InputError(f"{flag}: has not so many different values; ask for fewer than {count}")
    return Axis(name, values, low, high, log)


def between(low: float, high: float, u: float, *, log: bool, whole: bool) -> float | int:
    """The number at the share u of the way, to six digits, so that it can be typed; whole numbers are rounded.

    >>> [between(1e-4, 1e-1, i / 3, log=True, whole=False) for i in range(4)]
    [0.0001, 0.001, 0.01, 0.1]
    """
    value = low * (high / low) ** u if log else low + (high - low) * u
    value = low if u == 0 else high if u == 1 else float(f"{value:.6g}")
    return round(value) if whole else value


def _settings(axes: Sequence[Axis], draws: int | None, seed: int) -> Iterator[dict[str, Any]]:
    """Each combination of the values; or so many drawn from them, a pure function of the seed and the field."""
    if draws is None:
        for values in itertools.product(*(axis.values for axis in axes)):
            yield {axis.name: value for axis, value in zip(axes, values, strict=True)}
        return
    sources = {axis: random.Random(f"{seed} {axis.name}") for axis in axes}
    drawn: list[dict[str, Any]] = []
    for _ in range(100 * draws):  # a setting of lists may be drawn again, which would count it twice
        setting = {axis.name: _drawn(axis, source.random()) for axis, source in sources.items()}
        drawn += [setting] if setting not in drawn else []
        if len(drawn) == draws:
            break
    yield from drawn


def _drawn(axis: Axis, u: float) -> Any:
    if axis.low is None or axis.high is None:
        return axis.values[int(u * len(axis.values))]
    return between(axis.low, axis.high, u, log=axis.log, whole=float not in _options(kinds()[axis.name]))


def _seeds(config: Config, seeds: int | None, names: list[str]) -> list[Axis]:
    if seeds is None:
        return []
    check("--seeds", seeds, ">= 1", seeds >= 1)
    if "seed" in names:
        raise InputError(f"--seeds={seeds}: --sweep has seeds of its own; leave one out")
    return [Axis("seed", tuple(range(config.seed, config.seed + seeds)))]


def _folds(config: Config, folds: int | None) -> list[Axis]:
    if folds is None:
        return []
    check("--folds", folds, ">= 2", folds >= 2)
    if config.data.fold is not None:
        raise InputError(f"--folds={folds}: the config has fold {config.data.fold} already; leave one out")
    return [Axis("data.fold", tuple(f"{k}/{folds}" for k in range(1, folds + 1)))]


def _member(config: Config, i: int, count: int, values: dict[str, Any]) -> Member:
    parts = [f"{name.rpartition('.')[2]}={_short(value)}" for name, value in values.items()]
    name = re.sub(r"[^\w.+=-]", "_", "-".join([f"{i:0{len(str(count - 1))}d}", *parts]))[:200]
    return Member(name, _set(config, values), values)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_short, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("/", "of")


def _set(config: Config, values: dict[str, Any]) -> Config:
    """The config with these values; each is refused as if it had been typed for a single run."""
    whole = to_dict(config)
    for path, value in values.items():
        *folders, last = path.split(".")
        place = whole
        for folder in folders:
            place = place[folder]
        place[last] = value
    return replace(from_dict(whole, Config), workdir=config.workdir)


def _options(kind: Any) -> tuple[Any, ...]:
    """The types that a value may have."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (tuple, Literal) or not inner:
        return (kind,)
    return tuple(each for part in inner for each in _options(part))


def _value(flag: str, word: str, kind: Any) -> Any:
    """A word as a value of a field."""
    options = _options(kind)
    for option in options:
        inner = typing.get_args(option)
        if typing.get_origin(option) is Literal and word in inner:
            return word
        if option is type(None) and word == "none":
            return None
        if option is bool and word in ("true", "false"):
            return word == "true"
        if option in (int, float):
            try:
                return option(word)
            except ValueError:
                continue
        if typing.get_origin(option) is tuple:
            return tuple(_value(flag, each, inner[0]) for each in word.split("+")) if word else ()
        if option is str:
            return word
    shown = {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}
    rule = " or ".join(shown.get(each, " or ".join(map(str, typing.get_args(each)))) for each in options)
    raise InputError(f"{flag}: {word or 'nothing'} must be {rule}")
