"""benchmarks/compare.py, run as a user runs it, on few synthetic rows."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "compare.py"


def compare(*argv: object, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "MNIST_DIR"} | {"PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, SCRIPT, *map(str, argv)], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--case", "lectur"], "--case=lectur: unknown; did you mean lecture? Choose from lecture, sklearn_defaults"),
        (["--peers", "sklearn,troch"], "--peers=troch: unknown; did you mean torch? Choose from jaxnn, "),
        (["--rounds", "0"], "--rounds=0: must be a whole number >= 1"),
        (["--epochs", "1.5"], "--epochs=1.5: must be a whole number >= 1"),
        (["--batch", "-1"], "--batch=-1: must be a whole number >= 1"),
        (["--limit", "16"], "--batch=32: there are only 16 rows to train on; make it smaller or --limit greater"),
        (["--device", "gpus"], "--device=gpus: unknown; did you mean gpu? Choose from cpu, gpu"),
        (["--case", "small", "--limit", "99"], "--limit=99: iris has 150 rows and all are used; leave it out"),
        (
            ["--json", "no/such/folder"],
            "--json=no/such/folder: cannot be written (No such file or directory); name a file",
        ),
        (["--report", "no_such_file"], "--report=no_such_file: No such file or directory; name a file that --json"),
        (["--round", "1"], "unrecognized arguments: --round 1; see --help"),
    ],
)
def test_a_mistake_is_answered_in_one_line_and_nothing_runs(argv, expected):
    done = compare(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {expected}") and done.stderr.count("\n") == 1


@pytest.mark.long
def test_peers_take_turns_on_synthetic_data_and_the_absent_one_is_named(tmp_path):
    file = tmp_path / "results.jsonl"
    few = ["--limit", 512, "--rounds", 1, "--epochs", 1]
    absent = [] if importlib.util.find_spec("tensorflow") else ["keras-tf"]
    done = compare("--peers", ",".join(["sklearn", "plain", *absent]), *few, "--json", file)
    assert done.returncode == 0, done.stderr
    assert "data: 512 synthetic images in the shape of MNIST (set MNIST_DIR for MNIST)" in done.stdout
    for name in absent:
        assert re.search(rf"^{name}: not installed, left out; pip install .*tensorflow-cpu$", done.stdout, re.M)
    result = json.loads(file.read_text())
    assert list(result["rows"]) == ["jaxnn", "sklearn", "plain"]
    ours, theirs = (result["rows"][name][0]["samples_per_s"] for name in ("jaxnn", "sklearn"))
    row = next(line for line in done.stdout.splitlines() if line.startswith("| sklearn"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == [f"{theirs:,.0f}", f"{ours / theirs:.2f}"]

    report = compare("--report", file)
    assert report.returncode == 0 and row in report.stdout and "scikit-learn" in report.stdout


def test_a_peer_without_convolutions_is_named_and_a_failing_one_ends_in_exit_1(tmp_path):
    broken = tmp_path / "jax.py"
    broken.write_text("raise SystemExit('jax: broken on purpose')")
    done = compare("--case", "cnn", "--peers", "sklearn,plain", "--limit", 256, "--rounds", 1, path=tmp_path)
    assert done.returncode == 1
    assert "sklearn: has no convolutions, left out\n" in done.stdout
    assert "plain: failed, left out from here: jax: broken on purpose\n" in done.stderr
