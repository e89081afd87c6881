"""One image: its pixels, upright, or a refusal. Pillow reads most of them, but passes over some damage."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.data.check import MAX_BYTES, file_size, unpacked_size
from jaxnn.data.readers.image_form import Form, formed
from jaxnn.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# EPS is left out: Pillow runs Ghostscript to read it. What phones write, MPO, it opens as a JPEG.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # kept as stored
CONVERTED = {"CMYK": "RGB", "PA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
ORIENTATION = 0x112  # the EXIF tag: 1 is upright, 2 to 8 are turned or mirrored


def read(path: Path, form: Form | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """u8[H, W, C], as stored or in a form; and what was done to the image, words of `image_form.TOLD`."""
    with quiet():
        return decode(path, content(path), form)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of damaged tags: damaged pixels are an error. Python's filters are those of all threads, so `decode`
    cannot set them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def content(path: Path) -> bytes:
    """The bytes of a file, which are both decoded and hashed: it may change meanwhile."""
    file_size(path)
    with path.open("rb") as file:
        return file.read(MAX_BYTES)


def decode(path: Path, packed: bytes, form: Form | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """What `read` gives, of the bytes of the file; to be called within `quiet`.

    Raises `DataError` for what is damaged, and `InputError` for what is of another kind.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(packed), formats=FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or MAX_BYTES):
                raise Image.DecompressionBombError
            told = _told(path, image, form)
            unpacked_size(path, image.width * image.height * len(image.getbands()), len(packed))
            if _orientation(image) in range(2, 9):
                told += ("turned",)
            pixels = (_jpeg if image.format in ("JPEG", "MPO") else _pixels)(image, packed)
            if "turned" in told:
                pixels = _upright(pixels, image)
            if form is not None:
                told += ("clear",) * (pixels.ndim == 3 and pixels.shape[2] in (2, 4))
                pixels = formed(pixels, form)
            return pixels if pixels.ndim == 3 else pixels[..., None], told
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels, at most {Image.MAX_IMAGE_PIXELS}; make it smaller") from error
    except InputError:
        raise
    except UnidentifiedImageError as error:
        reason = f"its first bytes are of none of {', '.join(FORMATS)}"
        raise DataError(f"{path}: damaged image ({reason}); replace it or remove it") from error
    except Exception as error:  # what is raised for damaged bytes is not documented
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: damaged image ({reason}); replace it or remove it") from error


def stored(path: Path, packed: bytes) -> tuple[np.ndarray, str, str, np.ndarray]:
    """u8[H, W] or u8[H, W, C] as the file holds them, numbers of a palette too; Pillow's names of its mode and format;
    and the palette u8[n, 3], empty where there is none.

    To be called within `quiet`. Raises `DataError` for what is damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(packed), formats=FORMATS) as image:
            unpacked_size(path, image.width * image.height * len(image.getbands()), len(packed))
            if image.format == "PNG":
                _verify(packed)
            lossy = image.info.get("compression") == "jpeg"
            layout = str(image.tile)  # Pillow stretches grey of 2 and 4 bits to 0 ... 255
            stretch = next((factor for bits, factor in (("'L;2'", 85), ("'L;4'", 17)) if bits in layout), 1)
            pixels, kind = np.asarray(image) // stretch, "JPEG" if lossy else image.format or ""
            palette = image.getpalette("RGB") if image.mode == "P" else None
            return pixels, image.mode, kind, np.array(palette or [], np.uint8).reshape(-1, 3)
    except InputError:
        raise
    except Exception as error:  # what is raised for damaged bytes is not documented
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: damaged image ({reason}); replace it or remove it") from error


def is_turned(path: Path) -> bool:
    """Whether EXIF data turn the image by a quarter, so that its height is its width as stored."""
    from PIL import Image

    with quiet(), contextlib.suppress(Exception), Image.open(path, formats=FORMATS) as image:
        return image.getexif().get(ORIENTATION, 1) in range(5, 9)
    return False


def _verify(packed: bytes) -> None:
    """Compare the checksums of a PNG, which Pillow does not do for its pixels."""
    from PIL.PngImagePlugin import ChunkStream

    ChunkStream(io.BytesIO(packed[8:])).verify()


def size(path: Path) -> tuple[int, int] | None:
    """Height and width as the head of the file has them, upright; None of a damaged one."""
    with quiet():
        return head(path)


def head(path: Path) -> tuple[int, int] | None:
    """What `size` gives; to be called within `quiet`."""
    from PIL import Image

    with contextlib.suppress(Exception), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        height, width = image.height, image.width
        if image.format == "PNG" and not any(word in content(path) for word in (b"eXIf", b"exif", b"adobe.xmp")):
            return height, width  # Pillow decodes the whole of a PNG to look for EXIF data
        tags: Any = getattr(image, "tag_v2", None)  # of a TIFF, which new versions of Pillow open as it is turned
        height, width = (height, width) if tags is None else (tags[257], tags[256])
        turned = image.getexif().get(ORIENTATION, 1) in range(5, 9)
        return (width, height) if turned else (height, width)
    return None


def _told(path: Path, image: Image, form: Form | None) -> tuple[str, ...]:
    """What is to be done to an image of this kind; refused where that is no kind that can be read."""
    told: tuple[str, ...] = ()
    # Pillow quietly halves 16-bit colours to 8; the layout of the file still says 16, or 16S where they have a sign.
    layout = [str(tile) for tile in getattr(image, "tile", ())]
    deep = any(";16" in each and ";16S" not in each for each in layout)
    if image.mode.startswith("F") or (image.mode.startswith("I") and not deep):
        raise InputError(f"{path}={image.mode}: images must have 8 or 16 bits a channel; convert it, or save a .npz")
    if deep:
        if form is None:
            cure = "convert it, or add --data.color rgb or grey for the upper 8"
            raise InputError(f"{path}=16-bit: images must have 8 bits a channel; {cure}")
        told += ("deep",)
    if (frames := getattr(image, "n_frames", 1)) > 1:
        if form is None:
            cure = "save one frame, or add --data.color rgb or grey for the first"
            raise InputError(f"{path}={frames} frames: must be one image; {cure}")
        told += ("frames",)
    if image.mode not in MODES and not image.mode.startswith("I"):
        if form is None or image.mode not in CONVERTED:
            cure = "convert it" if image.mode not in CONVERTED else "convert it, or add --data.color rgb"
            raise InputError(f"{path}={image.mode}: must be grey, RGB or RGBA; {cure}")
        told += ("CMYK",) * (image.mode == "CMYK")
    return told


def _orientation(image: Image) -> object:
    """The number in the EXIF data, 1 if there is none."""
    if image.format == "PNG":
        image.load()  # in a PNG they may stand behind the pixels
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # what Pillow raises for bytes that are no EXIF is not documented; the pixels may be good
        return 1


def _pixels(image: Image, packed: bytes) -> np.ndarray:
    """u8[H, W] or u8[H, W, C] as stored; palettes and transparent colours are looked up, 16 bits are the upper 8."""
    if image.format == "PNG":
        _verify(packed)
    if image.mode.startswith("I"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    mode = {"1": "L", "P": "RGB", **CONVERTED}.get(image.mode, image.mode)
    if "transparency" in image.info and mode in ("L", "RGB"):  # one colour is, or several of a palette
        mode += "A"
    return np.asarray(image if mode == image.mode else image.convert(mode))


def _jpeg(image: Image, packed: bytes) -> np.ndarray:
    """The pixels that Pillow would read, but an error where libjpeg warns of damage and makes up what is missing."""
    import simplejpeg

    color = {"L": "GRAY", "CMYK": "CMYK"}.get(image.mode, "RGB")
    # Without a buffer, simplejpeg takes the memory that the header asks for by its own reading.
    pixels = np.empty((image.height, image.width, {"GRAY": 1, "RGB": 3, "CMYK": 4}[color]), np.uint8)
    try:
        found = simplejpeg.decode_jpeg(packed, color, buffer=pixels, strict=True)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        return np.asarray(image if color != "CMYK" else image.convert("RGB"))  # not all ratios are TurboJPEG's
    if found.shape != pixels.shape:
        raise ValueError(f"two sizes, {found.shape} and {pixels.shape}")
    if color == "CMYK":  # which program wrote it says which of them are inverted: Pillow knows
        return np.asarray(image.convert("RGB"))
    return pixels[..., 0] if color == "GRAY" else pixels


def _upright(pixels: np.ndarray, image: Image) -> np.ndarray:
    from PIL import Image, ImageOps

    turned = Image.fromarray(pixels)
    turned.getexif()[ORIENTATION] = _orientation(image)  # 1 by now for a TIFF, which Pillow has turned
    return np.asarray(ImageOps.exif_transpose(turned))
