"""How many threads None stands for."""

import os

import pytest

from mlp.threads import usable_cores


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("3", 3),
        (" 3 ", 3),
        ("3,2", 3),
        ("003", 3),
        ("20", 8),
        # nonsense, and numbers that no machine has the cores for
        ("", 8),
        ("0", 8),
        ("-3", 8),
        ("three", 8),
        ("\N{SUPERSCRIPT TWO}", 8),
        ("9" * 5000, 8),
    ],
)
def test_the_environment_limits_the_threads(named, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    assert usable_cores() == expected
