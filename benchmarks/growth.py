"""How the time and the memory of a run grow with rows, features, columns, width, depth, classes and epochs.

    python benchmarks/growth.py                                  all axes, about 20 minutes on two quiet cores
    python benchmarks/growth.py --axes depth classes --most 100  some, and no points beyond 100
    python benchmarks/growth.py --cpu                            seconds of all cores, where others use them too
    python benchmarks/growth.py --json FILE --picture FILE.svg   keep the points, draw them
    python benchmarks/growth.py --report FILE --picture ...      those of an earlier FILE, and run nothing

Every point is two processes: one loads the data, then trains what `jaxnn train` does, by the same function and without
kept programs; one goes on for another epoch in the same folder. What the time went into is what the run says of itself.
The data are arrays (.npz), along the axis of columns a table (.csv) of texts.

The table has the slope of each part on a log-log plot. A cost that does not depend on the axis (imports, a network's
smallest program) would flatten it, so the cost of the smallest point is taken off; the slope is that of the straight
line through the last three points that cost at least half as much again as the smallest. `-`: there are no two such
points, or the largest costs less than 50 ms or 20 MiB more than the smallest. `!`: more than 0.15 above what it should.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BASE = {"rows": 2_000, "features": 20, "width": 64, "depth": 2, "classes": 10, "epochs": 3}
# The points of each axis, and what is not as in BASE: on as many rows as tell an epoch from the clock's resolution.
AXES: dict[str, tuple[list[int], dict[str, int]]] = {
    "rows": ([1_000, 10_000, 100_000, 316_000, 1_000_000, 3_160_000, 10_000_000], {"features": 4}),
    "features": ([10, 100, 316, 1_000, 3_160, 10_000], {}),
    "columns": ([10, 100, 316, 1_000, 3_160, 10_000], {"rows": 300}),
    "width": ([10, 100, 256, 512, 1_024, 2_048, 4_096, 8_192], {"rows": 1_000}),
    "depth": ([1, 3, 10, 20, 50, 100], {"rows": 10_000}),
    "classes": ([2, 10, 100, 316, 1_000, 3_160, 10_000], {"rows": 30_000}),
    "epochs": ([1, 10, 100, 1_000, 3_160, 10_000], {"rows": 1_000}),
}
PARTS = {
    "loading": "jaxnn.data.load, s",
    "starting": "imports, and what is known of the network's shapes, s",
    "compiling": "the programs, the first weights and their checkpoint, s",
    "epoch": "the steps of an epoch, s",
    "evaluating": "the validation examples once, s",
    "row": "a row of the history and what is told of it, s",
    "saving": "the last checkpoint and the weights, s",
    "page": "report.html and what is printed at the end, s",
    "resuming": "`starting` of a run that goes on for an epoch, s",
    "memory": "the most that the process had, MiB",
}
ALL = tuple(PARTS)
# What should grow how: the exponent of each part along each axis, 0 where nothing is said.
SHOULD: dict[str, dict[str, int]] = {
    "rows": dict.fromkeys(ALL, 1) | dict.fromkeys(("compiling", "row", "saving"), 0),  # starting: a digest of the data
    "features": dict.fromkeys(ALL, 1),
    "columns": dict.fromkeys(ALL, 1),
    "width": dict.fromkeys(ALL, 2) | {"loading": 0},
    "depth": dict.fromkeys(ALL, 1) | {"loading": 0},
    "classes": dict.fromkeys(ALL, 1),
    "epochs": {"saving": 1, "page": 1, "resuming": 1, "memory": 1},  # saving: each row waits for the save before it
}
TOLERATED = 0.15
LEAST = {"memory": 20.0}  # MiB; of the other parts seconds:
LEAST_SECONDS = 0.05


def write(folder: Path, of: dict[str, int]) -> Path:
    """Normal numbers, of which the first tells the class; or a table of texts, two different ones a column."""
    rng, classes = np.random.default_rng(0), of["classes"]
    y = rng.permutation(of["rows"]).astype(np.int32) % classes
    if "columns" in of:
        path, texts = folder / "data.csv", np.array(["yes", "no"])[rng.integers(0, 2, (of["rows"], of["columns"]))]
        lines = [",".join([*cells, f"c{k}"]) for cells, k in zip(texts.tolist(), y, strict=True)]
        path.write_text("\n".join([",".join([*map("f{}".format, range(of["columns"])), "y"]), *lines]))
        return path
    x = rng.standard_normal((of["rows"], of["features"]), np.float32)
    x[:, 0] += (4.0 / classes) * y
    np.savez(path := folder / "data.npz", x=x, y=y)
    return path


def flags(of: dict[str, int], data: Path, folder: Path) -> list[str]:
    given = ["table", "--data.name", data, "--task.name", "multiclass", "--epochs", of["epochs"], "--workdir", folder]
    given += ["--batch-size", min(256, of["rows"] // 2), "--optim.name", "sgd", "--optim.lr", 0.001]
    given += ["--optim.schedule", "constant", "--optim.alpha", 0, "--checkpoint.every", "never", "--no-cache"]
    return [str(flag) for flag in [*given, "--model.hidden", *[of["width"]] * of["depth"]]]


def measured(of: dict[str, int], data: Path, folder: Path) -> dict[str, float]:
    """What a run costs; to be called in a process of its own. Its parts are those of the run's own account."""
    if "cpu" in of:
        time.perf_counter = time.process_time  # by which the run has its account too
    start = time.perf_counter()
    import jaxnn.data

    jaxnn.data.load(data, task="multiclass")
    loaded = time.perf_counter()
    from jaxnn.commands import main

    if code := main.train(flags(of, data, folder)):
        sys.exit(code)
    whole = time.perf_counter() - loaded
    last = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    spent = {name.removeprefix("seconds/"): value for name, value in last.items() if name.startswith("seconds/")}
    return {
        "loading": loaded - start,
        "starting": spent["start"],
        "compiling": spent["compilation"],
        "epoch": spent["steps"] / of["epochs"],
        "evaluating": spent["evaluation"] / (of["epochs"] + 1),
        "row": spent["report"] / of["epochs"],
        "saving": spent["saving"],
        "page": whole - sum(spent.values()),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
    }


def apart(of: dict[str, int], data: Path, folder: Path, limit: float) -> dict[str, float]:
    """`measured` in a process of its own. Raises `RuntimeError` where that takes too long or fails."""
    argv = [sys.executable, __file__, "--point", json.dumps([of, str(data), str(folder)])]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {limit:g} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.splitlines() or ["ended without a word"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def point(axis: str, value: int, limit: float, rounds: int, more: dict[str, int]) -> dict[str, Any]:
    """The least that each part of a point has cost in so many rounds, or why there is nothing to tell."""
    of = BASE | AXES[axis][1] | {axis: value} | more
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        data = write(Path(name), of)
        for i in range(rounds):
            folder = Path(name) / f"run-{i}"
            try:
                costs = apart(of, data, folder, limit)
                costs["resuming"] = apart(of | {"epochs": of["epochs"] + 1}, data, folder, limit)["starting"]
            except RuntimeError as reason:
                return {"axis": axis, "value": value, "failed": str(reason)}
            found = {part: min(cost, found.get(part, cost)) for part, cost in costs.items()}
    return {"axis": axis, "value": value, **{part: found[part] for part in PARTS}}


def slope(values: list[int], costs: list[float], least: float) -> float | None:
    """The exponent by which costs grow in the end, beyond those of the smallest value; None where they do not."""
    fixed = costs[0]
    grown = [(v, c - fixed) for v, c in zip(values, costs, strict=True) if c >= 1.5 * fixed][-3:]
    if len(grown) < 2 or grown[-1][1] < least:
        return None
    x, y = np.log(np.array(grown)).T
    return float(np.polyfit(x, y, 1)[0])


def by_axis(points: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The points that were reached, of each axis in their order."""
    good = [each for each in points if "failed" not in each]
    found = {axis: sorted((p for p in good if p["axis"] == axis), key=lambda p: p["value"]) for axis in AXES}
    return {axis: each for axis, each in found.items() if each}


def table(points: list[dict[str, Any]]) -> str:
    """Slopes as Markdown: what was found, and in brackets what it should be at most."""
    lines = [["", *PARTS], ["---"] * (len(PARTS) + 1)]
    for axis, each in by_axis(points).items():
        cells = []
        for part in PARTS:
            found = slope([p["value"] for p in each], [p[part] for p in each], LEAST.get(part, LEAST_SECONDS))
            should = SHOULD[axis].get(part, 0)
            over = found is not None and found > should + TOLERATED
            cells.append(("-" if found is None else f"{found:.2f}") + f" ({should})" + " !" * over)
        lines.append([f"{axis}, to {each[-1]['value']:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(points: list[dict[str, Any]], kind: str) -> bytes:
    """A panel for each axis: seconds of each part, and in grey the memory; `png` or `svg`."""
    from jaxnn.plot import style

    found = by_axis(points)
    figure, panels = style.panels(len(found))
    for axes, (axis, each) in zip(panels, found.items(), strict=True):
        values, memory = [p["value"] for p in each], axes.twinx()
        for i, part in enumerate(part for part in PARTS if part != "memory"):
            axes.loglog(values, [max(p[part], 1e-4) for p in each], **style.line(i), lw=1.2, label=part)
        memory.loglog(values, [p["memory"] for p in each], color="0.6", lw=3, alpha=0.5, label="memory")
        memory.set(ylim=(100, 1e4), ylabel="MiB" if axes is panels[min(2, len(panels) - 1)] else "")
        axes.set(xlabel=axis, ylim=(1e-4, 100), ylabel="s" if axes in panels[::3] else "")
        for each_of in (axes, memory):
            each_of.minorticks_off()
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend([*lines, memory.lines[0]], [*names, "memory"], loc="outside lower center", ncols=5, frameon=False)
    return style.packed(figure, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--most", type=int, default=10_000_000, help="leave out the points beyond")
    parser.add_argument("--limit", type=float, default=90, help="seconds of a process (default 90)")
    parser.add_argument(
        "--rounds", type=int, default=1, help="processes a point, of which the least counts (default 1)"
    )
    parser.add_argument("--cpu", action="store_true", help="count the seconds of all cores, not those of the clock")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the points, a line each")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the points of FILE; run nothing")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them, PNG or SVG")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        of, data, folder = json.loads(args.point)
        print(json.dumps(measured(of, Path(data), Path(folder))))
        return
    points = [json.loads(line) for line in args.report.read_text().splitlines()] if args.report else []
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    for axis in [] if args.report else args.axes:
        for value in (value for value in AXES[axis][0] if value <= args.most):
            points.append(point(axis, value, args.limit, args.rounds, {"cpu": 1} if args.cpu else {}))
            line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in points[-1].items()})
            print(line, flush=True)
            if args.json:
                with args.json.open("a") as file:
                    file.write(line + "\n")
            if "failed" in points[-1]:
                break
    print(f"\n{table(points)}")
    if args.picture:
        args.picture.write_bytes(picture(points, args.picture.suffix[1:]))


if __name__ == "__main__":
    main()
