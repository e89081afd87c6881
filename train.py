"""Train a neural network: `python train.py [CONFIG] [flags]`; `python train.py --help` shows both.

Read it from top to bottom: it is the whole run.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxnn import cli
from jaxnn.config import steps, to_dict
from jaxnn.errors import Error, InputError, NumericsError

HERE, STARTED = Path(__file__).parent, time.perf_counter()


def main(argv: list[str]) -> int:
    stop: list[int] = []  # the signal that ends the run early

    def on_signal(number: int, _: object) -> None:
        stop.append(number)
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)

    # ---- config -----------------------------------------------------------------------------------------------------
    request = cli.parse(argv, HERE / "configs")
    flags, config = request.flags, request.flags.run
    if flags.print_config:
        print(json.dumps(to_dict(config), indent=2))
        return 0
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave the GPU's memory to others until needed

    import jaxnn.data  # not before the flags are known to be good

    pool = ThreadPoolExecutor(max_workers=4)
    reading = pool.submit(lambda: jaxnn.data.load(**jaxnn.data.arguments(config)))  # while jax is imported

    import jax

    from jaxnn import cache, devices, diagnose, engine, optim, report, run, speed

    screen, clock = report.Screen(), speed.Stopwatch("start", since=STARTED)

    # ---- data -------------------------------------------------------------------------------------------------------
    clock("data")
    data = reading.result()
    clock("start")
    if request.digest not in (None, data.digest):
        raise InputError(f"data.digest={data.digest[:12]}: the run had {request.digest[:12]}; the data have changed")
    n = len(data.train.weight)
    batch_size = n if config.batch_size == "full" else config.batch_size
    if batch_size > n:
        raise InputError(f"--batch_size={batch_size}: there are {n} training examples; use {n} or fewer, or full")
    per_epoch = -(-n // batch_size)
    total = engine.check_total("--epochs", config.epochs, per_epoch)
    seen = lambda step: step // per_epoch * n + min(step % per_epoch * batch_size, n)  # examples before a step
    every = steps("--eval_every", config.eval_every, steps_per_epoch=per_epoch, total=total)
    if every < 1:
        raise InputError(f"--eval_every={config.eval_every}: is less than one of the {total} steps; write 1epoch")

    # ---- model and optimizer ----------------------------------------------------------------------------------------
    about = data.describe()
    stats = {"mean": data.mean, "std": data.std} if data.mean is not None else {}
    model, task, example = run.assemble(config, about, request.model, **stats)
    if task.name == "regression":
        for split in filter(None, data.splits):
            jaxnn.check_targets(split.y, config.task.loss)
    tx = optim.optimizer(config.optim, steps_per_epoch=per_epoch, total_steps=total)

    with devices.use(config.devices) as chosen:
        # ---- step ---------------------------------------------------------------------------------------------------
        objective = engine.make_objective(model, task, alpha=config.optim.alpha)
        accumulate = config.optim.accumulate
        watch = optim.bounded(config.optim)
        train_step = engine.make_train_step(objective, tx, accumulate=accumulate, watch=watch)
        run_steps = engine.make_run_steps(train_step, batch_size)
        evaluate = engine.make_evaluate(objective, batch_size=1024)
        if flags.dry_run:
            state = jax.eval_shape(lambda key: engine.make_init(model, tx)(key, example), jax.random.key(0))
            size = lambda tree: sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree)) / 2**20
            print(jaxnn.summary(model, example))
            steps_of = f"{n:,} training examples, {total:,} steps of {batch_size}"
            screen.print(f"{config.name}: {about['name']}, {steps_of}; {chosen}", soft_wrap=True)
            print(f"memory: {size(state):.2f} MiB of state, {size(data.splits):.2f} MiB of data")
            return 0

        # ---- start --------------------------------------------------------------------------------------------------
        if stop:
            return 128 + stop[0]
        folder = Path(config.workdir or "runs/" + time.strftime(f"{config.name}-%Y%m%d-%H%M%S"))
        run.create(folder)
        run.save_config(folder, config, about, request.source, request.model is not None)
        screen.print(f"{config.name}: {about['name']}, {n:,} training examples; {chosen}; {folder}", soft_wrap=True)
        clock("data")
        train, validation, test = (devices.replicate(split and jaxnn.Batch(*split)) for split in data.splits)

        clock("compilation")  # all of it before the first step, on all cores
        if not flags.no_cache:
            cache.keep_programs()
        key = jax.random.key(config.seed)
        init = jax.jit(lambda key: engine.make_init(model, tx)(key, example))
        state = devices.replicated(jax.eval_shape(init, key))  # its shapes; it is made when all is compiled
        params = optim.averaged(state.params, state.opt_state)
        compiled = lambda function, *args, **more: pool.submit(function.lower(*args, **more).compile)
        lengths = {min(every, total), total % every or every}
        jobs: dict[Any, Any] = {"init": compiled(init, key)}
        jobs |= {length: compiled(run_steps, state, train, length, key=key) for length in lengths}
        for name, split in (("val", validation), ("test", test)):
            if split is not None:
                jobs[name] = compiled(evaluate, params, split)
        program = {name: job.result() for name, job in jobs.items()}
        state = devices.replicate(program["init"](key))
        gc.freeze()  # what was made so far stays
        gc.enable()

        # ---- loop ---------------------------------------------------------------------------------------------------
        step, row, best, waited = 0, {}, math.inf, 0
        alarms = diagnose.Watch(model, state.params, data.train.x)
        with report.progress(screen, total) as show:
            while step < total and not stop and waited < config.patience and math.isfinite(row.get("val/loss", 0)):
                clock("steps")
                began, good, n_steps = time.perf_counter(), state, min(every, total - step)
                state, info = program[n_steps](state, train, key=key)
                info = jax.device_get(info)
                ended = time.perf_counter()
                if not info["finite"]:  # replayed from the last good state, to keep what is good of it
                    gradient = engine.make_gradient(objective, accumulate=accumulate)
                    fault = engine.find_fault(run_steps, gradient, good, train, n_steps, batch_size, key=key)
                    state = fault.state
                    run.save_weights(folder, optim.averaged(state.params, state.opt_state), stats)
                    lr = info["lr"][min(int(state.step) - step, n_steps - 1)]
                    rows = ", ".join(map(str, fault.rows[:10])) + ", ..." * (len(fault.rows) > 10)
                    cause = f"step={state.step}: {fault.leaf} is not finite at lr={lr:g}, training rows {rows}"
                    raise NumericsError(f"{cause}; lower --optim.lr or set --optim.clip_norm")
                step += n_steps
                row = {"step": step, "epoch": step / per_epoch, **engine.summary(task, info)}
                if validation is not None:
                    clock("evaluation")
                    sums = program["val"](optim.averaged(state.params, state.opt_state), validation)
                    row |= engine.prefixed("val", task.summary(jax.device_get(sums)))
                clock("report")
                row["examples_per_s"] = (seen(step) - seen(step - n_steps)) / (ended - began)
                row["seconds"] = clock.since - STARTED
                row = {name: float(value) for name, value in row.items()} | {"step": step}
                run.append_history(folder, row)
                show(row)
                for alarm in alarms(row, state.params):
                    print(f"warning: {alarm}", file=sys.stderr)
                waited = waited + 1 if config.tol is not None and row["train/loss"] > best - config.tol else 0
                best = min(best, row["train/loss"])

        # ---- report -------------------------------------------------------------------------------------------------
        params = optim.averaged(state.params, state.opt_state)
        run.save_weights(folder, params, stats)
        last: dict[str, float] = {}
        if test is not None:
            clock("evaluation")
            sums = jax.device_get(program["test"](params, test))
            last = {name: float(value) for name, value in engine.prefixed("test", task.summary(sums)).items()}
        clock("report")
        spent = {f"seconds/{part}": seconds for part, seconds in clock.seconds.items()}
        run.append_history(folder, {"step": step, "epoch": step / per_epoch, **last, **spent})
        report.table(screen, row | last, f"{config.name} after {step:,} steps, {clock.since - STARTED:.1f} s")
        report.spent(screen, clock.seconds, seen(step))
        if clock.seconds["steps"] > 1 and not stop:  # long enough to be worth the look
            one = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), train)
            flops = seen(step) * speed.matrix_flops(engine.make_gradient(objective), params, one, key)
            many = 1 if jax.default_backend() == "cpu" else devices.count()  # CPU devices share their cores
            report.peak(screen, flops / clock.seconds["steps"], many * speed.benchmark_peak(0.3))
        for name, value in (row | last).items():
            if name.endswith("/loss") and not math.isfinite(value):
                raise NumericsError(f"{name}={value:g}: must be finite; look for examples unlike those of training")
        return 128 + stop[0] if stop else 0


if __name__ == "__main__":
    gc.disable()  # until the run has started: a fifth of that time would go into looking for garbage
    try:
        sys.exit(main(sys.argv[1:]))
    except Error as error:
        if "--traceback" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
