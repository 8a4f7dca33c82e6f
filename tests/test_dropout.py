"""Dropout: dropped units do not change; predictions are those of the mean network."""

import itertools
import pickle

import numpy as np
import oracle
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from small_data import assert_same_bits, both, make_data, parameters
from twins import either_dtype, masks_of, plan_of, twin_of, vector

from mlp import Dropout, MLPClassifier, MLPRegressor, Network, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIMISERS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw", "weight_decay": 0.3},
}
DECAYS = {
    "no decay": {},
    "alpha": {"alpha": 1.0},
    "l2": {"l2": 0.1, "l2_bias": True},
    "l1": {"l1": 0.1},
    "all": {"alpha": 1.0, "l2": 0.1, "l1": 0.1, "l2_bias": True},
}
either_scaling = pytest.mark.parametrize("scaling", ["train", "test"])
either_mask = pytest.mark.parametrize("mask", ["batch", "sample"])
SEED = 7


def parts(twin, params):
    """A flat vector as the lists that the oracle keeps."""
    return [a for views in twin.unpack(params)[:2] for a in views]


def case(sizes=(5, 8, 8, 3), rates=(0.4, 0.5, 0.5), n=6, **options):
    net = oracle.make_net(oracle.rng_of(1), list(sizes), dropout=list(rates), **options)
    return net, *oracle.random_data(oracle.rng_of(2), net, n=n)


# ---- dropped units ----------------------------------------------------------------------


@either_dtype
@pytest.mark.parametrize("norm", ["none", "hidden+input"])
@pytest.mark.parametrize("penalties", DECAYS.values(), ids=DECAYS)
@pytest.mark.parametrize("options", OPTIMISERS.values(), ids=OPTIMISERS)
def test_dropped_units_and_their_moments_keep_their_bits(
    options, penalties, norm, dtype
):
    net, X, T = case(norm=norm)
    twin = twin_of(net, dtype)
    plan, data = plan_of(twin, 6, penalties=penalties, **options), twin.data(X, T)
    plan.epoch(data, 6, None, 0.1, SEED)  # so that there are moments to keep
    state = [twin.params, plan.moment_1, plan.moment_2]
    before = [None if a is None else a.copy() for a in state]
    plan.epoch(data, 6, None, 0.1, SEED + 1)
    [masks] = masks_of(twin, SEED + 1, [np.arange(6)])
    dropped = vector(oracle.kept(net, masks)) == 0
    assert 0 < dropped.sum() < len(dropped)
    for old, new in zip(before, state, strict=True):
        if old is not None:
            assert_array_equal(new[dropped], old[dropped])
            assert (new[~dropped] != old[~dropped]).mean() > 0.95


@either_dtype
@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("penalties", DECAYS.values(), ids=DECAYS)
@pytest.mark.parametrize("options", OPTIMISERS.values(), ids=OPTIMISERS)
def test_dropped_units_when_all_weights_decay_take_the_penalties_step_alone(
    options, penalties, batch_size, dtype
):
    net, X, T = case(dropout_decay="all", **penalties)
    twin = twin_of(net, dtype)
    plan, data = plan_of(twin, 6, penalties=penalties, **options), twin.data(X, T)
    order = np.arange(batch_size)
    plan.epoch(data, batch_size, order, 0.1, SEED)  # so that there are moments to keep
    state = [plan.moment_1, plan.moment_2]
    moments = [None if a is None else a.copy() for a in state]
    before = twin.params.copy()
    plan.epoch(data, batch_size, order, 0.1, SEED + 1)
    [masks] = masks_of(twin, SEED + 1, [order])
    dropped = vector(oracle.kept(net, masks)) == 0
    net = oracle.with_parameters(net, [np.float64(a) for a in parts(twin, before)])
    W, b = oracle.penalty_gradients(net, batch_size)
    decay = vector(oracle.per_parameter(net, options.get("weight_decay", 0.0), 0.0))
    decay = np.repeat(decay, [a.size for a in oracle.parameters(net)])
    expected = before - 0.1 * (vector([*W, *b]) + decay * before)
    eps = np.finfo(dtype).eps  # and rounding of what cancels, less than 0.1 in size
    assert_allclose(twin.params[dropped], expected[dropped], rtol=8 * eps, atol=eps / 8)
    for old, new in zip(moments, state, strict=True):
        if old is not None:
            assert_array_equal(new[dropped], old[dropped])


@either_scaling
@pytest.mark.parametrize("decay", ["kept", "all"])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_reported_loss_when_units_are_dropped_has_the_penalties_of_all_weights(
    batch_size, decay, scaling
):
    # a rate of 0 would decay nothing: the last epoch reports what the first ones left
    net, X, T = case(n=32, dropout_decay=decay, scaling=scaling, l2=0.5)
    twin = twin_of(net)
    plan, data = plan_of(twin, 32, penalties={"l2": 0.5}), twin.data(X, T)
    for seed in range(3):
        plan.epoch(data, batch_size, None, 0.02, seed)
    loss = plan.epoch(data, batch_size, np.arange(batch_size), 0.0, SEED)
    net = oracle.with_parameters(net, parts(twin, twin.params))
    [masks] = masks_of(twin, SEED, [np.arange(batch_size)])
    rows = X[:batch_size], T[:batch_size]
    error = oracle.loss(net, *rows, masks=masks) - oracle.penalty(net, batch_size)
    expected = error / net.sizes[-1] + oracle.penalty(net, batch_size)
    assert loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:dropout=")
@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
@both
def test_dropout_of_zero_when_all_weights_decay_is_no_dropout(
    Estimator, solver, batch_size
):
    X, y = make_data()
    model = Estimator((8, 6), solver=solver, batch_size=batch_size, max_iter=3)
    model.set_params(l2=0.01, random_state=0)
    zero = clone(model).set_params(dropout=Dropout([0.0, 0], decay="all")).fit(X, y)
    assert_same_bits(zero, model.fit(X, y))


@pytest.mark.filterwarnings("ignore:decay of dropout=")
@pytest.mark.parametrize("batch_size", [1, 20])
def test_masks_per_sample_when_all_weights_decay_are_as_when_only_kept_do(batch_size):
    X, y = make_data()
    model = MLPRegressor((8, 6), solver="sgd", batch_size=batch_size, max_iter=3)
    model.set_params(l2=0.01, random_state=0, dropout=Dropout(0.5, mask="sample"))
    every = clone(model).set_params(dropout__decay="all").fit(X, y)
    assert_same_bits(every, model.fit(X, y))


@pytest.mark.parametrize("decay", ["kept", "all"])
def test_dropout_decay_when_changed_holds_from_the_next_fit_on(decay):
    X, y = make_data()
    options = {"solver": "sgd", "batch_size": 20, "l2": 0.1, "dropout": Dropout(0.5)}
    model = MLPRegressor((8, 6), max_iter=1, random_state=0, warm_start=True, **options)
    model.set_params(dropout__decay="kept").fit(X, y)
    model.set_params(dropout__decay=decay, learning_rate_init=0.05)
    other = pickle.loads(pickle.dumps(model)).set_params(dropout__decay="kept")
    same = np.array_equal(model.fit(X, y).coefs_[0], other.fit(X, y).coefs_[0])
    assert same == (decay == "kept")


def test_statistics_of_a_dropped_unit_do_not_change():
    net, X, T = case(norm="hidden+input")
    twin = twin_of(net)
    plan_of(twin, 6).epoch(twin.data(X, T), 6, None, 0.1, SEED)
    [masks] = masks_of(twin, SEED, [np.arange(6)])
    kept = [twin.input_statistics, *twin.statistics[:-1]]
    for statistics, mask in zip(kept, masks, strict=True):
        assert_array_equal(statistics[2], mask)
        assert_array_equal(statistics[:2] != 0, [mask != 0] * 2)


@either_scaling
def test_the_thinned_network_is_the_smaller_dense_one(scaling):
    net, X, T = case(rates=(0.0, 0.5, 0.0), scaling=scaling)
    twin = twin_of(net)
    [[_, mask, _]] = masks_of(twin, SEED, [np.arange(6)])
    on, up = mask > 0, 2.0 if scaling == "train" else 1.0
    small = Network([5, on.sum(), 8, 3], "tanh")
    for mine, other in zip(
        small.coefs, [net.W[0][:, on], up * net.W[1][on], net.W[2]], strict=True
    ):
        mine[:] = other
    for mine, other in zip(small.intercepts, [net.b[0][on], *net.b[1:]], strict=True):
        mine[:] = other
    _, gradient = small.gradients(X, T)
    weights, _, _ = small.unpack(gradient)
    before = twin.coefs[1].copy()
    plan_of(twin, 6).epoch(twin.data(X, T), 6, None, 1.0, SEED)
    moved = before - twin.coefs[1]
    assert_allclose(moved[on], up * weights[1], atol=1e-14)
    assert_array_equal(moved[~on], 0)


@either_dtype
@pytest.mark.parametrize("norm", ["none", "hidden+input"])
def test_a_batch_in_which_all_are_dropped_trains_the_output_offsets_only(norm, dtype):
    net, X, T = case(rates=(0.99, 0.99, 0.99), norm=norm)
    twin = twin_of(net, dtype)
    seed = next(
        s
        for s in itertools.count()
        if not any(np.any(m) for m in masks_of(twin, s, [np.arange(6)])[0])
    )
    before = twin.params.copy()
    plan_of(twin, 6, penalties={"l2": 0.1}).epoch(twin.data(X, T), 6, None, 0.5, seed)
    _, offsets, _ = twin.unpack(np.arange(len(before)))
    changed = np.flatnonzero(twin.params != before)
    assert_array_equal(changed, offsets[-1])
    error = before[offsets[-1]] - T.mean(axis=0).astype(dtype)
    assert_allclose(before[changed] - twin.params[changed], error / 2, rtol=1e-5)


# ---- masks ------------------------------------------------------------------------------


def test_masks_are_kept_with_probability_one_minus_p():
    n = 100_000
    for rate in (0.1, 0.5, 0.9):
        kept = _core.dropout_mask(SEED, 0, 1, n, rate).mean()
        assert abs(kept - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("change", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_masks_of_other_epochs_batches_and_layers_are_independent(change):
    n, first = 100_000, (SEED, 128, 1)
    a = _core.dropout_mask(*first, n, 0.5)
    b = _core.dropout_mask(*np.add(first, change), n, 0.5)
    assert abs((a == b).mean() - 0.5) < 5 * 0.5 / np.sqrt(n)


@pytest.mark.parametrize("piece", [200, 64])
def test_samples_have_masks_of_their_own(piece):
    # the inputs are ones, and dropped: each row's outputs tell which were kept
    seen = []

    def loss(y_true, y_out):
        seen.append(y_out)
        return np.zeros(len(y_out)), np.zeros_like(y_out)

    network = Network([4, 4], loss=loss)
    network.coefs[0][:] = np.eye(4)
    network.configure(dropout=Dropout((), input=0.5, mask="sample"))
    data = network.data(np.ones((200, 4)), np.zeros((200, 4)))
    plan_of(network, piece).epoch(data, 200, None, 0.1, SEED)
    mask = _core.dropout_mask(SEED, 0, 0, 800, 0.5).reshape(200, 4)
    assert_array_equal(np.concatenate(seen), 2.0 * mask)
    assert len(np.unique(mask, axis=0)) == 16


# ---- expectation ------------------------------------------------------------------------


@either_mask
@either_scaling
def test_mean_over_masks_is_the_prediction(scaling, mask):
    # exact where the dropped layer is the last: its outputs go in linearly [S 65.123]
    outputs = []

    def loss(y_true, y_out):
        outputs.append(y_out)
        return np.zeros(len(y_out)), np.zeros_like(y_out)

    net, X, _ = case((3, 6, 2), (0.0, 0.3), n=1)
    net.loss, net.scaling = loss, scaling
    twin = twin_of(net, mask=mask)
    plan, data = plan_of(twin, 1), twin.data(X, np.zeros((1, 2)))
    for seed in range(20_000):
        plan.epoch(data, 1, None, 0.0, seed)
    error = np.mean(outputs, axis=0) - twin.forward(X)
    assert (np.abs(error) < 5 * np.std(outputs, axis=0) / np.sqrt(20_000)).all()


@both
def test_scaling_for_the_test_predicts_with_one_minus_p_times_the_weights(Estimator):
    X, y = make_data()
    rates = {"dropout": Dropout([0.5, 0.4], input=0.2, scaling="test")}
    model = Estimator((8, 6), "tanh", max_iter=5, random_state=0, **rates).fit(X, y)
    plain = Network(model.network_.layer_sizes, "tanh", model.out_activation_)
    for k, keep in enumerate((0.8, 0.5, 0.6)):
        plain.coefs[k][:] = keep * model.coefs_[k]
        plain.intercepts[k][:] = model.intercepts_[k]
    assert_allclose(model.network_.forward(X), plain.forward(X), rtol=1e-13)


@both
def test_scaling_in_training_predicts_with_the_weights_as_they_are(Estimator):
    X, y = make_data()
    model = Estimator((8, 6), max_iter=5, random_state=0, dropout=0.5).fit(X, y)
    plain = Network(model.network_.layer_sizes, "relu", model.out_activation_)
    plain.params[:] = model.network_.params
    assert_array_equal(model.network_.forward(X), plain.forward(X))


def test_both_scalings_train_the_same_outputs():
    # (1−p) W of the one are W of the other, then no step is taken
    net, X, T = case()
    losses = []
    for scaling in ("train", "test"):
        net.scaling = scaling
        if scaling == "test":
            net.W = [W / (1 - p) for W, p in zip(net.W, net.dropout, strict=True)]
        twin = twin_of(net)
        losses.append(plan_of(twin, 6).epoch(twin.data(X, T), 6, None, 0.0, SEED))
        losses.append(np.sum(twin.forward(X)))
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-13)


# ---- estimators -------------------------------------------------------------------------


@both
@either_dtype
@either_mask
def test_sparse_inputs_are_trained_on_as_dense(Estimator, mask, dtype):
    X, y = make_data(dtype=dtype)
    X[X < 0] = 0
    dropout = Dropout(0.5, input=0.2 if mask == "batch" else 0.0, mask=mask)
    model = Estimator((8, 6), dropout=dropout, max_iter=5, random_state=0)
    dense = clone(model).fit(X, y)
    sparse = model.fit(scipy.sparse.csr_array(X), y)
    # 5 steps of Adam, whose first ones divide a rounding by another
    bound = 1e-9 if dtype == np.float64 else 2e-3
    for a, b in zip(parameters(dense), parameters(sparse), strict=True):
        assert_allclose(a, b, rtol=bound, atol=bound)


@either_mask
@either_scaling
@pytest.mark.parametrize("decay", ["kept", "all"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_number_of_threads_does_not_change_a_bit(solver, decay, scaling, mask):
    X, y = make_data(n_samples=300, n_features=64)
    dropout = Dropout([0.5, 0.2], input=0.1, mask=mask, scaling=scaling, decay=decay)
    model = MLPClassifier((200, 200), solver=solver, max_iter=2, random_state=0)
    model.set_params(dropout=dropout, clip_norm=0.5, l1=1e-5)
    one, *more = (clone(model).set_params(n_threads=n).fit(X, y) for n in (1, 2, 4))
    for other in more:
        assert_same_bits(one, other)
        assert one.loss_curve_ == other.loss_curve_


@both
@either_scaling
def test_dropout_goes_on_from_a_pickle_as_from_the_original(Estimator, scaling):
    X, y = make_data()
    model = Estimator((8, 6), dropout=Dropout(0.5, scaling=scaling), random_state=0)
    model.partial_fit(
        X, y, **({"classes": [0, 1]} if Estimator is MLPClassifier else {})
    )
    copy = pickle.loads(pickle.dumps(model))
    assert_same_bits(model.partial_fit(X, y), copy.partial_fit(X, y))
    assert_array_equal(model.predict(X), copy.predict(X))


def test_each_epoch_draws_masks_of_its_own():
    X, y = make_data()
    model = MLPRegressor(8, solver="sgd", shuffle=False, max_iter=2, dropout=0.5)
    model.set_params(momentum=0, learning_rate_init=1e-300, random_state=0).fit(X, y)
    assert model.loss_curve_[0] != model.loss_curve_[1]


def test_dropout_of_zero_is_no_dropout():
    X, y = make_data()
    model = MLPRegressor((8, 6), max_iter=5, random_state=0)
    zero = clone(model).set_params(dropout=Dropout([0.0, 0], scaling="test")).fit(X, y)
    assert_same_bits(zero, model.fit(X, y))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dropout": 0.5, "solver": "lbfgs"}, "dropout.*solver='lbfgs'"),
        ({"solver": "gd", "dropout": Dropout(0.0, input=0.5)}, "dropout.*solver='gd'"),
        ({"dropout": [0.5]}, r"dropout=\[0.5\].*hidden_layer_sizes"),
        ({"dropout": [0.5, 1.0]}, r"dropout=\[0.5, 1.0\].*\[0, 1\)"),
        ({"dropout": 1.0}, "'dropout'"),
        ({"dropout": Dropout([0.5])}, r"dropout=\[0.5\].*hidden_layer_sizes"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        MLPRegressor((8, 6), **options).fit(*make_data())


def test_masks_per_sample_of_sparse_inputs_are_refused_by_name():
    X, y = make_data()
    model = MLPRegressor(dropout=Dropout(0.0, input=0.2, mask="sample"))
    with pytest.raises(
        ValueError, match=r"dropout=Dropout\(0.0, input=0.2, mask='sample'\).*sparse"
    ):
        model.fit(scipy.sparse.csr_array(X), y)
