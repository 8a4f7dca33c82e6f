"""Printed lines: scikit-learn's with verbose=1, one of our own per epoch with 2."""

import re

import numpy as np
import pytest
from small_data import assert_same_bits, both, make_data

from mlp import MLPClassifier
from mlp.training.report import epoch_line

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NORMS = np.array([0.3, 0.4])


def lines_of(capsys, estimator, *data, **options):
    estimator.set_params(verbose=2).fit(*data, **options)
    return capsys.readouterr().out.splitlines()


def test_the_whole_line():
    line = epoch_line(
        12,
        0.5,
        norms=NORMS,
        samples=1234567,
        seconds=0.5,
        rate=0.001,
        validation=(0.25, 0.9),
    )
    assert line == (
        "Iteration 12, loss = 0.50000000, validation loss = 0.25000000, "
        "score = 0.900000, learning rate = 0.001, gradient norm = 5.000e-01, "
        "2,469,134 samples/s"
    )


def test_the_line_of_a_solver_without_rate_or_validation():
    line = epoch_line(1, 2.0, norms=NORMS, samples=10, seconds=0.0)
    assert line == (
        "Iteration 1, loss = 2.00000000, gradient norm = 5.000e-01, "
        "10,000,000,000 samples/s"
    )


@both
def test_an_epoch_is_one_line_with_what_the_model_remembers(Estimator, capsys):
    X, y = make_data()
    model = Estimator(
        (5,),
        learning_rate="step",
        early_stopping=True,
        n_iter_no_change=20,
        max_iter=12,
        random_state=0,
    )
    lines = lines_of(capsys, model, X, y)
    assert len(lines) == model.n_iter_ == 12
    for k, line in enumerate(lines):
        loss, score = model.validation_loss_curve_[k], model.validation_scores_[k]
        expected = (
            f"Iteration {k + 1}, loss = {model.loss_curve_[k]:.8f}, "
            f"validation loss = {loss:.8f}, score = {score:.6f}, "
            f"learning rate = {0.001 if k < 10 else 0.0005:.3g}, "
            f"gradient norm = {np.linalg.norm(model.gradient_norms_[k]):.3e}, "
        )
        assert line.startswith(expected)
        assert re.fullmatch(r"[\d,]+ samples/s", line.removeprefix(expected))


def test_samples_to_validate_on_are_in_the_line_without_early_stopping(capsys):
    X, y = make_data()
    model = MLPClassifier((5,), max_iter=2, random_state=0)
    lines = lines_of(capsys, model, X, y, X_val=X, y_val=y)
    assert f"validation loss = {model.validation_loss_curve_[1]:.8f}" in lines[1]


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd"])
def test_full_batch_solvers_have_a_line_an_iteration(solver, capsys):
    X, y = make_data()
    model = MLPClassifier((5,), solver=solver, max_iter=6, random_state=0)
    lines = lines_of(capsys, model, X, y)
    assert len(lines) == 6
    for k, line in enumerate(lines):
        assert line.startswith(
            f"Iteration {k + 1}, loss = {model.loss_curve_[k]:.8f}, gradient norm = "
            f"{np.linalg.norm(model.gradient_norms_[k]):.3e}, "
        )


def test_why_training_stops_is_said_as_with_1(capsys):
    X, y = make_data()
    model = MLPClassifier((5,), tol=10, n_iter_no_change=1, random_state=0)
    last = lines_of(capsys, model, X, y)[-1]
    model.set_params(verbose=1).fit(X, y)
    assert last == capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Training loss did not improve more than tol=10.000000")


def test_printing_changes_nothing():
    X, y = make_data()
    models = [
        MLPClassifier((5,), max_iter=3, random_state=0, verbose=verbose).fit(X, y)
        for verbose in (False, True, 2)
    ]
    assert not hasattr(models[1], "gradient_norms_")
    for other in models[1:]:
        assert_same_bits(models[0], other)
