"""16 units tell three species of iris apart: 93.3 ± 0.0 % of test flowers.

Run it with

    python train.py iris_mlp

The figure is the mean ± standard deviation over 5 seeds; a run takes 3 s on two CPU cores.
A table of numbers, standardised over the training examples.
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
