"""The network for detection: shapes, its law, where its logits begin, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxnn
from jaxnn.config.model import ModelConfig
from jaxnn.errors import InputError
from jaxnn.nn.detector import detector

SMALL = detector(3, channels=(4, 5))
X = jax.ShapeDtypeStruct((8, 12, 1), "uint8")


@pytest.mark.long
def test_every_image_is_on_its_own_and_classes_begin_rare():
    params = SMALL.init(jax.random.key(0), jnp.zeros((8, 12, 2)))
    x = jax.random.normal(jax.random.key(1), (2, 3, 8, 12, 2))
    whole, each = jax.jit(lambda x: (SMALL.apply(params, x), jax.vmap(jax.vmap(lambda x: SMALL.apply(params, x)))(x)))(
        x
    )
    assert whole.shape == (2, 3, 2, 3, 7)
    np.testing.assert_allclose(whole, each, rtol=1e-5, atol=1e-5)
    assert SMALL.apply(params, jnp.zeros((8, 12, 2)))[0, 0].tolist() == [-4, -4, -4, 0, 0, 0, 0]
    assert SMALL.micro_batch == 16


@pytest.mark.long
def test_gradients_are_those_of_finite_differences_and_remat_changes_none():
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(1), (8, 8, 1))
        params = SMALL.init(jax.random.key(0), x)
        check_grads(jax.jit(lambda params: SMALL.apply(params, x)), (params,), 1, ["rev"])
        again = detector(3, channels=(4, 5), remat=True)
        grads = [jax.grad(lambda p, m=m: m.apply(p, x).sum())(params) for m in (SMALL, again)]
        jax.tree.map(np.testing.assert_allclose, *grads)


@pytest.mark.long
def test_it_is_built_from_a_config():
    model = jaxnn.build(ModelConfig(kind="detector", channels=(4, 5)), X, (2, 3, 7))
    params = model.init(jax.random.key(0), X)
    assert sorted(params) == [f"conv_{i}" for i in range(6)]
    assert model.apply(params, np.full((2, 8, 12, 1), 255, np.uint8)).shape == (2, 2, 3, 7)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: ModelConfig(kind="detector", channels=(4,)), "--model.channels=4: must be two numbers, at half and"),
        (lambda: detector(3, channels=(4, 4, 4)), "detector channels=4 4 4: must be two numbers"),
        (lambda: ModelConfig(kind="detector", dropout=0.1), "--model.dropout=0.1: a detector model has no hidden"),
        (lambda: ModelConfig(kind="detector", activation=("maxout",)), "--model.activation=maxout: must be one name"),
        (
            lambda: jaxnn.build(ModelConfig(kind="detector"), X, 10),
            "--model.kind=detector: the task needs an answer for each image; add --model.kind cnn",
        ),
        (
            lambda: SMALL.init(jax.random.key(0), jnp.zeros((30, 64, 1))),
            "x=[30, 64, 1]: height and width must be multiples of 4, the stride of the detector; make the images 32x64",
        ),
        (lambda: SMALL.init(jax.random.key(0), jnp.zeros((30, 64))), "x=[30, 64]: detector needs images [H, W, C]"),
    ],
)
def test_what_does_not_fit_is_refused(make, line):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(line)
