"""100 images of new classes: learned by a network that knows other classes, and from scratch, for 5 seeds.

    MNIST_DIR=DIR python benchmarks/finetune.py

The network of mnist_cnn is trained on the digits 0 to 4; then on 20 images each of 5 to 9, drawn by the seed: with
the weights it has and a new last layer, which learns ten times as fast; with its convolutions frozen too, always or for
20 epochs; and from scratch. Tested on all test images of 5 to 9.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from jaxnn.data.readers import idx

ROOT = Path(__file__).resolve().parent.parent
SEEDS, EACH = 5, 20
TUNED = ["--init_from", "old", "--optim.lr", "0.0003", "--optim.lr_scale", "dense_1=10"]
WAYS = {
    "fine-tuned": TUNED,
    "fine-tuned, convolutions frozen": [*TUNED, "--optim.freeze", "conv_*"],
    "fine-tuned, convolutions frozen for 20 epochs": [*TUNED, "--optim.unfreeze", "conv_*=20epochs"],
    "from scratch": ["--optim.lr", "0.001"],
}


def train(folder: Path, data: str, name: str, *flags: str) -> float:
    """The test accuracy of a run."""
    command = [sys.executable, ROOT / "train.py", "mnist_cnn", "--data.name", data, "--workdir", name, *flags]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (folder / name / "history.jsonl").read_text().splitlines()]
    return next(row["test/accuracy"] for row in reversed(rows) if "test/accuracy" in row)


def write(folder: Path, mnist: Path) -> None:
    """old.npz, and new_0.npz, new_1.npz, ...: 100 images each, with the labels of their classes."""
    digits = idx.read(mnist)
    assert digits.test is not None
    (x, y), (x_test, y_test) = ((np.asarray(part.x), np.asarray(part.y)) for part in (digits.train, digits.test))
    old, new = y_test < 5, y_test >= 5
    np.savez(folder / "old.npz", x_train=x[y < 5], y_train=y[y < 5], x_test=x_test[old], y_test=y_test[old])
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == digit), EACH, replace=False) for digit in range(5, 10)])
        arrays = {"x_train": x[rows], "y_train": y[rows], "x_test": x_test[new], "y_test": y_test[new]}
        np.savez(folder / f"new_{seed}.npz", **arrays)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, Path(os.environ["MNIST_DIR"]))
        print(f"digits 0 to 4: {train(folder, 'old.npz', 'old', '--epochs', '2'):.2%} of the test images")
        how = ["--data.validation_fraction", "0", "--batch_size", "20", "--epochs", "60", "--checkpoint.every", "never"]
        for k, (way, flags) in enumerate(WAYS.items()):
            found = [
                train(folder, f"new_{seed}.npz", f"{k}_{seed}", *how, *flags, "--seed", str(seed))
                for seed in range(SEEDS)
            ]
            figures = f"{statistics.mean(found):.2%} ± {statistics.stdev(found):.2%}"
            print(f"{way}: {figures} ({', '.join(f'{each:.2%}' for each in found)})", flush=True)


if __name__ == "__main__":
    main()
