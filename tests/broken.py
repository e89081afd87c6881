"""Eight networks that are broken, each in one way, as config files and flags; and what is wrong with them."""

from __future__ import annotations

from typing import NamedTuple

HEAD = """
import numpy as np
import jax, jaxnn
import jax.numpy as jnp
from jaxnn.config import *
config = Config(name="broken", epochs=5, batch_size=64, optim=OptimConfig({optim}),
                data=DataConfig(validation_fraction=0.0, test_fraction=0.0))
"""


class Broken(NamedTuple):
    finding: str  # its name
    source: str  # what the config file defines besides
    flags: tuple[str, ...] = ()
    optim: str = "lr=0.1"

    @property
    def text(self) -> str:
        return HEAD.format(optim=self.optim) + self.source


MODEL = """
def model(outputs):
    big = lambda by: lambda key, shape, dtype: by * jax.random.normal(key, shape, dtype)
    {network}
"""
KILLED = """network = jaxnn.chain(jaxnn.flatten(), jaxnn.mlp((30,), outputs))
    def init(key, x):
        params = network.init(key, x)
        params["mlp_0"]["dense_0"]["b"] = jnp.full(30, -100.0)
        return params
    return jaxnn.Model(init, network.apply)"""
SATURATED = "return jaxnn.chain(jaxnn.flatten(), jaxnn.dense(50, init=big(10)), jnp.tanh, jaxnn.dense(outputs))"
CONFIDENT = "return jaxnn.chain(jaxnn.flatten(), jaxnn.dense(50), jax.nn.relu, jaxnn.dense(outputs, init=big(10)))"
RARE = """
def data():
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 100 == 0
    return {"x": rng.normal(size=(2000, 5)).astype(np.float32), "y": y.astype(np.int32)}
"""
DEEP = ("--model.hidden", *["8"] * 12, "--model.activation", "sigmoid")
BROKEN = {
    "dead ReLU": Broken("dead", MODEL.format(network=KILLED)),
    "vanishing sigmoid": Broken("vanished", "", DEEP),
    "saturated tanh": Broken("saturated", MODEL.format(network=SATURATED)),
    "unscaled input": Broken("unscaled", "", ("--data.name", "breast_cancer", "--data.no-standardize")),
    "rate too high": Broken("rate_high", "", ("--optim.lr", "30")),
    "rate too low": Broken("rate_low", "", ("--optim.lr", "1e-4")),
    "imbalance": Broken("imbalance", RARE, optim="name='adam', lr=0.003"),
    "wrong first loss": Broken("first_loss", MODEL.format(network=CONFIDENT)),
}
