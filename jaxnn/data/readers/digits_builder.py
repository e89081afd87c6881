"""The bundled digits as a tensorflow-datasets builder, prepared without TensorFlow."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxnn.data.readers.bundled import DIGITS_SCALE, digits


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 images of handwritten digits, 8x8, values 0..16 (scikit-learn's, from the UCI repository)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        # `features.Image` would need TensorFlow to encode an array; `Tensor` does not.
        image = tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel(num_classes=10)}),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(scale=DIGITS_SCALE),
            disable_shuffling=True,  # so that the splits are those of the bundled digits
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(*digits()[:2], strict=True)):
            yield i, {"image": image, "label": int(label)}


def prepare(root: Path) -> None:
    """Write the digits below `root` as array_record files; at once if they are there."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        Digits(data_dir=root).download_and_prepare(file_format="array_record")
