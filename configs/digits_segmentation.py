"""A U-Net says of each pixel which handwritten digit it belongs to.

Run it with

    python train.py digits_segmentation

Its figure, the mIoU of test canvases, has not been measured yet.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="digits_segmentation",
    epochs=9,
    batch_size=16,
    data=DataConfig(name="digits_masks"),
    model=ModelConfig(kind="unet", channels=(16, 48, 96)),
    optim=OptimConfig(name="adam", lr=3e-3, schedule="one_cycle"),
)
