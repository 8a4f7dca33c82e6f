"""Autoencoders: linear and deep, tied, denoising, of dense and sparse samples."""

import inspect
import re
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from autoencoder_cases import assert_tied, data, settings
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import subspace_angles
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlp import Dropout, EarlyStopping, MLPAutoencoder, MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    return load_digits().data / 16


def mean_squared(X, Y):
    return float(np.mean((X - Y) ** 2))


@parametrize_with_checks(
    [
        MLPAutoencoder(max_iter=100),
        # 200 iterations on 15 samples would amplify the rounding of weights against copies
        MLPAutoencoder(tied=True, solver="lbfgs", max_iter=50),
        MLPAutoencoder((10, 3), tied=True, solver="sgd", clip_norm=1.0, max_iter=100),
    ]
)
def test_estimator_passes(estimator, check):
    check(estimator)


def test_every_parameter_is_described_once():
    text = inspect.getdoc(MLPAutoencoder)
    described = re.findall(r"^(\w[\w, ]*) : ", text, re.MULTILINE)
    names = [name for entry in described for name in entry.split(", ")]
    parameters = MLPAutoencoder().get_params()
    assert sorted(set(names) & parameters.keys()) == sorted(parameters)
    assert len(names) == len(set(names))


# -- linear ones are principal components --


@pytest.mark.parametrize("tied", [True, False])
def test_linear_equals_principal_components(digits, tied):
    pca = PCA(10).fit(digits)
    best = mean_squared(digits, pca.inverse_transform(pca.transform(digits)))
    # Variances along the axes, of the mean over all values.  An error that exceeds the
    # best by e leaves an angle of at most arcsin √(e/gap) between the subspaces.
    variances = np.linalg.svd(digits - pca.mean_, compute_uv=False) ** 2 / digits.size
    gap = variances[9] - variances[10]
    model = MLPAutoencoder(
        10,
        "identity",
        tied=tied,
        output_activation="identity",
        solver="lbfgs",
        alpha=0.0,
        tol=1e-8,
        max_iter=3000,
        random_state=0,
    ).fit(digits)
    reached = model.reconstruction_error(digits).mean()
    assert best <= reached < 1.01 * best
    decoder = model.coefs_[1].T
    angle = subspace_angles(decoder, pca.components_.T).max()
    assert angle <= np.arcsin(np.sqrt((reached - best) / gap)) < np.radians(1)
    if tied:
        assert_tied(model)
        assert_allclose(model.coefs_[0].T @ model.coefs_[0], np.eye(10), atol=1e-3)


# -- shapes, code, reconstruction --


def test_deep_decoder_mirrors_the_encoder(digits):
    model = MLPAutoencoder(
        (32, 16), "tanh", learning_rate_init=0.01, **settings(max_iter=60)
    ).fit(digits)
    assert model.network_.layer_sizes == (64, 32, 16, 32, 64)
    assert (model.n_components_, model.n_layers_, model.n_outputs_) == (16, 5, 64)
    assert model.score(digits) > 0.7


VARIANTS = [
    {},
    {"tied": True, "activation": ["tanh", "identity"]},
    {"standardize": True},
    {"batch_norm": "all+input"},
    {"dropout": Dropout([0.1, 0.3], scaling="test")},
    {"connectivity": lambda k, n_in, n_out: np.tri(n_in, n_out, 2, dtype=bool)},
    {"loss": "log_loss", "denoising": 0.3},
    {"dtype": "float32"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: ",".join(o) or "plain")
def test_decoded_codes_are_the_networks_outputs(options):
    X = data()
    model = MLPAutoencoder((6, 4), **settings(**options)).fit(X)
    codes = model.transform(X)
    assert codes.shape == (90, 4)
    again = model.inverse_transform(codes)
    outputs = model.network_.forward(X)
    rtol = 1e-5 if again.dtype == np.float32 else 1e-12
    assert_allclose(again, outputs, rtol=rtol, atol=rtol)
    assert_allclose(
        model.reconstruction_error(X), ((X - again) ** 2).mean(axis=1), rtol=1e-4
    )


def test_score_is_the_share_of_variance_explained():
    X, weights = data(), np.random.default_rng(1).uniform(0.1, 2, 90)
    model = MLPAutoencoder(6, **settings()).fit(X)
    E = (X - model.inverse_transform(model.transform(X))) ** 2
    mean = np.average(X, axis=0, weights=weights)
    assert_allclose(model.score(X), 1 - E.sum() / ((X - X.mean(axis=0)) ** 2).sum())
    assert_allclose(
        model.score(X, sample_weight=weights),
        1 - (weights @ E).sum() / (weights @ (X - mean) ** 2).sum(),
    )
    assert model.score(np.ones((3, 8))) == 0  # nothing to explain, and not given back


def test_many_samples_are_compared_piece_by_piece(monkeypatch):
    X = data()
    model = MLPAutoencoder(6, **settings()).fit(X)
    whole = model.score(X), model.reconstruction_error(X)
    monkeypatch.setattr("mlp.estimators.autoencoder.DENSE", 100)
    assert_allclose(model.score(X), whole[0], rtol=1e-12)
    assert_allclose(model.reconstruction_error(X), whole[1], rtol=1e-12)


def test_overcomplete_code_learns_the_identity():
    X = data()
    model = MLPAutoencoder(
        30, "identity", output_activation="identity", solver="lbfgs", random_state=0
    ).fit(X)
    assert model.transform(X).shape == (90, 30)
    assert model.score(X) > 0.999


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1, "logistic"),
        (0.2, 0.4, "logistic"),
        (-1, 1, "tanh"),
        (-1e-3, 0.5, "tanh"),
        (-1, 1.01, "identity"),
        (0, 255, "identity"),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_output_activation_by_the_range_of_the_samples(low, high, expected, sparse):
    X = low + (high - low) * np.linspace(0, 1, 40).reshape(10, 4)
    X = sp.csr_array(X) if sparse else X
    fit = partial(MLPAutoencoder, 2, max_iter=1)
    assert fit().fit(X).out_activation_ == expected
    assert fit(standardize=True).fit(X).out_activation_ == "identity"
    given = fit(output_activation=("leaky_relu", 0.1)).fit(X)
    assert given.out_activation_ == "leaky_relu"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_that_rounds_beyond_one_is_still_scaled(dtype):
    scaled = data().astype(dtype)
    scaled[3, 2], scaled[7, 2] = np.nextafter(dtype(1), dtype(2)), -np.finfo(dtype).eps
    assert MLPAutoencoder(2, max_iter=1).fit(scaled).out_activation_ == "logistic"


@pytest.mark.parametrize("sparse", [False, True])
def test_counts(sparse):
    X = np.random.default_rng(0).poisson(np.linspace(0.2, 4, 6), (200, 6)) * 1.0
    given = sp.csr_array(X) if sparse else X
    options = settings(max_iter=100, learning_rate_init=0.01)
    model = MLPAutoencoder(3, loss="poisson", **options).fit(given)
    assert model.out_activation_ == "exp"
    assert_allclose(model.network_.forward(X).mean(axis=0), X.mean(axis=0), rtol=0.2)
    assert model.score(X) > 0.3


@pytest.mark.parametrize("sparse", [False, True])
def test_loss_of_ones_own(sparse):
    def squared(y_true, y_out):
        error = y_out - y_true
        return (error**2).sum(axis=1) / 2, error

    X = data(sparse=sparse)
    own = MLPAutoencoder(4, loss=squared, **settings()).fit(X)
    named = MLPAutoencoder(4, **settings()).fit(X)
    assert_allclose(own.network_.params, named.network_.params, rtol=1e-9)
    with pytest.raises(ValueError, match="not the derivative of the values"):
        MLPAutoencoder(4, loss=lambda t, y: (squared(t, y)[0], t - y)).fit(X)


# -- denoising --


def corrupted(X, part, seed):
    return X * (np.random.default_rng(seed).uniform(size=X.shape) >= part)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_denoising_gives_back_what_was_taken_out(digits, seed):
    order = np.random.default_rng(seed).permutation(len(digits))
    train, test = digits[order[:1400]], digits[order[1400:]]
    options = {"learning_rate_init": 0.005, "max_iter": 60, "random_state": seed}
    errors = {}
    for part in (0.0, 0.3):
        model = MLPAutoencoder(64, denoising=part, **options).fit(train)
        codes = model.transform(corrupted(test, 0.3, seed))
        errors[part] = mean_squared(test, model.inverse_transform(codes))
    assert errors[0.3] < 0.7 * errors[0.0]


def test_corruption_is_seeded_and_of_training_alone():
    X = data()
    model = MLPAutoencoder(4, denoising=0.4, **settings()).fit(X)
    again = MLPAutoencoder(4, denoising=0.4, **settings(n_threads=2)).fit(X)
    plain = MLPAutoencoder(4, **settings()).fit(X)
    assert_array_equal(model.network_.params, again.network_.params)
    assert np.abs(model.network_.params - plain.network_.params).max() > 1e-4
    plain.network_.params[:] = model.network_.params
    assert_array_equal(model.transform(X), plain.transform(X))
    assert model.score(X) == plain.score(X)


def test_augmented_batches_have_whole_targets(digits):
    """Zeros drawn by `augment` do what `denoising` does."""
    X = digits[:600]

    def take_out(batch, rng):
        return batch * (rng.uniform(size=batch.shape) >= 0.3)

    options = settings(learning_rate_init=0.01, max_iter=40)
    noisy = corrupted(digits[600:900], 0.3, 0)

    def error(**more):
        model = MLPAutoencoder(30, **options, **more).fit(X)
        return mean_squared(
            digits[600:900], model.inverse_transform(model.transform(noisy))
        )

    assert_allclose(error(augment=take_out), error(denoising=0.3), rtol=0.1)
    assert error(augment=take_out) < 0.8 * error()


# -- sparse samples --


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True, "denoising": 0.3},
        {"solver": "lbfgs", "tied": True},
        {"batch_size": 1, "solver": "sgd", "momentum": 0.0},
        {"early_stopping": True, "loss": "log_loss"},
        {"batch_norm": "hidden", "dropout": 0.1},
    ],
    ids=lambda o: ",".join(o) or "plain",
)
def test_sparse_equals_dense(kind, options):
    X = data()
    model = MLPAutoencoder((6, 4), **settings(**options))
    dense, sparse = clone(model).fit(X), model.fit(kind(X))
    assert_allclose(sparse.network_.params, dense.network_.params, atol=1e-10)
    assert_allclose(sparse.transform(kind(X)), dense.transform(X), atol=1e-10)
    assert_allclose(sparse.score(kind(X)), dense.score(X), atol=1e-10)
    assert_allclose(
        sparse.reconstruction_error(kind(X)), dense.reconstruction_error(X), atol=1e-10
    )
    weights = np.linspace(0.1, 1, 90)
    assert_allclose(
        sparse.score(kind(X), sample_weight=weights),
        dense.score(X, sample_weight=weights),
        atol=1e-10,
    )


def test_sparse_samples_are_never_dense_at_once():
    X = sp.random_array((3000, 20000), density=5e-4, format="csr", rng=0)
    model = MLPAutoencoder(2, batch_size=20, random_state=0)
    tracemalloc.start()
    model.partial_fit(X).score(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.shape[0] * X.shape[1] * 8 / 8  # an eighth of it dense


def test_sparse_samples_are_standardised_by_scale_alone():
    X = data() * np.geomspace(1, 1000, 8)
    options = settings(standardize=True, max_iter=200, learning_rate_init=0.01)
    model = MLPAutoencoder(6, **options).fit(sp.csr_array(X))
    assert model.network_.input_shift is None
    scale = X.std(axis=0)
    scaled = clone(model).set_params(standardize=False, output_activation="identity")
    scaled.fit(sp.csr_array(X / scale))
    expected = scaled.network_.forward(X / scale) * scale
    assert_allclose(model.network_.forward(X), expected, rtol=1e-7, atol=1e-7)


def test_standardised_samples_train_as_if_scaled_before():
    X = data() * np.geomspace(1, 1000, 8) + 5
    scaler = StandardScaler().fit(X)
    model = MLPAutoencoder(6, tied=True, standardize=True, **settings()).fit(X)
    before = MLPAutoencoder(6, tied=True, output_activation="identity", **settings())
    before.fit(scaler.transform(X))
    assert_allclose(
        model.transform(X), before.transform(scaler.transform(X)), rtol=1e-9
    )
    assert_allclose(
        model.network_.forward(X),
        scaler.inverse_transform(before.network_.forward(scaler.transform(X))),
        rtol=1e-9,
    )


# -- among other estimators --


@pytest.mark.parametrize(
    "last", [LogisticRegression(), MLPClassifier(10, max_iter=200)]
)
def test_codes_are_features_for_a_classifier(digits, last):
    y = load_digits().target
    coder = MLPAutoencoder(
        (40, 15), learning_rate_init=0.005, max_iter=30, random_state=0
    )
    pipeline = make_pipeline(coder, StandardScaler(), clone(last))
    pipeline.fit(digits[:1300], y[:1300])
    assert pipeline.score(digits[1300:], y[1300:]) > 0.8


def test_encoder_is_the_start_of_a_classifier(digits):
    y = load_digits().target
    coder = MLPAutoencoder((30, 20), denoising=0.2, **settings()).fit(digits)
    classifier = MLPClassifier((30, 20), base=coder, freeze=2, **settings())
    classifier.fit(digits, y)
    assert_array_equal(classifier.coefs_[1], coder.coefs_[1])
    assert_allclose(
        classifier.network_.hidden_activations(digits), coder.transform(digits)
    )


@pytest.mark.parametrize("tied", [False, True])
def test_layers_trained_one_by_one(tied):
    """A deeper autoencoder starts from the frozen first layer of a shallow one."""
    X = data()
    first = MLPAutoencoder(6, tied=tied, **settings()).fit(X)
    deep = MLPAutoencoder((6, 3), tied=tied, base=first, freeze=1, **settings()).fit(X)
    assert_array_equal(deep.coefs_[0], first.coefs_[0])
    assert deep.loss_curve_[-1] < deep.loss_curve_[0]
    if tied:
        assert_tied(deep)
    whole = deep.score(X)
    deep.set_params(freeze=0, warm_start=True, max_iter=100).fit(X)
    assert deep.score(X) > whole


def test_names_and_frames():
    X = pd.DataFrame(data(), columns=list("abcdefgh"))
    model = MLPAutoencoder((6, 3), **settings()).set_output(transform="pandas")
    codes = model.fit_transform(X)
    names = [f"mlpautoencoder{k}" for k in range(3)]
    assert list(codes.columns) == names == list(model.get_feature_names_out())
    assert model.inverse_transform(codes).shape == X.shape


def test_early_stopping_watches_the_score():
    X = data(300)
    model = MLPAutoencoder(6, early_stopping=True, **settings(max_iter=40)).fit(X)
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    given = MLPAutoencoder(6, early_stopping=True, **settings(max_iter=40))
    given.fit(X[:200], X_val=X[200:])
    assert_allclose(given.score(X[200:]), given.best_validation_score_)
    stopping = EarlyStopping(scoring=lambda est, X, y: est.score(X), restore_best=False)
    looked = MLPAutoencoder(6, **settings(), early_stopping=stopping)
    looked.fit(X[:200], X_val=X[200:])
    assert looked.validation_scores_[-1] == looked.score(X[200:])


def test_weights_of_samples():
    X = data()
    twice = np.where(np.arange(90) < 30, 2.0, 1.0)
    options = {"solver": "lbfgs", "max_iter": 30, "random_state": 0}
    model = MLPAutoencoder(4, **options).fit(X, sample_weight=twice)
    repeated = MLPAutoencoder(4, **options).fit(np.concatenate([X, X[:30]]))
    assert_allclose(model.transform(X), repeated.transform(X), atol=1e-5)


# -- what is refused --


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden_layer_sizes": ()}, "must have at least one layer, the code"),
        ({"denoising": 1.0}, "'denoising' parameter"),
        ({"denoising": 0.1, "solver": "lbfgs"}, "denoising=0.1 is random"),
        ({"loss": "quantile"}, "loss='quantile' is not a loss of recon.*squared_error"),
        ({"loss": ("quantile", 0.9)}, "loss=.*0.9.* is not a loss of reconstructed inputs"),
        (
            {"early_stopping": EarlyStopping("r2")},
            "scoring of EarlyStopping must be 'loss'",
        ),
        ({"dropout": Dropout(0.1, input=0.1)}, "dropout=Dropout.*denoising"),
        ({"activation": ["relu"] * 3}, "activation=.* has 3 entries"),
        ({"dropout": [0.1]}, r"dropout=\[0.1\] has 1 entries"),
        ({"tied": True, "dropout": 0.2}, "mask='batch'.*tied=True.*mask='sample'"),
        ({"tied": True, "connectivity": lambda k, a, b: np.eye(a, b) > 0}, "tied=True"),
        ({"tied": True, "freeze": [False, False, True, False]}, "freeze=.*tied=True"),
        ({"standardize": True, "output_activation": "tanh"}, "standardize=True"),
        ({"loss": "log_loss", "output_activation": "tanh"}, "loss='log_loss'"),
    ],
    ids=str,
)
def test_what_does_not_go_together(options, message):
    model = MLPAutoencoder(**({"hidden_layer_sizes": (6, 4)} | options))
    with pytest.raises(ValueError, match=message):
        model.fit(data())
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("loss, limits", [("log_loss", "0, 1"), ("poisson", "0, inf")])
def test_samples_that_a_loss_is_not_defined_on(loss, limits):
    with pytest.raises(
        ValueError, match=rf"loss='{loss}' needs values in \[{limits}\]"
    ):
        MLPAutoencoder(4, loss=loss).fit(data() - 0.5)


def test_samples_beyond_the_range_that_was_seen_at_first():
    X = data()
    model = MLPAutoencoder(4, **settings()).partial_fit(X)
    before = model.network_.params.copy()
    with pytest.raises(
        ValueError, match=r"'auto', which chose 'logistic' in the first fit, needs"
    ):
        model.partial_fit(2 * X)
    assert_array_equal(model.network_.params, before)
    assert np.isfinite(model.score(2 * X))
    fixed = MLPAutoencoder(4, output_activation="logistic", **settings())
    fixed.partial_fit(X).partial_fit(2 * X)
    validated = MLPAutoencoder(4, **settings()).fit(X, X_val=2 * X)
    assert len(validated.validation_scores_) == 5


def test_a_fitted_one_keeps_its_ties():
    X = data()
    model = MLPAutoencoder(4, tied=True, warm_start=True, **settings()).fit(X)
    with pytest.raises(ValueError, match="tied=False differs from"):
        model.set_params(tied=False).fit(X)


def test_bad_input():
    X = data()
    model = MLPAutoencoder(4, **settings())
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()
    for method in (model.transform, model.inverse_transform, model.score):
        with pytest.raises(NotFittedError):
            method(X)
    model.fit(X)
    with pytest.raises(ValueError, match=r"\(n_samples, 4\), as the code has 4 units"):
        model.inverse_transform(X)
    with pytest.raises(ValueError, match="X_val: X has 5 features"):
        model.fit(X, X_val=X[:, :5])
    with pytest.raises(ValueError, match="NaN"):
        model.inverse_transform(np.full((2, 4), np.nan))
    assert not hasattr(MLPAutoencoder(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="at least one non-zero number"):
        model.score(X, sample_weight=np.zeros(90))


def test_divergence_loses_nothing():
    X = data() * 100
    model = MLPAutoencoder(4, **settings(warm_start=True)).fit(X)
    before = model.network_.params.copy()
    model.set_params(solver="sgd", learning_rate_init=1e6, early_stopping=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.raises(ValueError, match="non-finite"):
            model.fit(X)
    assert_array_equal(model.network_.params, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_constant_feature_does_not_hide_the_others(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)).astype(dtype)
    X[:, 0] = 2e7 if dtype == "float32" else 1.7e18
    model = MLPAutoencoder(1, standardize=True, max_iter=1, random_state=0).fit(X)
    error = X.astype(float) - model.inverse_transform(model.transform(X))
    total = ((X[:, 1:] - X[:, 1:].mean(axis=0)) ** 2).sum()
    assert_allclose(model.score(X), 1 - (error**2).sum() / total, rtol=1e-3)


@pytest.mark.parametrize("value", [0.1, 0.0, 1e6])
def test_of_samples_that_are_all_alike_nothing_is_left_to_explain(value):
    X = np.full((30, 3), value)
    model = MLPAutoencoder(1, max_iter=1, random_state=0).fit(X)
    assert model.score(X) in (0, 1)
