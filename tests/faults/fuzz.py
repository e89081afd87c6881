"""Mutation fuzzing of everything that reads a file: only `jaxnn.Error` may come out, soon and in little memory.

    python tests/faults/fuzz.py [COUNT] [READER ...]      (default: 100,000 inputs for each reader)

Half of the inputs are good files with some of their bytes changed. Where a checksum would refuse nearly all of those,
the other half are changed inside and packed anew, so that the checksum is right and the content is not.
"""

from __future__ import annotations

import gzip
import io
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxnn import data
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.errors import Error
from jaxnn.store import identity

SLOW = 2.0  # seconds of the processor that no input may take; others may be using it meanwhile
TOKENS = [
    b"", b"\0", b"\n", b"\r", b",", b'"', b"'", b"{", b"}", b"[", b"]", b"(", b")", b":", b"-", b"nan", b"NaN", b"inf",
    b"Infinity", b"null", b"true", b"1e999", b"-1", b"0", b"1.7", b"1_0", b"9" * 25, b"9" * 400, b"[" * 500, b"\\u0000",
    b"\\ud800", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff" * 8, b"\x80", b"NA", b"?", b"x" * 2000, b"../x", b"/etc/passwd",
    b"|O", b"<f8", b">i2", b"<U9999999", b"<M8[s]", b"<c16", b"|V8", b"|b1", b"(99999999999,)", b"(2, -3)", b"True",
    b"IEND", b"PK\1\2", b"PK\5\6", b"\x1f\x8b\x08",
]  # fmt: skip
NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


class Reader(NamedTuple):
    """`read(content)` puts a file in its place and reads it; `hostile(rng)` makes one with right checksums."""

    name: str
    seeds: list[bytes]
    read: Callable[[bytes], Any]
    hostile: Callable[[np.random.Generator], bytes] | None = None


class Report(NamedTuple):
    accepted: int
    refused: int
    seconds: float
    slowest: float
    rss: int
    failures: list[str]

    def __str__(self) -> str:
        how_many = f"{self.accepted + self.refused:,} inputs: {self.accepted:,} read, {self.refused:,} refused"
        time = f"{self.seconds:.0f} s, slowest {self.slowest:.3f} s, {self.rss >> 20} MiB more"
        return f"{how_many}, {len(self.failures)} failures; {time}"


def mutate(rng: np.random.Generator, content: bytes, other: bytes = b"") -> bytes:
    """One change or a few: bits, bytes, numbers, tokens, cuts, copies, and parts of another file."""
    for _ in range(rng.geometric(0.6)):
        made, n = bytearray(content), len(content)
        at = int(rng.integers(n + 1))
        end = min(n, at + int(rng.integers(1, 33)))
        kind = rng.integers(9)
        if kind == 0 and n:
            for bit in rng.integers(8 * n, size=rng.integers(1, 9)):
                made[bit // 8] ^= 1 << bit % 8
        elif kind == 1:
            made[at:end] = rng.bytes(end - at)
        elif kind == 2:
            made = made[:at]
        elif kind == 3:
            made[at:at] = rng.bytes(int(rng.integers(1, 17)))
        elif kind == 4:
            del made[at:end]
        elif kind == 5:
            made[at:at] = made[at:end] * int(rng.integers(1, 9))
        elif kind == 6:
            word = struct.pack("<>"[rng.integers(2)] + "I", NUMBERS[rng.integers(len(NUMBERS))])
            made[at : at + 4] = word[: max(0, n - at)]
        elif kind == 7:
            made[at : at + int(rng.integers(9))] = TOKENS[rng.integers(len(TOKENS))]
        else:
            made[at:] = other[int(rng.integers(len(other) + 1)) :]
        content = bytes(made)
    return content


def fuzz(reader: Reader, count: int, seed: int = 0) -> Report:
    """Read `count` inputs; a failure is anything but a result or a `jaxnn.Error` of one line, or more than 2 s."""
    rng = np.random.default_rng(seed)
    accepted, failures, slowest, began = 0, [], 0.0, time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        if reader.hostile and rng.integers(2):
            content = reader.hostile(rng)
        else:
            first, second = (reader.seeds[k] for k in rng.integers(len(reader.seeds), size=2))
            content = mutate(rng, first, second)
        start = time.process_time()
        try:
            reader.read(content)
            accepted, problem = accepted + 1, ""
        except Error as error:
            problem = "a message of several lines" if "\n" in str(error) else ""
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever it is, it is the finding
            problem = traceback.format_exc()
        spent = time.process_time() - start
        if spent > SLOW:
            problem = problem or f"took {spent:.1f} s"
        slowest = max(slowest, spent)
        if problem:
            failures.append(f"{reader.name} seed {seed}, input {i}: {problem}\n{content[:2000]!r}")
    rss = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return Report(accepted, count - accepted, time.perf_counter() - began, slowest, rss, failures)


def put(path: Path, content: bytes) -> None:
    """Write over what is there: a file that is made anew each time takes ten times as long on some disks."""
    with path.open("r+b" if path.exists() else "xb") as file:
        file.write(content)
        file.truncate()


# ---- the readers -----------------------------------------------------------------------------------------------------


def idx_reader(folder: Path) -> Reader:
    folder.mkdir()
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (12, 3, 2), np.uint8), np.arange(12, dtype=np.uint8) % 2
    images, labels = (struct.pack(f">{1 + a.ndim}I", 0x800 + a.ndim, *a.shape) + a.tobytes() for a in (x, y))
    packed = gzip.compress(images, mtime=0)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    path = folder / "train-images-idx3-ubyte"

    def read(content: bytes) -> None:
        put(path, content)
        data.load(folder)

    def hostile(rng: np.random.Generator) -> bytes:
        inner = mutate(rng, images, labels)
        return gzip.compress(inner, 1, mtime=0) + (mutate(rng, packed) if rng.integers(4) == 0 else b"")

    return Reader("idx", [images, packed, labels], read, hostile)


def csv_reader(folder: Path) -> Reader:
    folder.mkdir()
    rows = [f"{i}.5,{'red' if i % 3 else 'blue'},{i * 7},{'no yes'.split()[i % 2]}" for i in range(12)]
    text = "age,colour,kind,label\n" + "\n".join(rows) + "\n"
    quoted = text.replace("red", '"r, ""e"" d"').replace("\n", "\r\n")

    def read(content: bytes) -> None:
        put(folder / "t.csv", content)
        data.load(folder / "t.csv", nan=("drop", "refuse")[len(content) % 2])

    return Reader("csv", [text.encode(), quoted.encode(), b"\xef\xbb\xbf" + text.encode()], read)


def npz_reader(folder: Path) -> Reader:
    folder.mkdir()
    rng = np.random.default_rng(1)
    arrays = [
        {"x": rng.normal(size=(12, 2)), "y": np.arange(12) % 2},
        {"x": rng.integers(0, 256, (12, 3, 2), np.uint8), "y": np.array(list("ab") * 6), "weight": np.ones(12)},
        {
            "x_train": np.eye(8, 2),
            "y_train": np.eye(8)[:, :2],
            "x_test": 2 * np.ones((4, 2)),
            "y_test": np.eye(4)[:, :2],
        },
    ]

    def member(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()

    members = [{f"{name}.npy": member(array) for name, array in each.items()} for each in arrays]
    flat = [content for each in members for content in each.values()]

    def pack(files: list[tuple[str, bytes]], how: int) -> bytes:
        file = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", how) as archive:
            warnings.simplefilter("ignore")  # of a name that stands twice
            for name, content in files:
                archive.writestr(name, content)
        return file.getvalue()

    def read(content: bytes) -> None:
        put(folder / "t.npz", content)
        data.load(folder / "t.npz")

    def hostile(rng: np.random.Generator) -> bytes:
        files = list(members[rng.integers(len(members))].items())
        k = int(rng.integers(len(files)))
        name, content = files[k]
        if rng.integers(8) == 0:
            name = mutate(rng, name.encode()).decode(errors="replace").replace("\0", "/")[:1000] or "x"
        else:
            content = mutate(rng, content[:128], content) + content[128:] if rng.integers(2) else mutate(rng, content)
        files[k] = name, content
        if rng.integers(8) == 0:
            files.append(files[rng.integers(len(files))])
        return pack(files, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[rng.integers(2)])

    seeds = [pack(list(each.items()), how) for each in members for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    return Reader("npz", [*seeds, *flat[:2]], read, hostile)


def image_reader(folder: Path) -> Reader:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (6, 5, 3), np.uint8)
    for i in range(2):
        for name in ("cat", "dog"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, pixels.shape, np.uint8)).save(folder / name / f"{i}.png")

    def encoded(kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return file.getvalue()

    kinds = ("PNG", "BMP", "GIF", "JPEG", "PPM", "TIFF", "WEBP")
    options = ({"optimize": True}, {"progressive": True}, {"compression": "tiff_lzw"}, {"lossless": True})
    seeds = [encoded(kind) for kind in kinds]
    seeds += [encoded(kind, **more) for kind, more in zip(("PNG", "JPEG", "TIFF", "WEBP"), options, strict=True)]

    def read(content: bytes) -> None:
        put(folder / "cat" / "1.png", content)
        form: Any = ({}, {"image_size": "4"}, {"color": "rgb"}, {"image_size": "3x8", "color": "grey"})[
            sum(content) % 4
        ]
        data.load(folder, bad_records=len(content) % 2, test_fraction=0, validation_fraction=0, **form)

    def hostile(rng: np.random.Generator) -> bytes:
        """A PNG with a changed chunk under a right checksum."""
        good, at, found = seeds[0], 8, []
        while at < len(good):
            (size,) = struct.unpack(">I", good[at : at + 4])
            found.append((good[at + 4 : at + 8], good[at + 8 : at + 8 + size]))
            at += 12 + size
        k = int(rng.integers(len(found)))
        kind, body = found[k]
        if kind == b"IDAT" and rng.integers(2):
            body = zlib.compress(mutate(rng, zlib.decompress(body)))
        elif rng.integers(4) == 0:
            more = (b"tRNS", b"PLTE", b"zTXt", b"iCCP", b"iTXt", b"gAMA", b"acTL", b"fcTL", b"eXIf")[rng.integers(9)]
            found.insert(k, (more, mutate(rng, rng.bytes(int(rng.integers(40))) + zlib.compress(bytes(1000)))))
        else:
            body = mutate(rng, body)
        found[k] = kind, body
        chunks = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in found)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    return Reader("images", seeds, read, hostile)


def config_reader(folder: Path) -> Reader:
    import json

    from jaxnn.config.data import DataConfig
    from jaxnn.config.optim import OptimConfig
    from jaxnn.config.values import to_dict

    folder.mkdir()
    seeds = []
    for config in (Config(), Config(batch_size="full", data=DataConfig("x.csv", class_weight=(1.0, 2.0)))):
        about = {"name": "digits", "classes": [0, "a", True], "digest": "0" * 64, "center": 0.5, "shape": [8, 8, 1]}
        saved = {"format": 2, "config": to_dict(config), "source": "digits_mlp", "own_model": False, "data": about}
        seeds.append(json.dumps(saved, indent=2).encode())
    seeds.append(
        json.dumps(
            {"config": {"optim": to_dict(OptimConfig())}, "source": None, "own_model": True, "data": {}}
        ).encode()
    )

    def read(content: bytes) -> None:
        put(folder / "config.json", content)
        from_dict(identity.read(folder / "config.json", "--config")["config"], Config)

    return Reader("config", seeds, read)


def manifest_reader(folder: Path) -> Reader:
    """The manifest of a checkpoint; the hostile ones are sealed anew, as if jaxnn had written them."""
    import hashlib
    import json

    from jaxnn.store import checkpoint

    leaves = {"params/w": np.ones((3, 2), np.float32), "params/b": np.zeros(2, np.float32), "step": np.int32(5)}
    checkpoint.save(folder, 5, leaves, {"config": {"epochs": 3}, "data": {"digest": "0" * 64}}, keep=1)
    path = folder / "000000005" / checkpoint.MANIFEST
    good = path.read_bytes()

    def read(content: bytes) -> None:
        put(path, content)
        checkpoint.latest(folder)

    def hostile(rng: np.random.Generator) -> bytes:
        manifest = json.loads(good)
        del manifest["sha256"]
        text = mutate(rng, json.dumps(manifest, indent=1).encode())
        try:
            manifest = json.loads(text)
            text = json.dumps(manifest, indent=1).encode()
            return json.dumps(manifest | {"sha256": hashlib.sha256(text).hexdigest()}, indent=1).encode()
        except (ValueError, TypeError, RecursionError):
            return text

    return Reader("manifest", [good], read, hostile)


# Whatever reads a file is to be added here: the tests and the command line go through this list.
READERS = {
    "idx": idx_reader,
    "csv": csv_reader,
    "npz": npz_reader,
    "images": image_reader,
    "config": config_reader,
    "manifest": manifest_reader,
}


def main(argv: list[str]) -> int:
    count, names = int(argv[0]) if argv else 100_000, argv[1:] or list(READERS)
    warnings.simplefilter("error")
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            report = fuzz(READERS[name](Path(folder) / name), count)
        print(f"{name}: {report}", flush=True)
        for failure in report.failures[:5]:
            print(failure, flush=True)
        failed += len(report.failures)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
