"""Files made to harm: names that point elsewhere, sizes that lie, and a hundred thousand that are simply broken.

Archives that are read: .npz (zip), gzip around IDX, images, array_record (through tensorflow-datasets, which unpacks it
in C++), JSON and safetensors. None is ever unpacked to the disk: a member's name is looked up in a closed list.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import fuzz
import numpy as np
import pytest
from contract import ROOT, load, refusal
from PIL import Image

from jaxnn.errors import InputError

X, Y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 2


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


# ---- X02: names and links --------------------------------------------------------------------------------------------

NAMES = [
    "../x.npy", "../../../../../../tmp/x.npy", "..\\x.npy", "/x.npy", "/etc/passwd", "//x.npy", "C:\\x.npy",
    "\\\\host\\x.npy", "a/../../x.npy", "./x.npy", "x.npy/", "x.npy/../../y", "~/x.npy", "$HOME/x.npy", "|id",
    "x\n.npy", "\x1b[31mx.npy", "\u202ex.npy", "con.npy", "x.npy.", " x.npy", "x .npy", "X.npy", "x.npy.npy",
    ".", "..", "...", "/", "file:///x.npy", "http://127.0.0.1/x.npy", "x%2f..%2fy.npy", "x\u2215y.npy",
    "<script>.npy", "x;y.npy", "x.py", "x.pkl", "__init__.py", "x.so", "x" * 5000 + ".npy",
    "\u2044etc\u2044passwd",
]  # fmt: skip
MODES = {"link": 0o120777, "device": 0o060666, "character device": 0o020666, "pipe": 0o010666, "folder": 0o040755}


def archive(path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_x02_a_member_that_points_elsewhere_is_refused_by_name(tmp_path):
    place = tmp_path / "in" / "here"
    place.mkdir(parents=True)
    for name in NAMES:
        path = archive(place / "t.npz", [("x.npy", npy(X)), ("y.npy", npy(Y)), (name, npy(X))])
        message = refusal(path)
        assert message.startswith(f"{path}=") and "must hold x, y or" in message
        assert all(letter.isprintable() for letter in message)
        shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
        assert shown.removesuffix(".npy")[:100] in message
    for mode in MODES.values():  # what a tool that unpacks would make a link or a device of is bytes here
        for target in (b"/etc/passwd", b"/dev/zero", npy(X)):
            member = zipfile.ZipInfo("x.npy")
            member.external_attr = mode << 16
            path = archive(place / "t.npz", [(member, target), ("y.npy", npy(Y))])
            if target == npy(X):
                assert load(path).shape == (2,)
            else:
                assert refusal(path).startswith(f"{path} array x: not a readable .npz")
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["in", "in/here", "in/here/t.npz"]
    assert len(NAMES) + 3 * len(MODES) >= 50


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "pipe", "folder"])
def test_x02_a_link_to_a_device_or_a_pipe_is_refused_and_never_waited_for(target, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    target = target if target.startswith("/") else str(tmp_path / target)
    images, idx = tmp_path / "images", tmp_path / "idx"
    for folder in (images / "cat", images / "dog", idx):
        folder.mkdir(parents=True)
    Image.new("L", (4, 4)).save(images / "cat" / "0.png")
    links = {
        images / "dog" / "0.png": images,
        tmp_path / "t.csv": tmp_path / "t.csv",
        tmp_path / "t.npz": tmp_path / "t.npz",
        idx / "train-images-idx3-ubyte": idx,
    }
    for link, name in links.items():
        link.symlink_to(target)
        message = refusal(name)
        if target != str(tmp_path / "folder"):
            assert message == f"{link}: must be a regular file; copy what it gives into one"


# ---- X03: bombs ------------------------------------------------------------------------------------------------------

MEASURE = """
import json, re, sys, time
from pathlib import Path
import jaxnn, jaxnn.data
from jaxnn.errors import Error
from jaxnn.store import identity
jaxnn.data.load("iris"), jaxnn.load_run  # whatever is imported late is imported now
from PIL import Image, PngImagePlugin
readers = {"config": lambda path: identity.read(Path(path), "--config"), "run": jaxnn.load_run}
def memory(kind):  # not getrusage: its peak begins at that of the process that started this one
    return int(re.search(kind + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
for kind, path in json.loads(sys.argv[1]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), time.perf_counter()
    try:
        readers.get(kind, jaxnn.data.load)(path)
        message = "was read"
    except Error as error:
        message = str(error)
    print(json.dumps([message, memory("VmHWM") - before, time.perf_counter() - start]))
"""
ZEROS = bytes(2**20)
MANY = 320  # MiB that a bomb unpacks to: more than the rise that is allowed, so that unpacking it would be seen


def squeezed(head: bytes, wbits: int) -> bytes:
    """`head` and `MANY` MiB of zeros, deflated: one of them, again and again (the checksum at the end is wrong)."""
    packer = zlib.compressobj(1, wbits=wbits)
    first, each = (packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in (head + ZEROS, ZEROS))
    return first + each * (MANY - 1) + packer.flush()


def png(width: int, height: int, rows: bytes) -> bytes:
    chunks = ((b"IHDR", struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    parts = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def zip_bomb(path: Path) -> tuple[str, str]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("x.npy", "w") as member:
            member.write(npy(np.zeros((1, 2**20), np.uint8))[:128])
            for _ in range(MANY):
                member.write(ZEROS)
        file.writestr("y.npy", npy(Y))
    return str(path), f"{path}={MANY * 2**20 + 128 + len(npy(Y))} bytes unpacked: at most 200 times"


def shape_that_lies(path: Path, rows: int) -> tuple[str, str]:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, 2), }}".encode().ljust(117) + b"\n"
    lie = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(1000)
    archive(path, [("x.npy", lie), ("y.npy", npy(Y))])
    return str(path), f"{path} array x: not a readable .npz of plain arrays"


def gzip_that(folder: Path, head: bytes, rule: str, body: bytes) -> tuple[str, str]:
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(body or gzip.compress(head))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 12) + bytes(12))
    return str(folder), f"{folder}/train-images-idx3-ubyte.gz{rule}"


def image(folder: Path, content: bytes, rule: str) -> tuple[str, str]:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(content)
    return str(folder), f"{folder}/cat/0.png{rule}"


def text(path: Path, content: str, rule: str) -> tuple[str, str]:
    path.write_text(content)
    return str(path), f"--config={path}: {rule}"


def weights(folder: Path, size: int) -> tuple[str, str]:
    folder.mkdir()
    saved = {"config": {}, "data": {}, "source": None, "own_model": False}
    (folder / "config.json").write_text(json.dumps(saved))
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", size) + b'{"w":{"dtype":"F32"}}')
    return str(folder), f"folder={folder}: "


@pytest.mark.long
def test_x03_bombs_and_sizes_that_lie_are_refused_in_little_memory(tmp_path):
    """In a process of its own: what it holds is this test's doing."""
    zeros, one = squeezed(b"", 15), struct.pack(">4I", 0x803, MANY, 2**10, 2**10)
    lie = struct.pack(">4I", 0x803, 2**12, 2**10, 2**10)
    bombs = [
        ("npz", zip_bomb(tmp_path / "0.npz")),
        *(("npz", shape_that_lies(tmp_path / f"{rows}.npz", rows)) for rows in (2**28, 2**40, 2**61)),
        ("idx", gzip_that(tmp_path / "a", one, ": not readable as gzip (more than 200 times as", squeezed(one, 31))),
        ("idx", gzip_that(tmp_path / "b", lie, "=16 bytes: expected 4294967312", b"")),
        ("images", image(tmp_path / "c", png(9000, 9000, zeros), "=324000000 bytes unpacked: at most 200 times")),
        ("images", image(tmp_path / "d", png(10**5, 10**5, zeros[:999]), ": too many pixels, at most")),
        ("config", text(tmp_path / "e", "[" * 100_000, "1:65: must be nested at most 64 deep")),
        ("config", text(tmp_path / "f", "[" + "0," * 2**27 + "0]", "1:1: must be at most")),
        *(("run", weights(tmp_path / f"run{size}", size)) for size in (2**20, 2**40, 2**63)),
    ]
    files = json.dumps([(kind, path) for kind, (path, _) in bombs])
    done = subprocess.run([sys.executable, "-c", MEASURE, files], cwd=ROOT, capture_output=True, text=True, timeout=300)
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(measured) == len(bombs), done.stderr
    for (kind, (_, rule)), (message, rise, seconds) in zip(bombs, measured, strict=True):
        print(f"{kind}: {rise:.0f} MiB, {seconds:.2f} s: {message}")
        assert message.startswith(rule)
        assert rise < 256


# ---- X05: downloads --------------------------------------------------------------------------------------------------

NETWORK = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "requests",
    "smtplib",
    "socket",
    "socketserver",
    "urllib",
    "urllib3",
    "xmlrpc",
}


def test_x05_nothing_is_downloaded_so_nothing_can_be_tampered_with():
    files = [*ROOT.glob("jaxnn/**/*.py"), *ROOT.glob("configs/*.py"), ROOT / "train.py"]
    assert len(files) > 40
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            network = NETWORK - ({"socket"} if path.stem == "hosts" else set())  # is a port free, a process there?
            assert not {name.partition(".")[0] for name in names} & network, path
            if isinstance(node, ast.Call):  # an address handed to anything
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                assert not any(str(word).startswith(("http:", "https:", "ftp:", "gs:", "s3:")) for word in words), path


def test_x05_reading_data_opens_no_connection(tmp_path):
    code = """
import sys
calls = []
sys.addaudithook(lambda event, args: calls.append(event) if event.startswith("socket.") else None)
import jaxnn.data
jaxnn.data.load("tfds:digits", dir=sys.argv[1])
jaxnn.data.load("digits")
used = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto"} & set(calls)
assert not used, used
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- X08: fuzzing ----------------------------------------------------------------------------------------------------


def check_fuzzed(name: str, folder: Path, count: int) -> None:
    report = fuzz.fuzz(fuzz.READERS[name](folder / name), count)
    print(f"{name}: {report}")
    assert not report.failures, report.failures[0]
    assert report.accepted > 0 and report.refused > 0 and report.rss < 2**28


@pytest.mark.parametrize("name", fuzz.READERS)
def test_x08_broken_files_are_refused_as_jaxnn_refuses(name, tmp_path):
    check_fuzzed(name, tmp_path, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.READERS)
def test_x08_a_hundred_thousand_broken_files(name, tmp_path):
    check_fuzzed(name, tmp_path, 100_000)


def test_x08_text_with_characters_that_do_not_exist_is_refused(tmp_path):  # found by the fuzzer
    codes = np.array([[97], [98]] * 6, np.uint32)
    for order in "<>":
        codes[3] = 0x110000
        y = codes.astype(f"{order}u4").view(f"{order}U1")[:, 0]
        path = archive(tmp_path / "t.npz", [("x.npy", npy(X)), ("y.npy", npy(y))])
        assert refusal(path).startswith(
            f"{path} array y: not a readable .npz of plain arrays (text that is no Unicode)"
        )
        codes[3] = ord("b")
        y = codes.astype(f"{order}u4").view(f"{order}U1")[:, 0]
        assert load(archive(path, [("x.npy", npy(X)), ("y.npy", npy(y))])).classes == ("a", "b")


def test_x08_the_fuzzer_sees_what_is_not_a_refusal(tmp_path):
    def read(content: bytes) -> None:
        if b"\xff" in content:
            raise ValueError("raw")
        if not content:
            raise InputError("empty=: must hold something")

    report = fuzz.fuzz(fuzz.Reader("raw", [b"\xfe" * 8], read), 200)
    assert report.failures and all("ValueError: raw" in failure for failure in report.failures)
    assert report.accepted + report.refused == 200
