"""What checkpoints cost: `train.py` with one an epoch beside one at the beginning and the end, taking turns.

    MNIST_DIR=DIR python benchmarks/checkpoint.py --rounds 5

Both train the lecture's network on MNIST. A round runs each once; what is compared is the time of the whole process and
of its training, as medians and as the median of the ratios of the rounds. `blocked` is how long the steps waited for
a save, from the run's own history.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(every: str, epochs: int, mnist: str, folder: Path) -> dict[str, float]:
    """One process: seconds of all of it, of its steps, and milliseconds that they waited for each save."""
    flags = ["mnist_mlp", "--data.dir", mnist, "--epochs", epochs, "--workdir", folder, "--checkpoint.every", every]
    start = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *map(str, flags)], check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    last = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    saves = epochs if every == "1epoch" else 1  # besides the one before the first step
    steps = sum(last[f"seconds/{part}"] for part in ("steps", "saving", "evaluation"))
    return {"process, s": whole, "training, s": steps, "blocked, ms a save": 1000 * last["seconds/saving"] / saves}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    mnist = os.environ.get("MNIST_DIR")
    if not mnist:
        sys.exit("error: MNIST_DIR: is not set; name the folder of the four MNIST files")
    rows: dict[str, list[dict[str, float]]] = {"1epoch": [], "never": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as base:
        for every in rows:
            run(every, 1, mnist, Path(base) / f"warm-{every}")  # compile, and keep the programs
        for i in range(args.rounds):
            for every in sorted(rows, reverse=bool(i % 2)):
                rows[every].append(run(every, args.epochs, mnist, Path(base) / f"{every}-{i}"))
    print(f"{args.epochs} epochs, {args.rounds} rounds: median (least to most)")
    for every, seen in rows.items():
        for name in seen[0]:
            values = [row[name] for row in seen]
            print(f"  {every:7} {name:20} {statistics.median(values):8.3f} ({min(values):.3f} to {max(values):.3f})")
    for name in ("process, s", "training, s"):
        ratios = [a[name] / b[name] for a, b in zip(*rows.values(), strict=True)]
        least, most = min(ratios), max(ratios)
        print(f"  1epoch / never, {name:12} {statistics.median(ratios):8.3f} ({least:.3f} to {most:.3f})")


if __name__ == "__main__":
    main()
