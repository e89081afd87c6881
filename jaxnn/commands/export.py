"""`jaxnn export`: a trained network for use without jaxnn."""

from __future__ import annotations

import sys

from jaxnn.commands.words import known, load, parsed
from jaxnn.config.names import EXPORTED, EXPORTS
from jaxnn.errors import InputError, choices, printable

USAGE = """usage: jaxnn export RUN --to FORMAT,... [flags]

A trained network as files that need no jaxnn, for any number of rows, with its preprocessing and the names of its
classes and columns inside (docs/guide/export.md).

  RUN                      the folder of a finished run

  --to FORMAT,...          onnx (needs the package onnx), stablehlo (of JAX, for CPU, GPU and TPU), numpy
                           (predict_numpy.py, which needs NumPy alone, and weights.npz), safetensors (the weights)
  --output DIR             a new folder, written whole or not at all (default: RUN/export)
  --force                  replace a folder of exported files that is there
  --weights last|best      those of the end of the run, or of its best checkpoint (--checkpoint.best, --stop_on)
  --partial                a run that was stopped before its end, too
  --config FILE.py         the config file of a run that brought a model or a task of its own
  --traceback              show where an error was raised
"""


def export(argv: list[str]) -> int:
    """`jaxnn export`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    words, given = parsed(argv, ("--to", "--output", "--weights", "--config"), ("--partial", "--force", "--traceback"))
    if len(words) != 1 or "--to" not in given:
        raise InputError(f"{' '.join(['export', *words])}: needs one RUN and --to FORMAT; see jaxnn export --help")
    to = list(dict.fromkeys(given["--to"].split(",")))
    for name in to:
        if name not in EXPORTS:
            raise choices("--to", name, EXPORTS)

    from jaxnn.store import durable

    folder, _ = known(words[0])
    output, force = given.get("--output", str(folder / "export")), "--force" in given
    durable.check_new_folder("--output", output, EXPORTED, force=force)
    run = load(words[0], given)

    from jaxnn import export as exported

    path = exported.write(exported.of_run(run), output, to, force=force)
    for file in sorted(path.iterdir()):
        print(f"{printable(output)}/{file.name}  {file.stat().st_size:,} bytes")
    if run.config.dtype == "bf16" and {"onnx", "numpy"} & {*to}:
        print("note: onnx and numpy compute in float32 what was trained in bfloat16", file=sys.stderr)
    return 0
