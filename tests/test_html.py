"""The diagram that a notebook shows of an estimator."""

import html
import inspect
import re
from functools import partial

import numpy as np
import pytest
from small_data import both, make_data

from mlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROW = re.compile(
    r'<tr class="(user-set|default)">.*?<td class="param">(.*?)</td>'
    r'\s*<td class="value">(.*?)</td>\s*</tr>',
    re.DOTALL,
)


def shown(estimator):
    """Name -> (user-set or default, text) of the diagram's table of parameters."""
    rows = ROW.findall(estimator._repr_html_())
    return {name: (kind, html.unescape(text)) for kind, name, text in rows}


def my_loss(y_true, y_out):
    return ((y_out - y_true) ** 2).sum(axis=1), 2 * (y_out - y_true)


def drawn(rng, n_in, n_out, scale):
    return scale * rng.normal(size=(n_in, n_out)), np.zeros(n_out)


@both
def test_diagram_lists_all_parameters_and_marks_those_set(Estimator):
    table = shown(Estimator((5, 4), dropout=0.5))
    assert set(table) == set(inspect.signature(Estimator).parameters)
    assert table["hidden_layer_sizes"] == ("user-set", "(5, ...)")
    assert table["dropout"] == ("user-set", "0.5")
    assert table["solver"] == ("default", "'adam'")
    assert [n for n, (kind, _) in table.items() if kind == "user-set"] == [
        "hidden_layer_sizes",
        "dropout",
    ]


def test_diagram_with_arrays_and_functions_shows_them():
    X, y = make_data()
    model = MLPRegressor(
        np.array([5, 4]),
        [["tanh"] * 5, ("leaky_relu", 0.1)],
        loss=my_loss,
        dropout=np.array([0.25, 0.5]),
        init=partial(drawn, scale=0.1),
        augment=lambda batch, rng: batch,
        learning_rate=lambda epoch: 0.01,
        random_state=np.random.RandomState(0),
        max_iter=2,
    )
    for estimator in (model, model.fit(X, y)):
        table = shown(estimator)
        assert table["hidden_layer_sizes"] == ("user-set", "array([5, 4])")
        assert table["dropout"] == ("user-set", "array([0.25, 0.5 ])")
        for name in ("loss", "augment", "learning_rate"):
            assert table[name][0] == "user-set"
            assert table[name][1].startswith("<function ")
        assert table["init"][1].startswith("functools.")


def test_diagram_with_markup_in_a_name_escapes_it():
    text = MLPClassifier(learning_rate=lambda epoch: 0.01)._repr_html_()
    assert "&lt;lambda&gt;" in text and "<lambda>" not in text


@both
def test_diagram_says_whether_the_estimator_is_fitted(Estimator):
    X, y = make_data()
    model = Estimator((5,), max_iter=1)
    assert "<span>Not fitted</span>" in model._repr_html_()
    assert "<span>Fitted</span>" in model.fit(X, y)._repr_html_()
