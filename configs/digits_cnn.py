"""A small convolutional network on 8x8 digits.

python train.py digits_cnn
"""

from jaxnn.config import Config, ModelConfig, OptimConfig

config = Config(
    name="digits_cnn",
    epochs=40,
    model=ModelConfig(kind="cnn", channels=(64,), hidden=(128,), dropout=0.4),
    optim=OptimConfig(name="adam", lr=2e-3, schedule="cosine"),
)
