"""jaxnn as its users get it: a run of train.py with metrics, history and validation.

An epoch is all that lies between two rows of the history: steps, metrics, validation on a twelfth of the rows, writing.
Many networks at once, or one after the other, are `jaxnn.fit`, under vmap or not.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
import cases  # the clock starts here

# isort: split
import argparse
import contextlib
import functools
import io
import json
import statistics
import tempfile
import time
from dataclasses import replace
from typing import Any

import numpy as np

from jaxnn.commands import main as command
from jaxnn.config.data import DataConfig
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.config.settings import Config


def configured(case: cases.Case, folder: Path, epochs: int, seed: int) -> Config:
    """The case as a config; iris is learned whole, as its peers do."""
    network = ModelConfig(kind="cnn", hidden=()) if case.hidden is None else ModelConfig(hidden=case.hidden)
    data = DataConfig(name="mnist", dir=str(folder), validation_fraction=1 / 12)
    if case.iris:
        data = DataConfig(name="iris", validation_fraction=0.0, test_fraction=0.0)
    optim = OptimConfig(name=case.opt, lr=case.lr)
    return Config("benchmark", seed, epochs, case.batch, data=data, model=network, optim=optim)


def run(case: cases.Case, args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """One run of train.py, in this process."""
    folder = scratch if case.iris else cases.prepare(args.limit, scratch)[1]
    held_out = None
    if args.target:  # the rows that the peers validate on
        (x, y), test = cases.split(folder, "train"), cases.split(folder, "test")
        n = len(y) - cases.held_out(len(y))
        for name, part in (("train", (x[:n], y[:n])), ("validation", (x[n:], y[n:]))):
            (scratch / name).mkdir()
            cases.write_split(scratch / name, "train", *part)
        cases.write_split(scratch / "train", "test", *test)
        folder, held_out = scratch / "train", scratch / "validation"
    warm = case.measure == "samples_per_s" and not args.cold
    config = configured(case, folder, case.epochs + warm, args.seed)
    if held_out:
        config = replace(config, data=replace(config.data, validation=str(held_out)))
    (scratch / "case.py").write_text(f"from jaxnn.config import *\nconfig = {config!r}\n")
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            command.main(["train", str(scratch / "case.py"), "--workdir", str(scratch / "run")])
        except SystemExit as end:
            if end.code:
                raise
    *rows, last = [json.loads(line) for line in (scratch / "run" / "history.jsonl").read_text().splitlines()]
    examples = json.loads((scratch / "run" / "config.json").read_text())["data"]["examples"]["train"]
    begin = last["seconds/start"] + last["seconds/data"]
    first = rows[0]["seconds"] - examples / rows[0]["examples_per_s"]  # when the first step began
    laps = np.diff([first, *(row["seconds"] for row in rows)])
    reached = [row["seconds"] for row in rows if not args.target or row["val/accuracy"] >= args.target]
    end = reached[0 if args.target else -1] if reached else None
    return {
        "samples_per_s": examples / statistics.median(laps[warm:]),
        "first_epoch_s": rows[0]["seconds"] - begin,
        "fit_s": None if end is None else end - begin,
        "epochs": len(rows),
        "accuracy": last.get("test/accuracy", rows[-1]["train/accuracy"]),
    }


def parts(case: cases.Case, args: argparse.Namespace) -> tuple[Any, tuple[np.ndarray, np.ndarray], Any, Any]:
    """The training rows on the device, the test rows, the model and the optimizer."""
    import jax

    import jaxnn

    x, y, *test = cases.load(case, args.limit)
    config = configured(case, Path(), case.epochs, args.seed)
    model = jaxnn.build(config.model, jax.ShapeDtypeStruct(x.shape[1:], x.dtype), case.classes)
    tx = jaxnn.optimizer(config.optim, steps_per_epoch=-(-len(y) // case.batch), total_steps=1)
    return jax.device_put(jaxnn.Batch(x, y, np.ones(len(y), np.float32))), (test[0], test[1]), model, tx


def stepwise(case: cases.Case, args: argparse.Namespace) -> dict[str, Any]:
    """The engine's own step, dispatched from Python one at a time instead of scanned."""
    import jax

    import jaxnn
    from jaxnn.training.programs import run_steps

    data, (x_test, y_test), model, tx = parts(case, args)
    recipe, key = jaxnn.Recipe(model, jaxnn.multiclass(case.classes), tx), jax.random.key(args.seed)
    next_steps = jax.jit(functools.partial(run_steps, recipe, case.batch, 1), static_argnums=2)
    state = jax.jit(functools.partial(jaxnn.engine.init, recipe))(key, data.x[0])
    steps, laps = -(-len(data.y) // case.batch), []
    for _ in range(case.epochs + 1):
        begin = time.perf_counter()
        for _ in range(steps):
            state, _ = next_steps(state, data, 1, key=key)
        jax.block_until_ready(state)
        laps.append(time.perf_counter() - begin)
    found = model.apply(state.params, x_test).argmax(-1)
    return {
        "samples_per_s": len(data.y) / statistics.median(laps[1:]),
        "first_epoch_s": laps[0],
        "fit_s": sum(laps),
        "epochs": len(laps),
        "accuracy": float((np.asarray(found) == y_test).mean()),
    }


def together(case: cases.Case, args: argparse.Namespace) -> dict[str, Any]:
    """`case.nets` networks that differ in their seeds: at once, or a few of them one after the other."""
    import jax

    import jaxnn

    data, (x_test, y_test), model, tx = parts(case, args)
    task, epochs, order = jaxnn.multiclass(case.classes), case.epochs + 1, jax.random.key(0)

    def fit(key: jax.Array) -> Any:
        options = {"epochs": epochs, "batch_size": case.batch, "order_key": order}
        return jaxnn.fit(key, model, task, tx, data, **options)[0].params

    nets = 4 if args.variant == "one" else case.nets
    keys = jax.random.split(jax.random.key(args.seed), nets)
    train_all = jax.jit(fit if args.variant == "one" else jax.vmap(fit))
    laps = []
    for _ in range(2):  # the first compiles
        begin = time.perf_counter()
        params = [train_all(key) for key in keys] if args.variant == "one" else [train_all(keys)]
        jax.block_until_ready(params)
        laps.append(time.perf_counter() - begin)
    label = lambda params: model.apply(params, x_test).argmax(-1)
    found = [label(p) if args.variant == "one" else jax.vmap(label)(p) for p in params]
    return {
        "samples_per_s": len(data.y) * epochs * nets / laps[1],
        "first_epoch_s": laps[0] - laps[1] * (epochs - 1) / epochs,
        "fit_s": laps[0],
        "epochs": epochs,
        "accuracy": statistics.mean(float((np.asarray(labels) == y_test).mean()) for labels in found),
        "nets": nets,
    }


def main() -> None:
    args, case = cases.asked(("default", "step", "one"))
    with tempfile.TemporaryDirectory() as scratch:
        if case.nets > 1:
            line = together(case, args)
        elif args.variant == "step":
            line = stepwise(case, args)
        else:
            line = run(case, args, Path(scratch))
    cases.report("jaxnn", args, case, ("jax", "optax", "numpy"), **line)


main()
