"""Regression: the progress of diabetes from ten measurements, Huber loss.

python train.py diabetes_regression
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig, TaskConfig

config = Config(
    name="diabetes_regression",
    epochs=200,
    eval_every="10epochs",
    data=DataConfig(name="diabetes", standardize=True),
    model=ModelConfig(hidden=(16,)),
    task=TaskConfig(loss="huber"),
    optim=OptimConfig(name="adam", lr=0.05, alpha=1e-3, schedule="cosine"),
)
