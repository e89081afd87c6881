"""One image: its pixels, upright, or a refusal. Pillow reads most of them, but passes over some damage."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from jaxnn.data.check import MAX_BYTES, file_size, unpacked_size
from jaxnn.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS is left out: Pillow runs Ghostscript to read it
ORIENTATION = 0x112  # the EXIF tag: 1 is upright, 2 to 8 are turned or mirrored


def read(path: Path) -> tuple[np.ndarray, bool]:
    """u8[H, W, C], and whether it had to be turned."""
    from PIL import Image

    packed = file_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags; damaged pixels are an error
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Of a path Pillow maps the file into memory, and so scrambles a TIFF that lies on its side (Pillow 13.0).
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                # Pillow quietly halves 16-bit colours to 8; the layout of the file still says 16.
                if image.mode.startswith("I") or any(";16" in str(tile) for tile in image.tile):
                    raise InputError(f"{path}=16-bit: images must have 8 bits a channel; convert it")
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    raise InputError(f"{path}={frames} frames: must be one image; save one frame")
                if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                    raise InputError(f"{path}={image.mode}: must be grey, RGB or RGBA; convert it")
                unpacked_size(path, image.width * image.height * len(image.getbands()), packed)
                turned = _orientation(image) in range(2, 9)
                pixels = (_jpeg if image.format == "JPEG" else _pixels)(image, file)
                if turned:
                    pixels = _upright(pixels, image)
                return pixels if pixels.ndim == 3 else pixels[..., None], turned
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too many pixels, at most {Image.MAX_IMAGE_PIXELS}; make it smaller") from error
    except InputError:
        raise
    except Exception as error:  # what is raised for damaged bytes is not documented
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the image: permissions, a broken link
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: damaged image ({reason}); replace it or remove it") from error


def _orientation(image: Image) -> object:
    """The number in the EXIF data, 1 if there is none."""
    if image.format == "PNG":
        image.load()  # in a PNG they may stand behind the pixels
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # what Pillow raises for bytes that are no EXIF is not documented; the pixels may be good
        return 1


def _pixels(image: Image, file: BinaryIO) -> np.ndarray:
    """u8[H, W] or u8[H, W, C] as stored; palettes and transparent colours are looked up."""
    if image.format == "PNG":
        from PIL.PngImagePlugin import ChunkStream

        file.seek(8)
        ChunkStream(file).verify()  # the checksums, which Pillow does not compare where it reads pixels
    mode = {"1": "L", "P": "RGB"}.get(image.mode, image.mode)
    if "transparency" in image.info and mode in ("L", "RGB"):  # one colour is, or several of a palette
        mode += "A"
    return np.asarray(image if mode == image.mode else image.convert(mode))


def _jpeg(image: Image, file: BinaryIO) -> np.ndarray:
    """The pixels that Pillow would read, but an error where libjpeg warns of damage and makes up what is missing."""
    import simplejpeg

    grey = image.mode == "L"
    # Without a buffer, simplejpeg takes the memory that the header asks for by its own reading.
    pixels = np.empty((image.height, image.width, 1 if grey else 3), np.uint8)
    file.seek(0)
    try:
        found = simplejpeg.decode_jpeg(file.read(MAX_BYTES), "GRAY" if grey else "RGB", buffer=pixels, strict=True)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        return np.asarray(image)  # TurboJPEG does not know all ratios of sampling that libjpeg knows
    if found.shape != pixels.shape:
        raise ValueError(f"two sizes, {found.shape} and {pixels.shape}")
    return pixels[..., 0] if grey else pixels


def _upright(pixels: np.ndarray, image: Image) -> np.ndarray:
    from PIL import Image, ImageOps

    turned = Image.fromarray(pixels)
    turned.getexif()[ORIENTATION] = _orientation(image)  # 1 by now for a TIFF, which Pillow has turned
    return np.asarray(ImageOps.exif_transpose(turned))
