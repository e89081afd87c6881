"""Trains the same network on the same data with jaxnn and with its peers, and prints a table.

    [MNIST_DIR=DIR] python benchmarks/compare.py --case lecture [--peers sklearn,keras,torch,flax] [--json FILE]
    python benchmarks/compare.py --report FILE

Every training is a process of its own. They take turns, round by round, and a ratio is taken within each round; the
table has medians, and in brackets the least and the greatest.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import cases
from cases import ALIASES, CASES, Case

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A script in peers/, its variant and the modules that it imports."""

    about: str
    script: str
    variant: str | None = None
    modules: tuple[str, ...] = ()
    convolutions: bool = True


PEERS = {
    "jaxnn": Peer("always the first, and what the others are compared with", "jaxnn_peer.py", None, ("jaxnn",)),
    "jaxnn-step": Peer("the same steps, each a call from Python", "jaxnn_peer.py", "step", ("jaxnn",)),
    "jaxnn-one": Peer("jaxnn, networks one after the other (population)", "jaxnn_peer.py", "one", ("jaxnn",)),
    "sklearn": Peer("scikit-learn's MLPClassifier", "sklearn_peer.py", None, ("sklearn",), convolutions=False),
    "keras": Peer("Keras 3 with JAX: compile and fit", "keras_peer.py", "jax", ("keras", "jax")),
    "keras-face": Peer("the script of keras, importing jaxnn.keras", "keras_peer.py", "jaxnn", ("jaxnn",)),
    "keras-tf": Peer("Keras 3 with TensorFlow", "keras_peer.py", "tensorflow", ("keras", "tensorflow")),
    "torch": Peer("PyTorch, a careful loop", "torch_peer.py", "eager", ("torch",)),
    "torch-nhwc": Peer("the same, channels last", "torch_peer.py", "channels_last", ("torch",)),
    "torch-compile": Peer("the same, torch.compile", "torch_peer.py", "compile", ("torch",)),
    "flax": Peer("Flax Linen, one jitted step a batch", "flax_peer.py", "linen", ("flax", "optax")),
    "flax-nnx": Peer("Flax NNX, one jitted step a batch", "flax_peer.py", "nnx", ("flax", "optax")),
    "plain": Peer("hand-written JAX with every trick we know: the ceiling", "plain_peer.py", None, ("jax", "optax")),
}
PACKAGES = {
    "jaxnn": "-e .",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow-cpu",
}  # where it is not the module's name
BUSY = 0.1  # cores taken by other processes; threads that wait for each other lose far more than their share
ON_CPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def one_of(flag: str, value: str, allowed: Iterable[str]) -> str:
    if value in (allowed := list(allowed)):
        return value
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    fail(f"{flag}={value}: unknown; {hint}Choose from {', '.join(allowed)}")


def count(flag: str, value: str | None) -> int | None:
    if value is None or (value.isdecimal() and int(value) >= 1):
        return None if value is None else int(value)
    fail(f"{flag}={value}: must be a whole number >= 1")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see --help")


def parse() -> argparse.Namespace:
    listing = lambda head, entries: [f"{head}:", *(f"  {k:17} {v.about}" for k, v in entries.items()), ""]
    parser = Parser(
        description=__doc__,
        epilog="\n".join(listing("cases", CASES) + listing("peers", PEERS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--case", default="lecture", help="see below (default lecture)")
    parser.add_argument("--peers", help="names with commas between (default: those that fit the case)")
    parser.add_argument("--batch", help="rows in a batch (default: the case's)")
    parser.add_argument("--epochs", help="epochs to time, after one to warm up; at most, if the case has a target")
    parser.add_argument("--rounds", default="5", help="default 5")
    parser.add_argument("--limit", help="train on the first LIMIT rows (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu (default), or gpu for JAX and PyTorch")
    parser.add_argument("--json", metavar="FILE", help="append the result, one line")
    parser.add_argument("--report", metavar="FILE", help="print the results in FILE as Markdown, and run nothing")
    args = parser.parse_args()
    for name in ("batch", "epochs", "rounds", "limit"):
        setattr(args, name, count(f"--{name}", getattr(args, name)))
    args.case = ALIASES.get(args.case, args.case)
    one_of("--case", args.case, CASES)
    one_of("--device", args.device, ("cpu", "gpu"))
    case = CASES[args.case]
    names = (args.peers or case.peers).split(",")
    args.peers = list(dict.fromkeys(["jaxnn", *(one_of("--peers", n.strip(), PEERS) for n in names)]))
    batch = args.batch or case.batch
    rows = 150 if case.iris else args.limit or 60_000
    rows -= cases.held_out(rows) if case.target else 0
    if case.iris and args.limit:
        fail(f"--limit={args.limit}: iris has 150 rows and all are used; leave it out")
    if rows < batch:
        fail(f"--batch={batch}: there are only {rows} rows to train on; make it smaller or --limit greater")
    try:
        if args.json:
            open(args.json, "a").close()
    except OSError as e:
        fail(f"--json={args.json}: cannot be written ({e.strerror}); name a file in a folder that exists")
    return args


def usable(name: str, case: Case) -> bool:
    """Whether the peer can run here; says why not."""
    peer = PEERS[name]
    missing = [m for m in peer.modules if importlib.util.find_spec(m) is None]
    if missing:
        print(f"{name}: not installed, left out; pip install {' '.join(PACKAGES.get(m, m) for m in missing)}")
    elif case.hidden is None and not peer.convolutions:
        print(f"{name}: has no convolutions, left out")
        return False
    return not missing


def data(case: Case, limit: int | None, scratch: Path) -> tuple[str, Path]:
    """What the data are, in words, and the folder with their IDX files: the user's, or one made in `scratch`."""
    try:
        if case.iris:
            return "iris", scratch
        name, folder = cases.prepare(limit, scratch)
        cases.split(folder, "train")
        return name, folder
    except (OSError, ValueError, IndexError) as e:
        source = os.environ.get("MNIST_DIR")
        fail(f"MNIST_DIR={source}: cannot be read ({e}); name the folder with train-images-idx3-ubyte.gz")


def cpu_seconds() -> tuple[float, float]:
    """Seconds of CPU that were used since the start: by all (or stolen from this machine), and by our children."""
    own = os.times()
    try:
        user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    except OSError:
        return 0.0, 0.0  # not Linux: unknown, taken for quiet
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK"), own.children_user + own.children_system


def train(name: str, args: argparse.Namespace, folder: Path, seed: int, caches: Path | None = None) -> dict | str:
    """The line of JSON that the peer printed; if it failed, the last line of its errors."""
    peer, case = PEERS[name], CASES[args.case]
    flags = {"--case": args.case, "--batch": args.batch, "--epochs": args.epochs, "--seed": seed}
    flags |= {"--variant": peer.variant, "--target": case.target}
    command = [sys.executable, str(HERE / "peers" / peer.script)]
    command += [str(part) for flag in flags.items() if flag[1] is not None for part in flag]
    command += ["--cold"] * (case.measure == "process_s")
    environment = {
        **os.environ,
        **(ON_CPU if args.device == "cpu" else {"JAX_PLATFORMS": "cuda"}),
        "MNIST_DIR": str(folder),
    }
    with tempfile.TemporaryDirectory() as empty:  # nothing is found that an earlier process has compiled
        kept = str(caches or empty)
        environment |= {"XDG_CACHE_HOME": kept, "JAX_COMPILATION_CACHE_DIR": "", "TORCHINDUCTOR_CACHE_DIR": kept}
        used, start = cpu_seconds(), time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        everyone, ours = (b - a for a, b in zip(used, cpu_seconds(), strict=True))
    others = max(0.0, everyone - ours) / (time.perf_counter() - start)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and lines:
        return {"round": seed, "others": round(others, 2), **json.loads(lines[-1])}
    return (done.stderr.strip().splitlines() or [f"exit {done.returncode}, without a word"])[-1]


def machine() -> dict[str, str | int]:
    model, system = platform.processor() or platform.machine(), f"{platform.system()} {platform.release()}"
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), model)
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": model, "cores": cores, "system": system}


def spread(values: list[float], form: str, never: str = "not reached") -> str:
    """The median, and the least and the greatest."""
    if not values:
        return "-"
    show = lambda v: format(v, form) if math.isfinite(v) else never
    middle, least, most = (show(f(values)) for f in (statistics.median, min, max))
    return middle if least == most else f"{middle} ({least} to {most})"


def table(result: dict) -> str:
    """Markdown that can be read as it is."""
    case = replace(CASES[result["case"]], batch=result["batch"])
    measure, rows = case.measure, result["rows"]
    values = lambda runs, key: [math.inf if run[key] is None else run[key] for run in runs]
    heads = {"samples_per_s": "examples/s", "process_s": "whole process, s", "fit_s": "fit, s"}
    heads["first_epoch_s"] = "first epoch, s"
    if case.target:
        heads["fit_s"] = f"s to {100 * case.target:.0f} %"
    forms = {"samples_per_s": ",.0f", "process_s": ".2f", "fit_s": ".3f" if case.iris else ".2f"}
    extra = [k for k in ("first_epoch_s", "process_s") if k != measure and not (case.iris and k == "first_epoch_s")]
    extra = [] if case.target else extra  # jaxnn goes on to the last epoch
    extra = [] if case.nets > 1 else extra  # the contenders train different numbers of networks
    over = {"samples_per_s": "jaxnn / peer", "process_s": "jaxnn / peer (below 1: jaxnn is faster)"}
    on = "training" if case.iris else "test"
    lines = [["", heads[measure], over.get(measure, "peer / jaxnn"), *(heads[k] for k in extra), f"{on} accuracy"]]
    reference = {run["round"]: run for run in rows.get("jaxnn", [])}
    for name, runs in rows.items():
        pairs = [values([reference[run["round"]], run], measure) for run in runs if run["round"] in reference]
        pairs = [pair[::-1] if measure == "fit_s" else pair for pair in pairs if pair != [math.inf, math.inf]]
        ratio = spread([a / b for a, b in pairs], ".2f", "never") if name != "jaxnn" else "1"
        rest = [f"{statistics.median(values(runs, key)):.2f}" for key in extra]
        right = f"{statistics.median(values(runs, 'accuracy')):.4f}"
        lines.append([name, spread(values(runs, measure), forms[measure]), ratio, *rest, right])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * w for w in widths])
    body = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines]
    rounds = max((len(runs) for runs in rows.values()), default=0)
    title = f"{result['case']}: {case.about}" + f" (here {case.batch})" * (case.batch != CASES[result["case"]].batch)
    notes = f"{result['data']}; {rounds} round{'s' * (rounds != 1)}"
    if case.nets > 1:
        notes += f"; the rows of every network count; one after the other, 4 of the {case.nets} are trained"
    disturbed = [run["others"] for runs in rows.values() for run in runs if run["others"] > BUSY]
    if disturbed:
        body += ["", f"Not to be trusted: in {len(disturbed)} of {sum(map(len, rows.values()))} runs other processes"]
        body[-1] += f" took up to {max(disturbed):.1f} cores; make the machine quiet and measure again."
    return "\n".join([f"**{title}**", "", notes, "", *body])


def setting(result: dict) -> str:
    m, versions = result["machine"], result["versions"]
    return f"{m['cpu']}, {m['cores']} cores, {m['system']}; " + ", ".join(f"{k} {v}" for k, v in versions.items())


def report(file: str) -> None:
    try:
        results = [json.loads(line) for line in Path(file).read_text().splitlines() if line.strip()]
        tables = {(r["case"], r["batch"], r["data"], setting(r)): table(r) for r in results}  # the last one counts
    except OSError as e:
        fail(f"--report={file}: {e.strerror}; name a file that --json has written")
    except (ValueError, KeyError, TypeError) as e:
        fail(f"--report={file}: is not what --json writes ({e!r}); name another")
    for where in dict.fromkeys(key[-1] for key in tables):
        print("\n\n".join([t for key, t in tables.items() if key[-1] == where] + [where]), end="\n\n")


def main() -> None:
    args = parse()
    if args.report:
        return report(args.report)
    case = CASES[args.case]
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        source, folder = data(case, args.limit, Path(scratch))
        source += ", on a GPU" if args.device == "gpu" else ""
        print(f"data: {source}", flush=True)
        rows: dict[str, list[dict]] = {name: [] for name in args.peers if usable(name, case)}
        running = list(rows)
        warm = bool(case.measure == "process_s" or case.target)  # the second time: programs that were kept are found
        caches = Path(scratch) if warm else None
        for i in range(-warm, args.rounds):
            for name in tuple(running):
                run = train(name, args, folder, seed=max(i, 0), caches=caches)
                if isinstance(run, str):
                    print(f"{name}: failed, left out from here: {run}", file=sys.stderr, flush=True)
                    running.remove(name)
                    failed = True
                elif i >= 0:
                    rows[name].append(run)
    rows = {name: runs for name, runs in rows.items() if runs}
    versions = {k: v for runs in rows.values() for run in runs for k, v in run["versions"].items()}
    head = {"case": args.case, "batch": args.batch or case.batch, "data": source, "machine": machine()}
    result = {**head, "versions": versions, "rows": rows}
    if rows:
        print(f"\n{table(result)}\n\n{setting(result)}")
        if args.json:
            with open(args.json, "a") as out:
                out.write(json.dumps(result) + "\n")
    raise SystemExit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
