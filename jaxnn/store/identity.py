"""config.json: what a run is (its config, its data, the versions of what it ran with), and whether two are the same.

The final weights are those of the run that was never cut off. So whatever they depend on must be the same: data, model,
task, optimizer, seed, batch. How often something is written or looked at may change, and a run may be made longer where
no schedule stretches with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jaxnn
from jaxnn.config import strict_json
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import InputError, choices
from jaxnn.store import durable

FORMAT = 2  # early runs of it have no `program` and no `jax`; `own` is there where there is something in it
FREE = (  # epochs: see `_longer`; init_from: its `start` says with what weights
    *("name", "workdir", "epochs", "eval_every", "tol", "patience", "restore", "init_from", "devices"),
    *("mesh", "sharding", "tensor", "report"),
    *("checkpoint.every", "checkpoint.keep", "data.feed"),
)
BY_ROWS = ("stop_on", "checkpoint.best")  # what is asked of the rows of a history, from the first to the last
PLACES = ("data.name", "data.dir", "data.validation")  # where the data are: their digest says what they are
STRETCHED = ("cosine", "one_cycle")  # schedules that end with the run
PACKAGES = ("jax", "jaxlib", "optax", "flax", "numpy")
WRITERS = ("jax", "jaxlib", "flax", "jaxnn")  # with another version of these, the same model has another text


def describe(config: Config, data: dict[str, Any], devices: str, **source: Any) -> dict[str, Any]:
    """What a run is, as `config.json` and the checkpoints keep it.

    Args:
      config: all its settings.
      data: what is known of its data (`Dataset.describe`).
      devices: what it runs on.
      source: what the config file was, and whether it brought a model or other functions: `source`, `source_digest`,
        `own_model`, `own`; what those compute, `program`; and JAX's settings, `jax` (`program.digest`,
        `program.settings`).
    """
    saved = {"format": FORMAT, "config": to_dict(config) | {"workdir": None}}
    return {**saved, **source, "data": data, "versions": versions() | {"devices": devices}}


def versions() -> dict[str, str]:
    """Those of Python, of jaxnn and of the libraries that the bits of a run depend on; no library is imported."""
    ours = {"python": platform.python_version(), "jaxnn": jaxnn.__version__}
    return ours | {name: importlib.metadata.version(name) for name in PACKAGES}


def write(folder: Path, identity: dict[str, Any]) -> None:
    durable.replace(folder / "config.json", [json.dumps(identity, indent=2, allow_nan=False).encode()])


def read(path: Path, name: str) -> dict[str, Any]:
    """The config.json of a run: its values, and what it says of its data. Refused by `name` if it is none."""
    try:
        with path.open("rb") as file:
            text = file.read(strict_json.MAX_SIZE + 1).decode()
    except (OSError, ValueError) as reason:
        what = reason.strerror if isinstance(reason, OSError) else reason
        raise InputError(f"{name}={path}: cannot be read ({what}); name the config.json of a run") from None
    saved = strict_json.loads(text, f"{name}={path}")
    written = saved.get("format", 1) if isinstance(saved, dict) else 1
    if written not in range(1, FORMAT + 1):
        cure = "use the jaxnn that wrote it"
        raise InputError(f"{name}={path}: is of format {written}, this jaxnn reads 1 to {FORMAT}; {cure}")
    kinds = {"config": dict, "data": dict, "source": str | None, "own_model": bool}
    for key, kind in kinds.items():
        if not isinstance(saved, dict) or key not in saved or not isinstance(saved[key], kind):
            raise InputError(f"{name}={path}: is no run's config ({key} is missing); name the config.json of a run")
    known = ["format", *kinds, "own", "source_digest", "program", "jax", "start", "versions"]
    own = saved.get("own", [])
    if not isinstance(own, list) or not all(name in Own._fields for name in own):
        raise InputError(f"{name}={path}: is no run's config (own={own!r}); name the config.json of a run")
    for key in saved.keys() - set(known):
        raise choices(f"{name}={path}", key, known)
    return saved


def refuse_no_run(folder: Path) -> None:
    """Refuse a folder that no run has been written to."""
    if not os.path.isfile(folder / "config.json"):  # pathlib raises an error for a name that is too long
        raise InputError(f"folder={folder}: is no run's folder (has no config.json); name the --workdir of a run")


def check_same(folder: Any, old: dict[str, Any], new: dict[str, Any], *, step: int, per_epoch: int) -> list[str]:
    """Refuse to go on with other settings; what may differ and could change the last digits is returned, for a note.

    Args:
      folder: the run's, for the message.
      old, new: what `describe` says of the run that was cut off, and of this one.
      step: where it was cut off, counted from where it began.
      per_epoch: steps of an epoch.

    Raises:
      InputError: with every setting that differs, old -> new.
    """
    was, now = (from_dict(about["config"], Config) for about in (old, new))
    # Where the rows of the history decide what the run ends with, they must be the same rows.
    free = set(FREE) - ({"eval_every"} if any(c.gain is not None or c.best for c in (was, now)) else set())
    changed = _changed(old, new, free)
    if old.get("start") != new.get("start"):
        changed.append(f"--init_from: {was.init_from} -> {now.init_from}")
    _check_settings(folder, old.get("jax", {}), new.get("jax", {}))  # before the model, whose program they change
    if not changed and was.epochs != now.epochs:  # before the program, which may depend on the length of the run
        _longer(folder, was.epochs, now, step, per_epoch, own_schedule="schedule" in old.get("own", []))
    changed += _own_changed(old, new)
    if changed:
        listed = "; ".join(changed)
        raise InputError(f"--workdir={folder}: holds a run with other settings ({listed}); name another folder")
    if old["data"]["digest"] != new["data"]["digest"]:
        digests = f"{new['data']['digest'][:12]}: the run in {folder} had {old['data']['digest'][:12]}"
        raise InputError(f"data.digest={digests}; the data have changed: bring them back, or name another folder")
    names = {*old["versions"], *new["versions"]} - (
        {"devices"} if now.exact and _platform(old) == _platform(new) else set()
    )
    pairs = {name: (old["versions"].get(name), new["versions"].get(name)) for name in sorted(names)}
    return [f"{name}: {a} -> {b}" for name, (a, b) in pairs.items() if a != b]


def takes_the_same_steps(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two runs, as `describe` says what they are, take the same steps from the same state."""
    settings = [about.get("jax", {}) for about in (old, new)]
    alike = all(settings[0][name] == settings[1][name] for name in settings[0].keys() & settings[1].keys())
    alike = alike and old["data"]["digest"] == new["data"]["digest"]
    return alike and not (_changed(old, new, {*FREE, *BY_ROWS}) or _own_changed(old, new))


def _changed(old: dict[str, Any], new: dict[str, Any], free: set[str]) -> list[str]:
    """Every setting that differs, old -> new, but for those that are free; the places of the same data are."""
    values = (to_dict(from_dict(about["config"], Config)) for about in (old, new))
    before, after = (flat(v) | {"data.standardize": _standardized(a)} for v, a in zip(values, (old, new), strict=True))
    if old["data"]["digest"] == new["data"]["digest"]:
        free = {*free, *PLACES}
    differ = [name for name in after if after[name] != before[name] and name not in free]
    return [f"--{name}: {before[name]} -> {after[name]}" for name in differ]


def _standardized(about: dict[str, Any]) -> str:
    """What of the data was standardised, whether the config says so or leaves it to the data."""
    features = about["data"].get("standardized", about["config"]["data"]["standardize"])
    amounts = about["data"].get("spread") is not None
    return " and ".join(["features"] * bool(features) + ["amounts"] * amounts) or "nothing"


def _own_changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs of the functions that the config file brought: their program, or the file where no more is known."""
    names = [["model"] * about["own_model"] + about.get("own", []) for about in (old, new)]
    if not any(names):
        return []
    what = " and ".join(dict.fromkeys(sum(names, [])))
    writer = lambda about: [about["versions"].get(name) for name in WRITERS] + [_platform(about)]
    told = {"source": "config", "source_digest": f"the file with the {what}"}
    if old.get("program") and new.get("program") and writer(old) == writer(new):
        told = {"source": "config", "program": f"the {what}'s program"}
    differ = [(what, old.get(name), new.get(name)) for name, what in told.items() if old.get(name) != new.get(name)]
    return [f"{what}: {str(before)[:20]} -> {str(after)[:20]}" for what, before, after in differ[:1]]


def _platform(about: dict[str, Any]) -> str:
    return about["versions"].get("devices", "").partition(",")[0]


def _check_settings(folder: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse to go on where JAX is set to compute other numbers."""
    for name in before:
        if name in after and before[name] != after[name]:
            had = "its default" if before[name] is None else before[name]
            cure = f"set it to {had}, or name another folder"
            raise InputError(f"{name.upper()}={after[name]}: the run in {folder} had {had}; {cure}")


def _longer(folder: Any, before: int, now: Any, step: int, per_epoch: int, *, own_schedule: bool) -> None:
    """Refuse another number of epochs where it would have changed the steps that were done."""
    flag = f"--epochs={now.epochs}: the run was to have {before}"
    if now.epochs * per_epoch < step:
        raise InputError(f"{flag} and is at epoch {step / per_epoch:g} already; name another folder for a shorter run")
    optim = now.optim
    reasons = {
        "the schedule of the config file": own_schedule,
        f"--optim.schedule {optim.schedule}": optim.schedule in STRETCHED,
        f"--optim.warmup {optim.warmup}": optim.warmup.endswith("%"),
        f"--optim.decay_every {optim.decay_every}": optim.decay_every.endswith("%")
        and optim.schedule in ("step", "plateau"),
        f"--eval_every {now.eval_every}": now.eval_every.endswith("%") and (now.gain is not None or now.best),
    }
    for reason, holds in reasons.items():
        if holds:
            cure = f"name another folder, with --init_from {folder} to go on from its weights"
            raise InputError(f"{flag}, and {reason} depends on it; {cure}")


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 0.1}}` -> `{"optim.lr": 0.1}`"""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return found
