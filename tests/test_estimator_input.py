"""Inputs that MLPClassifier and MLPRegressor accept, and those that they refuse."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from small_data import (
    assert_same_bits,
    both,
    either_dtype,
    every_solver,
    fitted_state,
    make_data,
    parameters,
    with_value,
)

from mlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()


# Bad input --------------------------------------------------------------------------

BAD_DATA = {
    "NaN in X": ((with_value(X, np.nan), Y), "Input X contains NaN"),
    "infinity in X": ((with_value(X, np.inf), Y), "Input X contains infinity"),
    "-infinity in X": ((with_value(X, -np.inf), Y), "Input X contains infinity"),
    "NaN in sparse X": ((sp.csr_array(with_value(X, np.nan)), Y), "X contains NaN"),
    "NaN in all of y": ((X, np.full(60, np.nan)), "y contains NaN|y: every target"),
    "infinity in y": ((X, with_value(Y, np.inf)), "Input y contains infinity"),
    "one-dimensional X": ((X[:, 0], Y), "Expected 2D array, got 1D array"),
    "three-dimensional X": ((X.reshape(-1, 2, 2), Y), "with dim 3"),
    "fewer targets than rows": ((X, Y[:-1]), r"inconsistent.*\[60, 59\]"),
    "no samples": ((X[:0], Y[:0]), r"0 sample\(s\)"),
    "no features": ((X[:, :0], Y), r"0 feature\(s\)"),
    "no y": ((X, None), "requires y to be passed"),
    "words in X": ((np.full(X.shape, "newt", dtype=object), Y), "newt"),
    "complex X": ((X + 1j, Y), "Complex data not supported"),
    "fewer weights than rows": ((X, Y, np.ones(59)), "sample_weight"),
    "weights in two columns": ((X, Y, np.ones((60, 2))), "[Ss]ample.?weight"),
    "NaN in weights": ((X, Y, with_value(np.ones(60), np.nan)), "sample_weight.*NaN"),
}
BAD_PARAMETERS = [
    ("hidden_layer_sizes", 0),
    ("hidden_layer_sizes", -3),
    ("hidden_layer_sizes", (5, 0)),
    ("hidden_layer_sizes", (5, -1)),
    ("hidden_layer_sizes", "many"),
    ("activation", "newt"),
    ("solver", "newt"),
    ("alpha", -1e-4),
    ("alpha", np.nan),
    ("batch_size", 0),
    ("batch_size", "newt"),
    ("learning_rate", "newt"),
    ("learning_rate_init", 0.0),
    ("learning_rate_init", -0.1),
    ("power_t", -1.0),
    ("max_iter", 0),
    ("max_iter", 2.5),
    ("shuffle", "yes"),
    ("random_state", "newt"),
    ("tol", -1e-4),
    ("momentum", -0.1),
    ("momentum", 1.5),
    ("nesterovs_momentum", "yes"),
    ("early_stopping", "yes"),
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("beta_1", 1.0),
    ("beta_2", -0.1),
    ("epsilon", 0.0),
    ("n_iter_no_change", 0),
    ("max_fun", 0),
    ("dtype", np.int32),
    ("n_threads", 0),
]
bad_data = pytest.mark.parametrize(
    "arguments, message", BAD_DATA.values(), ids=BAD_DATA
)
bad_parameter = pytest.mark.parametrize(
    "name, value", BAD_PARAMETERS, ids=[f"{n}={v}" for n, v in BAD_PARAMETERS]
)


@both
@bad_data
def test_bad_data_is_named_and_leaves_the_estimator_as_it_was(
    Estimator, arguments, message
):
    network = Estimator(5, max_iter=5).fit(X[:, :3], 1 - Y)
    before = fitted_state(network)
    with pytest.raises(ValueError, match=message):
        network.fit(*arguments)
    assert fitted_state(network) == before
    assert network.predict(X[:, :3]).shape == (60,)


@both
@bad_data
def test_bad_data_leaves_a_new_estimator_unfitted(Estimator, arguments, message):
    network = Estimator(5, max_iter=5)
    with pytest.raises(ValueError, match=message):
        network.fit(*arguments)
    with pytest.raises(NotFittedError):
        network.predict(X)


@both
@bad_parameter
def test_bad_parameter_is_named_and_leaves_the_estimator_as_it_was(
    Estimator, name, value
):
    network = Estimator(5, max_iter=5).fit(X, Y)
    before = fitted_state(network)
    with pytest.raises((ValueError, TypeError), match=name):
        network.set_params(**{name: value}).fit(X, Y)
    assert fitted_state(network) == before


@pytest.mark.parametrize("loss", ["newt", "log_loss"])
def test_bad_loss_of_a_regressor_is_named(loss):
    with pytest.raises(ValueError, match="loss"):
        MLPRegressor(loss=loss).fit(X, Y)


def test_negative_target_is_refused_by_the_poisson_loss():
    with pytest.raises(ValueError, match=r"\by\b"):
        MLPRegressor(loss="poisson").fit(X, Y - 0.5)


def test_continuous_target_is_refused_by_the_classifier():
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier().fit(X, X[:, 0])


def test_words_are_refused_as_target_of_a_regressor():
    with pytest.raises(ValueError, match="newt"):
        MLPRegressor().fit(X, np.full(60, "newt", dtype=object))


@both
@pytest.mark.parametrize("method", ["predict", "partial_fit", "score"])
def test_other_number_of_features_is_refused_after_fit(Estimator, method):
    network = Estimator(5, max_iter=5).fit(X, Y)
    before = fitted_state(network)
    arguments = (X[:, :3], Y)[: 1 if method == "predict" else 2]
    with pytest.raises(ValueError, match=r"X has 3 features.*expecting 4"):
        getattr(network, method)(*arguments)
    assert fitted_state(network) == before


@both
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_input_is_refused_by_predict(Estimator, value):
    network = Estimator(5, max_iter=5).fit(X, Y)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        network.predict(with_value(X, value))


def test_unknown_labels_are_refused_by_partial_fit():
    network = MLPClassifier(5).partial_fit(X, Y, classes=[0, 1])
    before = fitted_state(network)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        network.partial_fit(X, Y + 1)
    assert fitted_state(network) == before


def test_other_classes_are_refused_by_partial_fit():
    network = MLPClassifier(5).partial_fit(X, Y, classes=[0, 1])
    before = fitted_state(network)
    with pytest.raises(ValueError, match="classes"):
        network.partial_fit(X, Y, classes=[0, 1, 2])
    assert fitted_state(network) == before


def test_partial_fit_must_be_told_the_classes_first():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(X, Y)


@both
def test_warm_start_refuses_another_number_of_features(Estimator):
    network = Estimator(5, max_iter=5, warm_start=True).fit(X, Y)
    before = fitted_state(network)
    with pytest.raises(ValueError, match="X has 3 features"):
        network.fit(X[:, :3], Y)
    assert fitted_state(network) == before


def test_warm_start_refuses_another_number_of_outputs():
    network = MLPRegressor(5, max_iter=5, warm_start=True).fit(X, Y)
    before = fitted_state(network)
    with pytest.raises(ValueError, match="output"):
        network.fit(X, X[:, :3])
    assert fitted_state(network) == before


@both
def test_warm_start_refuses_another_topology(Estimator):
    network = Estimator(5, max_iter=5, warm_start=True).fit(X, Y)
    before = fitted_state(network)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        network.set_params(hidden_layer_sizes=(7, 3)).fit(X, Y)
    assert fitted_state(network) == before


@both
def test_partial_fit_refuses_early_stopping(Estimator):
    network = Estimator(5, max_iter=5, early_stopping=True).fit(X, Y)
    before = fitted_state(network)
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        network.partial_fit(X, Y)
    assert fitted_state(network) == before


@both
def test_batch_larger_than_the_data_is_clipped_with_a_warning(Estimator):
    network = Estimator(5, max_iter=5, random_state=0)
    full = clone(network).set_params(batch_size=60).fit(X, Y)
    with pytest.warns(UserWarning, match="larger than sample size"):
        network.set_params(batch_size=61).fit(X, Y)
    assert_same_bits(network, full)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@either_dtype
def test_divergence_names_the_epoch_and_leaves_the_estimator_as_it_was(solver, dtype):
    A, b = X.astype(dtype), X[:, 0]
    network = MLPRegressor(5, "identity", max_iter=50, random_state=0).fit(A, b)
    before = fitted_state(network)
    rate = float(np.finfo(dtype).max) ** 0.7  # a product of two such weights is inf
    network.set_params(solver=solver, learning_rate_init=rate, batch_size=10)
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="non-finite") as caught,
    ):
        warnings.simplefilter("ignore", RuntimeWarning)
        network.fit(A, b)
    caught.match(r"\bepoch [1-9]\d?\b")
    assert fitted_state(network) == before


# Accepted input ---------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", ["int8", "int64", "uint16", "bool", "float16"])
def test_other_numbers_are_converted_to_float64(Estimator, kind):
    rounded = np.rint(4 * np.abs(X)).astype(kind)
    network = Estimator(5, max_iter=5, random_state=0)
    converted = clone(network).fit(rounded.astype(np.float64), Y)
    assert_same_bits(network.fit(rounded, Y), converted)
    assert network.coefs_[0].dtype == np.float64


@both
def test_numbers_in_an_object_array_are_converted(Estimator):
    network = Estimator(5, max_iter=5, random_state=0)
    converted = clone(network).fit(X, Y)
    assert_same_bits(
        network.fit(X.astype(object), Y.astype(object).tolist()), converted
    )


@both
@every_solver
def test_float32_is_kept(Estimator, solver):
    A = X.astype(np.float32)
    network = Estimator(5, solver=solver, max_iter=5).fit(A, Y)
    assert {array.dtype for array in parameters(network)} == {np.dtype(np.float32)}
    method = getattr(network, "predict_proba", network.predict)
    assert method(A).dtype == np.float32


@both
@either_dtype
def test_dtype_overrides_that_of_the_data(Estimator, dtype):
    network = Estimator(5, max_iter=5, random_state=0)
    kept = clone(network).fit(X.astype(np.float32).astype(dtype), Y)
    network.set_params(dtype=dtype).fit(X.astype(np.float32), Y)
    assert_same_bits(network, kept)


@both
@every_solver
@pytest.mark.parametrize("container", [np.array, sp.csr_array, sp.csc_array])
def test_data_and_weights_are_left_as_they_were(Estimator, solver, container):
    A, y, weights = container(X), Y.copy(), np.linspace(0.5, 1.5, 60)
    before = joblib.hash((A, y, weights))
    network = Estimator(5, solver=solver, max_iter=5, batch_size=7)
    network.fit(A, y, sample_weight=weights).predict(A)
    assert joblib.hash((A, y, weights)) == before


@both
@every_solver
def test_read_only_arrays_are_accepted(Estimator, solver):
    arrays = X.copy(), Y.copy(), np.ones(60)
    for array in arrays:
        array.flags.writeable = False
    network = Estimator(5, solver=solver, max_iter=5, random_state=0).fit(*arrays)
    assert_same_bits(network, clone(network).fit(X, Y, np.ones(60)))
    assert_array_equal(network.predict(arrays[0]), network.predict(X))


@both
@pytest.mark.parametrize(
    "lay_out",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: np.repeat(X, 3, axis=1)[:, ::3],
        lambda X: X[::-1].copy()[::-1],
        lambda X: X.astype(X.dtype.newbyteorder()),
    ],
    ids=[
        "fortran",
        "every other row",
        "every third column",
        "reversed",
        "byte-swapped",
    ],
)
def test_layout_of_the_data_does_not_change_a_bit(Estimator, lay_out):
    network = Estimator(5, max_iter=5, batch_size=7, random_state=0)
    contiguous = clone(network).fit(X, Y)
    assert_same_bits(network.fit(lay_out(X), Y), contiguous)
    assert_array_equal(network.predict(lay_out(X)), contiguous.predict(X))


@both
@every_solver
@pytest.mark.parametrize("shuffle", [True, False])
def test_csr_and_csc_train_as_dense(Estimator, solver, shuffle):
    A = np.where(X > 0.3, X, 0.0)
    network = Estimator(5, "tanh", solver=solver, max_iter=10, batch_size=7)
    network.set_params(shuffle=shuffle, random_state=0)
    dense = clone(network).fit(A, Y)
    for container in (sp.csr_array, sp.csr_matrix, sp.csc_array):
        sparse = clone(network).fit(container(A), Y)
        # 10 epochs of sums in another order, 1e-16 each and damped by the training
        assert_allclose(sparse.coefs_[0], dense.coefs_[0], rtol=1e-10, atol=1e-12)
        assert_allclose(sparse.predict(container(A)), dense.predict(A), rtol=1e-10)


@both
def test_csr_with_unsorted_and_duplicate_entries_trains_as_dense(Estimator):
    A = np.where(X > 0.3, X, 0.0)
    rows, columns = np.nonzero(A)
    order = np.random.default_rng(0).permutation(2 * len(rows))
    halves = np.tile(A[rows, columns] / 2, 2)[order]
    where = np.tile(rows, 2)[order], np.tile(columns, 2)[order]
    pointers = np.r_[0, np.cumsum(np.bincount(where[0], minlength=60))]
    by_row = np.argsort(where[0], kind="stable")
    sparse = sp.csr_array((halves[by_row], where[1][by_row], pointers), A.shape)
    network = Estimator(5, "tanh", max_iter=5, random_state=0)
    dense = clone(network).fit(A, Y)
    assert_allclose(network.fit(sparse, Y).coefs_[0], dense.coefs_[0], rtol=1e-10)


@both
def test_single_row_is_predicted_as_among_others(Estimator):
    network = Estimator((20, 20), max_iter=5, random_state=0).fit(X, Y)
    method = getattr(network, "predict_proba", network.predict)
    alone = np.concatenate([method(row[None]) for row in X])
    # The order of summation may differ by the number of rows, over 20 terms.
    assert_allclose(alone, method(X), rtol=1e-13, atol=1e-14)


@both
def test_predict_is_safe_from_many_threads(Estimator):
    network = Estimator((50, 30), max_iter=2, random_state=0).fit(X, Y)
    parts = [X[i:] for i in range(40)] * 5
    serial = [network.predict(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for actual, desired in zip(
            pool.map(network.predict, parts), serial, strict=True
        ):
            assert_array_equal(actual, desired)


@both
def test_fits_in_several_threads_do_not_disturb_each_other(Estimator):
    networks = [Estimator(20, max_iter=20, random_state=i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda network: clone(network).fit(X, Y), networks))
    for network, other in zip(networks, together, strict=True):
        assert_same_bits(network.fit(X, Y), other)
