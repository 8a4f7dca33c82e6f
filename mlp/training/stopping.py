"""Stopping criteria, and the pocket that keeps the best parameters [S 65.94]."""

from dataclasses import dataclass, field
from typing import Any

from mlp.network.features import Feature
from mlp.network.network import Network

__all__ = ["EarlyStopping", "Pocket", "Progress", "Stopping"]


@dataclass(frozen=True, repr=False)
class EarlyStopping(Feature):
    """Validation after each epoch, and a stop when its score no longer improves.

    ``early_stopping=True`` stands for ``EarlyStopping()``.  As in scikit-learn, the
    estimator's ``n_iter_no_change``, ``tol`` and ``validation_fraction`` set when to stop
    and which part of the samples is held out.

    Parameters
    ----------
    scoring : str, callable or None, default=None
        Score that is monitored: the name of a scorer of scikit-learn, a scorer
        ``(estimator, X, y) -> float``, 'loss' for the negated validation loss, or None for
        the estimator's own score.
    restore_best : bool, default=True
        Whether the fit ends with the parameters of the best epoch.

    Raises
    ------
    ValueError
        If an argument is of another type.

    Examples
    --------
    >>> from mlp import EarlyStopping, MLPClassifier
    >>> MLPClassifier(early_stopping=EarlyStopping("loss")).early_stopping
    EarlyStopping('loss')
    """

    scoring: Any = None
    restore_best: bool = True

    def __post_init__(self) -> None:
        given = self.scoring
        if not (given is None or isinstance(given, str) or callable(given)):
            raise ValueError(
                "scoring of EarlyStopping must be None, a name or a callable, got "
                f"{given!r}"
            )
        if self.restore_best not in (True, False):
            raise ValueError(
                "restore_best of EarlyStopping must be True or False, got "
                f"{self.restore_best!r}"
            )

    @classmethod
    def of(cls, given: "bool | EarlyStopping") -> "EarlyStopping | None":
        """Convert a user's ``early_stopping`` to an object; None for False."""
        if isinstance(given, EarlyStopping):
            return given
        return cls() if given else None


@dataclass(frozen=True)
class Stopping:
    """When the epochs of a fit end.

    Attributes
    ----------
    max_epochs : int
        Largest number of epochs.
    tol : float
        Smallest improvement of the monitored value that counts as progress.
    patience : int
        Number of epochs in a row without progress after which the fit stops.
    early : bool
        Whether the validation score is monitored, instead of the training loss.
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
    """Counts the consecutive epochs that improved on the best value by less than `tol`.

    Attributes
    ----------
    tol : float
        Smallest improvement that counts as progress.
    best : float
        The largest value so far; losses are negated.
    stalled : int
        Number of consecutive epochs without progress.
    """

    tol: float
    best: float = float("-inf")
    stalled: int = 0

    def update(self, value: float) -> bool:
        """Record an epoch's value; return True if it is the best so far."""
        self.stalled = self.stalled + 1 if value < self.best + self.tol else 0
        improved = value > self.best
        if improved:
            self.best = value
        return improved


@dataclass
class Pocket:
    """Keeps the parameters and batch-norm statistics of the best validation score."""

    network: Network
    kept: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.network.snapshot()

    def keep(self) -> None:
        """Store the current state of the network."""
        self.network.snapshot(self.kept)

    def take_out(self) -> None:
        """Restore the stored state of the network."""
        self.network.restore(self.kept)
