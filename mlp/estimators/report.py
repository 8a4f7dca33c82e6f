"""What a training run says of an epoch with ``verbose=2``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.network import Network

__all__ = ["epoch_line", "layer_norms"]

Array = NDArray[Any]


def epoch_line(
    iteration: int,
    loss: float,
    *,
    norms: Array | None,
    samples: int,
    seconds: float,
    rate: float | None = None,
    validation: tuple[float, float] | None = None,
) -> str:
    """One line; it begins as the line of scikit-learn's ``verbose=True`` does.

    Parameters
    ----------
    iteration : int
        Counted from 1.
    loss : float
    norms : ndarray of shape (n_layers,) or None
        Of the gradient, layer by layer, where they are known.
    samples, seconds : int, float
        How many samples were trained on, and in what time.
    rate : float, optional
        The learning rate, if the solver has one.
    validation : tuple of float, optional
        Loss and score on the validation samples.
    """
    parts = [f"Iteration {iteration}, loss = {loss:.8f}"]
    if validation is not None:
        parts.append("validation loss = {:.8f}, score = {:.6f}".format(*validation))
    if rate is not None:
        parts.append(f"learning rate = {rate:.3g}")
    if norms is not None:
        parts.append(f"gradient norm = {np.linalg.norm(norms):.3e}")
    parts.append(f"{samples / max(seconds, 1e-9):,.0f} samples/s")
    return ", ".join(parts)


def layer_norms(network: Network, gradient: Array) -> Array:
    """The norm of the gradient in each layer's weights, offsets and scales."""
    layers = zip(*network.unpack(gradient.astype(np.float64)), strict=True)
    squares = [
        0.0 if still else sum(float((g * g).sum()) for g in layer if g is not None)
        for layer, still in zip(
            layers, network.frozen or [False] * len(network.coefs), strict=True
        )
    ]
    norms: Array = np.sqrt(np.array(squares))
    return norms
