"""Multilayer perceptrons with the scikit-learn API and a compiled core.

`MLPClassifier` and `MLPRegressor` replace scikit-learn's classes of the same names.
`Network` works without scikit-learn.  Each name is imported when it is first used, so that
loading a `Network` and predicting with it imports NumPy only.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if find_spec("mlp._core") is None:
    raise ImportError(
        f"{__path__[0]} has no compiled core for this Python "
        f"({sys.implementation.cache_tag}); in a checkout run: pip install -e ."
    )

_HOME = {
    "ArcsineKernel": "mlp.gaussian_process",
    "BatchNorm": "mlp.network.features",
    "CosineDecay": "mlp.training.schedules",
    "Dropout": "mlp.network.features",
    "EarlyStopping": "mlp.training.stopping",
    "InverseTimeDecay": "mlp.training.schedules",
    "MLPAutoencoder": "mlp.estimators.autoencoder",
    "MLPClassifier": "mlp.estimators.classifier",
    "MLPRegressor": "mlp.estimators.regressor",
    "MultiTaskClassifier": "mlp.estimators.multitask",
    "Network": "mlp.network.network",
    "ProjectionPursuitRegressor": "mlp.projection_pursuit.regressor",
    "SiameseClassifier": "mlp.estimators.siamese",
    "StepDecay": "mlp.training.schedules",
    "from_sklearn": "mlp.estimators.conversion",
    "load": "mlp.estimators.saving",
    "load_network": "mlp.network.saving",
    "sample_pairs": "mlp.estimators.pairs",
    "show_config": "mlp.threads",
    "to_onnx": "mlp.onnx.export",
}
_MODULES = ("plot",)

__all__ = [
    "ArcsineKernel",
    "BatchNorm",
    "CosineDecay",
    "Dropout",
    "EarlyStopping",
    "InverseTimeDecay",
    "MLPAutoencoder",
    "MLPClassifier",
    "MLPRegressor",
    "MultiTaskClassifier",
    "Network",
    "ProjectionPursuitRegressor",
    "SiameseClassifier",
    "StepDecay",
    "from_sklearn",
    "load",
    "load_network",
    "plot",
    "sample_pairs",
    "show_config",
    "to_onnx",
]

if TYPE_CHECKING:
    from mlp import plot
    from mlp.estimators.autoencoder import MLPAutoencoder
    from mlp.estimators.classifier import MLPClassifier
    from mlp.estimators.conversion import from_sklearn
    from mlp.estimators.multitask import MultiTaskClassifier
    from mlp.estimators.pairs import sample_pairs
    from mlp.estimators.regressor import MLPRegressor
    from mlp.estimators.saving import load
    from mlp.estimators.siamese import SiameseClassifier
    from mlp.gaussian_process import ArcsineKernel
    from mlp.network.features import BatchNorm, Dropout
    from mlp.network.network import Network
    from mlp.network.saving import load_network
    from mlp.onnx.export import to_onnx
    from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor
    from mlp.threads import show_config
    from mlp.training.schedules import CosineDecay, InverseTimeDecay, StepDecay
    from mlp.training.stopping import EarlyStopping


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mlp.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mlp' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
