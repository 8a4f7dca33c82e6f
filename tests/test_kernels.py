"""ArcsineKernel: its formula, its gradients, and which erf the formula means."""

import pickle

import numpy as np
import pytest
from scipy.special import erf
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from mlp.gaussian_process import ArcsineKernel

KERNELS = [
    ArcsineKernel(0.7, 1.3, 2.0, 0.4),
    ArcsineKernel([0.7, 0.2, 3.0], 1.3, 2.0, 0.4),
    ArcsineKernel(0.7, 1.3, 2.0, 0.0, output_bias_variance_bounds="fixed"),
    ArcsineKernel([0.7, 0.2, 3.0], 0.5, weight_variance_bounds="fixed"),
    2.0 * ArcsineKernel(0.3) + WhiteKernel(0.1) * RBF(2.0),
]


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(7, 3))


def textbook(h, g, weight, bias, output_weight, output_bias):
    """[S 65.197] for two vectors."""
    sigma = np.diag(np.r_[bias, np.broadcast_to(weight, h.size)])
    h, g = np.r_[1, h], np.r_[1, g]
    root = np.sqrt((1 + 2 * h @ sigma @ h) * (1 + 2 * g @ sigma @ g))
    arcsine = np.arcsin(2 * h @ sigma @ g / root)
    return output_bias + 2 * output_weight / np.pi * arcsine


@pytest.mark.parametrize("weight", [0.7, [0.7, 0.2, 3.0]])
def test_formula(X, weight):
    kernel = ArcsineKernel(weight, 1.3, 2.0, 0.4)
    Y = X[:4] + 0.5
    expected = [[textbook(h, g, weight, 1.3, 2.0, 0.4) for g in Y] for h in X]
    np.testing.assert_allclose(kernel(X, Y), expected, rtol=1e-12)
    np.testing.assert_allclose(kernel(X), kernel(X, X.copy()), rtol=1e-12)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradient_is_the_central_difference(X, kernel):
    _, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (7, 7, kernel.n_dims)
    step = 1e-5
    for d, unit in enumerate(np.eye(kernel.n_dims)):
        above = kernel.clone_with_theta(kernel.theta + step * unit)(X)
        below = kernel.clone_with_theta(kernel.theta - step * unit)(X)
        difference = (above - below) / (2 * step)
        np.testing.assert_allclose(gradient[..., d], difference, atol=1e-9)


def test_gradient_stays_finite_and_right_for_very_long_vectors(X):
    kernel = ArcsineKernel(2.0, 1.0)
    _, gradient = kernel(1e7 * X, eval_gradient=True)
    # The angle of two long vectors leaves the scale of the weights without effect.
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[..., 3], 0, atol=1e-6)


def test_output_settings_scale_and_shift(X):
    base = ArcsineKernel(0.7, 1.3, 1.0, 0.0)(X)
    np.testing.assert_allclose(ArcsineKernel(0.7, 1.3, 3.0, 0.2)(X), 3 * base + 0.2)


@pytest.fixture(scope="module")
def hidden():
    """Pre-activations of one hidden layer of 10^4 units, for four inputs."""
    rng = np.random.default_rng(1)
    H = rng.normal(size=(4, 3)) * [[0.3], [1.0], [2.0], [4.0]]
    W, theta = rng.normal(size=(3, 10_000)), rng.normal(size=10_000)
    kernel = ArcsineKernel(0.8, 0.5, 1.0, 0.0)
    return kernel(H), H @ W * np.sqrt(0.8) - theta * np.sqrt(0.5)


def deviation_in_standard_errors(covariance, activations):
    products = activations[:, None] * activations
    error = products.std(axis=-1, ddof=1) / np.sqrt(products.shape[-1])
    return np.abs(products.mean(axis=-1) - covariance) / error


def test_wide_networks_agree_with_the_usual_erf(hidden):
    covariance, z = hidden
    assert deviation_in_standard_errors(covariance, erf(z)).max() < 3


def test_wide_networks_refute_the_erf_as_printed(hidden):
    covariance, z = hidden
    printed = np.sqrt(2) * erf(z / np.sqrt(2))  # [S 65.192], with exp(-x^2 / 2)
    assert deviation_in_standard_errors(covariance, printed).max() > 50


def test_outputs_of_many_wide_networks_have_this_covariance():
    rng = np.random.default_rng(2)
    H, width = np.array([[0.5, -1.0], [2.0, 1.0]]), 10_000
    outputs = []
    for _ in range(800):
        W, theta = rng.normal(size=(2, width)), rng.normal(size=width)
        w = rng.normal(size=width) * np.sqrt(1.5 / width)
        outputs.append(erf(H @ W - theta) @ w - rng.normal() * np.sqrt(0.3))
    covariance = ArcsineKernel(1.0, 1.0, 1.5, 0.3)(H)
    assert deviation_in_standard_errors(covariance, np.transpose(outputs)).max() < 3


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 2.5, np.pi])
def test_long_vectors_see_only_their_angle(angle):
    """[S P65.25], for squared norms far above (1 + 2 * 1.2) / (2 * 0.5)."""
    kernel = ArcsineKernel(0.5, 1.2, 2.0, 0.3)
    h = 1e5 * np.array([[1.0, 0.0]])
    g = 3e5 * np.array([[np.cos(angle), np.sin(angle)]])
    limit = 0.3 + 2.0 * (1 - 2 * angle / np.pi)
    np.testing.assert_allclose(kernel(h, g), [[limit]], atol=3e-5)


def test_short_vectors_do_not_reach_that_limit():
    kernel = ArcsineKernel(0.5, 1.2, 2.0, 0.3)
    h = np.array([[1.0, 0.0]])
    assert abs(kernel(h, -h)[0, 0] - (0.3 - 2.0)) > 1


@pytest.mark.parametrize("kernel", KERNELS[:4], ids=str)
def test_positive_semidefinite(kernel):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 3)) * np.exp(rng.normal(size=(60, 1)))
    eigenvalues = np.linalg.eigvalsh(kernel(X))
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_clone_and_pickle_are_equal(kernel, X):
    for copy in (clone(kernel), pickle.loads(pickle.dumps(kernel))):
        assert copy == kernel and copy is not kernel
        np.testing.assert_array_equal(copy(X), kernel(X))
    assert not kernel.is_stationary()


def test_repr_names_the_values():
    assert repr(ArcsineKernel([1.0, 0.25])) == (
        "ArcsineKernel(weight_variance=[1, 0.25], bias_variance=1, "
        "output_weight_variance=1, output_bias_variance=1)"
    )


def test_composes(X):
    kernel = ArcsineKernel(0.7)
    total = ConstantKernel(2.0) * kernel + RBF(1.5)
    np.testing.assert_allclose(total(X), 2 * kernel(X) + RBF(1.5)(X))
    np.testing.assert_allclose((kernel**2)(X), kernel(X) ** 2)


def test_gaussian_process_fits_and_improves_the_likelihood():
    rng = np.random.default_rng(4)
    X = np.sort(rng.uniform(-3, 3, size=(40, 1)), axis=0)
    y = np.tanh(2 * X[:, 0]) + 0.05 * rng.normal(size=40)
    kernel = WhiteKernel(0.1) + ArcsineKernel(
        bias_variance_bounds="fixed", output_bias_variance_bounds="fixed"
    )
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(X, y)
    start = model.log_marginal_likelihood(kernel.theta)
    assert model.log_marginal_likelihood_value_ > start + 1
    grid = np.linspace(-2.5, 2.5, 50)[:, None]
    error = model.predict(grid) - np.tanh(2 * grid[:, 0])
    assert np.sqrt(np.mean(error**2)) < 0.05


def test_gradient_with_two_arguments_is_refused(X):
    with pytest.raises(ValueError, match="Gradient can only be evaluated"):
        ArcsineKernel()(X, X, eval_gradient=True)


def test_wrong_number_of_weight_variances_is_refused(X):
    with pytest.raises(ValueError, match=r"3 features, got shape \(2,\)"):
        ArcsineKernel([1.0, 2.0])(X)
