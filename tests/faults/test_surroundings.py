"""What a run depends on besides its flags: the code of its model, JAX's settings, its folder, and its surroundings."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import contract
import jax
import processes
import pytest
from processes import QUICKLY, ROOT, sha, start

import jaxnn
from jaxnn.store import folder as run_folder
from jaxnn.store import identity, program

# ---- what the weights depend on --------------------------------------------------------------------------------------

NETS = """
import jax
import jax.numpy as jnp
import numpy as np
import jaxnn
import helper

SCALE = 1.0
TABLE = np.linspace(0, 1, 500, dtype=np.float32)


@jax.custom_vjp
def act(x):
    return jnp.tanh(x)


act.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * 1.0,))


def double(x):
    return np.float32(2 * x)


def net(outputs):
    called = lambda x: jax.pure_callback(double, jax.ShapeDtypeStruct((), "float32"), 1.0, vmap_method="sequential")
    layers = jaxnn.dense(4), act, lambda x: x * SCALE + TABLE[-1], jaxnn.dropout(0.1), jaxnn.dense(outputs)
    model = jaxnn.chain(*layers)
    return model if not {calls} else model._replace(apply=lambda p, x, key=None: model.apply(p, x, key=key) * called(x))
"""
BROUGHT = """
from jaxnn.config import Config, DataConfig
data = DataConfig(name="iris", validation_fraction=0, test_fraction=0)
config = Config(name="own", epochs=1, batch_size="full", data=data)
def model(outputs):
    import nets
    return nets.net(outputs)
"""
CHANGES = {  # (before, after) in nets.py: what the weights depend on, and what they do not
    "a number": (("SCALE = 1.0", "SCALE = 1.0000001"), True),
    "one of many constants": (("return model if", "TABLE[-1] += 1e-6; return model if"), True),
    "a rule of differentiation": (("g * 1.0", "g * 1.5"), True),
    "the noise of training": (("dropout(0.1)", "dropout(0.2)"), True),
    "how the weights begin": (("dense(4)", "dense(4, init='orthogonal')"), True),
    "a comment": (("SCALE =", "# a comment\nSCALE ="), False),
    "a name": (("act", "activation"), False),
}


def written(folder: Path, change: tuple[str, str] = ("", ""), calls: bool = False) -> Path:
    """A config file whose model stands in another file."""
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(BROUGHT)
    (folder / "helper.py").write_text("")
    (folder / "nets.py").write_text(NETS.replace("{calls}", str(calls)).replace(*change))
    return folder / "own.py"


def digest_of(folder: Path, change: tuple[str, str] = ("", ""), calls: bool = False) -> str:
    """What `program.digest` says of the model in nets.py."""
    path = written(folder, change, calls).with_name("nets.py")
    with pytest.MonkeyPatch.context() as patch:
        nets = ModuleType("nets")
        nets.__file__ = str(path)
        patch.setitem(sys.modules, "nets", nets)
        patch.setitem(sys.modules, "helper", ModuleType("helper"))
        exec(compile(path.read_text(), path, "exec"), vars(nets))
        return program.digest(program.of_model(nets.net(3), jax.ShapeDtypeStruct((4,), "float32"))) or ""


def test_p13_what_a_model_computes_has_a_digest_of_its_own(tmp_path):
    plain = digest_of(tmp_path)
    for what, (change, matters) in CHANGES.items():
        assert (digest_of(tmp_path, change) != plain) == matters, what
    calling = digest_of(tmp_path, calls=True)
    assert calling == digest_of(tmp_path, calls=True) != plain
    assert calling != digest_of(tmp_path, ("2 * x", "3 * x"), calls=True)  # the program says of it that it is called


PRINTED = """
import sys
import jax
from flax import nnx
import flax.linen as nn
import jaxnn
from jaxnn.store import program

class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(nn.Dropout(0.1)(nn.LayerNorm()(nn.Dense(8)(x)), deterministic=not train))

class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.drop = nnx.Linear(4, 8, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)
    def __call__(self, x):
        return self.drop(jax.nn.gelu(self.first(x)))

for model in (jaxnn.from_linen(Linen()), jaxnn.from_nnx(Nnx)):
    print(program.digest(program.of_model(model, jax.ShapeDtypeStruct((4,), "float32"))))
"""


@pytest.mark.long
def test_p13_in_another_process_the_digest_is_the_same(tmp_path):
    """Of Flax modules, whose tables are sets and dicts, with other hashes of text; and on more devices."""
    environments = {"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "JAX_NUM_CPU_DEVICES": "3", "PYTHONOPTIMIZE": "2"}
    command = [sys.executable, "-c", PRINTED]
    pipes: Any = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    both = [subprocess.Popen(command, env=os.environ | env, **pipes) for env in environments]
    first, second = (process.communicate(timeout=120)[0].split() for process in both)
    assert first == second and len(set(first)) == 2


@pytest.mark.long
def test_p13_a_model_that_has_changed_where_it_stands_is_refused(runs, tmp_path):
    own, run = written(tmp_path / "a folder"), tmp_path / "run"
    assert runs.run(run, argv=[str(own)])[0] == 0
    about = json.loads((run / "config.json").read_text())
    assert len(about["program"]) == 64 and str(tmp_path) not in json.dumps(about)
    written(own.parent, CHANGES["a comment"][0])
    code, out, err = runs.run(run, argv=[str(own)])
    assert code == 0 and "finished at step" in out, err
    own.write_text(BROUGHT.replace("import nets", "import nets  # and a comment here"))
    assert runs.run(run, argv=[str(own)])[0] == 0
    written(own.parent, CHANGES["a number"][0])
    code, _, err = runs.run(run, argv=[str(own)])
    assert code == 2 and f"(the model's program: {about['program'][:20]} -> " in err and err.count("\n") == 1, err
    assert json.loads((run / "config.json").read_text()) == about


OWN_MODEL = {"source": "own", "own_model": True, "source_digest": "f", "program": "p"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({"program": "q"}, {}, "the model's program: q -> p"),
        ({"source_digest": "g"}, {}, None),  # the file has changed, and its program has not
        ({"source_digest": "g", "program": None}, {}, "the file with the model: g -> f"),  # earlier runs had no more
        ({"program": None}, {}, None),
        ({"program": "q", "versions": {"jax": "0.1"}}, {}, None),  # another jax writes another text
        ({"program": "q", "versions": {"jax": "0.1"}, "source_digest": "g"}, {}, "the file with the model: g -> f"),
        ({"program": "q", "versions": {"devices": "gpu, 1 device"}}, {}, None),
        ({"source": "other"}, {}, "config: other -> own"),
        ({}, {"own_model": False, "source": None, "program": None, "source_digest": None}, "config: own -> None"),
        ({"jax": {"jax_enable_x64": True}}, {}, "JAX_ENABLE_X64=False: the run in f had True; set it to True"),
        ({"jax": {"jax_default_matmul_precision": None}}, {"jax": {"jax_default_matmul_precision": "highest"}},
         "JAX_DEFAULT_MATMUL_PRECISION=highest: the run in f had its default; set it to its default"),
        ({"jax": {"jax_that_is_no_more": 1}}, {}, None),
        ({"jax": {}}, {}, None),
    ],
)  # fmt: skip
def test_p13_a_run_goes_on_with_what_it_began_with(golden, old, new, words):
    about = json.loads((golden / "config.json").read_text()) | OWN_MODEL
    before, after = ({**about, **changed} for changed in (old, new))
    before["versions"] = about["versions"] | old.get("versions", {})
    if words is None:
        notes = identity.check_same("f", before, after, step=60, per_epoch=20)
        assert len(notes) == len(old.get("versions", {}))
        return
    with pytest.raises(jaxnn.InputError, match=re.escape(words)):
        identity.check_same("f", before, after, step=60, per_epoch=20)


def test_p13_the_settings_of_jax_are_kept_with_a_run(golden):
    """As a new process has them; here the tests have set one of them."""
    kept = json.loads((golden / "config.json").read_text())["jax"]
    assert kept == {
        "jax_enable_x64": False, "jax_default_matmul_precision": None, "jax_default_prng_impl": "threefry2x32",
        "jax_threefry_partitionable": True, "jax_numpy_dtype_promotion": "standard", "jax_random_seed_offset": 0,
    }  # fmt: skip
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        here = program.settings()
    changed = {"jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion"}
    assert {name for name in here if here[name] != kept[name]} == changed
    json.dumps(here)


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_p14_a_folder_that_is_taken_is_followed_by_the_next_number(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        entered = list(pool.map(lambda _: run_folder.enter(tmp_path / "runs" / "a-1.5", new=True), range(8)))
    assert {path.name for path in entered} == {"a-1.5", *(f"a-1.5-{n}" for n in range(2, 9))}
    assert all((path / "lock").exists() for path in entered)


QUICK_RUN = "iris_mlp --model.kind linear --epochs 1 --batch-size full --data.validation-fraction 0".split()


@pytest.mark.long
def test_p14_runs_that_start_together_have_folders_of_their_own(tmp_path):
    together = [start([*QUICK_RUN, "--data.test-fraction", "0"], tmp_path) for _ in range(3)]
    ended = [process.communicate(timeout=120) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], ended
    assert len(list(tmp_path.glob("runs/*/weights.safetensors"))) == 3


def test_p14_a_folder_may_be_a_link_a_home_or_have_a_space_and_what_is_refused_leaves_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("real", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for text, folder in (("link/", "real"), ("~/r", "home/r"), ("a b/ c", "a b/ c")):
        assert run_folder.enter(run_folder.named(text)) == tmp_path / folder or not text.startswith(("~", "l"))
        assert (tmp_path / folder / "lock").exists()
    assert not (tmp_path / "~").exists()
    before = sorted(tmp_path.rglob("*"))
    for text, words in (
        ("dangling", "is a link to nowhere, which is not there"),
        ("loop", "is a link to loop, which is not there"),
        ("file", "cannot be written (Not a directory)"),
        ("file/r", "cannot be written (File exists)"),
        ("new/" + "w" * 300, "cannot be written (File name too long)"),
        ("/proc/new/r", "cannot be written (No such file or directory)"),
    ):
        with pytest.raises(jaxnn.InputError) as refusal:
            run_folder.enter(run_folder.named(text))
        assert words in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_p14_results_go_where_a_link_leads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    argv = [*QUICK_RUN, "--data.test-fraction", "0"]
    assert contract.train([*argv, "--devices", "1", "--workdir", "link"]) == 0
    names = {"config.json", "history.jsonl", "weights.safetensors", "lock", "checkpoints"}
    assert {path.name for path in (tmp_path / "real").iterdir()} == names
    with jax.disable_jit():
        assert "JAX_DISABLE_JIT=1: must be unset" in contract.refused_run(*argv)


# ---- odd surroundings ------------------------------------------------------------------------------------------------


def shell(command: str, cwd: Path, **env: str) -> tuple[int, str, str]:
    """What a line of bash ends with, in which $TRAIN is `python train.py`: its exit code, its output, its errors."""
    words = {"TRAIN": f"{sys.executable} {ROOT / 'train.py'}", "XDG_CACHE_HOME": str(processes.COMPILED), **QUICKLY}
    options: Any = {"capture_output": True, "cwd": cwd, "env": os.environ | words | env}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], timeout=120, text=True, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("$TRAIN --print-config >&-", 5, "standard output: cannot be written (Bad file descriptor)"),
        ("$TRAIN --print-config >/dev/full", 5, "standard output: cannot be written (No space left on device)"),
        ("$TRAIN --help >/dev/full", 5, "standard output: cannot be written (No space left on device)"),
        ("$TRAIN --help | true", 0, ""),
        ("$TRAIN --print-config 2>&- <&- | cat", 0, ""),
        ("$TRAIN --epochs 0 >&-", 2, "--epochs=0: must be >= 1"),
        ("$TRAIN --epochs 0 >&- 2>&-", 2, ""),
        ("$TRAIN --epochs 0 2>/dev/full", 2, ""),
        ("COLUMNS=1 $TRAIN --help | head -1", 0, ""),
    ],
)
def test_p15_output_that_cannot_be_written_is_one_line_or_none(command, code, says, tmp_path):
    ended, _, err = shell(command, tmp_path)
    assert ended == code, err
    assert err.startswith(f"error: {says}") and err.count("\n") == 1 if says else err == ""


@pytest.mark.long
def test_p15_a_run_whose_lines_cannot_be_written_is_a_run(tmp_path):
    """A full disk for its lines; letters that ASCII has not, and no docstrings; no folder to be in."""
    flags = " ".join([*QUICK_RUN, "--data.test-fraction", "0", "--workdir"])
    code, _, err = shell(f"$TRAIN {flags} full >/dev/full", tmp_path)
    assert (
        code == 0 and err == "warning: standard output: No space left on device; the results are in the run's folder\n"
    )
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONOPTIMIZE": "2"}
    code, out, err = shell(f"$TRAIN {flags} ascii --name été", tmp_path, **ascii_only)
    assert (code, err) == (0, "") and out.startswith(r"\xe9t\xe9: iris") and out.isascii()
    gone = f"mkdir gone && cd gone && rmdir ../gone && $TRAIN {flags} {tmp_path}/gone >&- 2>&-"
    assert shell(gone, tmp_path)[0] == 0
    assert {sha(tmp_path / name) for name in ("full", "ascii", "gone")} == {sha(tmp_path / "full")}


@pytest.mark.long
def test_p15_what_jax_is_told_is_one_line_where_it_is_not_to_be_had(tmp_path):
    code, out, err = shell(f"JAX_PLATFORMS=cuda $TRAIN {' '.join(QUICK_RUN)}", tmp_path)
    assert (code, out) == (2, "")
    assert err == "error: JAX_PLATFORMS=cuda: is not here; leave it unset, or choose from cpu\n"
    code, out, err = shell(f"JAX_ENABLE_X64=maybe $TRAIN {' '.join(QUICK_RUN)}", tmp_path)
    assert (code, out) == (2, "") and err.startswith("error: JAX_ENABLE_X64=maybe: ") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    diverging = "diabetes_regression --model.kind linear --task.loss squared --optim.name sgd --optim.lr 1e18"
    code, _, err = shell(f"JAX_DEBUG_NANS=1 $TRAIN {diverging} --data.test-fraction 0 --workdir run", tmp_path)
    assert code == 4 and re.match(r"error: step=\d+: \S+ is not finite at lr=", err) and err.count("\n") == 1, err
