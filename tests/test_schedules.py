"""Learning rates that fall: each step's rate, names and objects, what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from small_data import assert_same_bits, make_data

import mlp
from mlp import CosineDecay, InverseTimeDecay, MLPClassifier, StepDecay
from mlp.training.schedules import Schedule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()


def rates_of(kind, n_epochs, n_steps=4, **options):
    """The rates of all steps, an epoch per row."""
    schedule, rows = Schedule(kind, 0.1, **options), []
    for epoch in range(n_epochs):
        rates = schedule.rates(epoch * n_steps, n_steps)
        rows.append(np.broadcast_to(rates, n_steps))
        schedule.used(rates, n_steps)
        schedule.epoch_ends((epoch + 1) * n_steps)
    return np.array(rows)


def test_step_decay_drops_after_every_few_epochs():
    rates = rates_of(StepDecay(2, 0.1), 5)
    assert_allclose(rates[:, 0], [0.1, 0.1, 0.01, 0.01, 0.001])
    assert (rates == rates[:, :1]).all()


def test_cosine_decay_ends_at_zero_after_its_epochs():
    rates = rates_of(CosineDecay(2), 3, horizon=50).ravel()
    assert_allclose(rates[:8], 0.05 * (1 + np.cos(np.pi * np.arange(8) / 8)))
    assert (rates[8:] == 0).all()


def test_inverse_time_decay_falls_with_the_steps():
    rates = rates_of(InverseTimeDecay(0.5), 2).ravel()
    assert_allclose(rates, 0.1 / np.sqrt(np.arange(1, 9)))


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("step", StepDecay()),
        ("cosine", CosineDecay()),
        ("inverse_time", InverseTimeDecay(0.5)),
    ],
)
def test_object_trains_as_its_name_does(name, decay):
    model = MLPClassifier(5, max_iter=12, tol=0.0, batch_size=20, random_state=0)
    by_name = clone(model).set_params(learning_rate=name).fit(X, Y)
    by_object = clone(model).set_params(learning_rate=decay).fit(X, Y)
    assert_same_bits(by_name, by_object)


def test_arguments_of_a_decay_are_set_by_name(tmp_path):
    model = MLPClassifier(5, learning_rate=StepDecay(3), max_iter=4, random_state=0)
    copy = clone(model).set_params(learning_rate__factor=0.1)
    assert copy.learning_rate == StepDecay(3, 0.1)
    assert model.learning_rate == StepDecay(3)
    copy.fit(X, Y).save(tmp_path / "model.mlp", training_state=True)
    assert mlp.load(tmp_path / "model.mlp").learning_rate == StepDecay(3, 0.1)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (StepDecay, {"every": 0}, "every of StepDecay must be an integer > 0, got 0"),
        (StepDecay, {"factor": 1.5}, r"factor of StepDecay must lie in \(0, 1\], got"),
        (CosineDecay, {"epochs": 2.5}, "epochs of CosineDecay must be None or an int"),
        (InverseTimeDecay, {"power": -1}, "power of InverseTimeDecay must be a number"),
    ],
)
def test_decay_out_of_range_is_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
