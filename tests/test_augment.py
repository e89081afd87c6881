"""Augmentation: each against NumPy, SciPy, Pillow, colorsys; the statistics of the draws; the same bits for any cut."""

import colorsys
import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage
import scipy.stats
from PIL import Image, ImageEnhance
from test_train import ROOT, here, home, weights  # noqa: F401  (`home` is a fixture)

import jaxnn
from jaxnn import Batch, Recipe, augment
from jaxnn.augment import batches, images, mixing
from jaxnn.commands import arguments
from jaxnn.config import Config, DataConfig
from jaxnn.config.values import from_dict, to_dict
from jaxnn.data import feeds
from jaxnn.devices import mesh
from jaxnn.engine import descent, evaluate, gradient, steps
from jaxnn.errors import InputError
from jaxnn.training.faults import find_fault

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 9, 1), np.uint8)
COLORED = RNG.integers(0, 256, (8, 6, 3), np.uint8)


def drawn(augmentation, x, n: int, seed: int = 0):
    """What n keys make of one image, [n, H, W, C]."""
    keys = jax.random.split(jax.random.key(seed), n)
    return np.asarray(jax.jit(jax.vmap(augmentation, (0, None)))(keys, jnp.asarray(x)))


def uniform(counts) -> None:
    assert scipy.stats.chisquare(counts).pvalue > 1e-3, counts


# ---- one image -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "made",
    [
        augment.flip, augment.crop(2), augment.shift(2), augment.rotate(20), augment.affine(10, 1, 0.1, 5),
        augment.color_jitter(0.2, 0.2, 0.2, 0.1), augment.cutout(3),
    ],
)  # fmt: skip
def test_shape_and_dtype_stay_and_one_key_is_one_answer(made, dtype):
    x = jnp.asarray(COLORED.astype(dtype) / (1 if dtype == np.uint8 else np.float32(255)))
    made, key = jax.jit(made), jax.random.key(3)
    y = made(key, x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.tobytes() == made(key, x).tobytes()


def test_flip_is_numpys_in_half_of_the_cases():
    found = drawn(augment.flip, GREY, 4000)
    flipped = (found == np.fliplr(GREY)).all((1, 2, 3))
    assert (flipped | (found == GREY).all((1, 2, 3))).all()
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / 4000**0.5


@pytest.mark.long
@pytest.mark.parametrize(("made", "mode"), [(augment.shift(2), "constant"), (augment.crop(2), "reflect")])
def test_shift_and_crop_are_slices_of_a_padded_image_each_as_often(made, mode):
    padded = np.pad(GREY, ((2, 2), (2, 2), (0, 0)), mode=mode)
    slices = [padded[a : a + 7, b : b + 9] for a, b in itertools.product(range(5), repeat=2)]
    found = drawn(made, GREY, 5000)
    equal = (found[:, None] == np.stack(slices)[None]).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    uniform(equal.sum(0))


@pytest.mark.long
@pytest.mark.parametrize("x", [GREY, COLORED, COLORED.astype(np.float32) / 255])
def test_affine_is_scipys_with_the_matrix_that_was_drawn(x):
    degrees, shift, scale, shear = 40, 1.5, 0.3, 20
    for seed in range(4):
        key = jax.random.key(seed)
        draws = np.asarray(jax.random.uniform(key, (5,), minval=-1, maxval=1), float)
        u, lean, s = np.deg2rad(draws[0] * degrees), np.deg2rad(draws[4] * shear), 1 + draws[3] * scale
        turn = np.array([[np.cos(u), -np.sin(u)], [np.sin(u), np.cos(u)]])
        back = np.linalg.inv(s * turn @ [[1, np.tan(lean)], [0, 1]])
        middle = (np.array(x.shape[:2]) - 1) / 2
        offset = middle - back @ (middle + draws[1:3] * shift)
        channels = [
            scipy.ndimage.affine_transform(x[..., c].astype(float), back, offset, order=1, mode="grid-constant")
            for c in range(x.shape[-1])
        ]
        found = np.asarray(augment.affine(degrees, shift, scale, shear)(key, jnp.asarray(x)), float)
        within = 0.51 if x.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(found, np.stack(channels, -1), atol=within)


@pytest.mark.long
def test_warp_by_a_quarter_is_numpys_rot90_and_by_nothing_the_image():
    square = jnp.asarray(RNG.integers(0, 256, (6, 6, 3), np.uint8))
    quarter = images.warp(square, jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.zeros(2))
    assert np.array_equal(quarter, np.rot90(square))
    assert np.array_equal(images.warp(square, jnp.eye(2), jnp.zeros(2)), square)
    assert np.array_equal(augment.rotate(0)(jax.random.key(0), square), square)


def test_light_contrast_and_saturation_are_pillows():
    picture = Image.fromarray(COLORED)
    for i, (name, enhance) in enumerate(
        {
            "brightness": ImageEnhance.Brightness,
            "contrast": ImageEnhance.Contrast,
            "saturation": ImageEnhance.Color,
        }.items()
    ):
        for seed in range(3):
            key = jax.random.key(seed)
            factor = 1 + 0.6 * float(jax.random.uniform(key, (4,), minval=-1, maxval=1)[i])
            amounts = {"brightness": 0.0} | {name: 0.6}
            found = np.asarray(augment.color_jitter(**amounts)(key, jnp.asarray(COLORED)), int)
            assert (
                np.abs(found - np.asarray(enhance(picture).enhance(factor), int)).max() <= 2
            )  # Pillow's grey is whole


def test_hue_is_turned_as_in_colorsys_and_white_is_where_it_is_said_to_be():
    key, x = jax.random.key(1), COLORED / np.float32(255)
    turn = 0.3 * float(jax.random.uniform(key, (4,), minval=-1, maxval=1)[3])

    def turned(pixel):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((h + turn) % 1, s, v)

    expected = np.apply_along_axis(turned, -1, x)
    np.testing.assert_allclose(augment.color_jitter(0, hue=0.3)(key, jnp.asarray(x)), expected, atol=1e-5)
    bright = drawn(augment.color_jitter(1.0, white=16), np.full((2, 2, 1), 12, np.uint8), 50)
    assert bright.max() == 16 and bright.min() < 6


def test_cutout_is_a_square_anywhere():
    x, size = np.ones((7, 9, 1), np.uint8), 4
    expected = []
    for i, j in itertools.product(range(7), range(9)):
        y = x.copy()
        y[max(i - 2, 0) : i + 2, max(j - 2, 0) : j + 2] = 0
        expected.append(y)
    found = drawn(augment.cutout(size), x, 6300)
    equal = (found[:, None] == np.stack(expected)[None]).all((2, 3, 4))
    assert equal.any(1).all()
    # Some places look alike (an edge cuts them): draws are compared class by class.
    kinds, of = np.unique(np.stack(expected).reshape(63, -1), axis=0, return_inverse=True)
    alike = np.bincount(of.ravel())
    counts = np.bincount(of.ravel()[equal.argmax(1)], minlength=len(kinds))
    assert scipy.stats.chisquare(counts, 6300 * alike / 63).pvalue > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: augment.crop(0), "pad=0: must be a whole number >= 1"),
        (lambda: augment.affine(181), "degrees=181: must be in [0, 180]"),
        (lambda: augment.mixup(0), "alpha=0: must be > 0"),
        (lambda: augment.crop(7)(jax.random.key(0), jnp.asarray(GREY)), "pad=7: must be less than 7, the size of"),
        (lambda: augment.cutout(8)(jax.random.key(0), jnp.asarray(GREY)), "size=8: must be at most 7, the size of"),
        (lambda: augment.flip(jax.random.key(0), jnp.ones(3)), r"x=[3]: is no image [H, W, C]; only images"),
        (lambda: augment.color_jitter(0, hue=0.1)(jax.random.key(0), jnp.asarray(GREY)), "hue=0.1: images of 1 chan"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(InputError) as raised:
        call()
    assert str(raised.value).startswith(message)


# ---- mixing ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
    keys = jax.random.split(jax.random.key(0), 20_000)
    shares = np.asarray(jax.jit(jax.vmap(lambda key: mixing.beta(key, alpha)))(keys), float)
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * (variance / 20_000) ** 0.5
    assert abs(shares.var() / variance - 1) < 0.05
    tenths = scipy.stats.beta(alpha, alpha).ppf(np.linspace(0.1, 0.9, 9))
    uniform(np.bincount(np.searchsorted(tenths, shares), minlength=10))


def test_the_partner_is_the_next_row_that_counts():
    for weight in ([1, 1, 1], [1, 0, 2, 0], [0, 3, 0, 1, 1, 0], [0, 1, 0], [0, 0]):
        rows = [i for i, w in enumerate(weight) if w > 0]
        found = mixing.partners(jnp.array(weight, float)).tolist()
        if rows:
            assert found == [next((k for k in rows if k > i), rows[0]) for i in range(len(weight))]
            assert sorted(found[i] for i in rows) == rows  # each row that counts is the partner of one


def batch_of(n: int = 8, y=None, weight=None) -> Batch:
    x = RNG.integers(0, 256, (n, 6, 6, 1), np.uint8)
    weight = np.ones(n, np.float32) if weight is None else weight
    return Batch(jnp.asarray(x), jnp.arange(n) % 3 if y is None else y, jnp.asarray(weight))


def of_linear(task, **more) -> tuple[Recipe, dict]:
    model = jaxnn.chain(jaxnn.scale(std=255), jaxnn.flatten(3), jaxnn.linear(task.outputs))
    recipe = Recipe(model, task, optax.sgd(0.1), **more)
    return recipe, descent.init(recipe, jax.random.key(0), jax.ShapeDtypeStruct((6, 6, 1), "uint8")).params


def mixed_by_hand(batch: Batch, mixed: Batch, share: float):
    """x and the partner of each row of a batch without padding."""
    partner = np.roll(np.arange(len(batch.weight)), -1)
    x = np.asarray(batch.x, np.float32)
    np.testing.assert_allclose(mixed.x, share * x + (1 - share) * x[partner], rtol=1e-5, atol=1e-3)
    return partner


TASKS = {
    "multiclass": (jaxnn.multiclass(3), None, lambda y: jax.nn.one_hot(y, 3)),
    "binary": (jaxnn.binary(), jnp.arange(8) % 2, lambda y: y.astype(float)),
    "multilabel": (jaxnn.multilabel(3), jnp.asarray(RNG.integers(0, 2, (8, 3))), lambda y: y.astype(float)),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", TASKS)
def test_mixup_is_the_loss_of_the_soft_label(kind):
    task, y, soft = TASKS[kind]
    batch, key = batch_of(y=y), jax.random.key(5)
    recipe, params = of_linear(task, augment=augment.mixup(1.0))
    mixed = descent.augmented(recipe, batch, key)
    share = float(mixed.y.share[0])
    assert 0.01 < share < 0.99
    partner = mixed_by_hand(batch, mixed, share)
    label = share * soft(batch.y) + (1 - share) * soft(batch.y)[partner]
    by_hand = batch._replace(x=mixed.x, y=label)
    (loss, grads, sums, _), (loss_, grads_, sums_, _) = (
        jax.jit(functools.partial(gradient, recipe))(params, batch, key),
        jax.jit(functools.partial(gradient, recipe._replace(augment=None)))(params, by_hand, key),
    )
    np.testing.assert_allclose(loss, loss_, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), grads, grads_)
    for name in sums_:  # those of the soft label go by the larger share too
        np.testing.assert_allclose(sums[name], sums_[name], rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("accumulate", [1, 3])
def test_mixed_losses_of_ones_own_have_the_weights_of_both_rows_and_padding_has_none(accumulate):
    hinge = lambda logits, y: jnp.maximum(0, 1 + logits - jnp.take_along_axis(logits, y[:, None], 1)).sum(1)  # noqa: E731
    factor, sample = np.array([1.0, 2.0, 4.0], np.float32), np.array([1, 2, 0, 3, 1, 0.5, 0, 0], np.float32)
    batch = batch_of(weight=sample * factor[np.arange(8) % 3])
    task = jaxnn.multiclass(3, loss=hinge)
    recipe, params = of_linear(task, augment=augment.mixup(1.0), class_weight=factor, accumulate=accumulate)
    key = jax.random.key(7)
    mixed = descent.augmented(recipe, batch, key)
    share = float(mixed.y.share[0])
    real = np.flatnonzero(sample)
    partner, w, y = np.roll(real, -1), np.asarray(batch.weight), np.asarray(batch.y)
    x = np.asarray(batch.x, np.float32)
    logits = recipe.model.apply(params, jnp.asarray(share * x[real] + (1 - share) * x[partner]))
    of = lambda rows: np.asarray(hinge(logits, jnp.asarray(y[rows])))  # noqa: E731
    expected = share * w[real] @ of(real) + (1 - share) * w[partner] @ of(partner)
    loss, _, sums, _ = jax.jit(functools.partial(gradient, recipe))(params, batch, key)
    np.testing.assert_allclose(loss, expected / w.sum(), rtol=1e-5)
    lead = real if share >= 0.5 else partner
    correct = sample[lead][np.asarray(logits).argmax(1) == y[lead]].sum()
    np.testing.assert_allclose([sums["correct"], sums["weight"], sums["loss_weight"]], [correct, sample.sum(), w.sum()])


def test_cutmix_is_a_box_of_the_partner_and_its_share_what_is_left():
    batch = batch_of()
    make = jax.jit(augment.cutmix(1.0))
    shares = []
    for seed in range(30):
        mixed = make(batch, jax.random.key(seed))
        x, other = np.asarray(batch.x), np.roll(np.asarray(batch.x), -1, 0)
        place = np.where((mixed.x != x).any((0, 3)))
        box = np.zeros((6, 6), bool)
        if len(place[0]):
            box[place[0].min() : place[0].max() + 1, place[1].min() : place[1].max() + 1] = True
        assert mixed.x.dtype == jnp.uint8
        assert np.array_equal(mixed.x, np.where(box[None, :, :, None], other, x))
        np.testing.assert_allclose(mixed.y.share, 1 - box.mean(), rtol=1e-6)
        shares.append(box.mean())
    assert max(shares) > 0.5 and min(shares) < 0.2


def test_a_row_alone_is_not_mixed():
    batch = batch_of(3, weight=np.array([0, 1, 0], np.float32))
    mixed = augment.mixup(1.0)(batch, jax.random.key(0))
    assert np.array_equal(mixed.x[1], batch.x[1]) and mixed.y.partner[1] == batch.y[1]


@pytest.mark.long
def test_what_has_no_soft_labels_is_not_mixed():
    recipe, params = of_linear(jaxnn.regression(), augment=augment.mixup(1.0))
    with pytest.raises(InputError, match="augment: a regression has no soft labels"):
        gradient(recipe, params, batch_of(y=jnp.ones((8, 1))), jax.random.key(0))
    prepared = jaxnn.multiclass(3)._replace(prepare=lambda batch, key: batch)
    recipe, params = of_linear(prepared, augment=augment.cutmix(1.0))
    with pytest.raises(InputError, match="prepares its labels itself"):
        gradient(recipe, params, batch_of(), jax.random.key(0))


# ---- in the step -----------------------------------------------------------------------------------------------------

EVERY = ("flip", "crop:2", "shift:1", "affine:20:1:0.1:10", "color_jitter:0.3:0.3", "cutout:2")


def listed(*words: str):
    return batches.build(words, jax.ShapeDtypeStruct((6, 6, 1), "uint8"), jaxnn.multiclass(3))


@pytest.mark.parametrize(
    "words",
    [pytest.param((*EVERY, "mixup:1"), marks=pytest.mark.slow), ("shift:1", "mixup:1"), ("flip", "cutmix:1")],
    ids=" ".join,
)
def test_draws_depend_on_neither_padding_nor_devices(words):
    recipe, batch = Recipe(jaxnn.linear(3), jaxnn.multiclass(3), optax.sgd(0.1), augment=listed(*words)), batch_of(6)

    def made(devices: int, width: int) -> Batch:
        short = jax.tree.map(lambda a: jnp.concatenate([a, a[:1].repeat(width - 6, 0)]), batch)
        short = short._replace(weight=short.weight.at[6:].set(0))
        with jaxnn.devices.use(devices):
            program = jax.jit(lambda rows: descent.augmented(recipe, mesh.shard(rows), jax.random.key(1)))
            return jax.tree.map(lambda a: np.asarray(a)[:6], program(short))

    one = made(1, 6)
    assert one.x.std() > 0 and (one.x != np.asarray(batch.x)).any()
    for devices, width in ((1, 7), (8, 16)):
        other = made(devices, width)
        assert all(
            a.tobytes() == b.tobytes() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        )


@pytest.mark.long
def test_row_i_draws_by_its_number():
    x, key = batch_of(5).x, jax.random.key(2)
    both = augment.rows(augment.shift(2), augment.flip)(batch_of(5)._replace(x=x), key).x
    for i in (0, 3):
        first, second = jax.random.split(jax.random.fold_in(key, i))
        assert np.array_equal(both[i], augment.flip(second, augment.shift(2)(first, x[i])))


@pytest.mark.slow
def test_any_cut_and_fit_take_the_same_steps():
    model = jaxnn.chain(jaxnn.scale(std=255), jaxnn.flatten(3), jaxnn.linear(3))
    task, tx, key = jaxnn.multiclass(3), optax.adam(1e-2), jax.random.key(0)
    data, made = batch_of(15), listed("affine:20:1", "mixup:1")
    recipe = Recipe(model, task, tx, augment=made)
    start = descent.init(recipe, key, data.x[0])

    @functools.partial(jax.jit, static_argnums=1)
    def run(state, n):
        return steps(recipe, state, feeds.shuffled(data, key, state.step, n, 8), key)[0]

    whole, cut = run(start, 4), run(run(start, 1), 3)
    fitted = jaxnn.fit(key, model, task, tx, data, epochs=2, batch_size=8, augment=made)[0]
    flat = lambda state: np.concatenate([np.asarray(a).ravel() for a in jax.tree.leaves(state.params)])  # noqa: E731
    assert flat(whole).tobytes() == flat(cut).tobytes() == flat(fitted).tobytes()


@pytest.mark.long
def test_parts_of_a_batch_are_of_the_batch_as_it_was_augmented():
    batch, key = batch_of(8), jax.random.key(3)
    recipe, params = of_linear(jaxnn.multiclass(3), augment=listed("shift:1", "mixup:1"))
    whole = jax.jit(functools.partial(gradient, recipe))(params, batch, key)
    parts = [recipe._replace(accumulate=3), recipe._replace(model=recipe.model._replace(micro_batch=2))]
    for part in parts:
        found = jax.jit(functools.partial(gradient, part))(params, batch, key)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, whole)


@pytest.mark.long
def test_an_evaluation_is_without():
    batch = batch_of(8)
    recipe, params = of_linear(jaxnn.multiclass(3), augment=listed("flip", "mixup:1"))
    with_it, without = (
        jax.jit(functools.partial(evaluate, each)).lower(params, batch).as_text()
        for each in (recipe, recipe._replace(augment=None))
    )
    assert with_it == without
    assert gradient(recipe, params, batch, None)[0] == gradient(recipe._replace(augment=None), params, batch, None)[0]


@pytest.mark.long
def test_a_fault_is_found_in_the_rows_as_they_were_augmented():
    data = batch_of(12)
    data = data._replace(x=jnp.asarray(data.x, jnp.float32) / 255)
    bad = data._replace(x=data.x.at[5].set(jnp.inf))  # at its middle too, whatever is moved
    model = jaxnn.chain(jaxnn.flatten(3), jaxnn.linear(3))
    recipe = Recipe(model, jaxnn.multiclass(3), optax.sgd(0.1), augment=augment.rows(augment.flip, augment.shift(1)))
    state = descent.init(recipe, jax.random.key(0), data.x[0])
    fault = find_fault(recipe, 4, state, bad, 3, key=jax.random.key(0))
    assert fault.rows == [5]


# ---- as a run --------------------------------------------------------------------------------------------------------

RUN = "digits_mlp --model.hidden 8 --batch-size 512 --optim.schedule constant --data.validation-fraction 0".split()
RUN += ["--data.augment"]


@pytest.mark.long
def test_a_run_that_goes_on_is_that_of_one_piece(tmp_path):
    words = ["shift:1,mixup:0.5"]
    assert here(*RUN, *words, "--epochs", 2, "--workdir", tmp_path / "a") == 0
    assert here(*RUN, *words, "--epochs", 1, "--workdir", tmp_path / "b") == 0
    assert here(*RUN, *words, "--epochs", 1, "--init_from", tmp_path / "b", "--workdir", tmp_path / "c") == 0
    whole, again = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert all(whole[name].tobytes() == again[name].tobytes() for name in whole)


@pytest.mark.long
def test_flips_average_the_logits(tmp_path):
    assert here(*RUN, "flip", "--epochs", 1, "--workdir", tmp_path / "run") == 0
    plain, both = (jaxnn.load_run(tmp_path / "run", flips=flips) for flips in (False, True))
    test = jaxnn.data.load("digits").test
    assert test is not None
    x = test.x[:20]
    logits = [np.asarray(plain.model.apply(plain.params, jnp.asarray(each))) for each in (x, x[:, :, ::-1])]
    expected = np.asarray(jax.nn.softmax((logits[0] + logits[1]) / 2))
    np.testing.assert_allclose(both.predict_proba(x), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both.predict_proba(x), both.predict_proba(x[:, :, ::-1]), rtol=1e-4, atol=1e-6)
    np.savez(tmp_path / "x.npz", x=x, y=test.y[:20])
    right = np.mean(both.predict(x) == test.y[:20])
    assert both.evaluate(tmp_path / "x.npz")["accuracy"] == pytest.approx(right)


@pytest.mark.long
def test_no_images_no_flips(tmp_path):
    only = ["--data.validation-fraction", 0, "--data.test-fraction", 0, "--model.kind", "linear"]
    assert here("iris_mlp", "--epochs", 1, *only, "--workdir", tmp_path) == 0
    with pytest.raises(InputError, match="flips=True: the run was trained on .4., no images; leave it out"):
        jaxnn.load_run(tmp_path, flips=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("flpi", "--data.augment=flpi: unknown; did you mean flip? Choose from affine, color_jitter, crop, cutmix, "),
        ("crop:-1", "--data.augment=crop:-1: pad must be a whole number >= 1; write crop:pad"),
        ("crop", "--data.augment=crop: must be crop:pad"),
        ("rotate:abc", "--data.augment=rotate:abc: degrees must be in [0, 180]; write rotate:degrees"),
        (
            "affine:1:nan",
            "--data.augment=affine:1:nan: shift must be >= 0 pixels; write affine:degrees[:shift[:scale[:",
        ),
        ("mixup:0", "--data.augment=mixup:0: alpha must be > 0; write mixup:alpha"),
        ("flip:3", "--data.augment=flip:3: must be flip, which takes no number"),
        ("normalize", "--data.augment=normalize: an input is normalised in evaluation too, so that is no augmentation"),
        ("mixup:1 flip cutmix:1", "--data.augment=mixup:1 flip cutmix:1: mixup:1 and cutmix:1 both mix labels; leave"),
    ],
)
def test_a_word_that_cannot_be_is_refused_without_data(words, message):
    with pytest.raises(InputError) as raised:
        DataConfig(augment=tuple(words.split()))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("iris_mlp --data.augment flip", "--data.augment=flip: x=[4]: is no image"),
        ("digits_mlp --data.augment flip crop:8", "--data.augment=crop:8: pad=8: must be less than 8"),
        ("digits_mlp --data.augment cutout:9", "--data.augment=cutout:9: size=9: must be at most 8"),
        (
            "digits_mlp --data.augment color_jitter:0:0:0.1",
            "--data.augment=color_jitter:0:0:0.1: saturation=0.1: images",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_and_nothing_is_written(argv, message, tmp_path):
    with pytest.raises(InputError) as raised:
        here(*argv.split(), "--workdir", tmp_path / "run")
    assert str(raised.value).startswith(message) and not (tmp_path / "run").exists()


def test_images_to_a_number_are_not_mixed(tmp_path: Path):
    y = np.linspace(0, 1, 40, dtype=np.float32)
    np.savez(tmp_path / "x.npz", x=RNG.integers(0, 256, (40, 6, 6, 1), np.uint8), y=y)
    argv = ["digits_mlp", "--data.name", tmp_path / "x.npz", "--workdir", tmp_path / "run", "--data.augment", "mixup:1"]
    argv += ["--batch-size", 8]
    with pytest.raises(InputError, match="--data.augment=mixup:1: a regression has no soft labels"):
        here(*argv)


def test_words_are_listed_with_commas_or_without():
    for words in (["flip", "crop:4"], ["flip,crop:4"], ["flip,", "crop:4"]):
        config = arguments.parse(["digits_mlp", "--data.augment", *words], ROOT / "configs").flags.run
        assert config.data.augment == ("flip", "crop:4")
        assert from_dict(to_dict(config), Config) == config
    assert from_dict({"data": {"name": "digits"}}, Config).data.augment == ()  # of an older run


def test_jitter_of_images_without_black_and_white_is_refused(tmp_path):

    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (60, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "pm.npz", x=x, y=np.arange(60) % 3)
    with pytest.raises(
        InputError, match=r"^--data.augment=color_jitter:0.2: images of -\S+ to 0.9\d* have no black and w"
    ):
        here("digits_cnn", "--data.name", tmp_path / "pm.npz", "--data.augment", "color_jitter:0.2", "--dry-run")
