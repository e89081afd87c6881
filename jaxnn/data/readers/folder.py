"""A folder of images with one sub-folder a class: ROOT/CLASS/* or ROOT/{train,test}/CLASS/*.

Channels are kept as they are stored: grey 1, grey with alpha 2, RGB 3, RGBA 4. Palettes are looked up (RGB, or
RGBA if one colour is transparent), black-and-white becomes 0 and 255. All images must have one size and one number
of channels: nothing is resized, dropped or painted on a background by guess.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from jaxnn.data.check import file_size, unpacked_size
from jaxnn.data.source import Source, Table
from jaxnn.errors import DataError, InputError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS is left out: Pillow runs Ghostscript to read it
SUFFIXES = frozenset((".bmp", ".gif", ".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"))


def read(root: Path, bad_records: int = 0) -> Source:
    """Images u8[n, H, W, C] and their folders' names as labels; up to `bad_records` damaged ones are left out."""
    folders = {path.name: path for path in _visible(root) if path.is_dir()}
    bad: list[Path] = []
    if set(folders) in ({"train"}, {"train", "test"}):
        train = _table(folders["train"], bad, bad_records)
        test = _table(folders["test"], bad, bad_records) if "test" in folders else None
    else:
        train, test = _table(root, bad, bad_records), None
    notes = (f"{root}: {len(bad)} damaged images left out: {_list(bad)}",) if bad else ()
    return Source(train, test=test, scale=255.0, by_folder=True, notes=notes)


def _list(paths: list[Path]) -> str:
    return ", ".join(map(str, paths[:10])) + (", ..." if len(paths) > 10 else "")


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name != "Thumbs.db"]


def _table(root: Path, bad: list[Path], bad_records: int) -> Table:
    """The images of one part; damaged ones are added to `bad`, which may hold up to `bad_records`."""
    files, labels = [], []
    for folder in _visible(root):
        if not folder.is_dir():
            if folder.suffix.lower() in SUFFIXES:
                raise InputError(f"{folder}: stands beside the classes; move it into the folder of its class")
            continue  # a README or a licence
        inside = _visible(folder)
        if not inside:
            raise InputError(f"{folder}=0 images: must hold at least one; remove the empty folder")
        for path in inside:
            if path.is_dir() or path.suffix.lower() not in SUFFIXES:
                raise InputError(f"{path}: not an image file ({', '.join(sorted(SUFFIXES))}); move it out of {folder}")
        files += inside
        labels += [folder.name] * len(inside)
    if not files:
        raise InputError(f"{root}=0 images: must hold one folder of images for each class; check the path")
    x = np.empty((len(files), 0, 0, 0), np.uint8)
    kept: list[int] = []
    for i, path in enumerate(files):
        try:
            image = _image(path)
        except DataError:
            bad.append(path)
            if len(bad) > bad_records:
                raise
            continue
        if not kept:
            unpacked_size(root, len(files) * image.size)
            x = np.empty((len(files), *image.shape), np.uint8)
        if image.shape != x.shape[1:]:
            raise InputError(
                f"{path}={image.shape}: all images must have one size and number of channels, "
                f"[H, W, C]={x.shape[1:]} as {files[kept[0]]}; convert it"
            )
        x[len(kept)] = image
        kept.append(i)
    whole = np.array(labels)
    if lost := sorted(set(labels) - set(whole[kept])):
        raise InputError(f"{root / lost[0]}=0 images: all of them are damaged; replace them, or remove the folder")
    return Table(x[: len(kept)], whole[kept])


def _image(path: Path) -> np.ndarray:
    """u8[H, W, C]"""
    from PIL import Image

    packed = file_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags, which are not read; damaged pixels are an error
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                # Pillow quietly halves 16-bit colours to 8; the layout of the file still says 16.
                if image.mode.startswith("I") or any(";16" in str(tile) for tile in image.tile):
                    raise InputError(f"{path}=16-bit: images must have 8 bits a channel; convert it")
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    raise InputError(f"{path}={frames} frames: must be one image; save one frame")
                unpacked_size(path, image.width * image.height * len(image.getbands()), packed)
                if image.mode == "P":
                    image = image.convert("RGBA" if "transparency" in image.info else "RGB")
                elif image.mode == "1":
                    image = image.convert("L")
                if image.mode not in ("L", "LA", "RGB", "RGBA"):
                    raise InputError(f"{path}={image.mode}: must be grey, RGB or RGBA; convert it")
                pixels = np.asarray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too many pixels, at most {Image.MAX_IMAGE_PIXELS}; make it smaller") from error
    except InputError:
        raise
    except Exception as error:  # what Pillow raises for damaged bytes is not documented
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the image: permissions, a broken link
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: damaged image ({reason}); replace it or remove it") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]
