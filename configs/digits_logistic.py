"""Logistic regression, the digit 0 against the rest, by full-batch L-BFGS.

python train.py digits_logistic
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="digits_logistic",
    epochs=100,
    batch_size="full",
    eval_every="10epochs",
    data=DataConfig(positive="0"),
    model=ModelConfig(kind="linear"),
    optim=OptimConfig(name="lbfgs", alpha=1e-3),
)
