"""What all displays need: matplotlib, axes to draw on, the network of a model."""

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
    "dense",
    "judges_pairs",
    "layers_of",
    "network_of",
    "pyplot",
    "symmetric",
]

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
            f"{display} needs matplotlib: pip install 'fastmlp[plot]'"
        ) from error
    return matplotlib.pyplot


def axes_for(display: Any, ax: Any, **options: Any) -> Any:
    """The axes given, or those of a new figure; `options` go to ``plt.subplots``."""
    plt = pyplot(type(display).__name__)
    if ax is None:
        _, ax = plt.subplots(**{"layout": "constrained", **options})
    return ax


def network_of(model: Any, display: str) -> Network:
    """A network as it is, an estimator's if it is fitted; of a pair's networks the twin.

    What was put into ``coefs_`` or ``intercepts_`` by hand is taken over.

    Raises
    ------
    NotFittedError
    TypeError
        If there is no network; it names the display.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, SiameseNetwork):
        raise TypeError(f"{display} draws one network, give the SiameseNetwork's twin")
    check_is_fitted(model)
    network = getattr(model, "network", None)
    if isinstance(network, SiameseNetwork):
        return network.twin
    if not isinstance(network, Network):
        kind = type(model)
        raise TypeError(
            f"{display} needs an estimator with a network, or a Network; "
            f"{kind.__module__}.{kind.__name__} has none"
        )
    return network


def judges_pairs(model: Any) -> bool:
    """Whether the outputs of `network_of` are embeddings."""
    return isinstance(getattr(model, "network_", None), SiameseNetwork)


def layers_of(model: Any, display: str) -> tuple[Sequence[Any], Sequence[Any]]:
    """Weights and offsets of `network_of`, or of scikit-learn's own networks.

    Raises
    ------
    NotFittedError
    TypeError
        If there are none; it names the display.
    """
    if hasattr(model, "coefs_") and not hasattr(type(model), "network"):
        return model.coefs_, model.intercepts_
    network = network_of(model, display)
    return network.coefs, network.intercepts


def dense(weights: Any) -> Array:
    """Weights as an array; connections that don't exist are 0."""
    whole = weights.toarray() if hasattr(weights, "toarray") else weights
    return np.asarray(whole, dtype=float)


def symmetric(*arrays: Array) -> float:
    """The largest magnitude: colours from −that to that put 0 in the middle."""
    largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    return largest or 1.0
