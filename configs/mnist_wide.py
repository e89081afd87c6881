"""784-1024-1024-10 with dropout on MNIST: 98.6 ± 0.0 % of test images.

Run it with

    python train.py mnist_wide --data.dir DIR

The figure is the mean ± standard deviation over 3 seeds; a run takes 46 s on two CPU cores.
Width, dropout and a one-cycle rate.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="mnist_wide",
    epochs=15,
    batch_size=128,
    data=DataConfig(name="mnist", validation_fraction=1 / 12),
    model=ModelConfig(hidden=(1024, 1024), dropout=0.4, input_dropout=0.1),
    optim=OptimConfig(name="adam", schedule="one_cycle"),
)
