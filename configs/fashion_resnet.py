"""A small residual network on Fashion-MNIST, with batch norm, flips and shifts.

Run it with

    python train.py fashion_resnet --data.dir DIR
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="fashion_resnet",
    epochs=6,
    batch_size=128,
    data=DataConfig(name="mnist", validation_fraction=1 / 12, augment=("flip", "shift:2")),
    model=ModelConfig(kind="resnet", depth=8, width=16),
    optim=OptimConfig(name="adamw", lr=1e-2, weight_decay=0.02, schedule="one_cycle"),
)
