"""Keras' face: data sets, one-hot labels and norms, the backend's words, pictures of models."""

import gzip
import os
import random
import re
import xml.etree.ElementTree as ET
from math import comb

import numpy as np
import pytest

from jaxnn.errors import InputError
from jaxnn.keras import backend, datasets, plot, utils

ROWS = {"train": 6, "t10k": 3}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of data sets: mnist packed, fashion_mnist not."""
    draw = np.random.default_rng(0)
    for name, pack, end in (("mnist", gzip.compress, ".gz"), ("fashion_mnist", bytes, "")):
        (tmp_path / name).mkdir()
        for part, n in ROWS.items():
            x, y = draw.integers(0, 256, (n, 4, 5), np.uint8), np.arange(n, dtype=np.uint8) + len(end)
            (tmp_path / name / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx(x)))
            (tmp_path / name / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(idx(y)))
    monkeypatch.setenv("JAXNN_DATASETS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(("name", "first"), [("mnist", 3), ("fashion_mnist", 0)])
def test_images_are_read_from_the_folder_that_the_variable_names(folder, name, first):
    (x, y), (x_test, y_test) = getattr(datasets, name).load_data()
    assert (x.shape, x_test.shape) == ((6, 4, 5), (3, 4, 5))
    assert {a.dtype for a in (x, y, x_test, y_test)} == {np.dtype(np.uint8)}
    assert (y.tolist(), y_test.tolist()) == ([*range(first, first + 6)], [*range(first, first + 3)])
    x[0] = 0  # scripts change them in place


def test_path_names_a_folder_and_a_name_within_the_folder(folder):
    from jaxnn.keras.datasets.mnist import load_data

    (x, _), _ = load_data()
    for path in (
        folder / "mnist",
        str(folder / "mnist"),
        "mnist",
        "mnist.npz",
    ):  # the last is what scripts for Keras say
        np.testing.assert_array_equal(load_data(path=path)[0][0], x)
    assert not np.array_equal(load_data(path="fashion_mnist")[0][0], x)


def test_the_downloads_of_keras_are_read(folder, monkeypatch):
    (x, y), (x_test, y_test) = datasets.mnist.load_data()
    monkeypatch.delenv("JAXNN_DATASETS")
    kept = folder / "home" / ".keras" / "datasets"
    kept.mkdir(parents=True)
    np.savez(kept / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    for mine, theirs in zip(datasets.mnist.load_data()[1], (x_test, y_test), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.savez(kept / "mnist.npz", x_train=x)
    with pytest.raises(InputError, match=r"mnist.npz: has no array y_train; it must have x_train, y_train, x_test"):
        datasets.mnist.load_data()
    (kept / "mnist.npz").write_bytes(b"no zip file")
    with pytest.raises(InputError, match="mnist.npz: not readable as .npz .*; get the file again"):
        datasets.mnist.load_data()


def test_house_prices_are_cut_as_keras_cuts_them(folder):
    """Keras' first targets for seed 113 are rows 218, 162, ... of the file: the shuffle of NumPy's old generator."""
    x, y = np.arange(506.0 * 13).reshape(506, 13), np.arange(506.0)
    np.savez(folder / "boston_housing.npz", x=x, y=y)
    (x_train, y_train), (x_test, y_test) = datasets.boston_housing.load_data()
    assert (x_train.shape, x_test.shape) == ((404, 13), (102, 13))
    order = np.arange(506)
    np.random.RandomState(113).shuffle(order)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), order)
    np.testing.assert_array_equal(x_test[:, 0], 13 * y_test)


@pytest.mark.parametrize("name", datasets.BUNDLED)
def test_bundled_sets_are_those_of_scikit_learn(name):
    import sklearn.datasets

    scaled = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(sklearn.datasets, f"load_{name}")(**scaled)
    x, y = (bunch.images if name == "digits" else bunch.data), bunch.target
    parts = getattr(datasets, name).load_data(test_split=0.25, seed=3)
    assert len(parts[0][0]) == int(0.75 * len(x))
    order = np.arange(len(x))
    np.random.RandomState(3).shuffle(order)
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), x[order])
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), y[order])


@pytest.mark.mnist
def test_mnist_itself(mnist_dir):
    (x, y), (x_test, y_test) = datasets.mnist.load_data(mnist_dir)
    assert (x.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert (y[:5].tolist(), y_test[:5].tolist()) == ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4])


def missing():
    datasets.mnist.load_data("elsewhere")


def empty():
    datasets.iris.load_data(test_split=1.0)


def imported():
    from jaxnn.keras.datasets import imdb  # noqa: F401


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (missing, r"mnist.load_data: nothing at elsewhere and .*elsewhere; put its four IDX files from https://\S+ th"
         r"ere, or name another place with path= or JAXNN_DATASETS=FOLDER \(that has mnist or mnist.npz\)"),
        (empty, r"load_data test_split=1.0: must be in \[0, 1\), with an example or more to train on"),
        (imported, "keras.datasets.imdb: jaxnn downloads no data and has no reader of this set; .*jaxnn.data.load"),
        (lambda: utils.get_file("x", "y"), "keras.utils.get_file: not in jaxnn; jaxnn downloads nothing; get the file"),
        (lambda: utils.to_categorical(["cat"]), "to_categorical x: must be class indices .*; encode them first"),
        (lambda: utils.to_categorical([0.5]), "to_categorical x: must be class indices, whole numbers"),
        (lambda: utils.to_categorical([]), "to_categorical x: must be class indices, whole numbers, one or more"),
        (lambda: utils.to_categorical([0, 3], 3), r"to_categorical x=3: must be in 0..2; see num_classes=3"),
        (lambda: utils.to_categorical([0, -1]), r"to_categorical x=-1: must be in 0..0"),
        (lambda: utils.set_random_seed(-1), "set_random_seed seed=-1: must be a whole number in 0..4294967295"),
        (lambda: backend.set_floatx("float16"), "set_floatx=float16: must be float32"),
        (lambda: backend.set_image_data_format("channels_first"), "channels_first: must be channels_last; move the ax"),
        (lambda: backend.set_value(0.1, 0.2), "K.set_value x=float: must be a learning rate"),
        (lambda: plot.plot_model(None, rankdir="TD"), "plot_model rankdir=TD: unknown; Choose from LR, TB"),
    ],
)  # fmt: skip
def test_refusals(folder, call, message):
    with pytest.raises(InputError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_a_misspelt_name_is_an_attribute_error_with_the_nearest():
    with pytest.raises(AttributeError, match="did you mean mnist"):
        datasets.mnits  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean to_categorical"):
        utils.to_categorial  # noqa: B018
    assert not hasattr(datasets, "mnits") and dir(datasets) == sorted(datasets.__all__)


def test_one_hot_rows_and_norms():
    y = np.random.default_rng(0).integers(0, 4, (5, 3))
    by_hand = np.zeros((5, 3, 4))
    for i, j in np.ndindex(5, 3):
        by_hand[i, j, y[i, j]] = 1
    np.testing.assert_array_equal(utils.to_categorical(y, 4), by_hand)
    np.testing.assert_array_equal(utils.to_categorical(y[..., None], 4), by_hand)
    np.testing.assert_array_equal(utils.to_categorical(np.array([True, False])), [[0, 1], [1, 0]])
    x = np.random.default_rng(1).normal(size=(4, 3))
    np.testing.assert_allclose(utils.normalize(x, axis=0, order=1), x / np.abs(x).sum(0), rtol=1e-15)


def test_the_same_as_keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x = np.random.default_rng(0).normal(size=(3, 4))
    for axis in (1, -1):  # with axis=0 Keras divides rows by the norms of columns
        np.testing.assert_allclose(utils.normalize(x, axis), keras.utils.normalize(x, axis), rtol=1e-15)
    y = np.array([[1], [3], [0]])
    ours, theirs = utils.to_categorical(y), keras.utils.to_categorical(y)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    assert (backend.epsilon(), backend.floatx()) == (keras.backend.epsilon(), keras.backend.floatx())
    assert backend.image_data_format() == keras.backend.image_data_format()


def test_the_seed_is_that_of_python_and_numpy_too():
    utils.set_random_seed(3)
    drawn = random.random(), np.random.rand()
    assert drawn == (random.Random(3).random(), np.random.RandomState(3).rand())


# ---- pictures ----

SVG = "{http://www.w3.org/2000/svg}"
GRAPHS = {
    "chain": [[], [0], [1], [2]],
    "residual": [[], [0], [1], [2, 0], [3]],
    "branches": [[], [0], [0], [0], [1], [2], [4, 5, 3], [6, 0]],
    "two inputs": [[], [], [0], [1], [2, 3]],
    "crossed": [[], [], [1], [0], [2], [3]],
}


def boxes(picture):
    rects = [r for r in ET.fromstring(picture).iter(f"{SVG}rect") if "x" in r.attrib]
    return np.array([[float(r.attrib[k]) for k in ("x", "y", "width", "height")] for r in rects])


def curves(picture, n=40):
    """Points along each line."""
    for path in ET.fromstring(picture).iter(f"{SVG}path"):
        if "marker-end" in path.attrib:
            t, points = np.linspace(0, 1, n)[:, None], []
            for _, numbers in re.findall(r"([MLC])([-\d. ]+)", path.attrib["d"]):
                q = np.array(numbers.split(), float).reshape(-1, 2)
                if not points:
                    points.append(q)
                    continue
                q = np.concatenate([points[-1][-1:], q])
                powers = [comb(len(q) - 1, k) * t**k * (1 - t) ** (len(q) - 1 - k) for k in range(len(q))]
                points.append(np.stack(powers, 0).transpose(1, 0, 2)[..., 0] @ q)  # Bernstein's polynomials
            yield np.concatenate(points)


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_boxes_do_not_meet_and_lines_go_around_them(graph, rankdir):
    inputs = GRAPHS[graph]
    texts = [[f"layer {i}", "x" * (5 + 7 * (i % 3))] for i in range(len(inputs))]
    picture = plot.drawing(texts, inputs, rankdir)
    found = boxes(picture)
    assert len(found) == len(inputs)
    left, top, right, bottom = found[:, 0], found[:, 1], found[:, 0] + found[:, 2], found[:, 1] + found[:, 3]
    for i in range(len(found)):
        for j in range(i):
            assert right[i] < left[j] or right[j] < left[i] or bottom[i] < top[j] or bottom[j] < top[i]
    ends = [(source, box) for box, sources in enumerate(inputs) for source in sources]
    lines = list(curves(picture))
    assert len(lines) == len(ends)
    for (source, box), line in zip(ends, lines, strict=True):
        for i in range(len(found)):
            in_box = (line > [left[i] + 0.1, top[i] + 0.1]).all(1) & (line < [right[i] - 0.1, bottom[i] - 0.1]).all(1)
            assert not in_box.any()
        start, end = (bottom[source], top[box]) if rankdir == "TB" else (right[source], left[box])
        axis = 1 if rankdir == "TB" else 0
        assert abs(line[0, axis] - start) < 0.2 and abs(line[-1, axis] - end) < 0.2 and start < end
    size = ET.fromstring(picture).attrib
    assert left.min() >= 0 and right.max() <= float(size["width"]) and bottom.max() <= float(size["height"])


def test_lines_that_need_not_cross_do_not():
    layout = plot.ordered(plot.ranked(GRAPHS["crossed"]))
    assert plot._crossings(plot.ranked(GRAPHS["crossed"]).ranks, layout.links) == 1
    assert plot._crossings(layout.ranks, layout.links) == 0


def test_a_fall_is_shared():
    np.testing.assert_allclose(plot._rising(np.array([1.0, 3.0, 1.0, 2.0, 5.0])), [1, 2, 2, 2, 5])


# ---- tf ----


@pytest.mark.long
def test_functions_of_tf_are_activations_and_give_numpy_arrays():
    from jaxnn.keras import activations, losses, tf

    z = np.array([[1.0, 2.0, 4.0]], np.float32)
    np.testing.assert_allclose(tf.nn.softmax(z).numpy(), np.exp(z) / np.exp(z).sum(), rtol=1e-6)
    assert type(tf.nn.softmax(z).numpy()) is np.ndarray
    assert activations.get(tf.nn.softmax) is activations.softmax  # so that it is trained on logits
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([2]), z).numpy()
    np.testing.assert_allclose(loss, -np.log(np.exp(4) / np.exp(z).sum()), rtol=1e-6)
    with pytest.raises(AttributeError, match=r"tf.GradientTape: not in jaxnn, .*; write it with numpy or jax.numpy"):
        tf.GradientTape  # noqa: B018


def test_histories_answer_to_both_spellings():
    from jaxnn.keras.callbacks import History

    history = History()
    history.on_train_begin()
    history.on_epoch_end(0, {"mae": 2.0, "val_accuracy": 0.5})
    assert history.history["mean_absolute_error"] == [2.0] and history.history["val_acc"] == [0.5]
    assert list(history.history) == ["mae", "val_accuracy"]
    with pytest.raises(KeyError, match="val_mae"):
        history.history["val_mae"]


def test_the_picture_of_a_model_is_written_as_svg_whatever_was_asked_for(tmp_path):
    from jaxnn.keras import layers
    from jaxnn.keras.inputs import Input
    from jaxnn.keras.models import Model, Sequential

    x = Input((4,))
    model = Model(x, layers.Add()([layers.Dense(3, name="a")(x), layers.Dense(3, name="b")(x)]))
    picture = plot.plot_model(model, tmp_path / "net.svg", show_shapes=True, show_layer_names=True)
    assert (tmp_path / "net.svg").read_text() == picture == picture._repr_svg_()
    words = [text.text for text in ET.fromstring(picture).iter(f"{SVG}text")]
    assert "a (Dense)" in words and "(None, 3), (None, 3) -> (None, 3)" in words and len(list(curves(picture))) == 4
    with pytest.warns(UserWarning, match="net.png: pictures are SVG; wrote .*net.svg"):
        utils.plot_model(model, str(tmp_path / "net.png"))
    assert not (tmp_path / "net.png").exists()
    with pytest.raises(InputError, match="not yet been built"):
        plot.plot_model(Sequential([layers.Dense(3)]), to_file=None)
