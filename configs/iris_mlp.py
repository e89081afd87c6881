"""A network of 16 units tells three species of iris apart.

python train.py iris_mlp
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="iris_mlp",
    epochs=200,
    batch_size=16,
    eval_every="10epochs",
    data=DataConfig(name="iris", standardize=True),
    model=ModelConfig(hidden=(16,), activation=("tanh",)),
    optim=OptimConfig(name="adam", lr=0.01, alpha=0.01),
)
