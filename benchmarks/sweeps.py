"""A sweep of 16 rates x 3 seeds of the lecture's network beside 48 single runs: seconds, compilations, and the weights.

    python benchmarks/sweeps.py --data.dir DIR              (MNIST's four IDX files)

Each way makes the same 48 folders, with a cache folder that is empty at first: a sweep by map, one by vmap, and single
runs one after the other. Seconds are of the whole processes, and those of all cores that they kept busy.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parent.parent
SWEEP = ["--sweep", "optim.lr=1e-3..1:16", "--seeds", "3"]
COUNTED = """
import sys, jax
from jaxnn.commands import main
names = []
def count(event, seconds, **more):
    if event.endswith("backend_compile_duration"):
        names.append(more["fun_name"])
jax.monitoring.register_event_duration_secs_listener(count)
main.train(sys.argv[1:])
of_runs = [name for name in names if name in ("jit(run_steps)", "jit(chunk)", "jit(evaluate)", "jit(sums)")]
print(len(of_runs), "programs of steps and evaluations;", len(names), "with all small ones")
"""


def run(argv: list[str], cache: Path) -> list[str]:
    """The lines of `jaxnn train ARGV` in a process of its own."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", COUNTED, *argv], capture_output=True, text=True, env=env, check=True)
    return done.stdout.splitlines()


def difference(a: Path, b: Path) -> float:
    """The largest one between two arrays of weights."""
    one, other = (load_file(folder / "weights.safetensors") for folder in (a, b))
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data.dir", dest="data", required=True)
    parser.add_argument("--epochs", default="10")
    flags = parser.parse_args()
    config = ["mnist_mlp", "--data.dir", flags.data, "--epochs", flags.epochs]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for way in ("map", "vmap", "single"):
            wall, cpu = time.perf_counter(), busy()
            if way == "single":
                lines = singles(config, folder)
            else:
                argv = [*config, *SWEEP, "--sweep.mode", way, "--workdir", str(folder / way)]
                lines = run(argv, folder / f"{way}-cache")[-23:]
            print(*lines, sep="\n")
            print(f"{way}: {time.perf_counter() - wall:.1f} s, {busy() - cpu:.1f} s of cores", flush=True)
        for way in ("map", "vmap"):
            gaps = [difference(folder / "single" / path.name, path) for path in (folder / way).glob("*-lr=*")]
            equal = sum(gap == 0 for gap in gaps)
            print(f"{way}: weights of {equal} of {len(gaps)} equal bit for bit, largest difference {max(gaps):.1e}")


def singles(config: list[str], folder: Path) -> list[str]:
    """The runs of the sweep in `folder / "map"`, one after the other: the last line of the first and of the last."""
    lines = []
    for member in json.loads((folder / "map" / "sweep.json").read_text())["members"]:
        setting = ["--optim.lr", repr(member["values"]["optim.lr"]), "--seed", str(member["values"]["seed"])]
        where = ["--workdir", str(folder / "single" / member["folder"])]
        lines.append(run([*config, *setting, *where], folder / "single-cache")[-1])
    return [lines[0], lines[-1]]


def busy() -> float:
    """Seconds of cores that the processes started here have taken, which other processes' load does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
