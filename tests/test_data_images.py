"""One image: turned upright, accepted in every good form, and refused where its bytes are known to be damaged."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from jaxnn import data
from jaxnn.data.readers import image_file
from jaxnn.errors import DataError, InputError

RNG = np.random.default_rng(0)
UPRIGHT = RNG.integers(0, 256, (4, 6, 3), np.uint8)
# The side of the picture that the first row and the first column of each orientation hold (TIFF 6.0, page 36), as how
# the stored array comes from the picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x112] = orientation
    return tags.tobytes()


def photo(mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg")[100:228, 200:328]).resize(size).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow(content: bytes) -> np.ndarray:
    """What Pillow reads, [H, W, C]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return image_file.read(path)[0]


# ---- orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_all_eight_orientations_are_turned_upright(kind, mode, tmp_path):
    picture = Image.fromarray(UPRIGHT).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    expected = np.asarray(picture.convert({"P": "RGB", "1": "L"}.get(mode, mode)))
    for orientation, stored in STORED.items():
        image = Image.fromarray(np.ascontiguousarray(stored(np.asarray(picture))))
        if mode == "P":
            image.putpalette(picture.getpalette() or ())
        path = tmp_path / f"{orientation}"
        image.save(path, kind, exif=exif(orientation))
        pixels, turned = image_file.read(path)
        np.testing.assert_array_equal(pixels.squeeze(), expected)
        assert turned == ("turned",) * (orientation > 1)


def test_what_is_no_exif_says_nothing_of_an_orientation(tmp_path):
    for kind, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        (tmp_path / "a").write_bytes(encoded(photo(), kind, **options))
        expected = image_file.read(tmp_path / "a")[0]
        for junk in (b"Exif\0\0no EXIF at all", exif(6)[:-20], exif(0), exif(9)):
            (tmp_path / "a").write_bytes(encoded(photo(), kind, exif=junk, **options))
            pixels, turned = image_file.read(tmp_path / "a")
            assert not turned and np.array_equal(pixels, expected), (kind, junk)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_photos_are_turned_as_pillow_turns_them(mode, tmp_path):
    for orientation in range(10):  # 0 and 9 are none
        content = encoded(photo(mode, (37, 22)), exif=exif(orientation))
        pixels = read(tmp_path / "a.jpg", content)
        np.testing.assert_array_equal(pixels, pillow(content))
        assert pixels.shape[:2] == ((37, 22) if orientation in (5, 6, 7, 8) else (22, 37))


def test_sizes_are_compared_once_the_photos_are_upright_and_a_note_says_how_many_were_turned(tmp_path):
    expected = []
    for i, (label, orientation) in enumerate([("cat", 1), ("cat", 6), ("cat", 8), ("dog", 3), ("dog", 1), ("dog", 5)]):
        path = tmp_path / label / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        upright = RNG.integers(0, 256, (4, 6, 3), np.uint8)
        expected.append(upright)
        Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif(orientation))
    loaded = data.load(tmp_path, test_fraction=0, validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, expected)
    assert loaded.notes == (f"{tmp_path}: 4 images turned upright, as their EXIF data say",)
    Image.fromarray(UPRIGHT).save(path, exif=exif(6))
    with pytest.raises(InputError, match=r"5.png=\(6, 4, 3\): all images must have one size"):
        data.load(tmp_path)


# ---- damage ----------------------------------------------------------------------------------------------------------


def entropy(content: bytes) -> tuple[int, int]:
    """Where the compressed pixels of a JPEG begin and end."""
    at = content.index(b"\xff\xda")
    return at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0], len(content) - 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_libjpeg_warns_of_is_damaged_though_pillow_reads_it(mode, options, tmp_path):
    good = encoded(photo(mode), **options)
    start, end = entropy(good)
    middle = (start + end) // 2
    damages = {
        "cut out": good[:middle] + good[middle + 200 :],
        "twice": good[:middle] + good[middle - 200 : middle] + good[middle:],
        "first half gone": good[:start] + good[middle:],
        "all gone": good[:start] + good[end:],
        "more than all": good[:end] + good[start:],
        "no end": good[:-2],
    }
    seen = 0
    for content in damages.values():
        try:
            seen += not np.array_equal(pillow(content), pillow(good))
        except (OSError, SyntaxError):
            pass
        with pytest.raises(DataError, match="a.jpg: damaged image ") as caught:
            read(tmp_path / "a.jpg", content)
        assert "\n" not in str(caught.value)
    assert seen >= 4  # which Pillow reads, without a word, as other pixels
    assert read(tmp_path / "a.jpg", good).shape[:2] == (64, 64)


def test_damaged_jpegs_are_left_out_by_number(tmp_path):
    for i in range(8):
        path = tmp_path / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(photo(size=(48, 48)).rotate(9 * i)))
    content = path.read_bytes()
    start, end = entropy(content)
    path.write_bytes(content[: (start + end) // 2] + content[end:])
    with pytest.raises(DataError, match="b/7.jpg: damaged image"):
        data.load(tmp_path)
    loaded = data.load(tmp_path, bad_records=1, test_fraction=0, validation_fraction=0)
    assert len(loaded.train.x) == 7 and loaded.notes == (f"{tmp_path}: 1 damaged images left out: {path}",)


def test_how_much_of_random_damage_is_known(tmp_path):
    """Of damages that change pixels: all that cut the file, most runs of zeros, and some single bits.

    The pixels of a JPEG have no checksum: bytes that mean other pixels and leave none over are valid.
    """
    rng = np.random.default_rng(0)
    images = [(content, pillow(content)) for content in (encoded(photo()), encoded(photo("L"), progressive=True))]
    known, quiet = (dict.fromkeys(("bit", "zeros", "cut"), 0) for _ in range(2))
    for kind in known:
        for i in range(60):
            good, expected = images[i % 2]
            at = int(rng.integers(entropy(good)[0], len(good) - 66))
            bad = bytearray(good)
            if kind == "bit":
                bad[at] ^= 1 << rng.integers(8)
            elif kind == "zeros":
                bad[at : at + 64] = bytes(64)
            else:
                del bad[at:]
            try:
                quiet[kind] += not np.array_equal(read(tmp_path / "a.jpg", bytes(bad)), expected)
            except DataError:
                known[kind] += 1
    assert (known["cut"], quiet["cut"]) == (60, 0)
    assert known["zeros"] > quiet["zeros"] and known["bit"] > quiet["bit"] / 3, (known, quiet)


EXOTIC = base64.b64decode(  # 8x8, its colours sampled 2x2, 1x2 and 1x1, which simplejpeg does not know
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpR"
    "Uk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAIAAgDASIAAhIB"
    "AxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAYEAEAAwEAAAAAAAAAAAAAAAAABAYhMv/EABYBAAMAAAAAAAAAAAAAAAAAAAACBP/EABoRAAID"
    "AQEAAAAAAAAAAAAAAAAEAQUhEyP/2gAMAwEAAhEDEQA/AJq3D4wBa5aes6Ar9cv2nD//2Q=="
)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(body) + 2) + body


# 8x8 grey pixels, each what the one before predicts: coded without loss.
LOSSLESS = (
    b"\xff\xd8"
    + segment(0xC3, struct.pack(">B2H4B", 8, 8, 8, 1, 1, 0x11, 0))
    + segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    + bytes(8)
    + b"\xff\xd9"
)


def good_jpegs() -> dict[str, bytes]:
    made = {"exotic sampling": EXOTIC, "lossless": LOSSLESS}
    options: list[dict[str, Any]] = [
        {}, {"quality": 1}, {"quality": 100}, {"progressive": True}, {"optimize": True}, {"subsampling": 0},
        {"subsampling": 1}, {"subsampling": 2}, {"subsampling": "4:1:1"}, {"keep_rgb": True},
        {"restart_marker_rows": 1}, {"restart_marker_blocks": 2, "progressive": True},
        {"comment": b"c" * 60_000}, {"icc_profile": b"i" * 99_999},
        {"exif": exif(1)}, {"exif": b"Exif\0\0no EXIF at all"}, {"exif": exif(6)[:-9]}, {"exif": b""},
    ]  # fmt: skip
    for mode in ("L", "RGB"):
        for size in ((1, 1), (17, 33), (64, 64), (65, 1)):
            for option in options:
                if mode == "RGB" or "keep_rgb" not in option:
                    made[f"{mode} {size} {option}"[:99]] = encoded(photo(mode, size), **option)
    plain = encoded(photo())
    for name, behind in {"zeros": bytes(999), "video": RNG.bytes(5000), "photo": plain, "half": plain[:1000]}.items():
        made[f"{name} behind it"] = plain + behind
    made["filled before the end"] = plain[:-2] + b"\xff\xff\xff\xd9"
    tables = plain.index(b"\xff\xdb")
    made["filled before tables"] = plain[:tables] + b"\xff\xff\xff" + plain[tables:]
    return made


def test_good_jpegs_of_all_kinds_are_read_as_pillow_reads_them(tmp_path):
    kinds = good_jpegs()
    assert len(kinds) > 140
    for name, content in kinds.items():
        np.testing.assert_array_equal(read(tmp_path / "a.jpg", content), pillow(content), err_msg=name)


def test_a_jpeg_of_two_sizes_is_refused(tmp_path):
    content = encoded(photo("L"))
    frame = content.index(b"\xff\xc0")
    size = struct.unpack(">H", content[frame + 2 : frame + 4])[0] + 2
    small = content[frame : frame + 5] + struct.pack(">2H", 2, 2) + content[frame + 9 : frame + size]
    huge = content[frame : frame + 5] + struct.pack(">2H", 65500, 65500) + content[frame + 9 : frame + size]
    for changed in (small + huge, huge + small):
        with pytest.raises((DataError, InputError), match="a.jpg"):
            read(tmp_path / "a.jpg", content[:frame] + changed + content[frame + size :])


def chunks(content: bytes) -> list[bytes]:
    """Those of a PNG, each with its length before and its checksum behind."""
    found, at = [], 8
    while at < len(content):
        found.append(content[at : at + 12 + struct.unpack(">I", content[at : at + 4])[0]])
        at += len(found[-1])
    return found


def test_every_checksum_of_a_png_counts_and_what_stands_behind_it_does_not(tmp_path):
    head, *parts = good = [encoded(photo("L"), "PNG")[:8], *chunks(encoded(photo("L"), "PNG"))]
    text = b"tEXtComment\0seen"
    parts.insert(-1, struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)))
    path = tmp_path / "a.png"
    for content in (good, [head, *parts], [*good, b"behind it"]):
        np.testing.assert_array_equal(read(path, b"".join(content)), np.asarray(photo("L"))[..., None])
    bad = [parts[:-1], [*parts[:-1], parts[-1][:-5]]]
    for i, part in enumerate(parts[:-1]):
        changes = [part[:-4] + bytes(4), part[:-5] + b"\x07" + part[-4:]]
        if part[4:8] == b"IDAT":
            changes.append(part[:-44] + bytes(40) + part[-4:])  # of which Pillow reads other pixels
        bad += [[*parts[:i], changed, *parts[i + 1 :]] for changed in changes]
    for content in bad:
        with pytest.raises(DataError, match="a.png: damaged image"):
            read(path, head + b"".join(content))


@pytest.mark.parametrize(("mode", "colour"), [("L", 100), ("RGB", (100, 0, 200)), ("1", 1)])
def test_a_transparent_colour_of_a_png_is_an_alpha_channel(mode, colour, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 3, (5, 6, 3) if mode == "RGB" else (5, 6), np.uint8) * 100
    pixels = np.where(pixels == 0, 0, 255).astype(np.uint8) if mode == "1" else pixels
    pixels[2, 3] = pixels[0, 0] = 255 if mode == "1" else colour
    content = encoded(Image.fromarray(pixels).convert(mode), "PNG", transparency=colour)
    stored = pixels.reshape(5, 6, -1)
    clear = (stored == pixels[2, 3]).all(-1, keepdims=True)
    expected = np.concatenate([stored, np.where(clear, 0, 255).astype(np.uint8)], -1)
    np.testing.assert_array_equal(read(tmp_path / "a.png", content), expected)
