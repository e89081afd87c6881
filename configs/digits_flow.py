"""Flow matching with a residual network that draws handwritten digits: 0 % as asked.

Run it with

    python train.py digits_flow
"""

from jaxnn.config import Config, ModelConfig, OptimConfig, TaskConfig

config = Config(
    name="digits_flow",
    epochs=500,
    batch_size=64,
    task=TaskConfig(name="flow_matching"),
    model=ModelConfig(kind="mlp", hidden=(256, 256, 256), activation=("silu",)),
    optim=OptimConfig(name="adam", lr=2e-3, schedule="one_cycle", ema=0.999),
)
