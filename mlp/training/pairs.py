"""Training of a `SiameseNetwork` by mini-batches of pairs: optimizers and epochs."""

from dataclasses import replace
from typing import Any

from mlp.network.siamese import SiameseNetwork
from mlp.training.minibatch import LARGEST_PIECE, Optimizer, StochasticRun

__all__ = ["PairOptimizer", "PairRun"]


class PairOptimizer:
    """An `Optimizer` for each of the two networks, with a common schedule.

    Attributes
    ----------
    schedule : Schedule
        Schedule of the learning rate.
    each : list of Optimizer
        The optimizer of the branch, and that of the head.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.schedule = optimizer.schedule
        self.each = [optimizer, replace(optimizer)]

    @property
    def steps(self) -> int:
        """Number of updates made so far; both optimizers have made the same."""
        return self.each[0].steps

    @steps.setter
    def steps(self, steps: int) -> None:
        for optimizer in self.each:
            optimizer.steps = steps

    def copy(self) -> "PairOptimizer":
        """Return the same solvers with copies of their states and one schedule."""
        other = PairOptimizer(self.each[0].copy())
        other.each = [other.each[0], *(optimizer.copy() for optimizer in self.each[1:])]
        for optimizer in other.each:
            optimizer.schedule = other.schedule
        return other

    def fits(self, network: SiameseNetwork) -> bool:
        """Whether each state is of as many parameters as its network has."""
        parts = zip(self.each, network.networks, strict=False)
        return all(optimizer.fits(part) for optimizer, part in parts)

    def attach(self, plan: Any) -> None:
        """Set the solvers of the two plans of a `_core.PairPlan`."""
        for optimizer, part in zip(self.each, (plan.branch, plan.head), strict=True):
            if part is not None:
                optimizer.attach(part)


class PairRun(StochasticRun):
    """Epochs of a stochastic solver over pairs: a `StochasticRun` whose samples are pairs.

    The network is a `SiameseNetwork`, the data are `_core.PairData`, and the optimizer is
    a `PairOptimizer`.  ``gradient_norms`` has the branch's layers, then the head's.  There
    is no `augment`.
    """

    def _new_plan(self, rows: int, n_threads: int, augment: Any) -> Any:
        plan = self.network.plan()
        for part in (plan.branch, plan.head):
            if part is not None:
                self.penalties.attach(part)
        self.optimizer.attach(plan)
        if not self.network.spec.batch_norm:  # a pair is two rows of the branch
            rows = min(rows, LARGEST_PIECE // 2)
        plan.allocate(rows, n_threads, self.data.samples.sparse)
        return plan

    def _noise(self) -> dict[str, Any]:
        return {}  # neither network has dropout or corrupted inputs
