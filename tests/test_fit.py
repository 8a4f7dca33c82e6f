"""`Fit`: epochs, validation, stopping and checkpoints of a network without scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.testing import assert_array_equal
from small_data import make_data

from mlp import MLPClassifier, MLPRegressor, Network, StepDecay, load
from mlp.training.checkpoint import Checkpoint
from mlp.training.fit import Fit, Validator
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.report import Observer
from mlp.training.schedules import Schedule
from mlp.training.stopping import Stopping

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data(80)
X_VAL = RandomState(8).uniform(-1, 1, (40, X.shape[1]))
NOISE = 0.1 * RandomState(9).standard_normal(40)
Y_VAL = (X_VAL[:, 0] * X_VAL[:, 1] + NOISE > 0).astype(int)


class At(Observer):
    """Calls a function after an epoch of this number."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def epoch_ended(self, fit):
        return self.action(fit) if fit.history.epochs == self.epoch else False


def crash(fit):
    raise RuntimeError("crash")


def stop(fit):
    return True


def interrupt(fit):
    raise KeyboardInterrupt


def new_network():
    sizes = [X.shape[1], 6, 1]
    network = Network(sizes, "tanh", "logistic", loss="log_loss")
    network.params[:] = RandomState(3).uniform(-0.5, 0.5, network.params.size)
    network.refold()
    return network


def new_fit(*observers, network=None, batch_size=16, rate=0.05, **stopping):
    network = new_network() if network is None else network
    epochs = StochasticRun(
        network,
        network.data(X, Y.astype(float)),
        Optimizer("adam", Schedule("constant", rate)),
        Penalties(l2=1e-4),
        batch_size=batch_size,
        rng=RandomState(5),
    )
    validator = Validator(network, network.data(X_VAL, Y_VAL.astype(float)))
    options = {"early": True, "max_epochs": 30, **stopping}
    return Fit(epochs, Stopping(**options), validator=validator, observers=observers)


def test_fit_of_a_network_improves_its_validation_loss():
    fit = new_fit()
    history = fit.run()
    losses = history.validation_losses
    assert min(losses) < 0.8 * losses[0]
    assert len(history.losses) == history.epochs == len(losses)
    assert history.best_score == -min(losses)


def test_early_fit_ends_with_the_best_parameters():
    fit = new_fit(rate=0.5)
    losses = fit.run().validation_losses
    assert np.argmin(losses) < len(losses) - 1
    loss = fit.network.loss(X_VAL, Y_VAL.astype(float))
    assert np.isclose(loss, min(losses), rtol=1e-12)


def test_early_fit_without_restore_best_ends_with_the_last_parameters():
    fit = new_fit(rate=0.5, restore_best=False)
    losses = fit.run().validation_losses
    loss = fit.network.loss(X_VAL, Y_VAL.astype(float))
    assert np.isclose(loss, losses[-1], rtol=1e-12)


def test_fit_watches_the_training_loss_unless_early():
    fit = new_fit(early=False, tol=10.0, patience=2)
    history = fit.run()
    assert history.epochs == 4  # the first one is progress over nothing
    assert fit.ended
    assert not fit.out_of_epochs
    assert "Training loss did not improve" in fit.message


def test_fit_says_that_its_epochs_are_used_up():
    fit = new_fit(max_epochs=2)
    fit.run()
    assert fit.out_of_epochs


@pytest.mark.parametrize(("action", "interrupted"), [(stop, False), (interrupt, True)])
def test_fit_ends_where_an_observer_ends_it(action, interrupted):
    fit = new_fit(At(3, action))
    assert fit.run().epochs == 3
    assert fit.interrupted == interrupted
    assert not fit.ended


def test_observers_are_notified_in_order_and_at_the_end_in_reverse():
    notified = []

    class Named(Observer):
        def __init__(self, name):
            self.name = name

        def fit_began(self, fit):
            notified.append(("began", self.name))

        def epoch_ended(self, fit):
            notified.append((fit.history.epochs, self.name))
            return False

        def fit_ended(self, fit):
            notified.append(("ended", self.name))

    new_fit(Named("a"), Named("b"), max_epochs=1).run()
    assert notified == [
        ("began", "a"), ("began", "b"), (1, "a"), (1, "b"), ("ended", "b"), ("ended", "a"),
    ]  # fmt: skip


def test_diverging_fit_raises_and_names_the_epoch():
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"non-finite.*epoch 1"),
    ):
        new_fit(rate=np.inf, early=False).run()


def test_crashed_fit_resumes_to_the_same_bits(tmp_path):
    path = tmp_path / "run.mlp"
    whole = new_fit()
    whole.run()
    with pytest.raises(RuntimeError, match="crash"):
        new_fit(Checkpoint(path), At(7, crash)).run()
    assert load(path).params.shape == whole.network.params.shape
    resumed = new_fit(Checkpoint(path))
    history = resumed.run()
    assert_array_equal(resumed.network.params, whole.network.params)
    assert history == whole.history


def test_finished_fit_is_not_done_again(tmp_path):
    path = tmp_path / "run.mlp"
    first = new_fit(Checkpoint(path))
    first.run()
    again = new_fit(Checkpoint(path), At(1, crash))
    assert again.run() == first.history
    assert_array_equal(again.network.params, first.network.params)


def test_checkpoint_of_another_solver_is_refused(tmp_path):
    path = tmp_path / "run.mlp"
    new_fit(Checkpoint(path), max_epochs=1).run()
    other = new_fit(Checkpoint(path))
    other.epochs.optimizer.epsilon = 1e-6
    with pytest.raises(ValueError, match="a run with epsilon=1e-08, not 1e-06"):
        other.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "a run with batch_size=16, not 8"),
        ({"rate": 0.01}, "a run with learning_rate_init=0.05, not 0.01"),
    ],
)
def test_checkpoint_of_other_settings_is_refused(change, message, tmp_path):
    path = tmp_path / "run.mlp"
    new_fit(Checkpoint(path), max_epochs=1).run()
    with pytest.raises(ValueError, match=message):
        new_fit(Checkpoint(path), **change).run()


def test_checkpoint_of_a_learning_rate_function_is_refused_before_the_first_epoch(
    tmp_path,
):
    fit = new_fit(Checkpoint(tmp_path / "run.mlp"))
    fit.epochs.optimizer.schedule.kind = lambda step: 0.1
    with pytest.raises(ValueError, match="cannot hold the function"):
        fit.run()
    assert fit.history.epochs == 0


def squares(y, out):
    return ((out - y) ** 2).sum(axis=1), 2 * (out - y)


def test_fit_with_a_loss_of_ones_own_resumes_to_the_same_bits(tmp_path):
    def network():
        made = Network([X.shape[1], 6, 1], "tanh", loss=squares)
        made.params[:] = RandomState(3).uniform(-0.5, 0.5, made.params.size)
        return made

    path, whole = tmp_path / "run.mlp", new_fit(network=network())
    whole.run()
    with pytest.raises(RuntimeError, match="crash"):
        new_fit(Checkpoint(path), At(4, crash), network=network()).run()
    resumed = new_fit(Checkpoint(path), network=network())
    resumed.run()
    assert_array_equal(resumed.network.params, whole.network.params)


def test_decay_changed_after_a_fit_does_not_change_its_continuation():
    decay = StepDecay(2)
    model = small(MLPRegressor, solver="sgd", learning_rate=decay).partial_fit(X, Y)
    decay.set_params(every=7)
    assert model._optimizer.schedule.kind == StepDecay(2)


def test_checkpoint_of_other_samples_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.mlp"
    new_fit(Checkpoint(path), max_epochs=1).run()
    monkeypatch.setattr(sys.modules[__name__], "X", X + 1e-9)
    with pytest.raises(ValueError, match="over 80 samples, these are 80 or have other"):
        new_fit(Checkpoint(path)).run()


def test_checkpoint_of_a_larger_network_is_refused(tmp_path):
    path = tmp_path / "run.mlp"
    new_fit(Checkpoint(path), max_epochs=1).run()
    larger = Network([X.shape[1], 7, 1], "tanh", "logistic", loss="log_loss")
    with pytest.raises(ValueError, match=r"with layer_sizes=\(6,\), not \(7,\)"):
        new_fit(Checkpoint(path), network=larger).run()


WITHOUT_SKLEARN = """
import sys
import numpy as np
from numpy.random import RandomState
from mlp.network.network import Network
from mlp.training.checkpoint import Checkpoint
from mlp.training.fit import Fit, Validator
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule
from mlp.training.stopping import Stopping

rng = RandomState(0)
X = rng.uniform(-1, 1, (60, 2))
y = np.sin(3 * X[:, 0])
network = Network([2, 8, 1], "tanh")
network.params[:] = rng.uniform(-1, 1, network.params.size)
data = network.data(X, y)
optimizer = Optimizer("adam", Schedule("constant", 0.01))
epochs = StochasticRun(network, data, optimizer, Penalties(), batch_size=10, rng=rng)
validator = Validator(network, network.data(X[:20], y[:20]))
stopping = Stopping(20, early=True)
observers = [Checkpoint(sys.argv[1])]
history = Fit(epochs, stopping, validator=validator, observers=observers).run()
assert history.best_score > history.validation_scores[0]
found = [name for name in sys.modules if name.split(".")[0] == "sklearn"]
assert not found, found
"""


def test_network_is_fitted_without_scikit_learn(tmp_path):
    script = [sys.executable, "-c", WITHOUT_SKLEARN, str(tmp_path / "run.mlp")]
    subprocess.run(script, check=True)


@pytest.mark.parametrize("options", [{}, {"batch_norm": "all"}, {"standardize": True}])
def test_validation_makes_as_many_plans_for_many_epochs_as_for_few(
    options, monkeypatch
):
    made, original = [], Network.plan

    def counted(network, **arguments):
        made.append(network)
        return original(network, **arguments)

    monkeypatch.setattr(Network, "plan", counted)
    numbers = []
    for max_iter in (2, 9):
        made.clear()
        model = small(max_iter=max_iter, early_stopping=True, tol=0.0, **options)
        assert model.fit(X, Y).n_iter_ == max_iter
        numbers.append(len(made))
    assert numbers[0] == numbers[1]


# -- what an estimator is while it fits, and after a fit that fails --


class Spy:
    """Callback that keeps the attributes of an estimator after every epoch."""

    def __init__(self, estimator):
        self.estimator, self.seen = estimator, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.seen.append(
            [k for k in vars(self.estimator) if not k.startswith("_callback")]
        )
        assert estimator.loss_curve_  # the one that is given is up to date


def small(Estimator=MLPClassifier, **options):
    settings = {"hidden_layer_sizes": 5, "max_iter": 4, "random_state": 0}
    return Estimator(**{**settings, **options})


def test_estimator_has_no_temporaries_while_it_fits():
    model = small(freeze=0)
    spy = Spy(model)
    model.set_callbacks(spy)
    before = list(vars(model))
    model.fit(X, Y)
    assert len(spy.seen) == 5
    assert all(seen == before for seen in spy.seen)


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_network_and_arrays_stay_the_same_objects_in_partial_fit(Estimator):
    model = small(Estimator).fit(X, Y)
    network, weights, curve = model.network_, model.coefs_[0], model.loss_curve_
    before = weights.copy()
    model.partial_fit(X, Y)
    assert model.network_ is network
    assert model.loss_curve_ is curve
    assert model.coefs_[0] is weights
    assert (weights != before).any()


def test_failed_partial_fit_leaves_records_and_parameters():
    model = small(MLPRegressor, solver="sgd").fit(X, Y)
    before, curve = dict(vars(model)), list(model.loss_curve_)
    params = model.network_.params.copy()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(X * 1e200, Y)
    assert vars(model) == before
    assert model.loss_curve_ == curve
    assert_array_equal(model.network_.params, params)
