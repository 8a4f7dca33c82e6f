"""Training a `SiameseNetwork` by mini-batches of pairs: solvers’ memory, and epochs."""

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
    """An `Optimizer` for each of the two networks, by one schedule.

    Attributes
    ----------
    schedule : Schedule
    each : list of Optimizer
        The twin's, the head's.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.schedule = optimizer.schedule
        self.each = [optimizer, replace(optimizer)]

    def copy(self) -> "PairOptimizer":
        """The same solvers with copies of their memory, by one schedule."""
        other = PairOptimizer(self.each[0].copy())
        other.each = [other.each[0], *(memory.copy() for memory in self.each[1:])]
        for memory in other.each:
            memory.schedule = other.schedule
        return other

    def fits(self, network: SiameseNetwork) -> bool:
        """Whether what it remembers is of the networks' parameters."""
        parts = zip(self.each, network.networks, strict=False)
        return all(memory.fits(part) for memory, part in parts)


class PairRun:
    """Epochs of a stochastic solver over pairs: what `StochasticRun` is for samples.

    Parameters
    ----------
    network : SiameseNetwork
        Trained in place.
    data : _core.PairData
    optimizer : PairOptimizer
        Goes on from what it remembers.
    penalties : Penalties
    batch_size : int
        Pairs in a batch.
    samples : ndarray of int64, optional
        The pairs to train on; all of them if None.
    shuffle : bool
    rng : RandomState
        Draws each epoch's order.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        'replacement' draws each pair of each batch independently.
    n_threads : int
    with_norms : bool, default=False
        Note the norms of the gradient, of the twin's layers and then of the head's.
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
        self.batch_size = batch_size
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
        if (
            network.spec.batch_norm
        ):  # all of a batch at once, and one that joins the last
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
        """Train on every pair once; the mean loss of the batches, penalties included."""
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
