"""Style transfer: losses against NumPy and loops, gradients against finite differences; pictures by the shell."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from test_train import here, home  # noqa: F401  (`home` is a fixture)

import jaxnn
from jaxnn import Recipe, engine, style_features
from jaxnn.commands import style as command
from jaxnn.errors import InputError
from jaxnn.optim import optimizer
from jaxnn.style import OPTIM, program
from jaxnn.tasks import style
from jaxnn.types import Batch

RNG = np.random.default_rng(0)
CONTENT, STYLE = RNG.integers(0, 256, (20, 26, 3), np.uint8), RNG.integers(0, 256, (24, 18, 3), np.uint8)
SMALL = style.random(jax.random.key(0), (4, 8))  # 6 pixels and more
KEY = jax.random.key(1)


def seen_by_numpy(features, picture):
    """Features of one picture by loops: mirrored, then convolution, bias, relu; halved before one that widens."""
    n = style.margin(features)
    x = np.pad(np.asarray(picture, np.float64), ((n, n), (n, n), (0, 0)), mode="reflect")
    found = []
    for i, (w, b) in enumerate(zip(features.kernels, features.biases, strict=True)):
        w, b = np.asarray(w, np.float64), np.asarray(b, np.float64)
        if i and w.shape[3] > w.shape[2]:
            h, v = x.shape[0] // 2, x.shape[1] // 2
            x = np.array([[x[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean((0, 1)) for c in range(v)] for r in range(h)])
        kh, kw = w.shape[:2]
        rows, columns = range(x.shape[0] - kh + 1), range(x.shape[1] - kw + 1)
        x = np.array([[np.einsum("ijc,ijco->o", x[r : r + kh, c : c + kw], w) + b for c in columns] for r in rows])
        x = np.maximum(x, 0)
        found.append(x)
    return found


def as_floats(picture):
    return jnp.asarray(picture, jnp.float32) / 255


def test_losses_are_those_of_numpy():
    picture, content, other = (as_floats(RNG.integers(0, 256, (12, 14, 3))) for _ in range(3))
    features = SMALL._replace(biases=(jnp.linspace(-0.1, 0.2, 4), jnp.linspace(0.1, -0.2, 8)))
    losses = jax.jit(lambda c, s, x: style.losses(features, style.targets(features, c, s), x))
    found = losses(content, other, picture)
    x, c, s = (seen_by_numpy(features, each) for each in (picture, content, other))
    gram = lambda f: sum(np.outer(pixel, pixel) for pixel in f.reshape(-1, f.shape[2])) / (f.shape[0] * f.shape[1])  # noqa: E731
    apart = lambda a, b: ((a - b) ** 2).sum() / (b**2).sum()  # noqa: E731
    p, (height, width, _) = np.asarray(picture, np.float64), picture.shape
    down = [(p[i + 1, j, k] - p[i, j, k]) ** 2 for i in range(height - 1) for j in range(width) for k in range(3)]
    along = [(p[i, j + 1, k] - p[i, j, k]) ** 2 for i in range(height) for j in range(width - 1) for k in range(3)]
    expected = {
        "content": apart(x[1], c[1]),
        "style": np.mean([apart(gram(a), gram(b)) for a, b in zip(x, s, strict=True)]),
        "tv": np.mean(down) + np.mean(along),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4)
    weights = {"content_weight": 2, "style_weight": 3, "tv_weight": 5}
    goal = jax.jit(lambda c, s: style.targets(features, c, s))(content, other)
    task = style.style(features, goal, picture.shape, **weights)
    total = 2 * expected["content"] + 3 * expected["style"] + 5 * expected["tv"]
    np.testing.assert_allclose(jax.jit(task.loss)(picture[None], jnp.zeros(1)), [total], rtol=2e-4)
    same = losses(picture, picture, picture)
    assert max(same["content"], same["style"]) < 1e-9


@pytest.mark.long
def test_leading_axes_are_free():
    pictures = as_floats(RNG.integers(0, 256, (3, 12, 14, 3)))
    goal = jax.jit(lambda x: style.targets(SMALL, x[0], x[1]))(pictures)
    losses = lambda x: style.losses(SMALL, goal, x)  # noqa: E731
    together, each = jax.jit(lambda x: (losses(x), jax.vmap(losses)(x)))(pictures)
    for name, values in together.items():
        np.testing.assert_allclose(values, each[name], rtol=1e-5, atol=1e-7)
    model = style.picture(pictures[0])
    params = model.init(KEY, jnp.zeros(()))
    law = jax.vmap(model.apply, (None, 0))(params, jnp.zeros(3))
    assert np.array_equal(model.apply(params, jnp.zeros(3)), law) and law.shape == (3, 12, 14, 3)


@pytest.mark.long
def test_the_engines_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        kernels, biases = jax.tree.map(lambda a: a.astype(float), SMALL[:2])
        smooth = style.Features(kernels, biases, jnp.tanh)
        pictures = [jnp.asarray(each[:10, :11], float) / 255 for each in (CONTENT, STYLE)]
        goal = jax.jit(lambda c, s: style.targets(smooth, c, s))(*pictures)
        tx = optimizer.optimizer(OPTIM, steps_per_epoch=1, total_steps=4)
        recipe = Recipe(style.picture(pictures[0]), style.style(smooth, goal, pictures[0].shape), tx)
        row = Batch(jnp.zeros(1), jnp.zeros(1), jnp.ones(1))
        params = recipe.model.init(KEY, jnp.zeros(()))
        loss_of = jax.jit(lambda params: engine.gradient(recipe, params, row, None)[:2])
        grads = np.asarray(loss_of(params)[1]["picture"])
        for at in [(0, 0, 0), (5, 5, 1), (9, 10, 2), (0, 7, 2), (3, 0, 1)]:
            step = lambda h: params["picture"].at[at].add(h)  # noqa: E731, B023
            up, down = (float(loss_of({"picture": step(h)})[0]) for h in (1e-5, -1e-5))
            assert grads[at] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.long
def test_a_cut_run_on_more_devices_is_the_same_picture():
    content, other = as_floats(CONTENT), as_floats(STYLE)
    goal = jax.jit(lambda c, s: style.targets(SMALL, c, s))(content, other)

    def taken(cuts, devices=1):
        with jaxnn.devices.use(devices):
            run, state = program(SMALL, goal, content, {}, 2, KEY)
            for n in cuts:
                state, _ = run(state, n)
        return np.asarray(state.params["picture"])

    whole = taken([2])
    assert whole.tobytes() == taken([1, 1]).tobytes()
    np.testing.assert_allclose(taken([2], 8), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.long
def test_the_loss_falls_tenfold_and_one_key_is_one_picture():
    y, x = np.mgrid[:24, :30]
    content = np.stack([x / 29, y / 23, (x + y) % 2 * 0 + 0.3], -1).astype(np.float32)
    stripes = np.repeat(((x // 3) % 2)[..., None], 3, 2).astype(np.float32) * [1.0, 0.6, 0.1]
    rows = []
    run = functools.partial(jaxnn.style_transfer, content, np.float32(stripes), features=SMALL, steps=60)
    first = run(jax.random.key(3), show=lambda step, losses: rows.append((step, losses)))
    assert [step for step, _ in rows] == [0, 10, 20, 30, 40, 50, 60]
    assert rows[-1][1]["loss"] < rows[0][1]["loss"] / 10
    assert first.shape == content.shape and first.dtype == np.float32 and 0 <= first.min() and first.max() <= 1
    assert first.tobytes() == run(jax.random.key(3)).tobytes() != run(jax.random.key(4)).tobytes()


# ---- features --------------------------------------------------------------------------------------------------------


def test_mean_std_and_grey_are_a_part_of_the_first_kernel(tmp_path):
    w, b = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)
    mean, std = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.3, 0.1], np.float32)
    np.savez(tmp_path / "vgg.npz", conv1_w=w, conv1_b=b, mean=mean, std=std)
    picture = as_floats(CONTENT)
    found = style.maps(style_features(tmp_path / "vgg.npz"), picture)
    plain = style.of_kernels([w], [b])
    np.testing.assert_allclose(
        found[0], style.maps(plain, (picture - mean[None, None]) / std[None, None])[0], atol=1e-4
    )
    more = {"conv_10/w": RNG.normal(size=(1, 1, 4, 2)).astype(np.float32), "conv_9/w": w[:, :, :1].copy()}
    safetensors.numpy.save_file(more, tmp_path / "grey.safetensors")
    features = style_features(tmp_path / "grey.safetensors")
    assert [kernel.shape for kernel in features.kernels] == [(3, 3, 3, 4), (1, 1, 4, 2)]  # 9 before 10
    colored = features._replace(kernels=(w[:, :, :1].repeat(3, 2) / 3, features.kernels[1]))  # of a grey RGB picture
    grey = jaxnn.image.to_rgb(jaxnn.image.to_gray(picture))
    for one, other in zip(style.maps(features, picture), style.maps(colored, grey), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.long
def test_the_convolutions_of_a_run(tmp_path):
    argv = ["digits_cnn", "--model.channels", 4, 6, "--model.kernel", 2, "--epochs", 1, "--batch_size", 512]
    argv += ["--data.validation_fraction", 0, "--model.hidden", 8, "--model.activation", "tanh"]
    assert here(*argv, "--workdir", tmp_path / "run") == 0
    features = style_features(tmp_path / "run")
    params = jaxnn.load_run(tmp_path / "run").params
    assert [kernel.shape for kernel in features.kernels] == [(2, 2, 3, 4), (2, 2, 4, 6)]
    assert features.activation is jaxnn.tanh
    assert np.array_equal(features.kernels[1], params["conv_1"]["w"])
    np.testing.assert_allclose(features.kernels[0].sum(2), params["conv_0"]["w"][:, :, 0], atol=1e-6)
    assert here("digits_softmax", "--epochs", 1, "--workdir", tmp_path / "flat") == 0
    with pytest.raises(InputError, match="features=.*flat: has no convolution; name a run of --model.kind cnn"):
        style_features(tmp_path / "flat")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"a": np.ones((3, 3, 3, 4)), "b": np.ones((3, 3, 5, 4))},
            "b takes 5 channels, and the convolution before it ",
        ),
        ({"a": np.ones((3, 3, 2, 4))}, "a takes 2 channels, and pictures have 1 or 3; name another"),
        ({"a": np.ones(3)}, "has no convolution; name a run of"),
        (
            {"a": np.ones((3, 3, 3, 4)), "mean": np.ones(2)},
            "array mean=[1.0, 1.0]: must be one number, or one for each",
        ),
    ],
)
def test_kernels_that_do_not_fit_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "k.npz", **arrays)
    with pytest.raises(InputError) as raised:
        style_features(tmp_path / "k.npz")
    assert message in str(raised.value)


def test_pictures_that_are_none_are_refused():
    run = functools.partial(jaxnn.style_transfer, key=KEY, features=SMALL, steps=1)
    for content, message in (
        (CONTENT[:5], "content=5x26: the features need more than 5 pixels"),
        (CONTENT[..., 0], "must be a picture"),
        (CONTENT.astype(np.float32), "must be bytes, or in 0..1"),
        (np.full((20, 20, 3), np.nan, np.float32), "must be bytes, or in 0..1"),
    ):
        with pytest.raises(InputError, match=message):
            run(content, STYLE)
    with pytest.raises(InputError, match="style: a convolution gives nothing for that picture"):
        run(CONTENT, np.full((20, 20, 3), 0.5, np.float32))
    with pytest.raises(InputError, match="style_weight=-1: must be finite and >= 0"):
        run(CONTENT, STYLE, style_weight=-1)
    with pytest.raises(InputError, match="steps=0: must be a whole number >= 1"):
        jaxnn.style_transfer(CONTENT, STYLE, KEY, steps=0)


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("k.npz", a=np.asarray(SMALL.kernels[0]), b=np.asarray(SMALL.kernels[1]))
    Image.fromarray(CONTENT).save("content.png")
    turned = Image.fromarray(CONTENT)
    turned.getexif()[0x112] = 6  # a quarter turn
    turned.save("turned.jpg", exif=turned.getexif())
    Image.fromarray(np.dstack([STYLE, np.full(STYLE.shape[:2], 128, np.uint8)])).save("clear.png")
    Image.fromarray(STYLE[..., 0]).save("grey.png")
    Image.fromarray(CONTENT[:5]).save("small.png")
    Path("no.png").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.long
def test_the_command_writes_a_picture_of_the_contents_size(folder, capsys):
    flags = ["--features", "k.npz", "--steps", "3"]
    for content, other, output, size in (
        ("content.png", "clear.png", "a.png", (26, 20)), ("turned.jpg", "grey.png", "b.jpg", (20, 26)),
    ):  # fmt: skip
        assert command.style([content, other, "--output", output, *flags]) == 0
        with Image.open(output) as made:
            assert (made.size, made.mode) == (size, "RGB")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 0 ") and lines[1].startswith("step 3 ") and lines[2].startswith("loss ")
    before = Path("a.png").read_bytes()
    assert command.style(["content.png", "clear.png", "--output", "a.png", "--force", *flags]) == 0
    assert Path("a.png").read_bytes() == before
    assert command.style(["content.png", "clear.png", "--output", "c.png", "--size=13", *flags]) == 0
    with Image.open("c.png") as made:
        assert made.size == (13, 10)


@pytest.mark.long
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("content.png", "style content.png: needs CONTENT and STYLE"),
        ("content.png grey.png", "--output: needs a value; add --output picture.png"),
        ("content.png grey.png --output o.gif", "--output=o.gif: must end with .png or .jpg or .jpeg; rename it"),
        (
            "content.png grey.png --output grey.png",
            "--output=grey.png: is there already; name another file, or add --f",
        ),
        ("content.png grey.png --output no/o.png", "--output=no/o.png: no is no folder"),
        ("content.png none.png --output o.png", "picture=none.png: no such file; name a picture"),
        ("no.png grey.png --output o.png", "no.png: damaged image"),
        ("small.png grey.png --output o.png --features k.npz", "content=5x26: the features need more than 5 pixels"),
        ("content.png grey.png --output o.png --size 4", "content=3x4: the features need more than"),
        ("content.png grey.png --output o.png --steps 0", "--steps=0: must be in [1, 1,000,000]"),
        ("content.png grey.png --output o.png --steps x", "--steps=x: must be a whole number; see --help"),
        ("content.png grey.png --output o.png --tv_weight nan", "--tv_weight=nan: must be finite and >= 0"),
        ("content.png grey.png --output o.png --style_weight -1", "--style_weight=-1: must be finite and >= 0"),
        ("content.png grey.png --output o.png --seed -1", "--seed=-1: must be in [0, 2^32)"),
        ("content.png grey.png --output o.png --styl_weight 1", "--styl_weight: unknown flag; did you mean --style_we"),
        ("content.png grey.png --output o.png --features no", "features=no: is neither a run's folder (has no config"),
        ("content.png grey.png --output o.png --features no.npz", "features=no.npz: no such file; check the path"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(argv, message, folder):
    before = sorted(folder.iterdir())
    with pytest.raises(jaxnn.Error) as raised:
        command.style(argv.split())
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)
    assert sorted(folder.iterdir()) == before
