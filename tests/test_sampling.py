"""Batches drawn with replacement: `sampling="replacement"`  [S 65.82; B]."""

from functools import partial

import numpy as np
import oracle
import pytest
from numpy.random import RandomState
from numpy.testing import assert_allclose
from sklearn.base import clone
from small_data import assert_same_bits, both, make_data
from twins import rounded, run_of, twin_of, vector

from mlp import MLPRegressor, SiameseClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_data()
PAIRS = X.reshape(30, 2, 4)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("samples", [None, np.array([3, 5, 6, 8, 11, 14, 19, 20, 22])])
def test_epochs_are_those_of_orders_drawn_by_randint(batch_size, samples):
    net = oracle.make_net(oracle.rng_of(1), [4, 9, 2], "tanh")
    net, Z, T = rounded(net, *oracle.random_data(oracle.rng_of(2), net, 25))
    twin = twin_of(net)
    run = run_of(
        twin,
        Z,
        T,
        batch_size=batch_size,
        samples=samples,
        shuffle=True,
        sampling="replacement",
        rng=RandomState(5),
    )
    rng, n = RandomState(5), 25 if samples is None else len(samples)
    for _ in range(3):
        run.epoch()
        order = rng.randint(0, n, n)
        order = order if samples is None else samples[order]
        batches = [order[i : i + batch_size] for i in range(0, n, batch_size)]
        net, _ = oracle.train_epoch(net, Z, T, batches, partial(oracle.sgd, lr=0.1), {})
    assert run.plan.steps == 3 * len(batches)
    assert_allclose(twin.params, vector(oracle.parameters(net)), rtol=1e-10)


@both
@pytest.mark.parametrize("batch_size", [1, 20])
def test_an_order_with_replacement_is_another_for_every_epoch_and_seed(
    Estimator, batch_size
):
    model = Estimator(5, sampling="replacement", batch_size=batch_size, max_iter=3)
    model.set_params(random_state=0)
    one, same = clone(model).fit(X, Y), clone(model).fit(X, Y)
    assert_same_bits(one, same)
    other = clone(model).set_params(sampling="shuffle").fit(X, Y)
    assert not np.array_equal(one.coefs_[0], other.coefs_[0])


def test_held_out_samples_are_not_drawn():
    seen = []

    def note(batch, rng):
        seen.append(batch.copy())
        return batch

    model = MLPRegressor(5, sampling="replacement", early_stopping=True, augment=note)
    model.set_params(max_iter=20, n_iter_no_change=99).fit(X, Y)
    n_seen = len(np.unique(np.concatenate(seen), axis=0))
    assert n_seen == 54  # of 60, a tenth of which is held out


@both
def test_replacement_in_order_is_refused(Estimator):
    with pytest.raises(ValueError, match=r"sampling='replacement'.*shuffle=False"):
        Estimator(5, sampling="replacement", shuffle=False).fit(X, Y)
    pairs = SiameseClassifier(5, sampling="replacement", shuffle=False)
    with pytest.raises(ValueError, match=r"sampling='replacement'.*shuffle=False"):
        pairs.fit(PAIRS, Y[:30])


@both
def test_other_samplings_are_refused_by_name(Estimator):
    with pytest.raises(ValueError, match="sampling"):
        Estimator(5, sampling="bootstrap").fit(X, Y)
