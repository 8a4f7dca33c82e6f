"""An activation for each output node  [S P65.6]."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from small_data import make_data

import mlp
from mlp import MLPAutoencoder, MLPClassifier, MLPRegressor, Network
from mlp.network.activations import Activation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
TWO = np.c_[np.tanh(X[:, 0] - X[:, 1]), np.maximum(0, X[:, 2])]
NODES = ["tanh", ("leaky_relu", 0.1)]


def test_each_output_has_its_activation():
    network = Network([4, 3, 2], "tanh", NODES)
    network.params[:] = np.random.default_rng(0).normal(size=network.params.size)
    hidden = np.tanh(X @ network.coefs[0] + network.intercepts[0])
    z = hidden @ network.coefs[1] + network.intercepts[1]
    expected = np.c_[np.tanh(z[:, 0]), np.maximum(z[:, 1], 0.1 * z[:, 1])]
    assert_allclose(network.forward(X), expected, rtol=1e-12)


def test_a_name_with_a_parameter_is_one_activation_for_all():
    for spec in (("leaky_relu", 0.1), ["leaky_relu", 0.1]):
        output = Network([4, 2], (), spec).spec.output_activation
        assert output == Activation("leaky_relu", (0.1,))


def test_one_output_may_be_listed():
    assert Network([4, 1], (), ["tanh"]).output_name == ("tanh",)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs", "gd"])
@pytest.mark.parametrize("batch_size", [1, 20])
def test_regressors_learn_targets_of_two_kinds(solver, batch_size):
    model = MLPRegressor(10, "tanh", output_activation=NODES, solver=solver)
    model.set_params(batch_size=batch_size, random_state=0, max_iter=300, tol=0)
    model.set_params(learning_rate_init=0.02, momentum=0).fit(X, TWO)
    assert model.score(X, TWO) > 0.8
    assert model.out_activation_ == ("tanh", "leaky_relu")


def test_autoencoders_take_an_activation_per_feature():
    nodes = ["tanh", "identity", "tanh", ("scaled_tanh", 1.5, 1)]
    model = MLPAutoencoder(3, "tanh", output_activation=nodes, max_iter=5).fit(X)
    assert model.network_.output_name == ("tanh", "identity", "tanh", "scaled_tanh")
    model.partial_fit(X)


def test_dropout_batch_norm_and_warm_starts_go_with_it():
    model = MLPRegressor((8, 8), output_activation=NODES, dropout=0.3, max_iter=3)
    model.set_params(batch_norm="all", warm_start=True).fit(X, TWO)
    assert np.isfinite(model.fit(X, TWO).predict(X)).all()
    model.set_params(output_activation=tuple(NODES)).fit(X, TWO)  # says the same
    with pytest.raises(ValueError, match=r"output_activation=.*differs from the fitted"):
        model.set_params(output_activation=["relu", "relu"]).fit(X, TWO)


def test_files_and_summaries_keep_the_nodes(tmp_path):
    model = MLPRegressor(5, output_activation=NODES, max_iter=3).fit(X, TWO)
    model.save(tmp_path / "model")
    back = mlp.load(tmp_path / "model")
    assert_array_equal(back.predict(X), model.predict(X))
    assert back.network_.spec == model.network_.spec
    assert "1 tanh, 1 leaky_relu(0.1)" in str(back.summary())
    assert clone(model).fit(X, TWO).out_activation_ == model.out_activation_


def test_scikit_learn_has_no_such_outputs():
    model = MLPRegressor(5, output_activation=NODES, max_iter=3).fit(X, TWO)
    with pytest.raises(ValueError, match=r"output_activation=.*cannot be expressed"):
        model.to_sklearn()


def test_targets_are_not_scaled_for_nodes_that_differ():
    model = MLPRegressor(5, output_activation=["tanh", "identity"], standardize=True)
    assert model.set_params(max_iter=3).fit(X, TWO).network_.output_scale is None


@pytest.mark.parametrize("loss", ["log_loss", "poisson"])
def test_losses_of_logits_are_refused(loss):
    with pytest.raises(ValueError, match=f"loss='{loss}' needs output_activation in"):
        Network([4, 2], (), ["logistic", "exp"], loss=loss)


@pytest.mark.parametrize(
    "nodes, message",
    [
        (["tanh"], "names 1 nodes, there are 2 outputs"),
        (["tanh", "softmax"], "'softmax' couples all outputs"),
        (["tanh", "rbf"], "'rbf' is for the first hidden layer"),
        (["tanh", "nothing"], "is not an activation"),
    ],
)
def test_lists_that_are_no_outputs_are_refused(nodes, message):
    with pytest.raises(ValueError, match=message):
        Network([4, 2], (), nodes)


def test_classifiers_need_one_activation():
    model = MLPClassifier(5, output_activation=["tanh", "relu"], loss="squared_error")
    with pytest.raises(ValueError, match="names one activation per node; the classes"):
        model.fit(X, Y)
