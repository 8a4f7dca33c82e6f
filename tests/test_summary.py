"""The table of layers: what it says, and that its columns stand under their names."""

import doctest
import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from small_data import both, make_data

from mlp import MLPClassifier, Network
from mlp.summary import Summary

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
        dropout=(0.5, 0.25),
        input_dropout=0.1,
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
    net.frozen = (False, True)
    *_, hidden, output, _, _ = net.summary().splitlines()
    words = hidden.split("(n, 2)")[1].split()
    assert " ".join(words) == "4 relu 2 of 6 connections"
    assert output.endswith("frozen")
    assert Network([3, 2, 3], tied=True).summary().splitlines()[4].endswith("W = W_0ᵀ")


def test_a_mask_for_each_sample_is_named():
    X, y = make_data()
    model = MLPClassifier((6,), dropout=0.5, dropout_mask="sample", max_iter=1)
    assert "dropout 0.5 a sample" in model.fit(X, y).summary()


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


def test_it_is_text_that_a_prompt_shows_as_it_is():
    table = Network([3, 2]).summary()
    assert isinstance(table, str) and isinstance(table, Summary)
    assert repr(table) == str(table) == f"{table}"
    assert repr(pickle.loads(pickle.dumps(table))) == str(table)


def test_the_example_in_the_docstring():
    [example] = doctest.DocTestFinder().find(Network.summary, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
