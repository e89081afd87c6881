"""Softmax regression on handwritten digits: no hidden layer, a convex loss.

python train.py digits_softmax
"""

from jaxnn.config import Config, ModelConfig

config = Config(name="digits_softmax", epochs=60, model=ModelConfig(kind="linear"))
