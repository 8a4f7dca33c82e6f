"""Training of a `SiameseNetwork` by mini-batches of pairs: optimizers and epochs."""

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp.network.siamese import SiameseNetwork
from mlp.training.minibatch import (
    LARGEST_PIECE,
    Optimizer,
    Penalties,
    first_order,
    next_order,
    steps_of_epoch,
)

__all__ = ["PairOptimizer", "PairRun"]

Array = NDArray[Any]


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

    def copy(self) -> "PairOptimizer":
        """Return the same solvers with copies of their states and one schedule."""
        other = PairOptimizer(self.each[0].copy())
        other.each = [other.each[0], *(memory.copy() for memory in self.each[1:])]
        for memory in other.each:
            memory.schedule = other.schedule
        return other

    def fits(self, network: SiameseNetwork) -> bool:
        """Whether each state is of as many parameters as its network has."""
        parts = zip(self.each, network.networks, strict=False)
        return all(memory.fits(part) for memory, part in parts)


class PairRun:
    """Epochs of a stochastic solver over pairs, as `StochasticRun` makes over samples.

    Parameters
    ----------
    network : SiameseNetwork
        The network, which is trained in place.
    data : _core.PairData
        The pairs.
    optimizer : PairOptimizer
        The solvers, which continue from their states.
    penalties : Penalties
        The penalties that are added to the loss.
    batch_size : int
        Number of pairs per batch.
    samples : ndarray of int64, optional
        Indices of the pairs to train on; None stands for all.
    shuffle : bool, default=True
        Whether each epoch takes the pairs in a new order.
    rng : RandomState
        Generator of each epoch's order.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        Whether an epoch takes every pair once, or draws each pair of each batch
        independently.
    n_threads : int, default=1
        Number of threads.
    with_norms : bool, default=False
        Whether to record the norms of the gradient, first of the branch's layers, then of
        the head's.
    """

    def __init__(
        self,
        network: SiameseNetwork,
        data: Any,
        optimizer: PairOptimizer,
        penalties: Penalties,
        *,
        batch_size: int,
        samples: Array | None = None,
        shuffle: bool = True,
        rng: RandomState,
        sampling: str = "shuffle",
        n_threads: int = 1,
        with_norms: bool = False,
    ) -> None:
        self.network, self.data, self.optimizer = network, data, optimizer
        self.batch_size, self.penalties = batch_size, penalties
        self.shuffle, self.sampling, self.rng = shuffle, sampling, rng
        self.n_samples = data.shape[0] if samples is None else len(samples)
        self.plan = network.plan()
        for plan, memory in zip(
            (self.plan.branch, self.plan.head), optimizer.each, strict=True
        ):
            if plan is not None:
                penalties.attach(plan)
                memory.attach(plan)
        at_once = min(batch_size, LARGEST_PIECE // 2)
        if network.spec.batch_norm:  # whole batches; the last may have one more pair
            at_once = batch_size + 1
        self.plan.allocate(at_once, n_threads, data.samples.sparse)
        self.gradient_norms = np.zeros(len(network.coefs)) if with_norms else None
        self.seconds = 0.0
        permuted = shuffle and sampling == "shuffle"
        self.order = first_order(samples, self.n_samples, shuffle=permuted)
        self.n_steps = steps_of_epoch(
            self.n_samples, batch_size, joins_last=bool(network.spec.batch_norm)
        )

    def epoch(self) -> float:
        """Train for an epoch; return the mean loss of the batches, with the penalties."""
        order = next_order(
            self.order,
            self.n_samples,
            self.rng,
            shuffle=self.shuffle,
            sampling=self.sampling,
        )
        schedule, steps = self.optimizer.schedule, self.plan.steps
        rates = schedule.rates(steps, self.n_steps)
        begun = perf_counter()
        try:
            return float(
                self.plan.epoch(
                    self.data, self.batch_size, order, rates, self.gradient_norms
                )
            )
        finally:
            schedule.used(rates, self.plan.steps - steps)
            for memory in self.optimizer.each:
                memory.steps = self.plan.steps
            self.seconds = perf_counter() - begun
