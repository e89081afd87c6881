"""100 images of new classes: learned by a network that knows other classes, and from scratch, for 5 seeds.

    python benchmarks/image_sets.py mnist_m MNIST_DIR mnist_m.npz
    python benchmarks/finetune.py mnist_m.npz

The network of mnist_m is trained on the digits 0 to 4; then on 20 images each of 5 to 9, drawn by the seed: with the
weights it has and a new last layer, which learns ten times as fast; with all but that layer frozen, or held for half
of the epochs; and from scratch. Tested on all test images of 5 to 9.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SEEDS, EACH = 5, 20
TUNED = ["--init_from", "old", "--optim.lr", "0.001", "--optim.lr_scale", "dense_0=10"]
BODY = ["conv_0", "batch_norm_0", "stage_*"]
WAYS = {
    "fine-tuned": TUNED,
    "fine-tuned, all but the last layer held for 20 epochs": [
        *TUNED,
        "--optim.unfreeze",
        *(f"{part}=20epochs" for part in BODY),
    ],
    "the last layer alone": [*TUNED, "--optim.freeze", *BODY],
    "from scratch": [],
    "from scratch, with shifts": ["--data.augment", "shift:2"],
}


def train(folder: Path, data: str, name: str, *flags: str) -> float:
    """The test accuracy of a run."""
    command = [sys.executable, ROOT / "train.py", "mnist_m", "--data.name", data, "--workdir", name, *flags]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (folder / name / "history.jsonl").read_text().splitlines()]
    return next(row["test/accuracy"] for row in reversed(rows) if "test/accuracy" in row)


def write(folder: Path, images: Path) -> None:
    """old.npz, and new_0.npz, new_1.npz, ...: 100 images each, with the labels of their classes."""
    with np.load(images) as arrays:
        x, y, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    old, new = y_test < 5, y_test >= 5
    np.savez(folder / "old.npz", x_train=x[y < 5], y_train=y[y < 5], x_test=x_test[old], y_test=y_test[old])
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == digit), EACH, replace=False) for digit in range(5, 10)])
        given = {"x_train": x[rows], "y_train": y[rows], "x_test": x_test[new], "y_test": y_test[new]}
        np.savez(folder / f"new_{seed}.npz", **given)


def main(argv: list[str]) -> None:
    if len(argv) != 1:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, Path(argv[0]))
        print(f"digits 0 to 4: {train(folder, 'old.npz', 'old'):.2%} of the test images", flush=True)
        how = ["--data.validation_fraction", "0", "--batch_size", "20", "--epochs", "40", "--checkpoint.every", "never"]
        for k, (way, flags) in enumerate(WAYS.items()):
            found = [
                train(folder, f"new_{seed}.npz", f"{k}_{seed}", *how, *flags, "--seed", str(seed))
                for seed in range(SEEDS)
            ]
            figures = f"{statistics.mean(found):.2%} ± {statistics.stdev(found):.2%}"
            print(f"{way}: {figures} ({', '.join(f'{each:.2%}' for each in found)})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
