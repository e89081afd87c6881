"""Devices: exact sums in parts, plain data parallelism, split parameters; on eight pretend devices."""

import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from test_train import here, home  # noqa: F401  (`home` is a fixture)

import jaxnn
from jaxnn import engine, tree
from jaxnn.augment import batches
from jaxnn.devices import mesh, sharding
from jaxnn.engine import exact
from jaxnn.errors import InputError
from jaxnn.training.programs import run_steps
from jaxnn.types import Batch, Recipe

KEY = jax.random.key(3)
IMAGE = jax.ShapeDtypeStruct((8, 8, 1), np.float32)


def rows(n: int, *shape: int) -> Batch:
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, n).astype(np.float32)  # some rows weigh nothing
    return Batch(rng.random((n, *shape), np.float32), rng.integers(0, 10, n).astype(np.int32), weight)


def network(kind: str) -> tuple[Recipe, Batch]:
    task, tx = jaxnn.multiclass(10), optax.adamw(1e-2)
    if kind == "mlp":
        layers = jaxnn.dense(24), jaxnn.relu, jaxnn.dropout(0.2), jaxnn.dense(16), jaxnn.relu, jaxnn.dense(10)
        return Recipe(jaxnn.chain(*layers), task, tx, alpha=1e-3), rows(101, 20)
    layers = jaxnn.conv(4), jaxnn.batch_norm(), jaxnn.relu, jaxnn.max_pool(2), jaxnn.dropout(0.2), jaxnn.flatten()
    augment = batches.build(("flip", "shift:1", "mixup:0.2"), IMAGE, task, 1.0)
    return Recipe(jaxnn.chain(*layers, jaxnn.dense(10)), task, tx, augment=augment), rows(101, 8, 8, 1)


def trained(recipe: Recipe, data: Batch, devices: int, *cut: int, batch_size: int = 32) -> dict[str, np.ndarray]:
    """The state after these steps, their losses, and the sums of an evaluation."""
    with mesh.use(devices, exact=recipe.exact):
        multiple, everywhere = exact.multiple(recipe), mesh.everywhere()
        example = tree.example(data.x)
        state = jax.jit(functools.partial(engine.init, recipe, example=example), out_shardings=everywhere)(KEY)
        run: Any = functools.partial(run_steps, recipe, batch_size, multiple)
        run, resident, losses = jax.jit(run, static_argnums=2, out_shardings=everywhere), mesh.replicate(data), []
        for n in cut:
            state, info = run(state, resident, n, key=KEY)
            losses.append(info["loss"])
        evaluate = functools.partial(engine.evaluate, recipe, batch_size=40, multiple=multiple)
        sums = jax.jit(evaluate)(state.params, resident)
        return tree.by_name(jax.device_get((state, sums))) | {"losses": np.concatenate(losses)}


@pytest.mark.parametrize(
    "kind", [pytest.param("mlp", marks=pytest.mark.long), pytest.param("cnn", marks=pytest.mark.slow)]
)
def test_exact_gives_the_same_bits_on_any_number_of_devices(kind):
    recipe, data = network(kind)
    recipe = recipe._replace(exact=8)
    one = trained(recipe, data, 1, 9)
    for devices, cut in {"mlp": ((2, (1, 8)), (8, (9,))), "cnn": ((2, (9,)), (4, (9,)), (8, (9,)))}[kind]:
        other = trained(recipe, data, devices, *cut)
        assert one.keys() == other.keys()
        assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == [], (devices, cut)
    if kind == "mlp":
        plain = trained(recipe._replace(exact=0), data, 8, 9)
        assert plain["losses"].tobytes() != one["losses"].tobytes()  # so the test can fail


@pytest.mark.long
def test_exact_parts_are_the_whole_batch():
    """Without noise and statistics of the batch: the gradient, to rounding, and the sums, exactly where they count."""
    data, task = rows(24, 6), jaxnn.multiclass(10)
    whole = Recipe(jaxnn.mlp((5,), 10), task, optax.sgd(0.1), alpha=0.1)
    params = engine.init(whole, KEY, data.x[0]).params
    one = jax.jit(functools.partial(engine.gradient, whole))(params, data, None)
    for v in (1, 3, 24):
        parts = jax.jit(functools.partial(engine.gradient, whole._replace(exact=v)))(params, data, None)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), one, parts)
        assert (one[2]["weight"], one[2]["correct"]) == (parts[2]["weight"], parts[2]["correct"])


def test_exact_keeps_the_mean_of_the_statistics_of_its_parts():
    model = jaxnn.chain(jaxnn.batch_norm(momentum=0.0), jaxnn.dense(10))
    data = rows(16, 3)._replace(weight=np.repeat([1.0, 0.0, 1.0, 1.0], 4).astype(np.float32))
    recipe = Recipe(model, jaxnn.multiclass(10), optax.sgd(0.1), exact=4)
    params = engine.init(recipe, KEY, data.x[0]).params
    *_, kept = jax.jit(functools.partial(engine.gradient, recipe))(params, data, None)
    stats = kept["batch_norm_0"]["batch_stats"]
    real = data.x.reshape(4, 4, 3)[[0, 2, 3]]
    np.testing.assert_allclose(stats["mean"], real.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(stats["var"], real.var(1).mean(0), rtol=1e-5)
    nothing = data._replace(weight=np.zeros(16, np.float32))
    *_, kept = jax.jit(functools.partial(engine.gradient, recipe))(params, nothing, None)
    np.testing.assert_array_equal(
        kept["batch_norm_0"]["batch_stats"]["var"], params["batch_norm_0"]["batch_stats"]["var"]
    )


def test_ten_steps_on_eight_devices_have_the_losses_of_one():
    recipe, data = network("mlp")
    one, eight = (trained(recipe, data, devices, 10) for devices in (1, 8))
    np.testing.assert_allclose(eight["losses"], one["losses"], rtol=1e-5)


def split_run(axes: dict[str, int], kind: str, tensor: tuple[str, ...] = ()) -> tuple[np.ndarray, Any, Any, str]:
    """Losses, the state and its shapes, and the compiled text of ten AdamW steps on four devices."""
    data = rows(96, 64)
    recipe = Recipe(jaxnn.mlp((128, 128), 16), jaxnn.multiclass(16), optax.adamw(1e-3))
    with mesh.use(4, axes=axes):
        make = functools.partial(engine.init, recipe, example=tree.example(data.x))
        shapes = sharding.split(jax.eval_shape(make, KEY), kind, tensor)
        places = jax.tree.map(lambda a: a.sharding, shapes)
        state, resident = jax.jit(make, out_shardings=places)(KEY), mesh.replicate(data)
        run: Any = functools.partial(run_steps, recipe, 32, mesh.count())
        run = jax.jit(run, static_argnums=2, out_shardings=(places, mesh.everywhere()))
        after, info = run(state, resident, 10, key=KEY)
        text = run.lower(state, resident, 10, key=KEY).compile().as_text()
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(after))
        assert held == sharding.nbytes(shapes)
        return np.asarray(info["loss"] / info["weight"]), jax.device_get(after), shapes, text


WHOLE = {"data": 4}


@pytest.mark.long
@pytest.mark.parametrize(
    ("axes", "kind", "tensor"),
    [
        (WHOLE, "fsdp", ()),
        ({"model": 4}, "replicate", ()),
        ({"model": 4}, "replicate", ("dense_0=0", "dense_1=1", "dense_2=0")),
        ({"data": 2, "model": 2}, "fsdp", ()),
    ],
)
def test_split_parameters_take_the_same_steps_in_a_quarter_of_the_memory(axes, kind, tensor):
    losses, whole, shapes, _ = split_run(WHOLE, "replicate")
    split_losses, split, split_shapes, _ = split_run(axes, kind, tensor)
    assert sharding.nbytes(split_shapes) / sharding.nbytes(shapes) <= 0.27
    np.testing.assert_allclose(split_losses, losses, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), split.params, whole.params)


def test_a_step_has_one_all_reduce_and_the_order_of_the_rows_none():
    text = split_run(WHOLE, "replicate")[3]
    collective = r"= .*? (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    found = [(re.search(collective, line), line) for line in text.splitlines()]
    lines = [line for match, line in found if match]
    assert len(lines) == 1, lines
    assert "all-reduce" in lines[0]
    assert "/while/body/" in lines[0]


def test_moments_lie_where_their_parameters_do_and_counts_everywhere():
    with mesh.use(4, axes={"data": 2, "model": 2}):
        recipe = Recipe(jaxnn.mlp((64,), 32), jaxnn.multiclass(32), optax.adamw(1e-3))
        shapes = jax.eval_shape(lambda key: engine.init(recipe, key, jax.ShapeDtypeStruct((48,), np.float32)), KEY)
        placed = tree.by_name(sharding.split(shapes, "fsdp", ("dense_1=1", "dense_0/b=0")))
        spec = {name: tuple(leaf.sharding.spec) for name, leaf in placed.items()}
    assert spec["params/dense_0/w"] == ("model", "data")
    assert spec["params/dense_1/w"] == ("data", "model")
    assert spec["params/dense_0/b"] == ("model",)
    moments = [name for name in spec if name.endswith("/mu/dense_1/w") or name.endswith("/nu/dense_1/w")]
    assert [spec[name] for name in moments] == [("data", "model")] * 2
    assert {spec[name] for name in spec if name.endswith("count")} == {()}


REFUSED = [
    ({"number": 4, "axes": {"data": 4, "model": 2}}, "--mesh=data=4,model=2: is 8 devices, and there are 4"),
    ({"number": 9}, "--devices=9: only 8 cpu devices"),
    ({"number": 3, "exact": 8}, "--exact=8: must be a multiple of the 3 devices"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED)
def test_a_mesh_that_cannot_be(given, told):
    with pytest.raises(InputError, match=re.escape(told)), mesh.use(**given):
        pass


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        ("dense_0=0", "--tensor=dense_0=0: dimension 0 of dense_0/b [50] is not a multiple of the 4 devices of model"),
        ("dense_1/w=2", "--tensor=dense_1/w=2: dense_1/w [10, 50] has no dimension 2"),
        ("dens_1=0", "--tensor=dens_1: matches no parameter; did you mean dense_1?"),
    ],
)
def test_a_rule_that_cannot_be(tensor, told):
    recipe = Recipe(jaxnn.mlp((50,), 10), jaxnn.multiclass(10), optax.sgd(0.1))
    with mesh.use(4, axes={"model": 4}):
        shapes = jax.eval_shape(lambda key: engine.init(recipe, key, jax.ShapeDtypeStruct((48,), np.float32)), KEY)
        with pytest.raises(InputError, match=re.escape(told)):
            sharding.split(shapes, "replicate", (tensor,))


NET = "digits_mlp --epochs 3 --model.dropout 0.1 --optim.name adamw --optim.schedule constant --batch-size 64".split()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("exact") / "run"
    assert here(*NET, "--exact", "--devices", 1, "--workdir", folder) == 0
    yield folder


def begun(folder: Path) -> Path:
    """The folder of a run that may have begun in it; a copy, since this process has the lock of the first."""
    if folder.exists():
        folder = folder.rename(folder.with_name("before"))
        shutil.copytree(folder, folder.with_name("run"))
        shutil.rmtree(folder)
    return folder.with_name("run")


def history(folder: Path) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name.endswith("/loss")} for row in told]


@pytest.mark.slow
def test_an_exact_run_goes_on_on_other_devices_with_the_same_bits(undisturbed, tmp_path, capsys):
    for epochs, devices in ((1, 8), (2, 2), (3, 4)):
        flags = ["--epochs", epochs, "--exact", "--devices", devices, "--workdir", begun(tmp_path / "run")]
        assert here(*NET[:1], *NET[3:], *flags) == 0
    path = "weights.safetensors"
    assert (tmp_path / "run" / path).read_bytes() == (undisturbed / path).read_bytes()
    assert [row for row in history(tmp_path / "run") if "val/loss" in row] == [
        row for row in history(undisturbed) if "val/loss" in row
    ]
    assert "last digits" not in capsys.readouterr().out
    with pytest.raises(InputError, match="--exact: 8 -> None"):
        here(*NET, "--devices", 1, "--workdir", begun(tmp_path / "run"))


@pytest.mark.long
def test_a_run_with_split_parameters_is_saved_whole(tmp_path):
    flags = ["--devices", 4, "--mesh", "data=2,model=2", "--sharding", "fsdp", "--workdir", tmp_path / "run"]
    assert here(*NET[:1], *NET[3:], "--epochs", 1, *flags) == 0
    assert here(*NET[:1], *NET[3:], "--epochs", 2, "--devices", 1, "--workdir", begun(tmp_path / "run")) == 0
    assert here(*NET[:1], *NET[3:], "--epochs", 2, "--devices", 1, "--workdir", tmp_path / "one") == 0
    for found, wanted in zip(history(tmp_path / "run"), history(tmp_path / "one"), strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("digits_logistic --exact", "--exact=8: lbfgs differentiates its line search"),
        ("digits_mlp --exact --sharding fsdp", "--sharding=fsdp: splits the parameters, which --exact leaves whole"),
        (
            "digits_cnn --exact --data.augment mixup:0.2 --batch-size 16",
            "--exact=8: --data.augment mixup:0.2 mixes the",
        ),
        ("digits_mlp --tensor dense_9=0", "--tensor=dense_9: matches no parameter"),
        ("digits_mlp --tensor dense_0=0", "--tensor=dense_0=0: splits over the axis model, which has no devices"),
        ("digits_mlp --mesh rows=2", "--mesh=rows: unknown; Choose from data, model"),
    ],
)
def test_flags_that_cannot_be(flags, told, tmp_path):
    with pytest.raises(InputError, match=re.escape(told)):
        here(*flags.split(), "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_exact_alone_is_of_eight_parts_and_what_it_costs_is_told(tmp_path, capsys):
    assert here(*NET[:1], *NET[3:], "--epochs", 1, "--workdir", tmp_path / "run", "--exact") == 0
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["exact"] == 8
    assert "\nexact: up to 8 gradients at once, 0.19 MiB, and steps" in capsys.readouterr().out


@pytest.mark.slow
def test_exact_of_a_u_net_and_its_pictures(tmp_path):
    flags = (
        "digits_segmentation --exact --epochs 1 --model.channels 4 8 --batch-size 64 --data.name digits_masks".split()
    )
    found = []
    for devices in (1, 2, 4, 8):
        assert here(*flags, "--devices", devices, "--workdir", tmp_path / str(devices)) == 0
        found.append((tmp_path / str(devices) / "weights.safetensors").read_bytes())
        assert (tmp_path / str(devices) / "pictures").is_dir()
    assert len(set(found)) == 1
