"""A small single-stage detector on canvases of one to six handwritten digits: XX ± XX mAP@0.5.

Run it with

    python train.py digits_detection

The figure is the mean ± standard deviation over 3 seeds, of canvases with other digits than those of training;
mAP@[.5:.95] is XX ± XX. A run takes XX min on two CPU cores. How detection works, and boxes of your own:
docs/detection.md.
"""

from jaxnn.config import Config, DataConfig, ModelConfig, OptimConfig

config = Config(
    name="digits_detection",
    epochs=5,
    batch_size=16,
    data=DataConfig(name="digits_boxes"),
    model=ModelConfig(kind="detector", channels=(32, 64)),
    optim=OptimConfig(name="adam", lr=2e-3, schedule="one_cycle"),
)
