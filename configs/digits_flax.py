"""A model of one's own, here a Flax module, trained by the same engine.

python train.py digits_flax
"""

from jaxnn.config import Config, OptimConfig

config = Config(name="digits_flax", epochs=40, optim=OptimConfig(name="adam", schedule="cosine"))


def model(outputs: int):
    """Any `jaxnn.Model`, or `flax.linen` module, from an example (here f32[..., 8, 8, 1]) to `outputs` numbers.

    For `flax.nnx`, return `jaxnn.from_nnx(...)`.
    """
    import flax.linen as nn

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(32, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = x.reshape(*x.shape[:-3], -1)
            x = nn.relu(nn.LayerNorm()(nn.Dense(64)(x)))
            return nn.Dense(outputs)(x)

    return Network()
