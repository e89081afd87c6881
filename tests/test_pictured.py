"""Labels that lie in images (masks, boxes) on their way from arrays to a task; tasks and data of a config file."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jaxnn
from jaxnn import data
from jaxnn.commands import config_file, main, predict
from jaxnn.data import incoming
from jaxnn.data.columns import Rules
from jaxnn.data.readers import canvases, table
from jaxnn.data.readers.image_form import Form
from jaxnn.errors import InputError
from jaxnn.store import marked
from jaxnn.tasks import choose

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 6, 8, 3), np.uint8)
MASKS = RNG.integers(0, 3, (12, 6, 8), np.uint8)
BOXES = np.tile(np.array([[1, 0, 0, 4, 3], [-1, 0, 0, 0, 0]], np.float32), (12, 1, 1))


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def test_masks_and_boxes_of_an_archive_are_told_by_their_shapes(tmp_path):
    masks = data.load(saved(tmp_path, x=X, y=MASKS))
    assert (masks.task, masks.classes, masks.outputs, masks.train.y.dtype) == ("segmentation", (0, 1, 2), 3, np.uint8)
    assert masks.describe()["y"] == {"shape": [6, 8], "dtype": "uint8"}
    boxes = data.load(saved(tmp_path, x=X, y=BOXES, classes=np.array(["cat", "dog", "owl"])))
    assert (boxes.task, boxes.classes, boxes.train.y.shape[1:]) == ("detection", ("cat", "dog", "owl"), (2, 5))
    # Every example is in one of the parts, with its own label.
    pairs = {row.tobytes(): y.tobytes() for row, y in zip(X, MASKS, strict=True)}
    for part in masks.parts.values():
        assert all(pairs.pop(x.tobytes()) == y.tobytes() for x, y in zip(part.x, part.y, strict=True))
    assert not pairs


@pytest.mark.parametrize(
    ("arrays", "flags", "said"),
    [
        ({"y": MASKS[:, :5]}, {}, "boxes [n, M, 5]"),
        ({"y": MASKS.astype(np.float32) + 0.5}, {}, "whole numbers of 0 to 255"),
        ({"y": np.full_like(MASKS, 255)}, {}, "no class; there is nothing"),
        ({"y": np.full_like(BOXES, -1)}, {}, "no class; there is nothing"),
        ({"y": MASKS}, {"task": "multiclass"}, "are masks; use --task.name segmentation"),
        ({"y": BOXES}, {"task": "segmentation"}, "are boxes; use --task.name detection"),
        ({"y": MASKS, "classes": np.array(["a", "a", "b"])}, {}, "each once"),
        ({"y": MASKS}, {"class_weight": "balanced"}, "segmentation has no classes of whole examples; leave it out"),
        ({"y": MASKS}, {"positive": "1"}, "--data.positive=1: the labels are masks"),
        ({"y": BOXES}, {"positive": "1"}, "--data.positive=1: the labels are boxes"),
        ({"y": np.where(MASKS == 1, 0, 255)}, {}, "y=0 and 255: 255 is ignored"),
        ({"y": BOXES * [3e8, 1, 1, 1, 1]}, {}, "y[0,0]=3e+08: a class must be < 10000"),
    ],
)
def test_what_is_no_mask_and_no_box_is_refused_in_one_line(tmp_path, arrays, flags, said):
    with pytest.raises(InputError) as refused:
        data.load(saved(tmp_path, x=X, **arrays), **flags)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_masks_of_another_size_are_refused_in_each_part(tmp_path):
    path = saved(tmp_path, x_train=X[:8], y_train=MASKS[:8], x_test=X[8:], y_test=MASKS[8:, :4])
    with pytest.raises(InputError, match=r"test masks="):
        data.load(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, None), (np.uint8, 16.0), (np.uint8, 255.0)])
def test_arrays_are_shown_with_their_own_white(tmp_path, channels, dtype, scale):
    x = (RNG.random((2, 6, 8, channels)) * (scale or 1)).astype(dtype)
    known = {"classes": ["ground", "cat", "dog"], "scale": scale}
    bytes_ = np.round(x / (scale or 1) * 255).astype(np.uint8)
    first = bytes_[..., :3] if channels > 2 else bytes_[..., :1].repeat(3, -1)
    with marked.writing(tmp_path / "masks", [tmp_path / "set.npz"], "mask", known, None) as write:
        write(x, np.zeros((2, 6, 8), np.uint8), None)
    for i in range(2):
        overlay = np.asarray(Image.open(tmp_path / "masks" / "overlays" / f"{i:06}.png"))
        np.testing.assert_array_equal(overlay, first[i])  # class 0 shows the image alone
    with marked.writing(tmp_path / "boxes", [tmp_path / "set.npz"], "boxes", known, None) as write:
        write(x, np.full((2, 1, 6), -1, np.float32), None)
    picture = np.asarray(Image.open(tmp_path / "boxes" / "pictures" / "000001.png"))
    np.testing.assert_array_equal(picture[::48, ::48], first[1])


def test_boxes_are_told_in_the_pixels_of_the_file_without_those_of_its_black_edges(tmp_path):
    Image.fromarray(np.full((10, 20, 3), 90, np.uint8)).save(tmp_path / "a.png")
    found = np.array([[[0, 2, 4, 6, 0.9, 1], [1, 0, 3, 2, 0.8, 0], [0, 0, 0, 0, 0, -1]]], np.float32)  # of 8x8
    known = {"classes": ["cat", "dog"], "scale": 255.0}
    with marked.writing(tmp_path / "out", [tmp_path], "boxes", known, Form((8, 8), "fit", None)) as write:
        write(np.zeros((1, 8, 8, 3), np.uint8), found, [str(tmp_path / "a.png")])
    whole = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [(row["bbox"], row["category_id"]) for row in whole["annotations"]] == [([0, 0, 10, 10], 2)]
    assert (whole["images"][0]["height"], whole["images"][0]["width"]) == (10, 20)


@pytest.mark.parametrize("y", [BOXES, np.arange(12) % 3])
def test_other_labels_than_those_of_training_are_refused_by_their_kind(tmp_path, y):
    roles = table.Roles(None, None, None, Rules())
    known = incoming.Known({"task": "segmentation", "classes": [0, 1, 2], "shape": [6, 8, 3]}, None, roles)
    assert incoming.labelled(saved(tmp_path, x=X, y=MASKS), known, None).y.shape == MASKS.shape
    with pytest.raises(InputError, match=r"set.npz: y=\(12,.*\): the network was trained on masks; give examples with"):
        incoming.labelled(saved(tmp_path, x=X, y=y), known, None)


def test_names_of_classes_go_with_numbers_of_whole_examples_too(tmp_path):
    loaded = data.load(saved(tmp_path, x=X, y=np.arange(12) % 2, classes=np.array(["no", "yes"])))
    assert loaded.classes == ("no", "yes") and loaded.task == "binary"


def test_digits_of_test_canvases_are_in_no_training_canvas_and_boxes_fit_their_ink():
    made = canvases.digit_boxes(noise=0, train=40, test=20)
    again = canvases.digit_boxes(noise=0, train=40, test=20)
    assert all(np.array_equal(made[name], again[name]) for name in made)
    for x, boxes in zip(made["x_test"], made["y_test"], strict=True):
        whole, faint = x[..., 0] > 255 * canvases.INK, x[..., 0] >= 255 * canvases.INK  # the pixels are rounded
        for kind, x1, y1, x2, y2 in boxes[boxes[:, 0] >= 0].astype(int):
            assert 0 <= kind <= 9
            inside = faint[y1:y2, x1:x2]
            assert inside.any(1)[[0, -1]].all() and inside.any(0)[[0, -1]].all()
            whole[y1:y2, x1:x2] = False
        assert not whole.any()
    masks = canvases.digit_masks(noise=0, train=2, test=30)
    x, y = masks["x_test"][..., 0], masks["y_test"]
    assert (y[x > 255 * canvases.INK] > 0).all() and (y[x < 255 * canvases.INK] == 0).all()


OWN = """
import jax, jax.numpy as jnp, numpy as np, jaxnn
from jaxnn.config import *
config = Config(name="own", epochs=2, batch_size=4, data=DataConfig(name="points", test_fraction=0.25),
                model=ModelConfig(kind="linear"), optim=OptimConfig(lr=0.1))

def data():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    return {"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32) + 1.5}

def task(data):
    assert data["shape"] == [3]
    return jaxnn.regression(FACTOR)
"""


def here(*argv: object) -> int:
    return main.train([*map(str, argv), "--devices", "1"])


def test_settings_that_are_called_data_or_task_are_settings(tmp_path):
    text = OWN.partition("def data")[0].replace(
        "config = Config(", "data, task = DataConfig(name='iris'), TaskConfig()\nconfig = Config("
    )
    (tmp_path / "plain.py").write_text(
        text.replace('data=DataConfig(name="points", test_fraction=0.25)', "data=data, task=task")
    )
    brought = config_file.run(tmp_path / "plain.py", "plain")
    assert brought.own.names() == [] and brought.config.data.name == "iris"


@pytest.mark.long
def test_a_config_file_brings_its_data_and_its_task(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("FACTOR", '"huber"'))
    assert here(file, "--workdir", tmp_path / "run") == 0
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert about["own"] == ["task", "data"] and len(about["program"]) == 64 and about["data"]["name"] == "points"
    with pytest.raises(InputError, match=r"^task=None: own brought its own task; pass"):
        jaxnn.load_run(tmp_path / "run")
    run = jaxnn.load_run(tmp_path / "run", task=lambda known: jaxnn.regression("huber"))
    new = saved(tmp_path, x=RNG.normal(size=(4, 3)).astype(np.float32))
    assert np.isfinite(run.predict(np.load(new)["x"])).all()
    with pytest.raises(InputError, match=r"its config file brought a task; add --config own\.py"):
        predict.predict([str(tmp_path / "run"), str(new)])
    assert predict.predict([str(tmp_path / "run"), str(new), "--config", str(file)]) == 0
    capsys.readouterr()
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    file.write_text(OWN.replace("FACTOR", '"squared"'))
    with pytest.raises(InputError, match="the task and data's program"):
        here(file, "--workdir", tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "flags", "said"),
    [
        (("", ""), ["--data.name", "iris"], "--data.name=iris: own.py brings its data"),
        (("", ""), ["--task.loss", "huber"], "--task.loss=huber: the config file brings the task"),
        (("return {", "return 3 # {"), [], "data()=int: must be a dict of arrays"),
        (('"y": x @', '"z": x @'), [], "data()=x, z: must hold x, y"),
        (("return jaxnn.regression(FACTOR)", "return 3"), [], "task(data)=int: must be a jaxnn.Task"),
        (("def data():", "def data(n):"), [], "data(n) must take nothing; write def data(): return ..."),
        (
            ("config =", "metrics = {'a': jaxnn.Metric(None, None)}\nconfig ="),
            [],
            "metrics: the config file brings a task",
        ),
    ],
)
def test_data_and_tasks_that_are_none_are_refused_before_a_folder_is_made(tmp_path, change, flags, said):
    (tmp_path / "own.py").write_text(OWN.replace(*change).replace("FACTOR", '"huber"'))
    with pytest.raises(InputError) as refused:
        here(tmp_path / "own.py", "--workdir", tmp_path / "run", *flags)
    assert said in str(refused.value).replace(str(tmp_path) + "/", "") and not (tmp_path / "run").exists()


WHOLE = """
import numpy as np
import jaxnn
from jaxnn.config import Config, DataConfig

config = Config(name="masks", data=DataConfig(name="SET"), batch_size=4, epochs=1)

def task(data):
    return jaxnn.segmentation(data["classes"], size=data["shape"][:2])._replace(labels="whole")

def model(outputs):
    return jaxnn.conv(outputs[-1], 1)
"""


@pytest.mark.long
def test_a_task_that_does_not_say_where_its_labels_lie_neither_moves_nor_marks_images(tmp_path):
    path, file, run = saved(tmp_path, x=X, y=MASKS), tmp_path / "own.py", tmp_path / "run"
    file.write_text(WHOLE.replace("SET", str(path)))
    with pytest.raises(InputError, match="--data.augment=flip: would leave the masks behind"):
        here(file, "--workdir", run, "--data.augment", "flip")
    assert not run.exists()
    assert here(file, "--workdir", run) == 0
    with pytest.raises(InputError, match="its config file's task has labels=whole"):
        predict.predict([str(run), str(path), "--config", str(file), "--output", str(tmp_path / "found")])
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(
    ("config", "about", "said"),
    [
        ({"name": "segmentation"}, {"task": "multiclass"}, "needs masks"),
        ({"name": "detection"}, {"task": "segmentation"}, "needs boxes"),
        ({"name": "vae"}, {"task": "regression"}, "needs images with a class each"),
        ({"name": "vae"}, {"task": "binary", "shape": [4]}, "needs images [H, W, C]"),
        ({"name": "segmentation", "label_smoothing": 0.1}, {"task": "segmentation"}, "is for classes and amounts"),
        ({"name": "binary"}, {"task": "detection"}, "are boxes; use --task.name detection"),
    ],
)
def test_a_task_that_does_not_fit_the_labels_is_refused(config, about, said):
    known = {"shape": [8, 8, 1], "outputs": 2, "classes": ["a", "b"], "center": 0.0} | about
    with pytest.raises(InputError) as refused:
        choose.choose(jaxnn.TaskConfig(**config), known)
    assert said in str(refused.value) and "\n" not in str(refused.value)


PREPARES = """
import jax, jax.numpy as jnp, numpy as np, jaxnn
from jaxnn.config import *
config = Config(name="own", epochs=1, batch_size=512, model=ModelConfig(kind="linear"))

def task(data):
    return jaxnn.multiclass(10)._replace(prepare=lambda batch, key: batch._replace(PREPARED))
"""


def own_task(folder, prepared, *flags):
    (folder / "own.py").write_text(PREPARES.replace("PREPARED", prepared))
    return here(folder / "own.py", "--workdir", folder / "run", *flags)


def test_a_task_that_prepares_examples_standardises_them_itself(tmp_path):
    cure = "the task prepares its examples itself; add --data.no-standardize, and standardise there"
    with pytest.raises(InputError, match=f"^--data.standardize=True: {cure}"):
        own_task(tmp_path, "x=batch.x", "--data.standardize")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_bytes_that_a_task_leaves_as_they_are_are_scaled_as_ever(tmp_path):
    """White is 16 in the digits."""
    assert own_task(tmp_path, "y=batch.y") == 0
    plain = ["digits_softmax", *("--epochs", "1", "--batch-size", "512"), "--optim.name", "sgd"]
    assert here(*plain, "--optim.schedule", "constant", "--workdir", tmp_path / "plain") == 0
    rows = [(tmp_path / name / "history.jsonl").read_text().splitlines()[0] for name in ("run", "plain")]
    one, other = (json.loads(row)["val/loss"] for row in rows)
    assert one == pytest.approx(other, rel=1e-5)
    prepare = lambda known: jaxnn.multiclass(10)._replace(prepare=lambda batch, key: batch)
    run = jaxnn.load_run(tmp_path / "run", task=prepare)
    with pytest.raises(InputError, match="^predict: a multiclass answers no examples; its task prepares them"):
        run.predict(np.zeros((1, 8, 8, 1), np.uint8))


def test_the_loss_of_a_whole_task_is_one_number_for_each_example(tmp_path):
    text = PREPARES.replace("prepare=lambda batch, key: batch._replace(PREPARED)", "loss=lambda z, y: z.mean()")
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(InputError, match=r"^loss=float32\[\]: must be one number for each example, float\[8\]"):
        here(tmp_path / "own.py", "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
