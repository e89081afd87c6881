"""Two sets of colour images for the configs mnist_m and emoji, made from what needs no account and no web site.

    python benchmarks/image_sets.py mnist_m MNIST_DIR mnist_m.npz
    python benchmarks/image_sets.py emoji NotoColorEmoji.ttf emoji-test.txt emoji

mnist_m: |patch of a photo - digit|, channel by channel, 28x28x3, with the labels of MNIST. The photos are the two of
scikit-learn; patches of the test images are from their right quarter, those of training from the rest. Source: Ganin et
al. 2016, who took other photos.

emoji: the pictures of a font, 32x32 PNG on white, in a folder for each of Unicode's groups; sequences (skin tones,
flags of two letters) are left out. Debian and Ubuntu have the font as fonts-noto-color-emoji, the list as unicode-data.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np


def mnist_m(folder: Path, out: Path) -> None:
    from sklearn.datasets import load_sample_images

    from jaxnn.data.readers import idx

    photos, rng, arrays = load_sample_images().images, np.random.default_rng(0), {}
    digits = idx.read(folder)
    assert digits.test is not None
    for part, table in (("train", digits.train), ("test", digits.test)):
        edge = [int(photo.shape[1] * 0.75) for photo in photos]
        views = [p[:, :e] if part == "train" else p[:, e:] for p, e in zip(photos, edge, strict=True)]
        x = np.asarray(table.x).reshape(-1, 28, 28, 1)
        arrays[f"x_{part}"] = np.empty((len(x), 28, 28, 3), np.uint8)
        for image, digit in zip(arrays[f"x_{part}"], x, strict=True):
            photo = views[rng.integers(len(views))]
            top, left = (rng.integers(size - 27) for size in photo.shape[:2])
            image[:] = np.abs(photo[top : top + 28, left : left + 28].astype(int) - digit)
        arrays[f"y_{part}"] = np.asarray(table.y)
    np.savez(out, **arrays)


def emoji(font: Path, names: Path, out: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    drawn = ImageFont.truetype(font, 109)  # the one size in which the font has its pictures
    group = ""
    for line in names.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = re.sub(r"\W+", "_", line.removeprefix("# group: "))
        code = re.match(r"([0-9A-F]+)( FE0F)? *; fully-qualified", line)
        if not code:
            continue
        image = Image.new("RGB", (136, 128), "white")
        ImageDraw.Draw(image).text((0, 0), chr(int(code[1], 16)), font=drawn, embedded_color=True)
        if (np.asarray(image) == 255).all():
            continue  # the font has no picture of it
        (out / group).mkdir(parents=True, exist_ok=True)
        image.resize((32, 32), Image.Resampling.BILINEAR).save(out / group / f"{code[1]}.png")


def main(argv: list[str]) -> None:
    kinds = {"mnist_m": (mnist_m, 2), "emoji": (emoji, 3)}
    if not argv or argv[0] not in kinds or len(argv) - 1 != kinds[argv[0]][1]:
        sys.exit(__doc__)
    make, _ = kinds[argv[0]]
    make(*map(Path, argv[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
