"""A first layer of radial basis functions, and the hard thresholds."""

import numpy as np
import pytest
from oracle.functions import rbf, rbf_backward
from sklearn.datasets import make_moons
from twins import run_of

from mlp import Dropout, MLPClassifier, MLPRegressor, Network


def rbf_network(rng, n_hidden=7, **options):
    net = Network([4, n_hidden, 3], "rbf", "softmax", loss="log_loss", **options)
    net.params[:] = rng.normal(size=net.params.size)
    net.intercepts[0][:] = rng.uniform(0.5, 2, n_hidden)
    return net


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_hidden", [1, 7, 16, 35])
def test_forward_is_the_definition(rng, n_hidden):
    net = rbf_network(rng, n_hidden)
    X = rng.normal(size=(9, 4))
    y = rbf(X, net.coefs[0], net.intercepts[0])
    z = y @ net.coefs[1] + net.intercepts[1]
    expected = np.exp(z - z.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(net.forward(X), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 40, 3000])
def test_gradient_is_the_derivation(rng, n):
    net = rbf_network(rng)
    X, labels = rng.normal(size=(n, 4)), rng.integers(0, 3, n)
    _, gradient = net.gradients(X, labels)
    delta = (net.forward(X) - np.eye(3)[labels]) / n
    _, centres, widths = rbf_backward(
        X, net.coefs[0], net.intercepts[0], delta @ net.coefs[1].T
    )
    (W, _), (b, _), _ = net.unpack(gradient)
    np.testing.assert_allclose(W, centres, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(b, widths, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_width_goes_no_lower_than_a_millionth(rng, dtype):
    net = rbf_network(rng, dtype=dtype)
    X, labels = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    shrinks = net.unpack(net.gradients(X, labels)[1])[1][0] > 0
    run_of(net, X, np.eye(3)[labels], rate=1e6, batch_size=40).epoch()
    assert 0 < shrinks.sum() < 7
    assert (net.intercepts[0][shrinks] == dtype(1e-6)).all()
    assert (net.intercepts[0][~shrinks] > 0.5).all()


def test_gradient_agrees_with_central_differences(rng):
    net = rbf_network(rng)
    X, labels = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    _, gradient = net.gradients(X, labels)
    numeric = np.zeros_like(gradient)
    for i, value in enumerate(net.params.copy()):
        losses = []
        for moved in (value + 1e-5, value - 1e-5):
            net.params[i] = moved
            losses.append(net.loss(X, labels))
        net.params[i] = value
        numeric[i] = (losses[0] - losses[1]) / 2e-5
    assert np.abs(gradient - numeric).max() < 1e-6 * np.abs(gradient).max()


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_learns_two_moons(solver, dtype):
    X, y = make_moons(300, noise=0.2, random_state=0)
    rate = 0.1 if solver == "sgd" else 0.02
    model = MLPClassifier(
        20, "rbf", solver=solver, learning_rate_init=rate, max_iter=300,
        dtype=dtype, tol=0, n_iter_no_change=300, random_state=0,
    )  # fmt: skip
    with pytest.warns() if solver != "lbfgs" else np.errstate():
        model.fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.intercepts_[0].min() > 0


def test_centres_and_widths_are_not_penalised():
    X, y = make_moons(100, random_state=0)
    fits = [
        MLPClassifier(
            5, "rbf", solver="sgd", momentum=0, learning_rate_init=1e-9, max_iter=1,
            l2=l2, alpha=0, random_state=0,
        )
        for l2 in (0, 1e6)
    ]  # fmt: skip
    for model in fits:
        with pytest.warns(UserWarning):
            model.fit(X, y)
    plain, decayed = fits
    np.testing.assert_allclose(plain.coefs_[0], decayed.coefs_[0], rtol=1e-6)
    assert np.abs(decayed.coefs_[1]).sum() < 0.999 * np.abs(plain.coefs_[1]).sum()


def test_same_bits_for_any_number_of_threads():
    X, y = np.random.default_rng(1).normal(size=(600, 200)), np.arange(600.0) % 7
    fits = [
        MLPRegressor(150, "rbf", max_iter=2, random_state=0, n_threads=n)
        for n in (1, 2)
    ]
    for model in fits:
        with pytest.warns(UserWarning):
            model.fit(X, y)
    assert (fits[0].network_.params == fits[1].network_.params).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"activation": ["relu", "rbf"], "hidden_layer_sizes": (5, 5)}, "first hidden"),
        ({"activation": "rbf", "hidden_layer_sizes": (5, 5)}, "first hidden"),
        ({"activation": "rbf", "standardize": True}, "standardize"),
        (
            {"activation": "rbf", "dropout": Dropout(0.0, input=0.1)},
            "dropout of the inputs",
        ),
        ({"activation": "rbf", "batch_norm": "all+input"}, "batch_norm"),
        ({"activation": "rbf", "solver": "cg"}, "cg"),
        ({"output_activation": "rbf"}, "output_activation"),
    ],
)
def test_what_makes_no_sense_is_refused(options, named):
    X, y = make_moons(30, random_state=0)
    with pytest.raises(ValueError, match=named):
        MLPClassifier(**options).fit(X, y)


@pytest.mark.parametrize(("name", "low"), [("sign", -1), ("step", 0)])
def test_hard_thresholds_predict(name, low):
    net = Network([1, 1], output_activation=name)
    net.coefs[0][:] = 1
    X = np.array([[-2.0], [0.0], [3.0], [np.nan]])
    np.testing.assert_array_equal(net.forward(X).ravel(), [low, 1, 1, np.nan])


@pytest.mark.parametrize("name", ["sign", "step"])
def test_hard_thresholds_cannot_be_trained(name):
    X, y = make_moons(30, random_state=0)
    with pytest.raises(ValueError, match=f"{name}.*derivative is"):
        MLPClassifier(5, name).fit(X, y)
