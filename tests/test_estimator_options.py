"""Every option of the estimators, alone and with the others."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_data import (
    assert_same_bits,
    both,
    either_dtype,
    fitted_state,
    make_data,
    parameters,
)

from mlp import BatchNorm, Dropout, EarlyStopping, MLPClassifier, MLPRegressor, Network
from mlp.training.schedules import SCHEDULES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
OTHER = X * [1, 100, 1e-3, 1] + [0, 50, 3, -7]  # columns of many sizes
NODES = [["tanh"] * 4 + ["relu"] * 2 + [("elu", 0.5)] * 2, "gelu"]


def squared(y_true, y_out):
    return ((y_out - y_true) ** 2).sum(axis=1) / 2, y_out - y_true


def flipped(batch, rng):
    return batch * rng.choice([-1.0, 1.0], size=(len(batch), 1))


def rates(steps):
    return 0.01 / (steps + 1)


def small(rng, n_in, n_out):
    return rng.normal(size=(n_in, n_out)) / 10, np.zeros(n_out)


#: every option of training by itself; the same for both estimators
OPTIONS = {
    "activation with a parameter": {"activation": ("leaky_relu", 0.2)},
    "activations by layer": {"activation": ["selu", "mish"]},
    "activations by node": {"activation": NODES},
    "output activation": {"output_activation": "tanh", "loss": "squared_error"},
    "huber": {"loss": ("huber", 0.5)},
    "own loss": {"loss": squared},
    "sgd": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "adamw": {"solver": "adamw", "weight_decay": 0.1},
    "betas in pairs": {"beta_1": (0.9, 0.5), "beta_2": (0.99, 0.9)},
    "schedule by name": {"learning_rate": "cosine"},
    "schedule in steps": {"learning_rate": "step"},
    "schedule by steps": {"learning_rate": "inverse_time", "power_t": 1.0},
    "sampling with replacement": {"sampling": "replacement"},
    "no offsets": {"fit_intercept": False},
    "own schedule": {"learning_rate": rates},
    "penalties": {"alpha": 0.1, "l1": 1e-3, "l2": 1e-3, "l2_bias": True},
    "exact zeros": {"l1": 1e-2, "l1_method": "proximal"},
    "clipping": {"clip_norm": 0.5, "clip_value": 0.1},
    "dropout": {"dropout": Dropout([0.2, 0.5], input=0.1)},
    "dropout of the listing": {"dropout": Dropout(0.5, scaling="test")},
    "dropout that decays all": {"dropout": Dropout(0.5, decay="all"), "l2": 0.01},
    "dropout by sample": {"dropout": Dropout(0.3, mask="sample")},
    "batch norm": {"batch_norm": "hidden"},
    "batch norm of all": {"batch_norm": BatchNorm("all", gradient="diagonal")},
    "residual": {"residual": True},
    "standardize": {"standardize": True},
    "augment": {"augment": flipped},
    "init": {"init": "glorot"},
    "own init": {"init": small},
    "float32": {"dtype": "float32"},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def model_of(Estimator, **options):
    model = Estimator((8, 8), max_iter=4, batch_size=20, random_state=0)
    return model.set_params(**options)


def first_call(Estimator):
    return {"classes": [0, 1]} if Estimator is MLPClassifier else {}


def state_of(model):
    """All that training changes, and the optimiser's memory."""
    o = model._optimizer
    moments = [m for m in (o.moment_1, o.moment_2) if m is not None]
    return [*model.network_.snapshot(), *moments, np.array([o.steps, model.t_])]


def assert_same_state(one, other):
    for a, b in zip(state_of(one), state_of(other), strict=True):
        assert_array_equal(a, b)


# ---- every option, everywhere -----------------------------------------------------------


@both
@every_option
def test_clones_fit_to_the_same_bits(Estimator, options):
    model = model_of(Estimator, **options)
    assert_same_state(clone(model).fit(X, Y), model.fit(X, Y))


@both
@every_option
def test_pickles_predict_and_go_on_with_the_same_bits(Estimator, options):
    model = model_of(Estimator, **options).fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert_same_state(copy.partial_fit(X, Y), model.partial_fit(X, Y))


@both
@every_option
def test_partial_fits_are_the_epochs_of_a_fit(Estimator, options):
    drawn = "sampling" in options
    model = model_of(Estimator, shuffle=drawn, **options)
    if (
        options.keys() & {"dropout", "augment", "sampling"}
        or options.get("learning_rate") == "cosine"
    ):
        model.set_params(max_iter=1)  # what is random is drawn anew by each call
    parts = clone(model)
    for _ in range(model.max_iter):
        parts.partial_fit(X, Y, **first_call(Estimator))
    assert_same_state(parts, model.fit(X, Y))


@both
@every_option
def test_warm_starts_keep_all_that_was_trained(Estimator, options):
    model = model_of(Estimator, warm_start=True, **options).fit(X, Y)
    before = model.network_.params.copy()
    model.set_params(
        learning_rate="constant", learning_rate_init=1e-300, weight_decay=0
    )
    model.set_params(max_iter=1).fit(X, Y)
    # three steps of that rate, even of Adam's unit length, are nothing
    assert_allclose(model.network_.params, before, rtol=0, atol=1e-290)


@both
@every_option
def test_failing_fits_leave_everything_as_it_was(Estimator, options):
    model = model_of(Estimator, warm_start=True, **options).fit(X, Y)
    before, prediction = fitted_state(model), model.predict(X)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(X > 0.9, np.inf, X), Y)
    assert fitted_state(model) == before
    assert_array_equal(model.predict(X), prediction)


@both
@every_option
def test_sample_weights_of_one_are_no_weights(Estimator, options):
    model = model_of(Estimator, epsilon=1e-3, **options)
    plain, weighted = clone(model).fit(X, Y), model.fit(X, Y, np.ones(60))
    bound = 1e-3 if options.get("dtype") == "float32" else 1e-10
    for a, b in zip(parameters(plain), parameters(weighted), strict=True):
        assert_allclose(a, b, rtol=bound, atol=bound)


@both
@every_option
@either_dtype
def test_sparse_inputs_are_trained_on_as_dense(Estimator, options, dtype):
    if "augment" in options or options.get("standardize"):
        pytest.skip("refused; only scaled, below")
    X, y = make_data(dtype=dtype)
    X[X < 0] = 0
    model = model_of(Estimator, epsilon=1e-3, **options)
    dense, sparse = clone(model).fit(X, y), model.fit(scipy.sparse.csr_array(X), y)
    single = dtype == np.float32 or options.get("dtype") == "float32"
    bound = (
        1e-3 if single else 1e-10
    )  # 12 steps of some tens of roundings, divided by ε
    for a, b in zip(parameters(dense), parameters(sparse), strict=True):
        assert_allclose(a, b, rtol=bound, atol=bound)
    assert_allclose(
        dense.predict(X), sparse.predict(scipy.sparse.csr_array(X)), atol=bound
    )


@both
@every_option
def test_single_precision_trains_nearly_as_double(Estimator, options):
    model = model_of(Estimator, epsilon=1e-3, **{**options, "dtype": None})
    double = clone(model).fit(X, Y)
    single = model.fit(X.astype(np.float32), Y)
    assert single.network_.dtype == np.float32
    for a, b in zip(parameters(double), parameters(single), strict=True):
        assert_allclose(a, b, atol=1e-3)


@every_option
def test_number_of_threads_does_not_change_a_bit(options):
    if options.get("activation") is NODES:
        options = {"activation": ["tanh", ["relu", "gelu"] * 64]}
    X, y = make_data(n_samples=300, n_features=64)
    model = MLPRegressor((128, 128), max_iter=2, batch_size=200, random_state=0)
    model.set_params(**options)
    one, *more = (clone(model).set_params(n_threads=n).fit(X, y) for n in (1, 2, 4))
    for other in more:
        assert_same_state(one, other)
        assert one.loss_curve_ == other.loss_curve_


# ---- all of them together ---------------------------------------------------------------

CHOICES = {
    "activation": ["relu", ["tanh", "silu"], NODES],
    "loss": ["squared_error", "huber", squared],
    "solver": ["sgd", "adam", "adamw"],
    "learning_rate": [*SCHEDULES, rates],
    "sampling": ["shuffle", "replacement"],
    "fit_intercept": [False, True],
    "l1": [0.0, 1e-3],
    "l1_method": ["subgradient", "proximal"],
    "l2": [0.0, 1e-3],
    "l2_bias": [False, True],
    "clip_norm": [None, 0.5],
    "clip_value": [None, 0.1],
    "dropout__rate": [0.0, [0.2, 0.5]],
    "dropout__input": [0.0, 0.3],
    "dropout__mask": ["batch", "sample"],
    "dropout__scaling": ["train", "test"],
    "dropout__decay": ["kept", "all"],
    "batch_norm": [None, "hidden", "all", "hidden+input", "all+input"],
    "gradient": ["exact", "diagonal"],
    "residual": [False, True],
    "standardize": [False, True],
    "augment": [None, flipped],
    "early_stopping": [False, True, EarlyStopping(scoring="loss")],
    "dtype": ["float32", "float64"],
    "batch_size": [7, 20, "auto"],
}
combinations = st.fixed_dictionaries(
    {k: st.sampled_from(v) for k, v in CHOICES.items()}
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(combinations, st.booleans())
def test_any_combination_trains_pickles_and_goes_on(options, classify):
    gradient = options.pop("gradient")
    if options["batch_norm"]:
        options["batch_norm"] = BatchNorm(options["batch_norm"], gradient=gradient)
        options["fit_intercept"] = True  # batch norm has offsets of its own
    options["dropout"] = Dropout()
    model = model_of(MLPClassifier if classify else MLPRegressor, **options)
    model.fit(X, Y, np.linspace(0.5, 1.5, 60))
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert_allclose(
        model.network_.folded().forward(X), model.network_.forward(X), rtol=1e-12
    )
    model.set_params(early_stopping=False)
    copy.set_params(early_stopping=False)
    assert_same_state(copy.partial_fit(X, Y), model.partial_fit(X, Y))
    assert np.isfinite(model.loss_curve_).all()


# ---- standardisation --------------------------------------------------------------------


def scaled(X, sparse):
    return scipy.sparse.csr_array(np.where(X > 50, X, 0)) if sparse else X


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_standardising_inside_is_a_scaler_before_a_classifier(solver, sparse):
    Z = scaled(OTHER, sparse)
    model = MLPClassifier(8, "tanh", solver=solver, max_iter=20, random_state=0)
    model.set_params(epsilon=1e-3)
    pipeline = make_pipeline(StandardScaler(with_mean=not sparse), clone(model)).fit(
        Z, Y
    )
    inside = model.set_params(standardize=True).fit(Z, Y)
    assert_allclose(inside.predict_proba(Z), pipeline.predict_proba(Z), rtol=1e-8)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_standardising_inside_is_a_scaler_on_both_sides_of_a_regressor(
    n_outputs, solver, sparse
):
    Z = scaled(OTHER, sparse)
    y = 1000 + 50 * np.sin(3 * X[:, 0])
    y = y if n_outputs == 1 else np.c_[y, X[:, 1], 1e-3 * X[:, 2] - 4]
    model = MLPRegressor(8, "tanh", solver=solver, max_iter=20, random_state=0)
    model.set_params(epsilon=1e-3)
    inputs = make_pipeline(StandardScaler(with_mean=not sparse), clone(model))
    outside = TransformedTargetRegressor(inputs, transformer=StandardScaler()).fit(Z, y)
    inside = model.set_params(standardize=True).fit(Z, y)
    assert_allclose(inside.predict(Z), outside.predict(Z), rtol=1e-8)


def test_targets_of_bounded_outputs_are_not_scaled():
    model = MLPRegressor(8, output_activation="tanh", standardize=True, max_iter=5)
    assert model.fit(X, Y).network_.output_scale is None


def test_constant_features_and_targets_are_only_centred():
    Z = np.c_[X, np.full(60, 7.0)]
    model = MLPRegressor(8, standardize=True, max_iter=5).fit(Z, np.full(60, 3.0))
    assert model.network_.input_scale[-1] == model.network_.output_scale[0] == 1
    assert np.isfinite(model.predict(Z)).all()


@both
def test_standardisation_is_measured_by_the_first_fit_only(Estimator):
    model = model_of(Estimator, standardize=True)
    model.partial_fit(X, Y, **first_call(Estimator))
    shift = model.network_.input_shift.copy()
    model.partial_fit(X + 100, Y)
    assert_array_equal(model.network_.input_shift, shift)


# ---- augmentation -----------------------------------------------------------------------


@either_dtype
@pytest.mark.parametrize(
    "options",
    [{}, {"dropout": Dropout(0.5, input=0.5)}, {"batch_norm": "hidden+input"}],
    ids=str,
)
def test_augmentation_sees_every_batch_as_it_is(options, dtype):
    seen = []

    def augment(batch, rng):
        assert batch.dtype == dtype
        seen.append(batch)
        return batch

    X, y = make_data(dtype=dtype)
    model = MLPRegressor(8, shuffle=False, batch_size=25, max_iter=1, random_state=0)
    model.set_params(**options)
    plain = clone(model).fit(X, y)
    assert_same_bits(model.set_params(augment=augment).fit(X, y), plain)
    assert_array_equal(np.concatenate(seen), X)


@pytest.mark.parametrize("options", [{}, {"dropout": Dropout(0.5, input=0.5)}])
def test_augmented_batches_are_trained_on(options):
    model = MLPRegressor(8, batch_size=20, max_iter=3, random_state=0, **options)
    expected = clone(model).fit(np.sin(X), Y)
    model.set_params(augment=lambda batch, rng: np.sin(batch)).fit(X, Y)
    assert_same_bits(model, expected)


def test_augmentation_leaves_the_users_samples_alone():
    def augment(batch, rng):
        batch[:] = 0
        return batch

    before = X.copy()
    MLPRegressor(8, augment=augment, batch_size=60, max_iter=2).fit(X, Y)
    assert_array_equal(X, before)


def test_augmentation_draws_from_the_estimators_generator():
    models = [model_of(MLPRegressor, augment=flipped).fit(X, Y) for _ in range(2)]
    assert_same_bits(*models)
    other = model_of(MLPRegressor, augment=flipped, random_state=1).fit(X, Y)
    assert not np.array_equal(other.coefs_[0], models[0].coefs_[0])


@pytest.mark.parametrize(
    "wrong", [lambda batch, rng: batch[:-1], lambda batch, rng: batch[:, :2]]
)
def test_augmentation_of_another_shape_is_refused(wrong):
    with pytest.raises(ValueError, match="augment returned shape"):
        MLPRegressor(8, augment=wrong).fit(X, Y)


def test_an_exception_in_augmentation_comes_out_as_it_is():
    def augment(batch, rng):
        raise ArithmeticError("no batch today")

    with pytest.raises(ArithmeticError, match="no batch today"):
        MLPRegressor(8, augment=augment).fit(X, Y)


# ---- residual connections ---------------------------------------------------------------


def test_residual_layers_add_what_enters_them():
    network = Network([4, 6, 6, 5, 2], "tanh", residual=True)
    network.params[:] = np.random.default_rng(0).normal(size=network.params.size)
    W, b = network.coefs, network.intercepts
    first = np.tanh(X @ W[0] + b[0])
    second = np.tanh(first @ W[1] + b[1]) + first
    third = np.tanh(second @ W[2] + b[2])  # of another width
    assert_allclose(network.forward(X), third @ W[3] + b[3], rtol=1e-12)


@pytest.mark.parametrize("sizes", [(), (5,), (5, 6, 5)])
def test_residual_without_two_equal_layers_is_refused_by_both_names(sizes):
    with pytest.raises(ValueError, match=r"residual=True.*hidden_layer_sizes="):
        MLPRegressor(sizes, residual=True).fit(X, Y)


def test_sparse_inputs_and_augmentation_are_refused_together():
    with pytest.raises(ValueError, match=r"augment.*X is sparse"):
        MLPRegressor(augment=flipped).fit(scipy.sparse.csr_array(X), Y)
