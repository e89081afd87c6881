"""A small residual network on digits over patches of photos: 98.0 ± 0.2 % of test images.

Run it with

    python benchmarks/image_sets.py mnist_m DIR mnist_m.npz
    python train.py mnist_m

The figure is the mean ± standard deviation over 3 seeds; a run takes 5 min on two CPU cores.
Ganin et al. 2016, with other photos. benchmarks/finetune.py goes on from it to 100 images of new classes.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="mnist_m",
    epochs=3,
    batch_size=128,
    data=DataConfig(name="mnist_m.npz", validation_fraction=1 / 12),
    model=ModelConfig(kind="resnet", depth=8, width=16),
    optim=OptimConfig(name="adamw", lr=1e-2, weight_decay=0.02, schedule="one_cycle"),
)
