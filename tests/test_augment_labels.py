"""Masks and boxes that move with their image: against SciPy, slices and filled rectangles; any cut, any devices."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage

import jaxnn
from jaxnn import Batch, Recipe, augment
from jaxnn.augment import batches, labels
from jaxnn.data import feeds
from jaxnn.devices import mesh
from jaxnn.engine import descent, steps
from jaxnn.errors import InputError

RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 5, (12, 15), np.uint8)
SIZE = (24, 30)
MOVING = {
    "flip": augment.flip, "crop": augment.crop(3), "shift": augment.shift(5), "rotate": augment.rotate(40),
    "affine": augment.affine(25, shift=3, scale=0.2, shear=15),
}  # fmt: skip


KEYS = 40


@functools.cache
def of_keys(augmentation, kind: str, size: tuple[int, int] | None = None):
    """What many keys make of one mask, boxes or image, compiled once."""
    move = labels.mover(augmentation, kind) if size else None
    one = (lambda key, y: move(key, y, size)) if move and size else augmentation
    made = jax.jit(jax.vmap(one, (0, None)))
    return lambda y: np.asarray(made(jax.random.split(jax.random.key(0), KEYS), jnp.asarray(y)))


def mask_of(augmentation, mask):
    return of_keys(augmentation, "mask", mask.shape)(mask)


def image_of(augmentation, x):
    return of_keys(augmentation, "image")(x)


@pytest.mark.long
@pytest.mark.parametrize("name", ["flip", "crop", "shift"])
def test_a_mask_moves_to_the_pixel_where_its_image_does(name):
    found, image = mask_of(MOVING[name], MASK), image_of(MOVING[name], MASK[..., None] + 1)[..., 0]
    assert found.dtype == np.uint8 and len({each.tobytes() for each in found}) > 1
    assert np.array_equal(found, np.where(image == 0, 255, image - 1))  # a shifted image has 0 beyond its edges
    assert (found == 255).any() == (name == "shift")


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_is_warped_as_by_scipy_to_the_nearest_pixel(seed):
    rng = np.random.default_rng(seed)
    back = np.linalg.inv(np.eye(2) + rng.uniform(-0.4, 0.4, (2, 2)))
    offset, middle = rng.uniform(-3, 3, 2), (np.array(MASK.shape) - 1) / 2
    start = middle - back @ (middle + offset)
    begin: Any = start
    expected = scipy.ndimage.affine_transform(MASK, back, begin, order=0, mode="grid-constant", cval=255)
    back32, offset32 = jnp.asarray(back, jnp.float32), jnp.asarray(offset, jnp.float32)
    found = np.asarray(jax.jit(labels.nearest)(jnp.asarray(MASK), back32, offset32))
    places = np.einsum("ab,bhw->ahw", back, np.indices(MASK.shape)) + start[:, None, None]
    clear = (np.abs(places % 1 - 0.5) > 1e-3).all(0)  # no tie between two pixels
    assert clear.mean() > 0.95 and np.array_equal(found[clear], expected[clear])
    assert (found == 255).any() and len(np.unique(found)) == 6


@pytest.mark.long
@pytest.mark.parametrize("name", ["rotate", "affine"])
def test_a_warped_mask_has_the_draws_of_its_image(name):
    square = np.zeros(SIZE, np.uint8)
    square[6:17, 8:22] = 1
    found, image = mask_of(MOVING[name], square), image_of(MOVING[name], 255 * square[..., None])[..., 0]
    agree = (found == 1) == (image > 127)  # of a bilinear edge half is inside
    assert agree.mean() > 0.98 and all(each.mean() > 0.95 for each in agree)


@pytest.mark.long
@pytest.mark.parametrize("name", ["flip", "shift", "rotate", "affine"])
def test_a_moved_box_covers_the_moved_pixels(name):
    for at in range(4):
        rng = np.random.default_rng(at)
        (y1, y2), (x1, x2) = (np.sort(rng.choice(n, 2, replace=False)) for n in np.array(SIZE) + 1)
        filled = np.zeros(SIZE, np.uint8)
        filled[y1:y2, x1:x2] = 1
        boxes = jnp.array([[3, x1, y1, x2, y2], [-1, 0, 0, 0, 0]], jnp.float32)
        found = of_keys(MOVING[name], "boxes", SIZE)(boxes)
        assert (found[:, 1] == np.asarray(boxes[1])).all()
        for (label, *box), mask in zip(found[:, 0], mask_of(MOVING[name], filled), strict=True):
            rows, columns = np.nonzero(mask == 1)
            if label == -1:
                assert box == [0, 0, 0, 0] and len(rows) <= 0.5 * (y2 - y1) * (x2 - x1)
                continue
            assert label == 3 and 0 <= box[0] < box[2] <= SIZE[1] and 0 <= box[1] < box[3] <= SIZE[0]
            if not len(rows):
                continue
            pixels = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            beyond = np.abs(box - pixels) if name in ("flip", "shift") else (np.array(box) - pixels) * [1, 1, -1, -1]
            assert (beyond <= (0 if name in ("flip", "shift") else 1)).all(), (box, pixels)


def test_a_box_goes_where_less_than_a_quarter_of_it_is_left():
    boxes = jnp.array([[0, 0, 0, 8, 4.0], [1, 1, 0, 9, 4], [2, 2, 0, 10, 4], [-1, 7, 7, 7, 7]])
    found = labels.shifted(boxes, jnp.array(0.0), jnp.array(-7.0), (16, 16))
    assert found[:, 0].tolist() == [-1, 1, 2, -1]  # 1 of 8, 2 of 8 and 3 of 8 columns
    assert found[1].tolist() == [1, 0, 0, 2, 4] and found[3].tolist() == [-1, 7, 7, 7, 7]
    empty = labels.shifted(jnp.array([[0, 3, 3, 3, 5.0]]), jnp.array(0.0), jnp.array(0.0), (16, 16))
    assert empty.tolist() == [[-1, 0, 0, 0, 0]]


@pytest.mark.parametrize("name", ["rotate", "affine"])
def test_corners_move_as_by_numpy(name):
    back, offset = np.array([[0.9, 0.3], [-0.2, 1.1]]), np.array([1.5, -2.0])
    box = np.array([[0, 8, 6, 20, 15]])
    middle = np.array(SIZE) / 2
    corners = np.array([(y, x) for y in (6, 15) for x in (8, 20)]) - middle
    moved = corners @ np.linalg.inv(back).T + middle + offset
    back32, offset32 = jnp.asarray(back, jnp.float32), jnp.asarray(offset, jnp.float32)
    found = labels.warped(jnp.asarray(box, jnp.float32), back32, offset32, SIZE)
    np.testing.assert_allclose(found[0, 1:], [*moved.min(0)[::-1], *moved.max(0)[::-1]], rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_what_moves_no_pixels_leaves_labels_alone(kind):
    batch = labelled(kind)
    made = augment.rows(augment.color_jitter(0.3), augment.cutout(3), labels=kind)
    found = made(batch, jax.random.key(0))
    assert found.y is batch.y and (found.x != batch.x).any()


def labelled(kind: str, n: int = 6) -> Batch:
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.integers(0, 256, (n, 12, 12, 1), np.uint8))
    low, high = rng.integers(0, 5, (n, 2, 2)), rng.integers(6, 13, (n, 2, 2))
    boxes = np.concatenate([np.full((n, 2, 1), 1), low, high], -1).astype(np.float32)
    y = rng.integers(0, 3, (n, 12, 12), np.uint8) if kind == "mask" else boxes
    return Batch(x, jnp.asarray(y), jnp.ones(n))


def task_of(kind):
    """A task whose loss looks at all of y."""

    def loss(outputs, y):
        target = y[..., None] if kind == "mask" else y
        seen = jnp.where(target == 255, 0, target).astype(float).reshape(*target.shape[:1], -1).mean(-1)
        return jnp.square(outputs[..., 0] - seen)

    return jaxnn.regression()._replace(loss=loss, labels=kind, metrics=lambda o, y, w: {"weight": w.sum()})


EVERY = {"mask": ("flip", "crop:2", "affine:20:1"), "boxes": ("shift:2", "affine:20:1")}


def listed(kind):
    return batches.build(EVERY[kind], jax.ShapeDtypeStruct((12, 12, 1), "uint8"), task_of(kind))


@pytest.mark.parametrize("kind", ["boxes", pytest.param("mask", marks=pytest.mark.slow)])
def test_labels_depend_on_neither_padding_nor_devices(kind):
    batch = labelled(kind)
    recipe = Recipe(jaxnn.linear(1), task_of(kind), optax.sgd(0.1), augment=listed(kind))

    def made(devices: int, width: int) -> Batch:
        more = jax.tree.map(lambda a: jnp.concatenate([a, a[:1].repeat(width - 6, 0)]), batch)
        more = more._replace(weight=more.weight.at[6:].set(0))
        with jaxnn.devices.use(devices):
            program = jax.jit(lambda rows: descent.augmented(recipe, mesh.shard(rows), jax.random.key(1)))
            return jax.tree.map(lambda a: np.asarray(a)[:6], program(more))

    one = made(1, 6)
    assert (one.y != np.asarray(batch.y)).any() and one.y.dtype == batch.y.dtype
    for devices, width in ((1, 7), (8, 16)):
        other = made(devices, width)
        assert one.x.tobytes() == other.x.tobytes()
        np.testing.assert_allclose(one.y, other.y, rtol=1e-5 if kind == "boxes" else 0, atol=1e-5 * (kind == "boxes"))


@pytest.mark.long
def test_the_draws_of_an_image_are_those_without_labels():
    batch = labelled("mask")
    alone = jax.jit(augment.rows(augment.flip, augment.crop(2)))(batch, jax.random.key(1)).x
    pair = jax.jit(augment.rows(augment.flip, augment.crop(2), labels="mask"))(batch, jax.random.key(1)).x
    assert alone.tobytes() == pair.tobytes()


@pytest.mark.parametrize("kind", ["mask", pytest.param("boxes", marks=pytest.mark.slow)])
def test_any_cut_takes_the_same_steps(kind):
    model = jaxnn.chain(jaxnn.scale(std=255), jaxnn.flatten(3), jaxnn.linear(1))
    data, key = labelled(kind, 10), jax.random.key(0)
    recipe = Recipe(model, task_of(kind), optax.adam(1e-2), augment=listed(kind))
    start = descent.init(recipe, key, data.x[0])

    @functools.partial(jax.jit, static_argnums=1)
    def run(state, n):
        return steps(recipe, state, feeds.shuffled(data, key, state.step, n, 4), key)[0]

    flat = lambda state: np.concatenate([np.asarray(a).ravel() for a in jax.tree.leaves(state.params)])  # noqa: E731
    assert flat(run(start, 2)).tobytes() == flat(run(run(start, 1), 1)).tobytes()


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("crop:2",), "boxes", "--data.augment=crop:2: objects are mirrored at the edges, where they have no boxes"),
        (("flip", "mixup:1"), "mask", "--data.augment=mixup:1: the labels of a regression lie in the image, so no two"),
        (("cutmix:1",), "boxes", "--data.augment=cutmix:1: the labels of a regression lie in the image, so no two can"),
    ],
)  # fmt: skip
def test_labels_that_cannot_follow_are_refused(words, kind, message):
    with pytest.raises(InputError) as raised:
        batches.build(words, jax.ShapeDtypeStruct((12, 12, 1), "uint8"), task_of(kind))
    assert str(raised.value).startswith(message)


def test_rows_refuse_what_is_no_mask_and_a_mix():
    with pytest.raises(InputError, match=r"y=\[6, 2, 5\]: must be masks \[B, 12, 12\] as their images"):
        augment.rows(augment.flip, labels="mask")(labelled("boxes"), jax.random.key(0))
    with pytest.raises(InputError, match=r"y=\[6, 12, 12\]: must be boxes"):
        augment.rows(augment.flip, labels="boxes")(labelled("mask"), jax.random.key(0))
    with pytest.raises(InputError, match="mix: labels=mask lie in the image"):
        augment.rows(mix=augment.mixup(1.0), labels="mask")
    with pytest.raises(InputError, match="labels=masks: unknown; did you mean mask"):
        augment.rows(augment.flip, labels="masks")  # pyright: ignore[reportArgumentType]


def test_one_of_ones_own_says_how_labels_move():
    @augment.moving(mask=lambda key, mask: mask[::-1], boxes="no boxes here")
    def upside_down(key, x):
        return x[::-1]

    batch = labelled("mask")
    found = augment.rows(upside_down, labels="mask")(batch, jax.random.key(0))
    assert np.array_equal(found.y, batch.y[:, ::-1]) and np.array_equal(found.x, batch.x[:, ::-1])
    with pytest.raises(InputError, match="no boxes here"):
        augment.rows(upside_down, labels="boxes")
