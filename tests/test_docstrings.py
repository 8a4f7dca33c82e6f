"""Docstrings: what is public is described [numpydoc], and the examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re
import warnings

import pytest
from sklearn import neural_network
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

import mlp
from mlp.network import activations

validate = pytest.importorskip("numpydoc.validate").validate

#: checks of everything public
FORM = {
    "GL03": "no two blank lines in a row",
    "GL05": "no tabs",
    "GL06": "sections have numpydoc's names",
    "GL07": "and its order",
    "GL08": "there is a docstring",
    "SS01": "it begins with a summary",
    "SS03": "which ends with a period",
    "SS04": "and is not indented",
    "PR02": "every parameter described is one",
    "PR05": "types end without a period",
    "PR06": "and are called by their names",
    "PR10": "a colon parts names and types",
    "RT02": "what is returned has a type, and a name only among several",
    "RT05": "descriptions of it end with a period",
    "YD01": "generators say what they yield",
}
#: and, where there is a section of parameters or users call for one: all, in order
PARAMETERS = {"PR01", "PR03"}


def modules():
    """Return the names of the public modules whose optional packages are installed."""
    found = []
    for name in (m.name for m in pkgutil.walk_packages(mlp.__path__, "mlp.")):
        if not name.split(".")[-1].startswith("_"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                assert error.name and not error.name.startswith("mlp")
            else:
                found.append(name)
    return found


def public_objects():
    """Return the classes and functions by their full names, and classes' own methods."""
    found = {}
    for name in modules():
        for key, value in vars(importlib.import_module(name)).items():
            if key.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isfunction(value):
                found[f"{name}.{key}"] = value
            elif inspect.isclass(value):
                found[f"{name}.{key}"] = value
                for attribute in vars(value):
                    if not attribute.startswith("_") and described(value, attribute):
                        found[f"{name}.{key}.{attribute}"] = value
    return found


def described(cls, attribute):
    value = vars(cls)[attribute]
    kinds = (property, classmethod, staticmethod)
    return inspect.isfunction(value) or isinstance(value, kinds)


def is_estimators(owner):
    return (
        inspect.isclass(owner)
        and issubclass(owner, BaseEstimator)
        and owner.__name__ in mlp.__all__
    )


OBJECTS = public_objects()


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring_is_well_formed(name):
    report = validate(name)
    checks = set(FORM)
    if is_estimators(OBJECTS[name]) or re.search(
        r"Parameters\n *--", report["docstring"]
    ):
        checks |= PARAMETERS
    assert not [error for error in report["errors"] if error[0] in checks]


@pytest.mark.parametrize("name", mlp.__all__)
def test_every_exported_class_shows_an_example(name):
    value = getattr(mlp, name)
    if inspect.isclass(value):
        assert ">>> " in value.__doc__


@pytest.mark.parametrize("name", activations.hidden_activations())
@pytest.mark.parametrize("Estimator", ["MLPClassifier", "MLPAutoencoder"])
def test_docstrings_list_every_hidden_activation(Estimator, name):
    text = " ".join(getattr(mlp, Estimator).__doc__.split())
    assert " ".join(activations.describe(name).split()) in text


ESTIMATORS = [
    "MLPClassifier",
    "MLPRegressor",
    "MLPAutoencoder",
    "MultiTaskClassifier",
    "SiameseClassifier",
]


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_docstrings_list_every_parameter_in_one_group(Estimator):
    cls = getattr(mlp, Estimator)
    rest = cls.__doc__.partition("Parameters by what they are about:\n\n")[2]
    listed = re.findall(r"`(\w+)`", rest.partition("Parameters\n---")[0])
    assert sorted(listed) == sorted(inspect.signature(cls).parameters)


def test_the_classifier_has_those_of_scikit_learn_and_at_most_25_more():
    theirs = set(inspect.signature(neural_network.MLPClassifier).parameters)
    ours = set(inspect.signature(mlp.MLPClassifier).parameters)
    assert len(theirs) == 23
    assert theirs <= ours and len(ours - theirs) <= 25


@pytest.mark.parametrize("name", ["mlp", *modules()])
def test_examples_run(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert doctest.testmod(importlib.import_module(name)).failed == 0
