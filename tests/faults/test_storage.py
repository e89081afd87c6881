"""Checkpoints that are damaged, cut off or written to a full disk: never loaded in silence, never lost."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from processes import OFTEN, ROOT, history, kill, saved, sha, until

import jaxnn
from jaxnn.errors import Error, InputError, StorageError
from jaxnn.store import arrays, checkpoint, durable
from jaxnn.store import folder as run_folder
from jaxnn.store.manifest import seal

GOLDEN = Path(__file__).parent / "checkpoints"  # one of each format, of the step and the seed that its folder names
EARLIER = Path(__file__).parent / "run_of_format_1"


def tree(seed: int = 0):
    """Leaves of every kind: large, small, empty, scalar, of several dtypes."""
    rng = np.random.default_rng(seed)
    return {
        "params": {"dense_0": {"w": jnp.asarray(rng.normal(size=(17, 9)), "float32"), "b": jnp.ones(9, "bfloat16")}},
        "opt_state": (jnp.asarray(seed, "int32"), jnp.zeros((0, 4)), jnp.asarray([True, False])),
        "half": jnp.asarray(rng.normal(size=5), "float16"),
    }


def same(a, b) -> bool:
    a, b = arrays.flatten(a), arrays.flatten(b)
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)


def loaded(found: checkpoint.Checkpoint | None):
    assert found is not None
    return checkpoint.restore(found.leaves, jax.eval_shape(tree))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two checkpoints, of the steps 10 and 20."""
    for step in (10, 20):
        checkpoint.save(tmp_path / "c", step, tree(step), {"lr": 0.1 + 0.2}, keep=2)
    return tmp_path / "c"


def damage(folder: Path, count: int, seed: int) -> None:
    """Flip single bits of the newest checkpoint: each is found, and the older one is loaded instead."""
    rng = random.Random(seed)
    files = sorted((folder / "000000020").iterdir())
    for _ in range(count):
        file = rng.choice(files)
        whole = file.read_bytes()
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with pytest.raises(checkpoint.Damaged):
            checkpoint.read(folder / "000000020")
        found = checkpoint.latest(folder)
        assert found is not None and found.step == 10, f"{file.name} byte {at} bit {bit}"
        file.write_bytes(whole)


def test_s01_a_flipped_bit_is_never_loaded(folder, capsys):
    damage(folder, 200, seed=0)
    assert same(loaded(checkpoint.latest(folder)), tree(20))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 200 and all(re.search("it is left out, step 10 is good$", line) for line in told)
    assert any("params/dense_0/w in state.safetensors" in line for line in told)


@pytest.mark.slow
def test_s01_two_thousand_flipped_bits(folder):
    damage(folder, 2000, seed=1)


def test_s01_every_bit_of_the_weights_counts_too(golden, tmp_path):
    shutil.copytree(golden, tmp_path / "run")
    file, rng = tmp_path / "run" / "weights.safetensors", random.Random(0)
    whole = file.read_bytes()
    jaxnn.load_run(tmp_path / "run")
    for at in [*range(8), *rng.sample(range(len(whole)), 200)]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        with pytest.raises(InputError):
            jaxnn.load_run(tmp_path / "run")


def truncate(folder: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    files = sorted((folder / "000000020").iterdir())
    for i in range(count):
        file = files[i % 2]
        whole = file.read_bytes()
        at = rng.randrange(len(whole))
        page = bytes(min(512, len(whole) - at))
        zeroed = whole[:at] + page + whole[at + len(page) :]
        for content in (whole[:at], zeroed, whole + b"\0", b"", None):
            file.unlink() if content is None else file.write_bytes(content)
            found = checkpoint.latest(folder)
            assert found is not None and (found.step == 10 or content == whole), (file.name, at)
            file.write_bytes(whole)


def test_s02_cut_off_zeroed_empty_and_missing_files_are_never_loaded(folder):
    truncate(folder, 20, seed=0)


@pytest.mark.slow
def test_s02_two_hundred_truncations(folder):
    truncate(folder, 200, seed=1)


def test_s03_if_no_checkpoint_is_good_each_is_named_and_nothing_begins_anew(folder, runs, golden, tmp_path):
    for path in checkpoint.steps(folder):
        (path / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match=r"no checkpoint is good \(000000020: .*; 000000010: .*\)"):
        checkpoint.latest(folder)

    shutil.copytree(golden, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        state = path / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-1])
    before = sha(tmp_path / "run"), history(tmp_path / "run")
    code, _, err = runs.run(tmp_path / "run")
    assert code == 5 and "no checkpoint is good" in err and err.count("\n") == 1, err
    assert before == (sha(tmp_path / "run"), history(tmp_path / "run"))


@pytest.mark.long
def test_s01_s02_a_run_goes_on_from_the_older_one_and_says_so(runs, golden, tmp_path):
    process = runs.start(tmp_path / "run")
    assert until(process, lambda: len(saved(tmp_path / "run")) == 2 and saved(tmp_path / "run")[0] > 0)
    kill(process)
    older, newest = saved(tmp_path / "run")[-2:]
    state = tmp_path / "run" / "checkpoints" / f"{newest:09d}" / "state.safetensors"
    whole = bytearray(state.read_bytes())
    whole[-1] ^= 1
    state.write_bytes(whole)
    code, out, err = runs.run(tmp_path / "run")
    assert code == 0 and f"step {older} is good" in err and f"resumed at step {older}" in out, err
    assert sha(tmp_path / "run") == sha(golden) and history(tmp_path / "run") == history(golden)


@contextlib.contextmanager
def mounted(path: Path, options: str):
    """A small file system of its own, where one may be mounted."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.long
def test_s04_a_disk_that_fills_up_ends_the_run_with_exit_5_and_the_last_good_checkpoint(runs, golden, tmp_path):
    with mounted(tmp_path / "disk", "size=2m") as disk:
        process = runs.start(disk / "run")
        assert until(process, lambda: saved(disk / "run")[-1:] > [0])
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        _, err = process.communicate(timeout=60)
        assert process.returncode == 5 and err.startswith("error: ") and err.count("\n") == 1, err
        assert "No space left on device" in err
        assert not list(disk.glob("run/checkpoints/*.tmp"))
        assert checkpoint.latest(disk / "run" / "checkpoints") is not None
        (disk / "filler").unlink()
        code, out, err = runs.run(disk / "run")
        assert code == 0 and "resumed at step" in out, err
        assert sha(disk / "run") == sha(golden)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import jax.numpy as jnp
from jaxnn import checkpoint
from jaxnn.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
checkpoint.save(folder, 1, {"w": jnp.ones(10)}, {}, keep=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    checkpoint.save(folder, 2, {"w": jnp.ones(10_000)}, {}, keep=2)
except StorageError as error:
    print(error)
"""


def test_s04_a_file_that_may_not_grow_says_what_it_needs_and_leaves_nothing_half(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert re.search(r"File too large\); needs 40,\d\d\d bytes, has [\d,]+: free some space", done.stdout), done.stderr
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["000000001"]
    assert checkpoint.read(tmp_path / "c" / "000000001").step == 1


def test_s05_a_disk_that_is_too_small_is_refused_before_the_start(runs, tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        code, _, err = runs.run(disk / "run", "--checkpoint.every", "1epoch", "--checkpoint.keep", 9)
        assert code == 2 and re.search(r"--workdir=\S+: needs [\d,]+ bytes, has [\d,]+; free some space", err), err
        assert list(disk.iterdir()) == []


def test_s06_a_folder_that_cannot_be_written_is_refused(runs, tmp_path):
    with mounted(tmp_path / "disk", "size=1m,ro") as disk:
        code, _, err = runs.run(disk / "run")
        assert code == 2 and "Read-only file system" in err and err.count("\n") == 1, err


@pytest.mark.long
def test_s07_the_second_run_in_a_folder_names_the_first_and_a_kill_frees_it(runs, golden, tmp_path):
    often = ["--checkpoint.every", OFTEN]  # many saves, in whose time the first can be stopped
    process, rows = runs.start(tmp_path / "run", *often), tmp_path / "run" / "history.jsonl"
    assert until(process, lambda: rows.exists() and rows.stat().st_size > 0), process.communicate()
    process.send_signal(signal.SIGSTOP)
    code, _, err = runs.run(tmp_path / "run", *often)
    assert code == 7 and f"is in use by process {process.pid} on " in err and err.count("\n") == 1, err
    assert process.poll() is None
    process.send_signal(signal.SIGCONT)
    told = len(history(tmp_path / "run"))
    assert until(process, lambda: rows.read_text().count("\n") > told), process.communicate()  # and it goes on
    kill(process)
    steps = [json.loads(line)["step"] for line in rows.read_text().splitlines()]
    assert steps == sorted(set(steps))  # one writer
    process = runs.start(tmp_path / "run", *often)
    assert until(process, lambda: f"process {process.pid} " in (tmp_path / "run" / "lock").read_text())
    kill(process)


def test_s08_what_a_killed_save_left_is_removed_at_the_start_and_counted(runs, golden, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(golden, run)
    for name in ("000000060.tmp", "000000120.old.tmp"):
        (run / "checkpoints" / name).mkdir()
        (run / "checkpoints" / name / "state.safetensors").write_bytes(bytes(100))
    (run / "config.json.tmp").write_text("{")
    (run / "notes.tmp").write_text("someone's own")
    lines = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join(lines[:-1]) + '\n{"step": 66')  # the end was not told of: a kill
    code, out, err = runs.run(run)
    assert code == 0 and "removed what 3 killed saves had left" in out, err
    assert not list(run.glob("checkpoints/*.tmp")) and [p.name for p in run.glob("*.tmp")] == ["notes.tmp"]
    assert history(run) == history(golden)


def test_s09_a_leaf_of_another_dtype_shape_or_name_is_refused_and_nothing_is_cast(folder):
    found = checkpoint.latest(folder)
    assert found is not None
    shapes = jax.eval_shape(tree)
    w = "checkpoint[params/dense_0/w]=float32[17, 9]: must be "
    for leaf, words in (
        (jax.ShapeDtypeStruct((17, 9), "bfloat16"), w + "bfloat16[17, 9]"),
        (jax.ShapeDtypeStruct((17, 9), "int32"), w + "int32[17, 9]"),
        (jax.ShapeDtypeStruct((9, 17), "float32"), w + "float32[9, 17]"),
        (None, "missing [], unexpected ['params/dense_0/w']"),
    ):
        other = shapes | {"params": {"dense_0": shapes["params"]["dense_0"] | {"w": leaf}}}
        with pytest.raises(InputError, match=re.escape(words)):
            checkpoint.restore(found.leaves, other)
    with pytest.raises(InputError, match=r"missing \['new'\]"):
        checkpoint.restore(found.leaves, shapes | {"new": jax.ShapeDtypeStruct((), "int32")})
    with pytest.raises(InputError, match="key<fry>: cannot be saved"):
        checkpoint.save(folder, 30, {"key": jax.random.key(0)}, {}, keep=1)


def test_s09_everything_comes_back_to_the_bit_and_other_programs_can_read_it(folder):
    found = checkpoint.latest(folder)
    assert found is not None and found.about == {"lr": 0.1 + 0.2} and same(loaded(found), tree(20))
    with safetensors.safe_open(folder / "000000020" / "state.safetensors", "numpy") as file:
        assert sorted(file.keys()) == sorted(found.leaves)
        for name in file.keys():  # noqa: SIM118
            if found.leaves[name].dtype != jnp.bfloat16:  # which the library's NumPy face does not know
                np.testing.assert_array_equal(file.get_tensor(name), found.leaves[name])


def test_s10_checkpoints_of_every_format_are_read_or_refused(tmp_path):
    formats = {}
    for path in sorted(GOLDEN.iterdir()):
        found = checkpoint.read(path)
        formats[found.format] = path
        assert same(checkpoint.restore(found.leaves, jax.eval_shape(tree)), tree(found.step)), path
    assert sorted(formats) == list(range(1, checkpoint.FORMAT + 1))
    later = checkpoint.FORMAT + 1
    shutil.copytree(formats[checkpoint.FORMAT], tmp_path / "c" / formats[checkpoint.FORMAT].name)
    change(tmp_path / "c", lambda manifest: manifest.update(format=later))
    with pytest.raises(InputError) as caught:
        checkpoint.latest(tmp_path / "c")
    rule = f"is of format {later}, this jaxnn reads 1 to {checkpoint.FORMAT}; use the jaxnn that wrote it"
    assert str(caught.value) == f"{tmp_path / 'c' / formats[checkpoint.FORMAT].name}: {rule}"


def change(checkpoints: Path, how: Callable[[dict], object]) -> None:
    """Every manifest in a folder, sealed anew: its own digest is right."""
    for path in checkpoint.steps(checkpoints):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["sha256"]
        how(manifest)
        (path / "manifest.json").write_bytes(seal(manifest))


def test_s10_a_run_of_a_later_format_is_refused_in_one_line_and_left_as_it_was(runs, golden, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(golden, run)
    later = checkpoint.FORMAT + 1
    change(run / "checkpoints", lambda manifest: manifest.update(format=later))
    about = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(about | {"format": later}))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    rule = f"is of format {later}, this jaxnn reads 1 to {checkpoint.FORMAT}; use the jaxnn that wrote it"
    code, out, err = runs.run(run)
    assert (code, out) == (2, "") and err == f"error: {checkpoint.steps(run / 'checkpoints')[-1]}: {rule}\n"
    code, out, err = runs.run(tmp_path / "replayed", argv=["--config", str(run / "config.json")])
    assert (code, out, err) == (2, "", f"error: --config={run / 'config.json'}: {rule}\n")
    with pytest.raises(InputError) as caught:
        jaxnn.load_run(run)
    assert str(caught.value) == f"folder={run / 'config.json'}: {rule}"
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    assert not (tmp_path / "replayed").exists()


@pytest.mark.long
def test_s10_a_run_of_the_first_format_is_read_and_goes_on_as_if_it_had_been_made_today(runs, tmp_path):
    """It was made by `iris_mlp --model.hidden 8 --epochs 4 --eval-every 3epochs --checkpoint.keep 1`."""
    shutil.copytree(EARLIER, tmp_path / "run")
    earlier = jaxnn.load_run(tmp_path / "run")
    assert {"mean", "std"} == set(earlier.params["input_stats"])  # called input/mean and input/std at that time
    rows = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.2, 1.3], [6.6, 3.0, 5.6, 2.1]], np.float32)
    then = [[0.893384, 0.069447, 0.037169], [0.103854, 0.666591, 0.229555], [0.045456, 0.225108, 0.729436]]
    np.testing.assert_allclose(earlier.predict_proba(rows), then, atol=1e-5)

    flags = "iris_mlp --model.hidden 8 --eval-every 3epochs".split()
    keep = ["--checkpoint.every", "1epoch", "--checkpoint.keep", 9, "--epochs", 6]
    as_then = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}  # compiled as it was then: the bits depend on it
    code, out, err = runs.run(tmp_path / "run", *keep, argv=flags, **as_then)
    assert code == 0 and "resumed at step 28\n" in out, err
    code, _, err = runs.run(tmp_path / "today", *keep, argv=flags, **as_then)
    assert code == 0, err
    resumed, whole = (jaxnn.load_run(tmp_path / name) for name in ("run", "today"))
    for name, leaf in arrays.flatten(whole.params).items():
        np.testing.assert_allclose(arrays.flatten(resumed.params)[name], leaf, rtol=1e-4, atol=1e-4)
    then, now = (checkpoint.read(folder / "checkpoints" / "000000028") for folder in (EARLIER, tmp_path / "today"))
    params = [name for name in then.leaves if name.startswith("params/")]
    if all(then.leaves[name].tobytes() == now.leaves[name].tobytes() for name in params):  # the same kind of processor
        assert sha(tmp_path / "run") == sha(tmp_path / "today")
        assert history(tmp_path / "run") == history(tmp_path / "today")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["format"] == checkpoint.FORMAT
    last = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert last is not None and (last.step, last.format) == (42, checkpoint.FORMAT)


def test_s10_another_version_of_jax_goes_on_with_a_note(runs, golden, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(golden, run)
    change(run / "checkpoints", lambda manifest: manifest["about"]["run"]["versions"].update(jax="0.9.9"))
    (run / "weights.safetensors").unlink()  # so that there is something left to do
    code, out, err = runs.run(run)
    assert code == 0 and f"note: jax: 0.9.9 -> {jax.__version__}; the last digits may differ" in out, err
    assert sha(run) == sha(golden)


class Disk:
    """What would be left after a power cut: the worst that POSIX allows.

    The content of a file is what it was when the file was last synced, nothing before; the names in a folder are those
    of when the folder was last synced. (Removals and renames may or may not have reached the disk: here they have not,
    until the folder is synced.)
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.content, self.names, self.cuts = root, {}, {}, []
        for name in ("fsync", "rename", "unlink", "rmdir", "mkdir", "open"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))

    def watched(self, name, function):
        def call(*args, **more):
            self.cuts.append(self.image())  # the power goes here
            result = function(*args, **more)
            if name == "fsync":
                self.synced(args[0])
            return result

        return call

    def synced(self, number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        if path.is_dir():
            self.names[path.stat().st_ino] = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
        else:
            self.content[path.stat().st_ino] = path.read_bytes()

    def image(self) -> tuple[dict, dict]:
        return dict(self.names), dict(self.content)

    def write(self, image: tuple[dict, dict], inode: int, to: Path) -> None:
        names, content = image
        to.mkdir(parents=True)
        for name, child in names.get(inode, {}).items():
            if child in names:
                self.write(image, child, to / name)
            elif child in content:
                (to / name).write_bytes(content[child])
            else:
                (to / name).touch()


def test_s11_s12_a_power_cut_between_any_two_system_calls_leaves_a_good_checkpoint(tmp_path, monkeypatch):
    root = tmp_path / "run"
    root.mkdir()
    checkpoint.save(root / "c", 0, tree(0), {}, keep=1)
    disk = Disk(root, monkeypatch)
    for path in (root, root / "c", root / "c" / "000000000", *(root / "c" / "000000000").iterdir()):
        durable.sync(path)  # what is there is on the disk
    disk.cuts.clear()
    inode = (root / "c").stat().st_ino
    for step in (1, 2):
        checkpoint.save(root / "c", step, tree(step), {}, keep=1)
    monkeypatch.undo()
    steps = []
    for i, cut in enumerate(disk.cuts):
        disk.write(cut, inode, tmp_path / "after" / str(i))
        found = checkpoint.latest(tmp_path / "after" / str(i))
        assert found is not None and same(loaded(found), tree(found.step))
        steps.append(found.step)
    assert steps == sorted(steps) and set(steps) == {0, 1, 2} and len(steps) > 30
    assert saved_steps(root / "c") == [2]


def saved_steps(folder: Path) -> list[int]:
    return [int(path.name) for path in checkpoint.steps(folder)]


def test_s12_the_newest_are_kept_and_the_best_and_what_was_given_up_goes(tmp_path):
    for step, score in ((1, 0.5), (2, 0.9), (3, None), (4, 0.7), (5, 0.9)):
        checkpoint.save(tmp_path, step, tree(step), {}, keep=2, score=score, keep_best=True)
    assert saved_steps(tmp_path) == [2, 4, 5]
    checkpoint.save(tmp_path, 4, tree(40), {}, keep=2)  # a run that went back to an earlier step
    assert saved_steps(tmp_path) == [2, 4]
    found = checkpoint.latest(tmp_path)
    assert same(loaded(found), tree(40))


@pytest.mark.long
def test_s12_the_best_checkpoint_of_a_run_is_kept(runs, tmp_path):
    flags = ["--checkpoint.best", "val/accuracy", "--checkpoint.keep", 1, "--checkpoint.every", "never"]
    code, _, err = runs.run(tmp_path / "run", *flags)
    assert code == 0, err
    rows = [row for row in history(tmp_path / "run") if "val/accuracy" in row]
    best = max(rows, key=lambda row: row["val/accuracy"])
    assert saved(tmp_path / "run") == sorted({best["step"], 660})
    code, _, err = runs.run(tmp_path / "other", "--checkpoint.best", "val/acuracy")
    assert code == 2 and "--checkpoint.best=val/acuracy: unknown; did you mean val/accuracy?" in err


def test_x09_files_are_the_users_own_and_links_are_not_followed(runs, golden, folder, tmp_path):
    mode = lambda path: path.stat().st_mode & 0o777
    for path in checkpoint.steps(golden / "checkpoints"):
        assert mode(path) == 0o700 and {mode(file) for file in path.iterdir()} == {0o600}
    assert mode(golden / "checkpoints") == 0o700

    outside = tmp_path / "outside"
    shutil.move(folder / "000000020", outside)
    (folder / "000000020").symlink_to(outside)
    found = checkpoint.latest(folder)
    assert found is not None and found.step == 10
    (folder / "000000030.tmp").symlink_to(outside)
    checkpoint.save(folder, 30, tree(), {}, keep=1)
    assert saved_steps(folder) == [30] and len(list(outside.iterdir())) == 2
    with pytest.raises(OSError):  # its only file that is read through a link
        state = folder / "000000030" / "state.safetensors"
        state.rename(outside / "moved")
        state.symlink_to(outside / "moved")
        checkpoint.read(folder / "000000030")

    for name in ("checkpoints", "history.jsonl", "weights.safetensors", "config.json", "lock"):
        run = tmp_path / f"run-{name}"
        run.mkdir()
        (run / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match=f"{name} is a link"):
            run_folder.enter(run)
        assert not (tmp_path / "elsewhere").exists()


def test_x08_whatever_a_manifest_holds_the_answer_is_a_checkpoint_or_jaxnns_own_error(folder):
    manifest = folder / "000000020" / "manifest.json"
    whole = json.loads(manifest.read_text())
    del whole["sha256"]
    values = [None, -1, 1.5, "x", [], {}, [1, "x"], 2**70, True, {"bytes": -1}, [-1], [2**62, 2**62]]
    rng = random.Random(0)
    for _ in range(300):
        other = json.loads(json.dumps(whole))
        spot = other
        while isinstance(spot[key := rng.choice(list(spot))], dict) and spot[key] and rng.random() < 0.8:
            spot = spot[key]
        spot[key] = rng.choice(values)
        manifest.write_bytes(seal(other))  # its own digest is right
        with contextlib.suppress(Error, checkpoint.Damaged):
            checkpoint.read(folder / "000000020")
            assert checkpoint.latest(folder) is not None
