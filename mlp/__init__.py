"""Multilayer perceptrons with scikit-learn's manners and a compiled core.

`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's; `Network` is the part
without scikit-learn.  Names are imported when they are first used, so that a `Network` can
be loaded and predict with NumPy alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "MLPAutoencoder": "mlp.estimators.autoencoder",
    "MLPClassifier": "mlp.estimators.classifier",
    "MLPRegressor": "mlp.estimators.regressor",
    "Network": "mlp.network",
    "show_config": "mlp.threads",
}

__all__ = [
    "MLPAutoencoder",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "show_config",
]

if TYPE_CHECKING:
    from mlp.estimators.autoencoder import MLPAutoencoder
    from mlp.estimators.classifier import MLPClassifier
    from mlp.estimators.regressor import MLPRegressor
    from mlp.network import Network
    from mlp.threads import show_config


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mlp' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
