"""A variational autoencoder of handwritten digits, eight numbers an image: 0 % recognised.

Run it with

    python train.py digits_vae
"""

from jaxnn.config import Config, ModelConfig, OptimConfig, TaskConfig

config = Config(
    name="digits_vae",
    epochs=200,
    batch_size=64,
    task=TaskConfig(name="vae", latent=8),
    model=ModelConfig(kind="mlp", hidden=(256, 128), activation=("silu",)),
    optim=OptimConfig(name="adam", lr=1e-3, schedule="one_cycle", ema=0.999),
)
