"""Flow matching with a residual network draws handwritten digits: 95.3 ± 0.3 % are accepted as the class asked for.

Run it with

    python train.py digits_flow

The figure is the mean ± standard deviation over 3 seeds, by an independent digits_cnn (a probability of 0.9 or more;
real test images: 96.1 %), as `benchmarks/generation.py` prints it beside the distances; a run takes 3 min on two CPU
cores. Lipman et al. 2022.
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
