"""Train a neural network: `python train.py [CONFIG] [flags]`; `python train.py --help` shows both.

Read it from top to bottom: it is the whole run.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import signal
import sys
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxnn.config import save_every, steps, to_dict
from jaxnn.errors import Error, InputError, NumericsError, choices, printable

HERE, STARTED = Path(__file__).parent, time.perf_counter()


def main(argv: list[str]) -> int:
    stop: list[int] = []  # the signal that ends the run early

    def on_signal(number: int, _: object) -> None:
        stop.append(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)  # a second one ends at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)

    from jaxnn import cli  # not before the signals are taken

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

    from jaxnn import cache, chunks, devices, diagnose, engine, optim, report, resume, run, speed, workdir

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
    save_steps, save_seconds = save_every(config.checkpoint.every, steps_per_epoch=per_epoch, total=total)

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
        key = jax.random.key(config.seed)
        init = jax.jit(lambda key: engine.make_init(model, tx)(key, example))
        shapes = devices.replicated(jax.eval_shape(init, key))  # of the state; it is made when all is compiled
        params, one = optim.averaged(shapes.params, shapes.opt_state), engine.one_row(data.train)
        if config.checkpoint.best:
            names = engine.metric_names(objective, task, params, one, validation=data.validation is not None)
            if config.checkpoint.best not in names:
                raise choices("--checkpoint.best", config.checkpoint.best, names)
        size = lambda tree: sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
        for note in data.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        if flags.dry_run:
            print(jaxnn.summary(model, example))
            steps_of = f"{n:,} training examples, {total:,} steps of {batch_size}"
            screen.print(f"{config.name}: {about['name']}, {steps_of}; {chosen}", soft_wrap=True)
            print(f"memory: {size(shapes) / 2**20:.2f} MiB of state, {size(data.splits) / 2**20:.2f} MiB of data")
            return 128 + stop[0] if stop else 0

        # ---- start, or go on ----------------------------------------------------------------------------------------
        folder = Path(config.workdir or "runs/" + time.strftime(f"{config.name}-%Y%m%d-%H%M%S"))
        own = {"own_model": request.model is not None, "source_digest": request.source_digest}
        identity = workdir.about(config, about, chosen, source=request.source, **own)
        begun = resume.begin(folder, identity, shapes, config, total=total, per_epoch=per_epoch)
        screen.print(f"{config.name}: {about['name']}, {n:,} training examples; {chosen}; {folder}", soft_wrap=True)
        for line in begun.lines:
            screen.print(line, soft_wrap=True)
        if begun.finished:
            return 128 + stop[0] if stop else 0
        step, row, host = begun.step, begun.row, begun.host
        clock("data")
        train, validation, test = (devices.replicate(split and jaxnn.Batch(*split)) for split in data.splits)

        clock("compilation")  # all of it before the first step, on all cores
        if not flags.no_cache:
            cache.keep_programs()
        flops = lambda: speed.matrix_flops(engine.make_gradient(objective), params, one, key)
        most = math.inf if request.model else speed.most_flops(params, example)
        longest = chunks.longest(every, batch_size, most, flops, jax.default_backend())
        length, lengths = chunks.cut(step, total, [every, *filter(None, [save_steps])], longest)
        compiled = lambda function, *args, **more: pool.submit(function.lower(*args, **more).compile)
        start = compiled(init, key) if begun.state is None else None
        jobs: dict[Any, Any] = {n_steps: compiled(run_steps, shapes, train, n_steps, key=key) for n_steps in lengths}
        for name, split in (("val", validation), ("test", test)):
            if split is not None:
                jobs[name] = compiled(evaluate, params, split)
        state = devices.replicate(start.result()(key) if start else begun.state)
        wait = lambda function, *args: pool.submit(function, *args).result()  # a second signal ends this one at once

        def save() -> Future[None]:
            """Beside the steps that follow: they do not wait for the disk."""
            saving.result()  # the save before this one
            kept = {"keep": config.checkpoint.keep, "score": score, "keep_best": config.checkpoint.best is not None}
            return pool.submit(workdir.save_state, folder, step, state, identity, host.pack(), **kept)

        saving: Future[None] = Future()
        saving.set_result(None)
        saved, saved_at, score = step, time.monotonic(), None
        if begun.state is None:
            saving = save()
        program = {name: job.result() for name, job in jobs.items()}
        saving.result()  # no step before it is known that steps can be saved
        gc.freeze()  # what was made so far stays
        gc.enable()

        # ---- loop ---------------------------------------------------------------------------------------------------
        def run_chunk(n_steps: int) -> tuple[Any, Any]:
            after, info = program[n_steps](state, train, key=key)
            return after, jax.device_get(info)

        earlier, began, timed = row.get("seconds", 0.0) - STARTED, seen(step), 0.0
        alarms = diagnose.Watch(model, state.params, data.train.x)
        finite = lambda loss: loss is not None and math.isfinite(loss)  # the history has null for what is no number
        with report.progress(screen, total) as show:
            while step < total and not stop and host.waited < config.patience and finite(row.get("val/loss", 0.0)):
                clock("steps")
                good, n_steps, since = state, length(step), time.perf_counter()
                try:
                    state, info = wait(run_chunk, n_steps)
                except Exception:  # in a function of the user's own
                    saving = saving if saved == step else save()
                    saving.result()
                    raise
                timed += time.perf_counter() - since
                if not info["finite"]:  # replayed from the last good state, to keep what is good of it
                    gradient = engine.make_gradient(objective, accumulate=accumulate)
                    fault = engine.find_fault(run_steps, gradient, good, train, n_steps, batch_size, key=key)
                    state = fault.state
                    workdir.save_weights(folder, optim.averaged(state.params, state.opt_state), stats)
                    saving.result()
                    lr = info["lr"][min(int(state.step) - step, n_steps - 1)]
                    rows = ", ".join(map(str, fault.rows[:10])) + ", ..." * (len(fault.rows) > 10)
                    cause = f"step={state.step}: {fault.leaf} is not finite at lr={lr:g}, training rows {rows}"
                    raise NumericsError(f"{cause}; lower --optim.lr or set --optim.clip_norm")
                clock("saving")
                saving.result()  # no row is written before the checkpoint that it starts from is safe
                step += n_steps
                host, score, best = host._replace(sums=engine.add(host.sums, info)), None, host.top
                if step % every == 0 or step == total:
                    row = {"step": step, "epoch": step / per_epoch, **engine.row(task, host.sums)}
                    if validation is not None:
                        clock("evaluation")
                        averaged = optim.averaged(state.params, state.opt_state)
                        sums = wait(lambda params: jax.device_get(program["val"](params, validation)), averaged)
                        row |= engine.prefixed("val", task.summary(sums))
                    clock("report")
                    row["examples_per_s"] = (seen(step) - began) / timed
                    row["seconds"] = earlier + clock.since
                    row = {name: float(value) for name, value in row.items()} | {"step": step}
                    workdir.append_history(folder, row)
                    show(row)
                    for alarm in alarms(row, state.params):
                        print(f"warning: {printable(alarm)}", file=sys.stderr)
                    began, timed = seen(step), 0.0
                    if step % every == 0:  # else more epochs may follow, another time
                        host = host.next(row["train/loss"], config.tol)
                    score = config.checkpoint.score(row)
                    host = host._replace(top=max(host.top, -math.inf if score is None else score))
                due = (save_steps and step % save_steps == 0) or time.monotonic() - saved_at >= save_seconds
                if due or host.top > best:
                    clock("saving")
                    saving, saved, saved_at = save(), step, time.monotonic()

        # ---- report -------------------------------------------------------------------------------------------------
        if saved < step:
            saving = save()
        params = optim.averaged(state.params, state.opt_state)
        workdir.save_weights(folder, params, stats)
        last: dict[str, float] = {}
        if test is not None:
            clock("evaluation")
            sums = wait(lambda: jax.device_get(program["test"](params, test)))
            last = {name: float(value) for name, value in engine.prefixed("test", task.summary(sums)).items()}
        clock("saving")
        saving.result()
        clock("report")
        spent = {f"seconds/{part}": seconds for part, seconds in clock.seconds.items()}
        workdir.append_history(folder, {"step": step, "epoch": step / per_epoch, **last, **spent})
        report.table(screen, row | last, f"{config.name} after {step:,} steps, {clock.since - STARTED:.1f} s")
        done = seen(step) - seen(begun.step)
        report.spent(screen, clock.seconds, done)
        if clock.seconds["steps"] > 1 and not stop:  # long enough to be worth the look
            many = 1 if jax.default_backend() == "cpu" else devices.count()  # CPU devices share their cores
            report.peak(screen, done * flops() / clock.seconds["steps"], many * speed.benchmark_peak(0.3))
        for name, value in (row | last).items():
            if name.endswith("/loss") and not finite(value):
                cause = f"step={step}: {name}={value}: must be finite"
                raise NumericsError(f"{cause}; lower --optim.lr, or look for examples unlike those of training")
        return 128 + stop[0] if stop else 0


def end(code: int) -> None:
    """End the process, whatever its threads are doing."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    gc.disable()  # until the run has started: a fifth of that time would go into looking for garbage
    try:
        code = main(sys.argv[1:])
    except Error as error:
        if "--traceback" in sys.argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        end(error.exit_code)
    except Exception:
        traceback.print_exc()
        end(1)
    else:
        sys.exit(code)
