"""Overlaps of boxes, and NMS and matching against the plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnn.errors import InputError
from jaxnn.tasks.boxes import diou, giou, iou, matched, nms


def corners(rng, *shape, size=12):
    """Boxes with whole numbers for corners, whose overlaps are exact quotients, and equal ones often."""
    low = rng.integers(0, size, (*shape, 2))
    return np.concatenate([low, low + rng.integers(0, size, (*shape, 2))], -1).astype(np.float32)


def plain_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return np.float32(inner) / np.float32(union) if union else np.float32(0)


def plain_around(a, b):
    return max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def test_overlaps_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    a, b = corners(rng, 300), corners(rng, 300)
    found = [np.asarray(f(a, b)) for f in (iou, giou, diou)]
    for i in range(len(a)):
        value, (width, height) = plain_iou(a[i], b[i]), plain_around(a[i], b[i])
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a[i], b[i])]
        union = sum(areas) / (1 + value)
        apart = np.square((a[i, :2] + a[i, 2:] - b[i, :2] - b[i, 2:]) / 2).sum()
        around = width * height
        assert found[0][i] == value
        np.testing.assert_allclose(found[1][i], value - (around - union) / around if around else value, atol=1e-6)
        diagonal = width**2 + height**2
        np.testing.assert_allclose(found[2][i], value - apart / diagonal if diagonal else value, atol=1e-6)


def test_leading_axes_are_free_and_one_box_meets_many():
    rng = np.random.default_rng(1)
    a, b = corners(rng, 2, 5), corners(rng, 2, 7)
    for f in (iou, giou, diou):
        pairs = f(a[:, :, None], b[:, None])
        assert pairs.shape == (2, 5, 7)
        np.testing.assert_array_equal(pairs[1, 3, 2], f(a[1, 3], b[1, 2]))


@pytest.mark.long
@pytest.mark.parametrize("f", [iou, giou, diou])
def test_gradients_are_those_of_finite_differences(f):
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        a, b = (jnp.asarray(corners(rng, 20) + rng.random((20, 4)) * 0.3 + [0, 0, 1, 1]) for _ in range(2))
        check_grads(f, (a, b), order=1, modes=["rev"], rtol=1e-6)


def test_boxes_that_do_not_meet_are_drawn_together_by_giou_alone():
    a, b = jnp.array([0.0, 0, 1, 1]), jnp.array([3.0, 0, 4, 1])
    assert not jax.grad(iou)(a, b).any()
    assert jax.grad(giou)(a, b)[2] > 0 and jax.grad(diou)(a, b)[2] > 0


def test_boxes_without_area_have_finite_gradients():
    point = jnp.array([1.0, 1, 1, 1])
    for f in (iou, giou, diou):
        assert f(point, point) == 0 and jnp.isfinite(jax.grad(f)(point, point)).all()


def test_what_is_no_box_is_refused():
    with pytest.raises(InputError, match="x1, y1, x2, y2"):
        iou(jnp.zeros((3, 5)), jnp.zeros((3, 5)))


def plain_nms(boxes, scores, classes, threshold):
    keep = np.zeros(len(scores), bool)
    for i in np.argsort(-scores, kind="stable"):
        rivals = [j for j in np.flatnonzero(keep) if classes is None or classes[i] == classes[j]]
        keep[i] = all(plain_iou(boxes[i], boxes[j]) <= threshold for j in rivals)
    return keep


@pytest.mark.parametrize("by_class", [False, True])
def test_nms_is_the_plain_loop_on_1000_random_sets(by_class):
    """Scores of few values tie; sizes from no box on; whole numbers make overlaps that are the threshold itself."""
    rng = np.random.default_rng(3)
    compiled = jax.jit(lambda b, s, c, t: nms(b, s, c if by_class else None, t))
    stay = 0
    for n in (0, 1, 2, 13, 40):
        for _ in range(200):
            boxes, scores = corners(rng, n), rng.integers(0, 6, n).astype(np.float32)
            if rng.random() < 0.5:
                scores = rng.random(n).astype(np.float32)
            classes, threshold = rng.integers(0, 3, n), np.float32(rng.choice([0, 0.25, 0.5, 1]))
            expected = plain_nms(boxes, scores, classes if by_class else None, threshold)
            np.testing.assert_array_equal(compiled(boxes, scores, classes, threshold), expected)
            stay += expected.sum()
    assert 1000 < stay < 10000


@pytest.mark.long
def test_nms_of_many_images_at_once():
    rng = np.random.default_rng(4)
    boxes, scores, classes = (
        corners(rng, 3, 4, 20),
        rng.random((3, 4, 20)).astype(np.float32),
        rng.integers(0, 3, (3, 4, 20)),
    )
    whole = nms(boxes, scores, classes, 0.4)
    for i in np.ndindex(3, 4):
        np.testing.assert_array_equal(whole[i], plain_nms(boxes[i], scores[i], classes[i], np.float32(0.4)))


def test_matching_is_the_plain_loop():
    rng = np.random.default_rng(5)
    compiled = jax.jit(matched, static_argnums=2)
    found = 0
    for n, m in ((0, 3), (3, 0), (1, 1), (12, 5), (6, 9)):
        for _ in range(100):
            overlaps = (rng.integers(0, 8, (n, m)) / 8).astype(np.float32)
            scores = rng.integers(0, 5, n).astype(np.float32)
            expected, left = np.zeros(n, bool), set(range(m))
            for i in np.argsort(-scores, kind="stable"):
                best = max((j for j in left if overlaps[i, j] >= 0.5), key=lambda j: (overlaps[i, j], j), default=None)
                expected[i] = best is not None
                left.discard(best)
            np.testing.assert_array_equal(compiled(overlaps, scores, 0.5), expected)
            found += expected.sum()
    assert found > 500
