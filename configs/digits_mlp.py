"""The default: two hidden layers of 50 learn handwritten digits.

    python train.py digits_mlp
"""

from jaxnn.config import Config

config = Config()
