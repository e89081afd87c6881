"""The habits of the project agree with each other: versions, commands, forms, and how big the code is."""

import ast
import functools
import re
import tokenize
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import jaxnn

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_citation_is_of_this_version():
    citation, project = parsed(ROOT / "CITATION.cff"), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == jaxnn.__version__ and citation["license"] == project["license"]
    assert citation["authors"] == [{"name": "The jaxnn developers"}]
    assert {"cff-version", "message", "title"} <= citation.keys()  # what the format asks for, besides authors


# ---- the three commands ----------------------------------------------------------------------------------------------


def test_ci_runs_the_three_commands_of_contributing():
    block = CONTRIBUTING.partition("## Three commands")[2].partition("```bash\n")[2].partition("```")[0]
    assert len(block.splitlines()) == 3
    commands = {command for line in block.splitlines() for command in line.split(" && ")}
    script = (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tests = re.search(r"^ +python3 -m venv .*-m pytest$", readme, re.MULTILINE)
    assert tests and 'bash -c "$command"' in script  # the line of the README that .ci/run takes out of it
    missing = commands - set(script.splitlines()) - set(tests[0].split(" && "))
    assert not missing


def test_the_workflow_runs_the_script_and_nothing_else():
    (job,) = parsed(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


def test_the_hooks_of_a_commit_are_the_first_command():
    hooks = [hook for repo in parsed(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in hooks]
    assert f"{' . && '.join(entries)} .\n" in CONTRIBUTING
    assert all(hook["language"] == "system" for hook in hooks)  # the ruff of .venv, as in CI


# ---- forms and workflows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_shows(path):
    form = parsed(path)
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "labels", "body"}
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names)) and any(field.get("validations", {}).get("required") for field in form["body"])
    for field in form["body"]:
        assert field["type"] == "textarea" and field["attributes"]["label"]
        assert field["attributes"].keys() <= {"label", "description", "render"}


def test_a_report_of_a_fault_has_the_command_the_output_the_versions_and_the_config():
    fields = {field["id"]: field["attributes"] for field in parsed(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    assert {"command", "output", "versions", "config"} <= fields.keys()
    assert "jaxnn --version" in fields["versions"]["description"]
    assert parsed(ROOT / ".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": False}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_steps_on_the_oldest_python(path):
    workflow = parsed(path)
    triggers = workflow[True]  # YAML 1.1 reads the word `on` so
    assert triggers and workflow["name"] == path.stem
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] and job["steps"]
        used = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        matrix = job.get("strategy", {}).get("matrix", {}).get("python", [])
        assert oldest in [*used, *matrix]


def test_a_release_comes_from_a_tag_and_goes_to_no_index():
    workflow = parsed(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs[0] == 'bash .ci/release "$GITHUB_REF_NAME"' and runs[1].startswith("gh release create")
    words = " ".join([*runs, (ROOT / ".ci" / "release").read_text()])
    assert not re.search(r"twine|upload|pypi|publish(?!ed)", words, re.IGNORECASE)


# ---- how big the code is ---------------------------------------------------------------------------------------------


def lines_of_code(path: Path) -> int:
    """The lines with a token that is no comment, without those of docstrings."""
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in NO_CODE]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


@functools.cache
def size_of_the_code() -> Counter[str]:
    """The lines of code of each folder of jaxnn/, and of its files that stand in none."""
    found: Counter[str] = Counter()
    for path in (ROOT / "jaxnn").rglob("*.py"):
        parts = path.relative_to(ROOT / "jaxnn").parts
        found[f"jaxnn/{parts[0]}/" if len(parts) > 1 else "jaxnn/*.py"] += lines_of_code(path)
    return found


def near(told: str, found: int) -> bool:
    return abs(int(told.replace(",", "")) - found) <= max(0.05 * found, 10)


def test_lines_of_code_are_counted_without_comments_docstrings_and_blank_lines(tmp_path):
    (tmp_path / "code.py").write_text(
        '"""Two\nlines."""\n\nX = """a\n\nb"""  # three\n\n\n'
        'def f():\n    "One."\n    # none\n    return (\n        X\n    )\n'
    )
    assert lines_of_code(tmp_path / "code.py") == 7


def test_contributing_says_how_big_each_folder_is():
    found = {**size_of_the_code(), "all": size_of_the_code().total()}
    told = dict(re.findall(r"^\| `?([\w/*.]+)`? \| ([\d,]+) \|", CONTRIBUTING, re.MULTILINE))
    assert told.keys() == found.keys()
    wrong = {name: f"{found[name]:,}" for name, lines in told.items() if not near(lines, found[name])}
    assert not wrong, f"lines now: {wrong}"


def test_the_readme_says_how_big_the_code_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"\b(\d{1,3}(?:,\d{3})+) lines\b", readme)
    assert found
    for told in found:
        assert near(told, size_of_the_code().total()), f"lines now: {size_of_the_code().total():,}"
