"""What is imported when: a network needs NumPy alone, estimators come when asked for."""

import json
import subprocess
import sys

import pytest

import mlp

HEAVY = {"joblib", "matplotlib", "onnx", "pandas", "scipy", "sklearn", "threadpoolctl"}


def imported_by(code):
    """Return what a fresh interpreter imports for `code`, the standard library aside."""
    code += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    return {m for m in modules if m.split(".")[0] in HEAVY | {"mlp", "numpy"}}


def test_import_mlp_imports_nothing_else():
    assert imported_by("import mlp; dir(mlp); mlp.__version__") == {"mlp"}


USES_OF_A_NETWORK = """
import pickle
import numpy as np
from mlp import Network

X, y = np.ones((3, 2)), np.ones((3, 1))
network = Network([2, 4, 1], "tanh", batch_norm="hidden")
network.forward(X, n_threads=2)
network.loss(X, y)
network.gradients(X, y)
pickle.loads(pickle.dumps(network)).copy().forward(X)
"""


def test_a_network_is_used_with_numpy_alone():
    modules = imported_by(USES_OF_A_NETWORK)
    assert "mlp.network.network" in modules
    assert not {m.split(".")[0] for m in modules} & HEAVY
    assert not [m for m in modules if m.startswith("mlp.estimators")]


def test_configuration_is_shown_with_numpy_alone():
    modules = imported_by("import mlp; mlp.show_config()")
    assert not {m.split(".")[0] for m in modules} & HEAVY


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_estimators_bring_no_optional_package(name):
    modules = imported_by(f"import mlp; mlp.{name}")
    assert f"mlp.estimators.{name[3:].lower()}" in modules
    assert not {m.split(".")[0] for m in modules} & {"matplotlib", "onnx"}


def test_every_exported_name_is_at_home():
    assert sorted(mlp.__all__) == sorted([*mlp._HOME, *mlp._MODULES])
    for name, home in mlp._HOME.items():
        assert getattr(mlp, name).__module__ == home
    for name in mlp._MODULES:
        assert getattr(mlp, name).__name__ == f"mlp.{name}"


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'MLP'"):
        mlp.MLP  # noqa: B018
