"""Fixtures of the tests of the core."""

from functools import partial

import pytest

from mlp import _core


@pytest.fixture
def isa(request, monkeypatch):
    """Let every plan made in the test use the instruction set of the parameter."""
    monkeypatch.setattr(_core, "Plan", partial(_core.Plan, isa=request.param))
    return request.param
