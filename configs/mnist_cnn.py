"""A convolutional network on MNIST: two blocks of 3x3 convolution, ReLU and 2x2 max-pooling.

python train.py mnist_cnn --data.dir DIR
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="mnist_cnn",
    epochs=10,
    batch_size=128,
    data=DataConfig(name="mnist", validation_fraction=1 / 12),
    model=ModelConfig(kind="cnn", channels=(32, 64), hidden=(128,), dropout=0.5),
    optim=OptimConfig(name="adam", lr=2e-3, schedule="one_cycle"),
)
