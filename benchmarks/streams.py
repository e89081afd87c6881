"""Rows from the disk beside rows in memory: examples a second, the share of the time that steps waited, and memory.

    jaxnn convert mnist --to mnist-npy --data.dir DIR --data.validation_fraction 0.08333333333333333
    python benchmarks/streams.py rates mnist-npy
    python benchmarks/streams.py memory --gib 30 --limit 3

`rates` trains the same network on both in turn, each in a process of its own, and leaves out the first epoch. `memory`
trains for a minute on a data set of so many GiB (a file of holes, which takes no disk) under RLIMIT_AS, and on one of a
tenth of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HEAD = {"descr": "|u1", "fortran_order": False}


def run(folder: Path, *flags: object, limit: int | None = None, config: str = "mnist_mlp") -> list[dict]:
    """The history of a run on a converted folder."""
    capped = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "jaxnn", "train", config, "--data.name", folder.resolve(), *flags]
        done = subprocess.run(
            [*map(str, command), "--workdir", workdir], capture_output=True, text=True, preexec_fn=capped
        )
        if done.returncode:
            sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
        return [json.loads(line) for line in (Path(workdir) / "history.jsonl").read_text().splitlines()]


def rates(folder: Path, batches: list[int], epochs: int, repeats: int) -> None:
    """A line for each batch size: the medians over all epochs but the first, and over the runs of what was waited."""
    for batch in batches:
        found: dict[str, list[float]] = {"stream": [], "resident": []}
        waited = []
        for _ in range(repeats):
            for feed, each in found.items():
                flags = ["--data.feed", feed, "--batch-size", batch, "--epochs", epochs, "--checkpoint.every", "never"]
                *rows, last = run(folder, *flags)
                each += [row["examples_per_s"] for row in rows[1:]]
                if feed == "stream":
                    waiting = last.get("seconds/waiting", 0.0)
                    waited.append(waiting / (waiting + last["seconds/steps"]))
        stream, resident = (statistics.median(each) for each in found.values())
        print(
            f"batch {batch}: streamed {stream:,.0f}, resident {resident:,.0f} examples/s, {stream / resident:.0%}, "
            f"waited {statistics.median(waited):.1%} of the steps"
        )


def large(folder: Path, gib: float) -> None:
    """A folder as `jaxnn convert` writes it, of black 28x28 images."""
    sizes = {"train": int(gib * 2**30) // 784, "validation": 10_000, "test": 10_000}
    rng, files = np.random.default_rng(0), {}
    for part, n in sizes.items():
        path = folder / f"{part}-x.npy"
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, HEAD | {"shape": (n, 28, 28, 1)})
            file.truncate(file.tell() + n * 784)
        np.save(folder / f"{part}-y.npy", rng.integers(0, 10, n, np.int32))
        np.save(folder / f"{part}-weight.npy", np.ones(n, np.float32))
    for path in folder.glob("*.npy"):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": ""}
    none = ("labels", "features", "columns", "targets", "fill", "spread", "mean", "std")
    about = dict.fromkeys(none) | {"task": "multiclass", "outputs": 10, "classes": list(range(10)), "missing": []}
    about |= {"scale": 255.0, "center": 0.0, "notes": [], "range": [0, 255], "digest": "0" * 64, "shape": [28, 28, 1]}
    told = {
        "format": 1,
        "source": "",
        "settings": {"validation_fraction": 1 / 12},
        "parts": sizes,
        "about": about,
        "files": files,
    }
    (folder / "dataset.json").write_text(json.dumps(told))


WATCHED = """
import resource, sys, threading, time
from jaxnn.commands.main import train
peaks = []
def look():
    while True:
        fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
        peaks.append(sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024)
        time.sleep(0.05)
threading.Thread(target=look, daemon=True).start()
code = train(sys.argv[1:])
late = peaks[len(peaks) // 2 :]
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("MEMORY", max(peaks), min(late), max(late), int(fields["VmPeak"].split()[0]) / 1024)
sys.exit(code)
"""


def memory(gib: float, limit: float, seconds: float) -> None:
    """The memory of a run over a data set of so many GiB, under a limit of addresses, and of one over a tenth of it."""
    for size in (gib / 10, gib):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "data"
            folder.mkdir()
            large(folder, size)
            flags = ["mnist_mlp", "--data.name", folder, "--data.feed", "stream", "--batch-size", 1024, "--epochs", 1]
            flags += ["--eval-every", 500, "--workdir", Path(scratch) / "run"]
            cap, end = int(limit * 2**30), ["timeout", "--foreground", "-s", "TERM", str(seconds)]
            done = subprocess.run(
                [*end, sys.executable, "-c", WATCHED, *map(str, flags)],
                capture_output=True, text=True,
                preexec_fn=lambda cap=cap: resource.setrlimit(resource.RLIMIT_AS, (cap, cap)),
            )  # fmt: skip
            if "MEMORY" not in done.stdout:
                sys.exit(done.stdout[-2000:] + done.stderr[-3000:])
            most, low, high, addresses = map(float, done.stdout.split("MEMORY")[1].split()[:4])
            print(
                f"{size:.1f} GiB of rows, RLIMIT_AS {limit:g} GiB: {most:,.0f} MiB at most, in the second half of the "
                f"run {low:,.0f} to {high:,.0f}; {addresses:,.0f} MiB of addresses"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_rates = commands.add_parser("rates")
    of_rates.add_argument("folder", type=Path)
    of_rates.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    of_rates.add_argument("--epochs", type=int, default=6)
    of_rates.add_argument("--repeats", type=int, default=3)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--gib", type=float, default=30)
    of_memory.add_argument("--limit", type=float, default=3, help="GiB of addresses")
    of_memory.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    if given.command == "rates":
        rates(given.folder, given.batches, given.epochs, given.repeats)
    else:
        memory(given.gib, given.limit, given.seconds)
