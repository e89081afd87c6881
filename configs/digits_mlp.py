"""The default: two hidden layers of 50 learn handwritten digits.

python train.py
"""

from jaxnn.config import Config, OptimConfig

config = Config(
    name="digits_mlp",
    epochs=60,
    batch_size=32,
    optim=OptimConfig(name="sgd", lr=0.3, schedule="cosine", alpha=1e-3),
)
