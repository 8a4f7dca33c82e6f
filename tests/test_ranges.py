"""Values at the ends of floating point's range, sums of very many samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from twins import either_dtype, on_every_isa

from mlp import MLPRegressor, Network
from mlp.network.siamese import SiameseNetwork

FAR = {"float32": 1e20, "float64": 1e200}


@pytest.mark.parametrize("where", ["hidden+input", "hidden"])
def test_batch_norm_of_a_million_rows_keeps_its_digits(where):
    rng = np.random.default_rng(0)
    X = (100 + rng.normal(size=(600_000, 2))).astype("float32")
    y = X[:, :1] - 100
    networks = [Network([2, 3, 1], "tanh", batch_norm=where, dtype=d) for d in FAR]
    for network in networks:
        for part in (*network.coefs, *network.intercepts):
            part[:] = rng.normal(size=part.shape)
        rng = np.random.default_rng(1)
    networks[0].params[:] = networks[1].params
    single, double = (network.gradients(X, y) for network in networks)
    assert_allclose(single[0], double[0], rtol=1e-4)
    scale = np.abs(double[1]).max()
    # what the products' own sums of 600,000 terms lose; batch norm's lost a sixth
    assert_allclose(single[1], double[1], rtol=0, atol=3e-3 * scale)


@pytest.mark.parametrize("name", ["beta_1", "beta_2"])
def test_the_rest_of_a_beta_near_one_is_not_rounded_away(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    steps = []
    for dtype in FAR:
        model = MLPRegressor(
            (), solver="adam", alpha=0, batch_size=50, max_iter=1, random_state=0,
            dtype=dtype, **{name: 1 - 1e-7},
        )  # fmt: skip
        steps.append(model.fit(X, X[:, 0]).coefs_[0])
    assert_allclose(*steps, rtol=1e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "cg", "gd", "adam"])
def test_one_sample_has_no_variance(solver):
    model = MLPRegressor(3, solver=solver, batch_norm="hidden")
    with pytest.raises(
        ValueError, match="batch_norm='hidden' needs at least 2 samples"
    ):
        model.fit(np.ones((1, 3)), [1.0])
    network = Network([3, 4, 2], batch_norm="hidden")
    with pytest.raises(ValueError, match="needs at least 2 samples, got 1"):
        network.gradients(np.ones((1, 3)), np.ones((1, 2)))


@pytest.mark.parametrize("n_classes", [3, 20, 70])
@pytest.mark.parametrize("z", [30.0, 1e4, 1e6])
@on_every_isa
def test_a_small_loss_beside_a_large_logit_keeps_its_digits(isa, n_classes, z):
    below = 14.0 if z == 30 else 1.0
    network = Network(
        [1, n_classes], output_activation="softmax", loss="log_loss", dtype="float32"
    )
    network.intercepts[0][:] = z - below
    network.intercepts[0][0] = z
    data = network.data(np.zeros((4, 1)), np.zeros(4, int))
    exact = np.log1p((n_classes - 1) * np.exp(-below))
    # each class is added to 1, and the sum rounded to half an ulp of 1
    rounded = 6e-8 * n_classes
    assert_allclose(network.prediction_loss(data), exact, rtol=1e-6, atol=rounded)


@either_dtype
def test_a_sample_far_from_all_centres_has_no_gradient_in_the_widths(dtype):
    network = Network([1, 1, 1], "rbf", dtype=dtype)
    network.params[:] = [0, 1, 1, 0]
    loss, gradient = network.gradients([[FAR[str(np.dtype(dtype))]]], [[1]])
    assert_array_equal([loss, *gradient], [0.5, 0, 0, 0, -1])


@either_dtype
def test_an_outlier_pulls_however_far_it_is(dtype):
    far = FAR[str(np.dtype(dtype))]
    network = Network([1, 2], loss="huber", dtype=dtype)
    network.params[:] = [1, -1, 0, 0]
    loss, gradient = network.gradients([[far]], [[0, 0]])
    half = np.sqrt(0.5)
    assert_allclose(loss, np.sqrt(2) * far, rtol=1e-6)
    assert_allclose(gradient, [half * far, -half * far, half, -half], rtol=1e-6)


@either_dtype
@pytest.mark.parametrize("power", [1, -1])
def test_cosines_of_very_long_and_very_short_embeddings(dtype, power):
    size = FAR[str(np.dtype(dtype))] ** power
    network = SiameseNetwork(Network([2, 2], dtype=dtype), "cosine")
    network.branch.coefs[0][:] = np.eye(2)
    network.refold()
    U, V = np.array([[1.0, 0]], dtype), np.array([[1.0, 1]], dtype)
    data = network.data(size * np.vstack([U, V]), [[0, 1]], [1.0])
    cosine = np.sqrt(0.5)
    loss, gradient = network.loss_and_gradient(data)
    assert_allclose(loss, 0.5 * (cosine - 1) ** 2, rtol=1e-5)
    assert_allclose(network.scores(size * U, size * V), [cosine], rtol=1e-6)
    plain = network.data(np.vstack([U, V]), [[0, 1]], [1.0])
    _, expected = network.loss_and_gradient(plain)
    # per unit of the inputs' size: of W the same, of the offsets 1/size
    assert_allclose(gradient[:4], expected[:4], rtol=1e-5, atol=1e-6)
    assert_allclose(gradient[4:] * size, expected[4:], rtol=1e-5, atol=1e-6)
