"""A small residual network on the pictures of a font, by their group.

Run it with

    python benchmarks/image_sets.py emoji NotoColorEmoji.ttf emoji-test.txt emoji
    python train.py emoji --data.name emoji
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="emoji",
    epochs=60,
    batch_size=64,
    data=DataConfig(name="emoji", augment=("flip", "crop:4", "color_jitter:0.2")),
    model=ModelConfig(kind="resnet", depth=8, width=16),
    optim=OptimConfig(name="adamw", lr=1e-2, weight_decay=0.02, schedule="one_cycle"),
)
