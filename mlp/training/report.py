"""Observers of a fit, and the lines that one of them prints after each epoch."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.network import Network

__all__ = ["EpochLines", "Observer", "caller_level", "epoch_line", "layer_norms"]

Array = NDArray[Any]


def caller_level() -> int:
    """The ``stacklevel`` with which a warning points at the user's line: the first one that
    is neither of this package nor of scikit-learn, whose wrappers call `fit`."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in ("mlp", "sklearn"):
            break
        frame, level = frame.f_back, level + 1
    return level


class Observer:
    """Is notified by a `mlp.training.fit.Fit`; this base class does nothing."""

    def fit_began(self, fit: Any) -> None:
        """Prepare, before the first epoch."""

    def epoch_ended(self, fit: Any) -> bool:
        """Look at ``fit.history`` and ``fit.network``; return True to stop the fit."""
        return False

    def fit_ended(self, fit: Any) -> None:
        """Look at the result; not called if the fit has raised an error."""


class EpochLines(Observer):
    """Observer of a fit that prints each epoch.

    Parameters
    ----------
    verbose : int
        0 prints nothing; 1 prints the loss and the validation score, as scikit-learn does;
        2 prints one line with the gradient's norm, the learning rate and the speed too.
    """

    def __init__(self, verbose: int) -> None:
        self.verbose = int(verbose)

    def epoch_ended(self, fit: Any) -> bool:
        """Print the epoch; never stops the fit."""
        if self.verbose > 0:
            self._print(fit, fit.history)
        if self.verbose > 0 and fit.message:
            print(fit.message)
        return False

    def _print(self, fit: Any, history: Any) -> None:
        scores = history.validation_scores
        if self.verbose == 1:
            print(f"Iteration {history.epochs}, loss = {history.loss:.8f}")
            if scores:
                print(f"Validation score: {scores[-1]:f}")
            return
        print(
            epoch_line(
                history.epochs,
                history.loss,
                norms=fit.norms,
                samples=fit.samples,
                seconds=fit.seconds,
                rate=fit.rate,
                validation=(history.validation_losses[-1], scores[-1])
                if scores
                else None,
            )
        )


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
            layers, network.spec.frozen or [False] * len(network.coefs), strict=True
        )
    ]
    norms: Array = np.sqrt(np.array(squares))
    return norms
