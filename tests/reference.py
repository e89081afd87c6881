"""The public names of jaxnn, where docs/reference has them, and its index: `python tests/reference.py` writes that."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxnn

PAGES = Path(__file__).resolve().parents[1] / "docs" / "reference"
ORDER = (
    *("models", "activations", "losses", "tasks", "metrics", "training", "configs", "data", "augment"),
    *("estimators", "runs", "diagnosis", "images", "export", "devices", "tree", "keras"),
)
MODULES = {name for name in jaxnn.__all__ if isinstance(getattr(jaxnn, name), ModuleType)}
ALIASES = {  # names of types, whose docstrings Python does not keep
    "Metrics": "Sums and counts by name; divided once, at the end.",
    "activations.Activation": "A function of one array that gives an array of the same shape and dtype.",
}
HEAD = """# Reference

Every public name of jaxnn, by page. The pages are made from the docstrings, whose examples run with the tests.
"""


def defined(module: ModuleType) -> list[str]:
    """The public names of a module: what it defines, and what it imports as itself (`from ... import x as x`)."""
    path = Path(module.__file__ or "")
    stub = path.with_suffix(".pyi")
    names = []
    for node in ast.parse((stub if stub.exists() else path).read_text()).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.append(node.name)
            case ast.ImportFrom():
                names += [alias.asname for alias in node.names if alias.asname == alias.name]
            case ast.Assign():
                names += [leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return [name for name in names if not name.startswith("_")]


def public() -> dict[str, Any]:
    """The public names, each once: what jaxnn has, then what its modules have besides (`engine.step`)."""
    found = {name: getattr(jaxnn, name) for name in jaxnn.__all__ if name not in MODULES}
    of_jaxnn = {id(value) for value in found.values()}
    for module in sorted(MODULES - {"keras"}):
        for name in defined(getattr(jaxnn, module)):
            value = getattr(getattr(jaxnn, module), name)
            if id(value) not in of_jaxnn:
                found[f"{module}.{name}"] = value
    return found


def modules_of_keras() -> list[str]:
    return [name for name in dir(jaxnn.keras) if isinstance(getattr(jaxnn.keras, name), ModuleType)]


def entries() -> list[tuple[str, str]]:
    """(page, path of a name) for each entry of the reference, in the order of the pages."""
    text = {f"{page}.md": (PAGES / f"{page}.md").read_text() for page in ORDER}
    return [(page, path) for page in text for path in re.findall(r"^::: (\S+)$", text[page], re.MULTILINE)]


def value_of(path: str) -> Any:
    """What a path stands for: `jaxnn.engine.step`."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(value_of(module), name)


def first_line(path: str) -> str:
    """The first line of a docstring."""
    line = ALIASES.get(path.removeprefix("jaxnn.")) or (inspect.getdoc(value_of(path)) or "").partition("\n")[0]
    return line.replace("|", "\\|")


def index() -> str:
    """docs/reference/index.md."""
    text, last = HEAD, ""
    for page, path in entries():
        if page != last:
            title = (PAGES / page).read_text().partition("\n")[0].removeprefix("# ")
            text += f"\n## [{title}]({page})\n\n| Name | |\n|---|---|\n"
        last = page
        text += f"| [`{path.removeprefix('jaxnn.')}`]({page}#{path}) | {first_line(path)} |\n"
    return text


if __name__ == "__main__":
    (PAGES / "index.md").write_text(index())
