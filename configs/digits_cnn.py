"""A small convolutional network on 8x8 digits.

python train.py digits_cnn
"""

from jaxnn.config import Config, ModelConfig, OptimConfig

config = Config(
    name="digits_cnn",
    epochs=40,
    model=ModelConfig(kind="cnn", channels=(32,), hidden=(64,), dropout=0.25),
    optim=OptimConfig(name="adam", schedule="cosine"),
)
