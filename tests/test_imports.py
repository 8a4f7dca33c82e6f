"""Lazy imports: a network needs NumPy alone, estimators are imported on first use."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_without_a_compiled_core_the_import_says_what_to_run(tmp_path):
    package = Path(mlp.__file__).parent
    without = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(package, tmp_path / "mlp", ignore=without)
    for statement in ("import mlp", "from mlp import MLPClassifier"):
        done = subprocess.run(
            # without site-packages: an editable install finds its own core for the copy
            [sys.executable, "-S", "-c", statement],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        error = done.stderr.splitlines()[-1]
        assert error.startswith(f"ImportError: {tmp_path / 'mlp'} has no compiled core")
        assert error.endswith("in a checkout run: pip install -e .")


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


def test_every_exported_name_is_defined_in_its_module():
    assert sorted(mlp.__all__) == sorted([*mlp._HOME, *mlp._MODULES])
    for name, home in mlp._HOME.items():
        assert getattr(mlp, name).__module__ == home
    for name in mlp._MODULES:
        assert getattr(mlp, name).__name__ == f"mlp.{name}"


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'MLP'"):
        mlp.MLP  # noqa: B018
