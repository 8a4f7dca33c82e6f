"""How many threads None stands for, and what is made of absurd numbers of them."""

import os

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import mlp
from mlp import MLPRegressor, Network, _core
from mlp.threads import resolve_threads, usable_cores


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


# -- more threads than there can be --

ABSURD = [10**9, 2**60, 2**64, 2**200]


@pytest.mark.parametrize("n_threads", ABSURD)
def test_threads_beyond_the_largest_team_when_resolved_then_are_capped(n_threads):
    assert resolve_threads(n_threads) == _core.MAX_THREADS == 256


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, "2", float("nan")])
def test_threads_that_are_no_positive_int_when_resolved_then_are_refused(n_threads):
    with pytest.raises(ValueError, match="n_threads must be None or a positive int"):
        resolve_threads(n_threads)


NETWORK = Network([300, 300, 300, 2], "tanh")  # large enough for several threads
NETWORK.params[:] = np.random.RandomState(0).randn(len(NETWORK.params)) / 20
ROWS = np.random.RandomState(1).randn(1000, 300)


@pytest.mark.parametrize("n_threads", ABSURD)
def test_network_forward_when_threads_are_absurd_then_predicts_the_same(n_threads):
    np.testing.assert_array_equal(
        NETWORK.forward(ROWS, n_threads), NETWORK.forward(ROWS)
    )


def test_jacobian_when_threads_are_absurd_then_is_the_same():
    np.testing.assert_array_equal(
        NETWORK.jacobian(ROWS[:100], 2**60), NETWORK.jacobian(ROWS[:100])
    )


@pytest.mark.parametrize("n_threads", [0, -1])
def test_network_forward_when_threads_are_not_positive_then_refuses(n_threads):
    with pytest.raises(ValueError, match="n_threads must be a positive int"):
        NETWORK.forward(ROWS, n_threads)


@pytest.mark.parametrize("n_threads", ABSURD)
def test_plan_allocate_when_threads_are_absurd_then_has_a_team_at_most(n_threads):
    plan = NETWORK.plan()
    plan.allocate(100_000, n_threads)
    assert plan.threads == _core.MAX_THREADS


def test_predict_when_the_file_asks_for_absurd_threads_then_is_the_same(tmp_path):
    path = tmp_path / "model.mlp"
    y = ROWS[:, 0]
    model = MLPRegressor((300, 300), solver="sgd", max_iter=1, n_threads=2**60)
    with pytest.warns(ConvergenceWarning):
        model.fit(ROWS, y).save(path)
    loaded = mlp.load(path)
    assert loaded.n_threads == 2**60
    np.testing.assert_array_equal(
        loaded.predict(ROWS), model.set_params(n_threads=1).predict(ROWS)
    )
