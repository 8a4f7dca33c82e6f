"""The table of learning-rate schedules: when the rate changes, and to what.

Scikit-learn's own schedules change the rate between epochs; the others change it with every
step (mini-batch).
"""

from collections.abc import Callable
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
#: scikit-learn's, which it applies to 'sgd' alone and ignores with other solvers
SGD_SCHEDULES = ("invscaling", "adaptive")


def schedule_of(learning_rate: Any, solver: str) -> Any:
    """The schedule in force: scikit-learn's own are ignored unless solver='sgd'."""
    of_sgd = isinstance(learning_rate, str) and learning_rate in SGD_SCHEDULES
    return "constant" if of_sgd and solver != "sgd" else learning_rate


class Decay(Feature):
    """A learning rate that falls with the epochs or steps; the base of its kinds."""

    def rates(self, initial: float, steps: Array, epochs: Array, horizon: int) -> Array:
        """The learning rate of each of n steps.

        Parameters
        ----------
        initial : float
            ``learning_rate_init``.
        steps : ndarray of shape (n,)
            Number of steps before each of these.
        epochs : ndarray of shape (n,)
            Number of epochs before each of these, with the fraction of the present one.
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
        Number of epochs between two drops.
    factor : float, default=0.5
        Factor of a drop, in (0, 1].

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
    """A learning rate that falls to 0 along half a period of a cosine, step by step.

    Parameters
    ----------
    epochs : int or None, default=None
        Number of epochs until 0 is reached; ``max_iter`` by default.

    Raises
    ------
    ValueError
        If it is not positive.

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
        If it is negative.

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
    """The step size μ of each step (mini-batch), as a run goes on.

    Parameters
    ----------
    kind : str, Decay or callable
        'constant'; 'invscaling': initial/(t+1)^power_t after t samples; 'adaptive': a fifth
        whenever progress stops; 'inverse_time': `InverseTimeDecay` with ``power_t``;
        'step': `StepDecay()`; 'cosine': `CosineDecay()`; a callable returns the rate for a
        number of steps done.
    initial : float
        The first step size.
    power_t : float, default=0.5
        Exponent of 'invscaling' and 'inverse_time'.
    horizon : int, default=200
        Largest number of epochs of the fit.
    rate : float
        Step size of the last step; before the first one and for the schedules that change
        between epochs, of the next.
    epochs : int, default=0
        Number of epochs done.
    """

    kind: str | Decay | Callable[[int], float]
    initial: float
    power_t: float = 0.5
    horizon: int = 200
    rate: float = field(default=0.0)
    epochs: int = 0

    #: 'adaptive' stops instead of going below this
    smallest = 1e-6

    def __post_init__(self) -> None:
        self.rate = self._asked(0) if callable(self.kind) else self.initial

    def rates(self, steps: int, n: int) -> Array:
        """The step sizes of the n steps of an epoch, after so many steps in all; one for
        all of them where it does not change within the epoch."""
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
        """Note that an epoch has made n steps, at the first of these rates."""
        self.rate = float(rates[min(max(n, 1), len(rates)) - 1])

    def epoch_ends(self, samples: int) -> None:
        """Set the rate of the next epoch, after so many samples in all."""
        self.epochs += 1
        if self.kind == "invscaling":
            self.rate = self.initial / (samples + 1) ** self.power_t

    def progress_stopped(self) -> bool:
        """React to a stop of progress; True if training should end."""
        if self.kind != "adaptive" or self.rate <= self.smallest:
            return True
        self.rate /= 5.0
        return False
