"""Schedules of the learning rate.

Scikit-learn's own schedules change the rate between epochs; the others change it with every
step (mini-batch).
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.features import Feature

__all__ = [
    "SCHEDULES",
    "SGD_SCHEDULES",
    "CosineDecay",
    "Decay",
    "InverseTimeDecay",
    "Schedule",
    "StepDecay",
    "schedule_of",
]

Array = NDArray[np.float64]

#: names that `learning_rate` takes; a `Decay` or a callable ``steps done -> rate`` is legal
#: too
SCHEDULES = ("constant", "invscaling", "adaptive", "inverse_time", "step", "cosine")
#: scikit-learn's own, which it applies to 'sgd' and ignores with other solvers
SGD_SCHEDULES = ("invscaling", "adaptive")


def schedule_of(learning_rate: Any, solver: str) -> Any:
    """Return the schedule in effect: scikit-learn's own need solver='sgd'."""
    if isinstance(learning_rate, Decay):
        return copy(learning_rate)  # a later change of the user's object has no effect
    of_sgd = isinstance(learning_rate, str) and learning_rate in SGD_SCHEDULES
    return "constant" if of_sgd and solver != "sgd" else learning_rate


class Decay(Feature):
    """Base class of learning rates that fall with the number of epochs or steps."""

    def rates(self, initial: float, steps: Array, epochs: Array, horizon: int) -> Array:
        """Return the learning rate of each of n steps.

        Parameters
        ----------
        initial : float
            Initial learning rate, ``learning_rate_init``.
        steps : ndarray of shape (n,)
            Number of steps before each step.
        epochs : ndarray of shape (n,)
            Number of epochs before each step, with the fraction of the current one.
        horizon : int
            Largest number of epochs of the fit.

        Returns
        -------
        ndarray of shape (n,)
        """
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class StepDecay(Decay):
    """A learning rate that is multiplied by `factor` after every few epochs.

    Parameters
    ----------
    every : int, default=10
        Number of epochs after which the rate is multiplied by `factor`.
    factor : float, default=0.5
        Factor of the rate, in (0, 1].

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from mlp import MLPClassifier, StepDecay
    >>> MLPClassifier(learning_rate=StepDecay(30, 0.1)).learning_rate
    StepDecay(30, factor=0.1)
    """

    every: int = 10
    factor: float = 0.5

    def __post_init__(self) -> None:
        if not (isinstance(self.every, Integral) and self.every > 0):
            raise ValueError(
                f"every of StepDecay must be an integer > 0, got {self.every!r}"
            )
        if not (isinstance(self.factor, Real) and 0 < self.factor <= 1):
            raise ValueError(
                f"factor of StepDecay must lie in (0, 1], got {self.factor!r}"
            )

    def rates(self, initial: float, steps: Array, epochs: Array, horizon: int) -> Array:
        """initial·factor^⌊epoch/every⌋; see `Decay.rates`."""
        drops = epochs.astype(np.int64) // int(self.every)
        factors = [self.factor ** int(n) for n in drops]
        return initial * np.array(factors)


@dataclass(frozen=True, repr=False)
class CosineDecay(Decay):
    """A learning rate that falls to 0 in every step, along half a period of a cosine.

    Parameters
    ----------
    epochs : int or None, default=None
        Number of epochs after which the rate is 0; None stands for ``max_iter``.

    Raises
    ------
    ValueError
        If `epochs` is not a positive integer.

    Examples
    --------
    >>> from mlp import CosineDecay, MLPClassifier
    >>> MLPClassifier(learning_rate=CosineDecay(50), max_iter=60).learning_rate
    CosineDecay(50)
    """

    epochs: int | None = None

    def __post_init__(self) -> None:
        given = self.epochs
        if given is not None and not (isinstance(given, Integral) and given > 0):
            raise ValueError(
                f"epochs of CosineDecay must be None or an integer > 0, got {given!r}"
            )

    def rates(self, initial: float, steps: Array, epochs: Array, horizon: int) -> Array:
        """initial·(1 + cos(π·epoch/epochs))/2; see `Decay.rates`."""
        done = np.minimum(epochs / (self.epochs or horizon), 1.0)
        return initial * (1 + np.cos(np.pi * done)) / 2


@dataclass(frozen=True, repr=False)
class InverseTimeDecay(Decay):
    """A learning rate that falls as a power of the number of steps [B].

    Parameters
    ----------
    power : float, default=1.0
        Exponent p ≥ 0 of initial/(k + 1)^p after k steps.

    Raises
    ------
    ValueError
        If `power` is not a number >= 0.

    Examples
    --------
    >>> from mlp import InverseTimeDecay, MLPRegressor
    >>> MLPRegressor(solver="sgd", learning_rate=InverseTimeDecay(0.5)).learning_rate
    InverseTimeDecay(0.5)
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.power, Real) and self.power >= 0):
            raise ValueError(
                f"power of InverseTimeDecay must be a number >= 0, got {self.power!r}"
            )

    def rates(self, initial: float, steps: Array, epochs: Array, horizon: int) -> Array:
        """initial/(k + 1)^power after k steps; see `Decay.rates`."""
        return initial / (steps + 1.0) ** self.power


@dataclass
class Schedule:
    """The step size μ of each step (mini-batch) of a fit.

    Parameters
    ----------
    kind : str, Decay or callable
        Kind of the schedule: 'constant'; 'invscaling', which is initial/(t+1)^power_t after
        t samples; 'adaptive', which is divided by 5 whenever progress stops;
        'inverse_time', for `InverseTimeDecay` with ``power_t``; 'step', for `StepDecay()`;
        'cosine', for `CosineDecay()`; a `Decay`; or a function ``steps done -> rate``.
    initial : float
        The first step size.
    power_t : float, default=0.5
        Exponent of 'invscaling' and 'inverse_time'.
    horizon : int, default=200
        Largest number of epochs of the fit.
    rate : float
        Step size of the last step.  Before the first step, and with schedules that change
        between epochs, it is that of the next step.
    epochs : int, default=0
        Number of epochs done.
    """

    kind: str | Decay | Callable[[int], float]
    initial: float
    power_t: float = 0.5
    horizon: int = 200
    rate: float = field(default=0.0)
    epochs: int = 0

    #: rate at or below which 'adaptive' ends the fit instead of reducing the rate
    smallest = 1e-6

    def __post_init__(self) -> None:
        self.rate = self._asked(0) if callable(self.kind) else self.initial

    def rates(self, steps: int, n: int) -> Array:
        """Return the step sizes of the n steps of an epoch, or one for all of them.

        `steps` is the number of steps before the epoch.
        """
        if callable(self.kind):
            return np.array([self._asked(k) for k in range(steps, steps + n)])
        decay = self._decay()
        if decay is None:
            return np.array([self.rate])
        parts = np.arange(float(n))
        return decay.rates(
            self.initial, steps + parts, self.epochs + parts / n, self.horizon
        )

    def _decay(self) -> Decay | None:
        if isinstance(self.kind, Decay):
            return self.kind
        named = {
            "inverse_time": InverseTimeDecay(self.power_t),
            "step": StepDecay(),
            "cosine": CosineDecay(),
        }
        return named.get(self.kind) if isinstance(self.kind, str) else None

    def _asked(self, step: int) -> float:
        rate: Any = self.kind(step)  # type: ignore[operator]
        if not (isinstance(rate, Real) and isfinite(rate) and float(rate) >= 0):
            raise ValueError(
                f"learning_rate({step}) returned {rate}; it must be finite and >= 0"
            )
        return float(rate)

    def used(self, rates: Array, n: int) -> None:
        """Record that an epoch has made n steps, with the first n of these rates."""
        self.rate = float(rates[min(max(n, 1), len(rates)) - 1])

    def epoch_ends(self, samples: int) -> None:
        """Set the rate of the next epoch; `samples` have been visited so far."""
        self.epochs += 1
        if self.kind == "invscaling":
            self.rate = self.initial / (samples + 1) ** self.power_t

    def progress_stopped(self) -> bool:
        """Change the rate when progress stops; return True if training should end."""
        if self.kind != "adaptive" or self.rate <= self.smallest:
            return True
        self.rate /= 5.0
        return False
