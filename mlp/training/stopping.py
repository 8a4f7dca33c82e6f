"""When to stop, and what to go back to: progress by epochs and the pocket [S 65.94]."""

from dataclasses import dataclass, field
from typing import Any

from mlp.network.network import Network

__all__ = ["Pocket", "Progress", "Stopping"]


@dataclass(frozen=True)
class Stopping:
    """When the epochs of a fit end.

    Attributes
    ----------
    max_epochs : int
        Largest number of epochs.
    tol : float
        Smallest improvement of the watched value that counts as progress.
    patience : int
        Number of epochs in a row without progress after which the fit stops.
    early : bool
        Whether the validation score is watched, instead of the training loss.
    restore_best : bool
        Whether an `early` fit ends with the parameters of the best score.
    """

    max_epochs: int = 200
    tol: float = 1e-4
    patience: int = 10
    early: bool = False
    restore_best: bool = True


@dataclass
class Progress:
    """Counts the epochs in a row that improved on the best value by less than `tol`.

    Attributes
    ----------
    tol : float
    best : float
        The largest value so far; losses are given negated.
    stalled : int
    """

    tol: float
    best: float = float("-inf")
    stalled: int = 0

    def update(self, value: float) -> bool:
        """Take an epoch's value in; True if it is the best so far."""
        self.stalled = self.stalled + 1 if value < self.best + self.tol else 0
        improved = value > self.best
        if improved:
            self.best = value
        return improved


@dataclass
class Pocket:
    """The parameters and batch-norm statistics that did best on validation samples."""

    network: Network
    kept: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.network.snapshot()

    def keep(self) -> None:
        """Put the present state into the pocket."""
        self.network.snapshot(self.kept)

    def take_out(self) -> None:
        """Go back to what is in the pocket."""
        self.network.restore(self.kept)
