"""Logistic regression on the breast cancer table, by full-batch L-BFGS.

python train.py breast_cancer_logistic
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="breast_cancer_logistic",
    epochs=100,
    batch_size="full",
    eval_every="10epochs",
    data=DataConfig(name="breast_cancer", standardize=True),
    model=ModelConfig(kind="linear"),
    optim=OptimConfig(name="lbfgs", alpha=1e-2),
)
