"""How long tables take to be read, split and checked, beside `pandas.read_csv` alone, in turns in one process.

python benchmarks/tables.py              200,000 rows of 19 numbers and a text, CSV and Parquet
python benchmarks/tables.py --memory     5,000,000 rows of 20 numbers: the most memory that a process takes
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

import jaxnn.data

ROUNDS, SMALL, LARGE = 9, 200_000, 5_000_000


def write(folder: Path, rows: int, text: bool) -> list[Path]:
    """The same table as CSV and as Parquet, written a part at a time."""
    rng, writers, paths = np.random.default_rng(0), [], [folder / "t.csv", folder / "t.parquet"]
    for _ in range(0, rows, 100_000):
        columns = {f"f{j}": rng.normal(size=100_000).round(4) for j in range(19)}
        label = rng.integers(0, 2, 100_000)
        part = pa.table(columns | {"label": np.where(label, "yes", "no") if text else label})
        writers = writers or [csv.CSVWriter(paths[0], part.schema), parquet.ParquetWriter(paths[1], part.schema)]
        for writer in writers:
            writer.write_table(part)
    for writer in writers:
        writer.close()
    return paths


def seconds(function, *args) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    if sys.argv[1:2] == ["--peak-of"]:
        small, large = sys.argv[2:]
        jaxnn.data.load(small)  # so that what is imported does not count
        before = peak()
        jaxnn.data.load(large)
        print(peak() - before)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small").mkdir()
        small = write(folder / "small", SMALL, text=True)
        if sys.argv[1:] == ["--memory"]:
            for path in write(folder, LARGE, text=False):
                argv = [sys.executable, __file__, "--peak-of", folder / "small" / path.name, path]
                done = subprocess.run(argv, capture_output=True, text=True, check=True)
                size = LARGE * 20 * 4 / 2**20
                print(f"{path.suffix}: {float(done.stdout):.0f} MiB, {float(done.stdout) / size:.2f} times the result")
            return
        ratios: dict[str, list[float]] = {path.suffix: [] for path in small}
        for path in small:
            jaxnn.data.load(path)
        for _ in range(ROUNDS):
            theirs = seconds(pd.read_csv, small[0])
            for path in small:
                ratios[path.suffix].append(seconds(jaxnn.data.load, path) / theirs)
        for suffix, values in ratios.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"{suffix}: {middle:.2f} times the time of pandas.read_csv ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
