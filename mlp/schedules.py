"""The table of learning-rate schedules: when the rate changes, and to what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, isfinite, pi
from numbers import Real
from typing import Any

__all__ = ["SCHEDULES", "SGD_SCHEDULES", "Schedule", "schedule_of"]

#: names that `learning_rate` takes; a callable ``epoch -> rate`` is legal too
SCHEDULES = ("constant", "invscaling", "adaptive", "step", "cosine")
#: scikit-learn's, which it applies to 'sgd' alone and ignores with other solvers
SGD_SCHEDULES = ("invscaling", "adaptive")


def schedule_of(learning_rate: Any, solver: str) -> Any:
    """The schedule in force: scikit-learn's own are ignored unless solver='sgd'."""
    of_sgd = isinstance(learning_rate, str) and learning_rate in SGD_SCHEDULES
    return "constant" if of_sgd and solver != "sgd" else learning_rate


@dataclass
class Schedule:
    """The step size μ of each epoch.

    'constant'; 'invscaling': μ₀/(t+1)^power_t after t samples; 'adaptive': μ/5 whenever
    progress stops; 'step': μ₀·drop^⌊epoch/every⌋; 'cosine': from μ₀ to 0 over `horizon`
    epochs; a callable is asked with the number of epochs done.

    Attributes
    ----------
    rate : float
        The step size in force.
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
        self.rate = self.initial
        self._set_rate(0)

    def epoch_ends(self, samples: int) -> None:
        """Set the rate of the next epoch, after so many samples in all."""
        self.epochs += 1
        self._set_rate(samples)

    def _set_rate(self, samples: int) -> None:
        epochs = self.epochs
        if callable(self.kind):
            rate = self.kind(epochs)
            if not (isinstance(rate, Real) and isfinite(rate) and rate >= 0):
                raise ValueError(
                    f"learning_rate({epochs}) returned {rate}; it must be finite and >= 0"
                )
            self.rate = float(rate)
        elif self.kind == "invscaling" and samples:
            self.rate = self.initial / (samples + 1) ** self.power_t
        elif self.kind == "step":
            self.rate = self.initial * self.step_drop ** (epochs // self.step_every)
        elif self.kind == "cosine":
            done = min(1.0, epochs / self.horizon)
            self.rate = self.initial * (1 + cos(pi * done)) / 2

    def progress_stopped(self) -> bool:
        """React to a stop of progress; True if training should end."""
        if self.kind != "adaptive" or self.rate <= self.smallest:
            return True
        self.rate /= 5.0
        return False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()
