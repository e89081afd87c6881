"""A small residual network with batch norm on Fashion-MNIST: 92.3 ± 0.4 % of test images.

Run it with

    python train.py fashion_resnet --data.dir DIR

The figure is the mean ± standard deviation over 3 seeds; a run takes 11 min on two CPU cores.
Fashion-MNIST has the files of MNIST; Debian and Ubuntu have it as dataset-fashion-mnist. With
group norm (--model.norm group) 90.7 ± 0.3 %, in bfloat16 (--dtype bf16) 92.3 ± 0.1 %.
Of 3,000 training images (--data.validation_fraction 0.95 --epochs 60): 83.8 ± 0.4 %, and with flips and shifts
(--data.augment flip,shift:2) 87.5 ± 0.0 %.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="fashion_resnet",
    epochs=6,
    batch_size=128,
    data=DataConfig(name="mnist", validation_fraction=1 / 12),
    model=ModelConfig(kind="resnet", depth=8, width=16),
    optim=OptimConfig(name="adamw", lr=1e-2, weight_decay=0.02, schedule="one_cycle"),
)
