"""The runs of the fault tests share their data and their compiled programs, and one that was never disturbed."""

import pytest
from processes import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def golden(runs):
    """The folder of a run from beginning to end."""
    folder = runs.base / "golden"
    code, _, err = runs.run(folder)
    assert code == 0, err
    return folder
