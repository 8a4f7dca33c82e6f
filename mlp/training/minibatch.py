"""Training a `Network` by mini-batches: a solver's memory, and epochs.

One epoch is one call into the core; between two of them the caller may look, score, stop.
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

#: rows of a mini-batch that are in the workspace at once; larger batches go in pieces
LARGEST_PIECE = 4096


def first_order(samples: Array | None, n: int, *, shuffle: bool) -> Array | None:
    """What `next_order` makes the first epoch's order from; `samples` names those to train
    on, all n if None."""
    if not shuffle:
        return samples
    return np.arange(n, dtype=np.int64) if samples is None else samples.copy()


def next_order(
    order: Array | None, n: int, rng: RandomState, *, shuffle: bool, sampling: str
) -> Array | None:
    """The samples that an epoch takes, in their order.

    Permutes `order` in place, as scikit-learn does; with sampling='replacement' draws n of
    them independently and leaves `order` as it is.
    """
    if sampling == "replacement":
        drawn = rng.randint(0, n, n, dtype=np.int64)
        return drawn if order is None else order[drawn]
    if shuffle and order is not None:
        rng.shuffle(order)
    return order


def steps_of_epoch(n: int, batch_size: int, *, joins_last: bool) -> int:
    """Mini-batches of n samples; with batch norm a last one of one sample joins the one
    before it."""
    return -(-n // batch_size) - int(
        joins_last and n > batch_size > 1 == n % batch_size
    )


@dataclass(frozen=True)
class Penalties:
    """(alpha/2)‖W‖²/Σweights of the batch + l2‖W‖² + l1‖W‖₁ [S 65.45, P65.15].

    With `l1_method` 'proximal' the solvers meet l1‖W‖₁ by soft thresholds, which make
    weights exactly 0; with 'subgradient' it is part of the gradient.
    """

    alpha: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    l2_bias: bool = False
    l1_method: str = "subgradient"

    def attach(self, plan: Any) -> None:
        """Let `plan` train with these penalties."""
        plan.set_penalties(
            self.alpha, self.l2, self.l1, self.l2_bias, self.l1_method == "proximal"
        )

    def full_batch(self, network: Network, weight_sum: float) -> tuple[float, Array]:
        """Value and (sub)gradient over all samples, in the parameters."""
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
    """A stochastic solver's constants, and what it remembers between steps.

    Attributes
    ----------
    solver : str
        A key of `mlp.training.optimizers.STOCHASTIC_SOLVERS`.
    schedule : Schedule
    steps : int
        Updates made so far.
    moment_1, moment_2 : ndarray of shape (n_params,) or None
        The velocity, or Adam's two averages.
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
    def kernel(self) -> str:
        """The core's name of the update."""
        if self.solver != "sgd":
            return self.solver
        if self.momentum == 0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    def copy(self) -> "Optimizer":
        """The same solver with copies of its memory."""
        moments = (self.moment_1, self.moment_2)
        first, second = (None if m is None else m.copy() for m in moments)
        return replace(
            self, schedule=copy(self.schedule), moment_1=first, moment_2=second
        )

    def fits(self, network: Network) -> bool:
        """Whether what it remembers is of as many parameters as are now trained."""
        return self.moment_1 is None or self.moment_1.shape == network.params.shape

    def attach(self, plan: Any) -> None:
        """Let `plan` update with these constants, on these moments."""
        plan.set_solver(
            _core.SOLVER_CODES[self.kernel],
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
        Trained in place.
    data : _core.Data
    optimizer : Optimizer
        Goes on from what it remembers.
    penalties : Penalties
    batch_size : int
    samples : ndarray of int64, optional
        The samples to train on; all of them if None.
    shuffle : bool, default=True
    rng : RandomState
        Draws each epoch's order as scikit-learn does.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        'replacement' draws each sample of each batch independently.
    n_threads : int, default=1
    augment : callable, optional
        ``X_batch -> X_batch``, called for every batch.
    with_norms : bool, default=False
        Whether to note the norms of the gradient.

    Attributes
    ----------
    order : ndarray of int64 or None
        The samples in the order of the last epoch, which the next one permutes; with
        replacement those that all epochs draw from.
    seconds : float
        What the last epoch took.
    gradient_norms : ndarray of shape (n_layers,) or None
        Norm of the gradient in each layer's weights, offsets and scales, of the last
        epoch's last batch; of its mean loss, without penalties and before clipping.
    """

    def __init__(
        self,
        network: Network,
        data: Any,
        optimizer: Optimizer,
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
        self.data, self.optimizer, self.batch_size = data, optimizer, batch_size
        self.shuffle, self.sampling, self.rng = shuffle, sampling, rng
        self.n_samples = data.shape[0] if samples is None else len(samples)
        self.network = network
        self.plan = network.plan(augment=augment)
        penalties.attach(self.plan)
        optimizer.attach(self.plan)
        rows = min(batch_size, LARGEST_PIECE)
        if (
            network.spec.batch_norm
        ):  # all of a batch at once, and one that joins the last
            rows = batch_size + 1
        self.plan.allocate(rows, n_threads, data.sparse)
        permuted = shuffle and sampling == "shuffle"
        self.order = first_order(samples, self.n_samples, shuffle=permuted)
        self.n_steps = steps_of_epoch(
            self.n_samples, batch_size, joins_last=bool(network.spec.batch_norm)
        )
        self.seconds = 0.0
        self.gradient_norms = np.zeros(len(network.coefs)) if with_norms else None

    def epoch(self) -> float:
        """Train on every sample once; the mean loss of the batches, penalties included."""
        order = next_order(
            self.order,
            self.n_samples,
            self.rng,
            shuffle=self.shuffle,
            sampling=self.sampling,
        )
        seed = 0
        network = self.network
        if network.spec.corruption or network.spec.dropout:
            seed = int(self.rng.randint(2**31)) << 31 | int(self.rng.randint(2**31))
        schedule, steps = self.optimizer.schedule, self.optimizer.steps
        rates = schedule.rates(steps, self.n_steps)
        norms, begun = self.gradient_norms, perf_counter()
        try:
            return float(
                self.plan.epoch(self.data, self.batch_size, order, rates, seed, norms)
            )
        finally:
            self.optimizer.steps = self.plan.steps
            schedule.used(rates, self.plan.steps - steps)
            self.seconds = perf_counter() - begun
