"""The table of layers: what it says, and that its columns stand under their names."""

import doctest
import pickle

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from small_data import both, make_data

from mlp import Dropout, MLPClassifier, Network, SiameseClassifier
from mlp.network.summary import Summary

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EVERYTHING = """\
layer     W       b     Z       parameters  activation       options
input                   (n, 4)                               standardize, dropout 0.1
hidden 1  (4, 6)  (6,)  (n, 6)          36  leaky_relu(0.1)  batch norm, dropout 0.5
hidden 2  (6, 6)  (6,)  (n, 6)          48  2 tanh, 4 relu   batch norm, residual, dropout 0.25
output    (6, 1)  (1,)  (n, 1)           7  logistic
"""  # noqa: E501


def test_the_table_of_a_network_with_every_option():
    X, y = make_data()
    model = MLPClassifier(
        (6, 6),
        [("leaky_relu", 0.1), ["tanh", "relu", "relu"] * 2],
        batch_norm="hidden",
        dropout=Dropout((0.5, 0.25), input=0.1),
        residual=True,
        standardize=True,
        max_iter=1,
    ).fit(X, y)
    header, rule, *table, end, total = model.summary().splitlines()
    assert [header, *table] == EVERYTHING.splitlines()
    assert rule == end == "-" * max(map(len, table))
    assert total == "91 parameters, 728 bytes as float64; loss log_loss"


def test_parameters_add_up():
    net = Network([7, 30, 40, 2], batch_norm="all+input", dtype="float32")
    header, _, inputs, *layers, _, total = net.summary().splitlines()
    at = header.index("parameters")
    counts = [int(line[at : at + 10].replace(",", "")) for line in layers]
    assert sum(counts) == net.params.size
    assert total.startswith(
        f"{net.params.size:,} parameters, {net.params.nbytes:,} byt"
    )
    assert inputs.endswith("batch norm")


def my_loss(y_true, y_out):
    return ((y_out - y_true) ** 2).sum(axis=1), 2 * (y_out - y_true)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": my_loss}, "loss my_loss"),
        (
            {"output_activation": "softmax", "loss": "log_loss", "groups": [2, 3]},
            "softmax of 2 + 3",
        ),
    ],
)
def test_what_else_a_network_is_made_of(options, words):
    assert words in Network([3, 4, 5], **options).summary()


def test_layers_that_have_not_all_weights_or_not_their_own():
    net = Network([3, 2, 3], connectivity=[np.eye(3, 2), None])
    net.configure(frozen=(False, True))
    *_, hidden, output, _, _ = net.summary().splitlines()
    words = hidden.split("(n, 2)")[1].split()
    assert " ".join(words) == "4 relu 2 of 6 connections"
    assert output.endswith("frozen")
    assert Network([3, 2, 3], tied=True).summary().splitlines()[4].endswith("W = W_0ᵀ")


def test_a_mask_for_each_sample_is_named():
    X, y = make_data()
    model = MLPClassifier((6,), dropout=Dropout(0.5, mask="sample"), max_iter=1)
    assert "dropout 0.5 per sample" in model.fit(X, y).summary()


def test_no_hidden_layer():
    table = Network([3, 2]).summary().splitlines()
    assert [line.split()[0] for line in table[2:4]] == ["input", "output"]


@both
def test_an_estimator_shows_its_networks_table(Estimator):
    X, y = make_data()
    model = Estimator((5,), max_iter=1).fit(X, y)
    assert model.summary() == model.network_.summary()


@both
def test_without_fit_there_is_none(Estimator):
    with pytest.raises(
        NotFittedError, match=f"{Estimator.__name__} instance is not fit"
    ):
        Estimator().summary()


# ---- dead units -------------------------------------------------------------------------


def half_dead(activation="relu", **options):
    """Three of the six units see z = −1 or less for all inputs in (−1, 1)."""
    net = Network([2, 6, 3, 1], activation, **options)
    rng = np.random.default_rng(0)
    net.params[:] = rng.uniform(-1, 1, net.params.size)
    net.intercepts[0][:] = [0, -3, 0, -4, 0, -5]
    net.intercepts[1][:] = 30
    net.refold()
    return net, rng.uniform(-1, 1, (50, 2))


def column_of_dead(table):
    at = table.index("dead")
    return [line[at : at + 4].strip() for line in table.splitlines()[2:-2]]


def test_the_summary_of_samples_counts_units_that_are_off_for_all_of_them():
    net, X = half_dead()
    assert column_of_dead(net.summary(X)) == ["", "3", "0", ""]


def test_dead_units_are_those_that_no_gradient_reaches():
    net, X = half_dead()
    first, second = net.dead_units(X)
    assert first.tolist() == [False, True] * 3 and not second.any()
    weights, offsets, _ = net.unpack(net.gradients(X, np.ones((50, 1)))[1])
    assert_array_equal((weights[0] == 0).all(axis=0) & (offsets[0] == 0), first)


def test_a_unit_that_one_of_many_samples_turns_on_is_not_dead():
    net, X = half_dead()
    X = np.repeat(X, 50, axis=0)  # more than a block of rows
    X[-1] = 1e3 * net.coefs[0][:, 1]
    assert not net.dead_units(X)[0][1] and net.dead_units(X[:-1])[0][1]


@pytest.mark.parametrize(
    ("activation", "dead"),
    [("leaky_relu", 0), ("tanh", 3), ("sign", 6), (["relu"] * 4 + ["softplus"] * 2, 2)],
)
def test_dead_is_a_derivative_of_zero_whatever_the_activation(activation, dead):
    net, X = half_dead([activation, "identity"])
    net.intercepts[0][1::2] *= 10  # tanh(−30) is −1 to the last bit
    assert net.dead_units(X)[0].sum() == dead


def test_units_far_from_all_samples_are_dead():
    net, X = half_dead(["rbf", "relu"])
    net.intercepts[0][:] = 1
    net.coefs[0][:, :2] = 1e3
    assert net.dead_units(X)[0].tolist() == [True, True, *[False] * 4]


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, np.asfortranarray])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dead_units_of_any_form_of_samples(form, dtype):
    net, X = half_dead(dtype=dtype)
    assert net.dead_units(form(X))[0].tolist() == [False, True] * 3


def test_dead_units_with_absent_connections_and_a_residual():
    net = Network(
        [2, 4, 4, 1], "relu", residual=True, connectivity=[None, np.eye(4), None]
    )
    net.params[:] = 1
    net.intercepts[1][:] = [1, -1, -9, -9]
    X = np.ones((5, 2))  # the first layer gives 3, so the second has z = 4, 2, −6, −6
    assert net.dead_units(X)[1].tolist() == [False, False, True, True]


def test_dead_units_are_those_of_predictions_when_inputs_are_standardized():
    X, y = make_data()
    model = MLPClassifier(
        (6,), standardize=True, batch_norm="hidden", dropout=0.5, random_state=0
    ).fit(1e3 + X, y)
    model.intercepts_[0][:2] = -50
    model.network_.refold()
    off = (model.hidden_activations(1e3 + X) == 0).all(axis=0)
    assert off[:2].all()
    assert_array_equal(model.dead_units(1e3 + X)[0], off)


def test_dead_units_need_samples():
    with pytest.raises(ValueError, match="X has no samples"):
        Network([3, 2, 1]).dead_units(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 3\)"):
        Network([3, 2, 1]).summary(np.zeros((4, 2)))


def test_a_network_without_hidden_layers_has_no_dead_units():
    net = Network([3, 2])
    assert net.dead_units(np.ones((4, 3))) == []
    assert column_of_dead(net.summary(np.ones((4, 3)))) == ["", ""]


@both
def test_an_estimator_counts_the_dead_units_of_its_network(Estimator):
    X, y = make_data()
    model = Estimator((5,), max_iter=1).fit(X, y)
    model.intercepts_[0][:2] = -50
    assert model.summary(X.tolist()) == model.network_.summary(X)
    assert column_of_dead(model.summary(X))[1] >= "2"
    assert_array_equal(model.dead_units(X)[0], model.network_.dead_units(X)[0])
    with pytest.raises(ValueError, match="X has 3 features"):
        model.summary(X[:, :3])


@pytest.mark.parametrize("head", ["cosine", "distance", "relation"])
def test_a_siamese_network_counts_the_dead_units_of_the_branch_and_of_the_head(head):
    X, y = make_data()
    pairs = np.stack([X, X[::-1]], axis=1)
    model = SiameseClassifier((5,), head=head, head_layer_sizes=(4,), max_iter=1)
    model.fit(pairs, y)
    model.intercepts_[0][:] = -50
    if head == "relation":
        model.intercepts_[2][:] = -50
    branch, *rest = model.summary(pairs).split("\n\n")
    assert column_of_dead(branch.partition("\n")[2]) == ["", "5", ""]
    counts = {"cosine": [], "distance": [["", ""]], "relation": [["", "4", ""]]}
    assert [column_of_dead(part.partition("\n")[2]) for part in rest] == counts[head]


def test_it_is_text_that_a_prompt_shows_as_it_is():
    table = Network([3, 2]).summary()
    assert isinstance(table, str) and isinstance(table, Summary)
    assert repr(table) == str(table) == f"{table}"
    assert repr(pickle.loads(pickle.dumps(table))) == str(table)


def test_the_example_in_the_docstring():
    [example] = doctest.DocTestFinder().find(Network.summary, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
