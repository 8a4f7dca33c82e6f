"""Training of a `Network` by mini-batches: optimizers, penalties, and epochs.

One epoch is one call into the core; after each the caller may evaluate the network or stop.
"""

from copy import copy
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp import _core
from mlp.network.network import Network
from mlp.training.schedules import Schedule

__all__ = ["Optimizer", "Penalties", "StochasticRun"]

Array = NDArray[Any]

#: rows of a mini-batch that are in the workspace at once; larger batches are divided
LARGEST_PIECE = 4096


def first_order(samples: Array | None, n: int, *, shuffle: bool) -> Array | None:
    """Return the order that `next_order` takes for the first epoch.

    `samples` are the indices of the training samples; None stands for all n.
    """
    if not shuffle:
        return samples
    return np.arange(n, dtype=np.int64) if samples is None else samples.copy()


def next_order(
    order: Array | None, n: int, rng: RandomState, *, shuffle: bool, sampling: str
) -> Array | None:
    """Return the indices of an epoch's samples in their order.

    This permutes `order` in place, as scikit-learn does.  With sampling='replacement' it
    draws n of the indices independently and leaves `order` unchanged.
    """
    if sampling == "replacement":
        drawn = rng.randint(0, n, n, dtype=np.int64)
        return drawn if order is None else order[drawn]
    if shuffle and order is not None:
        rng.shuffle(order)
    return order


def steps_of_epoch(n: int, batch_size: int, *, joins_last: bool) -> int:
    """Return the number of mini-batches of n samples.

    With `joins_last` (batch norm) a last batch of one sample joins the batch before it.
    """
    return -(-n // batch_size) - int(
        joins_last and n > batch_size > 1 == n % batch_size
    )


@dataclass(frozen=True)
class Penalties:
    """(alpha/2)‖W‖²/Σweights of the batch + l2‖W‖² + l1‖W‖₁ [S 65.45, P65.15].

    With ``l1_method='proximal'`` solvers apply l1‖W‖₁ by soft thresholding, which makes
    weights exactly 0; with 'subgradient' it is part of the gradient.
    """

    alpha: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    l2_bias: bool = False
    l1_method: str = "subgradient"

    def attach(self, plan: Any) -> None:
        """Set the penalties of a plan."""
        plan.set_penalties(
            self.alpha, self.l2, self.l1, self.l2_bias, self.l1_method == "proximal"
        )

    def full_batch(self, network: Network, weight_sum: float) -> tuple[float, Array]:
        """Return value and (sub)gradient of the penalty over all samples."""
        params = network.params
        gradient = np.zeros_like(params)
        strength = self.alpha / weight_sum + 2 * self.l2
        value = 0.0
        # centres and widths of radial basis functions are not penalised
        for kind, first, n in network.spans():
            where = slice(first, first + n)
            part = params[where]
            if kind == "weights":
                value += strength / 2 * float(part @ part)
                gradient[where] = strength * part
            if kind == "weights" and self.l1:
                value += self.l1 * float(np.abs(part).sum())
                gradient[where] += self.l1 * np.sign(part)
            if kind == "biases" and self.l2_bias:
                value += self.l2 * float(part @ part)
                gradient[where] = 2 * self.l2 * part
        return value, gradient


@dataclass
class Optimizer:
    """Constants and state of a stochastic solver.

    Attributes
    ----------
    solver : str
        Name of the solver, a key of `mlp.training.optimizers.STOCHASTIC_SOLVERS`.
    schedule : Schedule
        Schedule of the learning rate.
    steps : int
        Number of updates so far.
    moment_1, moment_2 : ndarray of shape (n_params,) or None
        The velocity of 'sgd', or the two moving averages of 'adam' and 'adamw'.
    """

    solver: str
    schedule: Schedule
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: tuple[float, float] = (0.9, 0.9)
    beta_2: tuple[float, float] = (0.999, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0
    steps: int = 0
    moment_1: Array | None = None
    moment_2: Array | None = None

    @property
    def core(self) -> str:
        """Name of the update rule in the core."""
        if self.solver != "sgd":
            return self.solver
        if self.momentum == 0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    def copy(self) -> "Optimizer":
        """Return the same solver with a copy of its state."""
        moments = (self.moment_1, self.moment_2)
        first, second = (None if m is None else m.copy() for m in moments)
        return replace(
            self, schedule=copy(self.schedule), moment_1=first, moment_2=second
        )

    def fits(self, network: Network) -> bool:
        """Whether the state is of as many parameters as the network has."""
        return self.moment_1 is None or self.moment_1.shape == network.params.shape

    def attach(self, plan: Any) -> None:
        """Set the solver of a plan, with these constants and moments."""
        plan.set_solver(
            _core.SOLVER_CODES[self.core],
            momentum=self.momentum,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            decay=self.weight_decay,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            moment_1=self.moment_1,
            moment_2=self.moment_2,
            steps=self.steps,
        )
        self.moment_1, self.moment_2 = plan.moment_1, plan.moment_2


class StochasticRun:
    """Epochs of a stochastic solver over one set of samples.

    Parameters
    ----------
    network : Network
        The network, which is trained in place.
    data : _core.Data
        The samples.
    optimizer : Optimizer
        The solver, which continues from its state.
    penalties : Penalties
        The penalties that are added to the loss.
    batch_size : int
        Number of samples per batch.
    samples : ndarray of int64, optional
        Indices of the samples to train on; None stands for all.
    shuffle : bool, default=True
        Whether each epoch takes the samples in a new order.
    rng : RandomState
        Generator of each epoch's order, which is drawn as in scikit-learn.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        Whether an epoch takes every sample once, or draws each sample of each batch
        independently.
    n_threads : int, default=1
        Number of threads.
    augment : callable, optional
        Function ``X_batch -> X_batch`` that is called for every batch.
    with_norms : bool, default=False
        Whether to record the norms of the gradient.

    Attributes
    ----------
    order : ndarray of int64 or None
        The samples in the order of the last epoch, which the next one permutes; with
        replacement the samples that every epoch draws from.
    seconds : float
        Duration of the last epoch.
    gradient_norms : ndarray of shape (n_layers,) or None
        Norm of the gradient in each layer's weights, offsets and scales, in the last batch
        of the last epoch; of its mean loss, without penalties and before clipping.
    """

    def __init__(
        self,
        network: Any,
        data: Any,
        optimizer: Any,
        penalties: Penalties,
        *,
        batch_size: int,
        samples: Array | None = None,
        shuffle: bool = True,
        rng: RandomState,
        sampling: str = "shuffle",
        n_threads: int = 1,
        augment: Any = None,
        with_norms: bool = False,
    ) -> None:
        self.network, self.data, self.optimizer = network, data, optimizer
        self.batch_size, self.penalties = batch_size, penalties
        self.shuffle, self.sampling, self.rng = shuffle, sampling, rng
        self.n_samples = data.shape[0] if samples is None else len(samples)
        joins_last = network.spec.batch_norm is not None
        rows = min(batch_size, LARGEST_PIECE)
        if joins_last:  # whole batches; the last may have one more sample
            rows = batch_size + 1
        self.plan = self._new_plan(rows, n_threads, augment)
        permuted = shuffle and sampling == "shuffle"
        self.order = first_order(samples, self.n_samples, shuffle=permuted)
        self.n_steps = steps_of_epoch(self.n_samples, batch_size, joins_last=joins_last)
        self.seconds = 0.0
        self.gradient_norms = np.zeros(len(network.coefs)) if with_norms else None

    def _new_plan(self, rows: int, n_threads: int, augment: Any) -> Any:
        """Make the plan that trains, with a workspace for `rows` samples at once."""
        plan = self.network.plan(augment=augment)
        self.penalties.attach(plan)
        self.optimizer.attach(plan)
        plan.allocate(rows, n_threads, self.data.sparse)
        return plan

    def _noise(self) -> dict[str, Any]:
        """Draw the seed of the masks of an epoch, as an argument of ``Plan.epoch``."""
        spec, seed = self.network.spec, 0
        if spec.corruption or spec.dropout is not None:
            seed = int(self.rng.randint(2**31)) << 31 | int(self.rng.randint(2**31))
        return {"seed": seed}

    def epoch(self) -> float:
        """Train for an epoch; return the mean loss of the batches, with the penalties."""
        order = next_order(
            self.order,
            self.n_samples,
            self.rng,
            shuffle=self.shuffle,
            sampling=self.sampling,
        )
        noise = self._noise()
        schedule, steps = self.optimizer.schedule, self.plan.steps
        rates = schedule.rates(steps, self.n_steps)
        begun = perf_counter()
        try:
            loss = self.plan.epoch(
                self.data,
                self.batch_size,
                order,
                rates,
                gradient_norms=self.gradient_norms,
                **noise,
            )
            return float(loss)
        finally:
            self.optimizer.steps = self.plan.steps
            schedule.used(rates, self.plan.steps - steps)
            self.seconds = perf_counter() - begun
