"""The table of learning-rate schedules: when the rate changes, and to what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCHEDULES", "SGD_SCHEDULES", "Schedule", "schedule_of"]

#: names that `learning_rate` takes; a callable ``steps done -> rate`` is legal too
SCHEDULES = ("constant", "invscaling", "adaptive", "inverse_time", "step", "cosine")
#: scikit-learn's, which it applies to 'sgd' alone and ignores with other solvers
SGD_SCHEDULES = ("invscaling", "adaptive")


def schedule_of(learning_rate: Any, solver: str) -> Any:
    """The schedule in force: scikit-learn's own are ignored unless solver='sgd'."""
    of_sgd = isinstance(learning_rate, str) and learning_rate in SGD_SCHEDULES
    return "constant" if of_sgd and solver != "sgd" else learning_rate


@dataclass
class Schedule:
    """The step size μ of each step (mini-batch).

    Scikit-learn's schedules change the rate between epochs: 'constant'; 'invscaling':
    μ₀/(t+1)^power_t after t samples; 'adaptive': μ/5 whenever progress stops.  Of the
    others, 'inverse_time' is μ₀/(k+1)^power_t after k steps [B]; 'cosine' goes from μ₀ to
    0 over `horizon` epochs, step by step; 'step' is μ₀·drop^⌊epoch/every⌋; a callable is
    asked with the number of steps done.

    Attributes
    ----------
    rate : float
        The step size of the last step; before the first one and for the schedules that
        change between epochs, of the next.
    epochs : int
        Epochs done.
    """

    kind: str | Callable[[int], float]
    initial: float
    power_t: float = 0.5
    step_every: int = 10
    step_drop: float = 0.5
    horizon: int = 200
    rate: float = field(default=0.0)
    epochs: int = 0

    #: 'adaptive' stops instead of going below this
    smallest = 1e-6

    def __post_init__(self) -> None:
        self.rate = self._asked(0) if callable(self.kind) else self.initial

    def rates(self, steps: int, n: int) -> NDArray[np.float64]:
        """The step sizes of the n steps of an epoch, after so many steps in all; one for
        all of them where it does not change within the epoch."""
        if callable(self.kind):
            return np.array([self._asked(k) for k in range(steps, steps + n)])
        if self.kind == "inverse_time":
            return self.initial / np.arange(steps + 1.0, steps + n + 1) ** self.power_t
        if self.kind == "cosine":
            done = np.minimum((self.epochs + np.arange(n) / n) / self.horizon, 1.0)
            return self.initial * (1 + np.cos(np.pi * done)) / 2
        return np.array([self.rate])

    def _asked(self, step: int) -> float:
        rate: Any = self.kind(step)  # type: ignore[operator]
        if not (isinstance(rate, Real) and isfinite(rate) and float(rate) >= 0):
            raise ValueError(
                f"learning_rate({step}) returned {rate}; it must be finite and >= 0"
            )
        return float(rate)

    def used(self, rates: NDArray[np.float64], n: int) -> None:
        """Note that an epoch has made n steps, at the first of these rates."""
        self.rate = float(rates[min(max(n, 1), len(rates)) - 1])

    def epoch_ends(self, samples: int) -> None:
        """Set the rate of the next epoch, after so many samples in all."""
        self.epochs += 1
        if self.kind == "invscaling":
            self.rate = self.initial / (samples + 1) ** self.power_t
        elif self.kind == "step":
            drops = self.epochs // self.step_every
            self.rate = self.initial * self.step_drop**drops

    def progress_stopped(self) -> bool:
        """React to a stop of progress; True if training should end."""
        if self.kind != "adaptive" or self.rate <= self.smallest:
            return True
        self.rate /= 5.0
        return False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()
