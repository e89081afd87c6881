"""The lecture's network, 784-50-50-10, on MNIST.

python train.py mnist_mlp --data.dir DIR
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="mnist_mlp",
    epochs=10,
    batch_size=32,
    data=DataConfig(name="mnist", validation_fraction=1 / 12),
    model=ModelConfig(hidden=(50, 50)),
    optim=OptimConfig(name="sgd", lr=0.1),
)
