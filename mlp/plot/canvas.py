"""What all displays need: matplotlib, axes to draw on, the network of a model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from mlp.network import Network

__all__ = ["DIVERGING", "axes_for", "dense", "network_of", "pyplot", "symmetric"]

Array = NDArray[Any]

#: colours of signed numbers: blue below zero, white, red above
DIVERGING = "RdBu_r"


def pyplot(display: str) -> Any:
    """`matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If there is none; it names the display and what to install.
    """
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{display} draws with matplotlib, which is not installed: "
            "pip install 'mlp[plot]'"
        ) from error
    return matplotlib.pyplot


def axes_for(display: Any, ax: Any, **options: Any) -> Any:
    """The axes given, or those of a new figure; `options` go to ``plt.subplots``."""
    plt = pyplot(type(display).__name__)
    if ax is None:
        _, ax = plt.subplots(**{"layout": "constrained", **options})
    return ax


def network_of(model: Any) -> Network:
    """A network as it is, an estimator's if it is fitted.

    Raises
    ------
    NotFittedError
    """
    if isinstance(model, Network):
        return model
    check_is_fitted(model, "network_")
    network: Network = model.network_
    return network


def dense(weights: Any) -> Array:
    """Weights as an array; connections that don't exist are 0."""
    whole = weights.toarray() if hasattr(weights, "toarray") else weights
    return np.asarray(whole, dtype=float)


def symmetric(*arrays: Array) -> float:
    """The largest magnitude: colours from −that to that put 0 in the middle."""
    largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    return largest or 1.0
