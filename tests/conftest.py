"""Fixtures of the tests of the core and of the command line."""

from functools import partial

import numpy as np
import pytest
from command_line import animal_rows, run, write_csv

from mlp import _core


@pytest.fixture
def isa(request, monkeypatch):
    """Let every plan made in the test use the instruction set of the parameter."""
    monkeypatch.setattr(_core, "Plan", partial(_core.Plan, isa=request.param))
    return request.param


@pytest.fixture
def animals(tmp_path):
    return write_csv(
        tmp_path / "animals.csv", ["weight", "home", "kind"], animal_rows()
    )


@pytest.fixture
def line(tmp_path):
    """`y = 3 x + 100`, exactly."""
    x = np.linspace(-1, 1, 120).round(4)
    rows = [[a, 3 * a + 100] for a in x]
    return write_csv(tmp_path / "line.csv", ["x", "y"], rows)


@pytest.fixture
def animal_model(animals, tmp_path):
    path = tmp_path / "animals.model"
    assert run(animals, "--target", "kind", "--epochs", 100, "--out", path) == 0
    return path
