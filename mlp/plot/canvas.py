"""Common parts of all displays: matplotlib, axes to draw on, the network of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from mlp.network.network import Network
from mlp.network.siamese import SiameseNetwork

__all__ = [
    "DIVERGING",
    "axes_for",
    "compares_pairs",
    "dense",
    "layers_of",
    "network_of",
    "pyplot",
    "symmetric",
]

Array = NDArray[Any]

#: colour map of signed numbers: blue below zero, white at zero, red above
DIVERGING = "RdBu_r"


def pyplot(display: str) -> Any:
    """Import and return `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message names the display and the command.
    """
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{display} needs matplotlib: pip install 'fastmlp[plot]'"
        ) from error
    return matplotlib.pyplot


def axes_for(display: Any, ax: Any, **options: Any) -> Any:
    """Return the given axes, or those of a new ``plt.subplots(**options)``."""
    plt = pyplot(type(display).__name__)
    if ax is None:
        _, ax = plt.subplots(**{"layout": "constrained", **options})
    return ax


def network_of(model: Any, display: str) -> Network:
    """Return a network, or that of a fitted estimator; of a Siamese network, the branch.

    Weights that were assigned to ``coefs_`` or ``intercepts_`` are included.

    Raises
    ------
    NotFittedError
    TypeError
        If the model has no network; the message names the display.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, SiameseNetwork):
        raise TypeError(f"{display} draws one network, pass SiameseNetwork.branch")
    check_is_fitted(model)
    network = getattr(model, "network", None)
    if isinstance(network, SiameseNetwork):
        return network.branch
    if not isinstance(network, Network):
        kind = type(model)
        raise TypeError(
            f"{display} needs an estimator with a network, or a Network; "
            f"{kind.__module__}.{kind.__name__} has none"
        )
    return network


def compares_pairs(model: Any) -> bool:
    """Return whether the outputs of `network_of` are embeddings."""
    return isinstance(getattr(model, "network_", None), SiameseNetwork)


def layers_of(model: Any, display: str) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return weights and offsets of `network_of`, or of a network of scikit-learn.

    Raises
    ------
    NotFittedError
    TypeError
        If the model has none; the message names the display.
    """
    if hasattr(model, "coefs_") and not hasattr(type(model), "network"):
        return model.coefs_, model.intercepts_
    network = network_of(model, display)
    return network.coefs, network.intercepts


def dense(weights: Any) -> Array:
    """Return weights as a dense array; absent connections are 0."""
    whole = weights.toarray() if hasattr(weights, "toarray") else weights
    return np.asarray(whole, dtype=float)


def symmetric(*arrays: Array) -> float:
    """Return the largest magnitude, the limit of a symmetric colour scale."""
    largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    return largest or 1.0
