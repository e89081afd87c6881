"""Permutation-invariant maxout with dropout on MNIST.

    python train.py mnist_maxout --data.dir DIR

Goodfellow, Warde-Farley, Mirza, Courville and Bengio 2013, "Maxout networks", arXiv:1302.4389: 0.94 % test error
with two layers of 240 units of 5 pieces, dropout and a max-norm constraint.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="mnist_maxout",
    epochs=40,
    batch_size=128,
    data=DataConfig(name="mnist", validation_fraction=1 / 12),
    model=ModelConfig(hidden=(240, 240), activation=("maxout",), pieces=5, dropout=0.3, input_dropout=0.2),
    optim=OptimConfig(name="adam", lr=1e-3, schedule="cosine", max_norm=3.0),
)
