"""Observers of a fit, among them the one that prints a line after each epoch."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.network import Network

__all__ = ["EpochLines", "Observer", "caller_level", "epoch_line", "layer_norms"]

Array = NDArray[Any]


def caller_level() -> int:
    """Return the ``stacklevel`` with which a warning points at the user's line.

    It is the first line outside this package and scikit-learn, whose wrappers call `fit`.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in ("mlp", "sklearn"):
            break
        frame, level = frame.f_back, level + 1
    return level


class Observer:
    """Base class of objects that a `mlp.training.fit.Fit` notifies; it does nothing."""

    def fit_began(self, fit: Any) -> None:
        """Prepare, before the first epoch."""

    def epoch_ended(self, fit: Any) -> bool:
        """Read ``fit.history`` and ``fit.network``; return True to stop the fit."""
        return False

    def fit_ended(self, fit: Any) -> None:
        """Read the result; not called if the fit has raised an error."""


class EpochLines(Observer):
    """Observer of a fit that prints each epoch.

    Parameters
    ----------
    verbose : int
        Amount of output: 0 prints nothing; 1 prints the loss and the validation score, as
        scikit-learn does; 2 prints the gradient's norm, the learning rate and the speed on
        the same line.
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
    """Format an epoch as a line, which begins like that of scikit-learn's ``verbose=True``.

    Parameters
    ----------
    iteration : int
        Number of the epoch or iteration, counted from 1.
    loss : float
        Loss of the epoch.
    norms : ndarray of shape (n_layers,) or None
        Norms of the gradient by layer, if they are known.
    samples, seconds : int, float
        Number of samples that were trained on, and the time that it took.
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
    """Return the norm of the gradient in each layer's weights, offsets and scales."""
    layers = zip(*network.unpack(gradient.astype(np.float64)), strict=True)
    squares = [
        0.0 if frozen else sum(float((g * g).sum()) for g in layer if g is not None)
        for layer, frozen in zip(
            layers, network.spec.frozen or [False] * len(network.coefs), strict=True
        )
    ]
    norms: Array = np.sqrt(np.array(squares))
    return norms
