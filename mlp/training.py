"""Training a `Network`: epochs of a stochastic solver, and full-batch solvers.

One epoch is one call into the core; between two of them the caller may look, score, stop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp import _core
from mlp.network import Network
from mlp.schedules import Schedule

__all__ = ["Optimizer", "Penalties", "StochasticRun", "minimize_full_batch"]

Array = NDArray[Any]

#: rows that a full-batch solver sends through the network at once
FULL_BATCH_ROWS = 1024
#: rows of a mini-batch that are in the workspace at once; larger batches go in pieces
LARGEST_PIECE = 4096


@dataclass(frozen=True)
class Penalties:
    """(alpha/2)‖W‖²/Σweights of the batch + l2‖W‖² + l1‖W‖₁ [S 65.45, P65.15]."""

    alpha: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    l2_bias: bool = False

    def full_batch(self, network: Network, weight_sum: float) -> tuple[float, Array]:
        """Value and (sub)gradient over all samples, in the parameters."""
        n = network.n_weights
        params = network.params
        gradient = np.zeros_like(params)
        weights = params[:n]
        strength = self.alpha / weight_sum + 2 * self.l2
        value = strength / 2 * float(weights @ weights)
        gradient[:n] = strength * weights
        if self.l1:
            value += self.l1 * float(np.abs(weights).sum())
            gradient[:n] += self.l1 * np.sign(weights)
        if self.l2_bias:
            value += self.l2 * float(params[n:] @ params[n:])
            gradient[n:] = 2 * self.l2 * params[n:]
        return value, gradient


@dataclass
class Optimizer:
    """A stochastic solver's constants, and what it remembers between steps.

    Attributes
    ----------
    solver : {"sgd", "adam", "adamw"}
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
    shuffle : bool
    rng : RandomState
        Draws each epoch's order as scikit-learn does.
    n_threads : int
    """

    def __init__(
        self,
        network: Network,
        data: Any,
        optimizer: Optimizer,
        penalties: Penalties,
        *,
        batch_size: int,
        samples: Array | None,
        shuffle: bool,
        rng: RandomState,
        n_threads: int,
        sparse: bool,
    ) -> None:
        self.data, self.optimizer, self.batch_size = data, optimizer, batch_size
        self.samples, self.shuffle, self.rng = samples, shuffle, rng
        self.n_samples = data.shape[0] if samples is None else len(samples)
        self.plan = network.plan()
        self.plan.set_penalties(
            penalties.alpha, penalties.l2, penalties.l1, penalties.l2_bias
        )
        optimizer.attach(self.plan)
        plain_steps = (
            optimizer.kernel == "sgd"
            and not (optimizer.clip_norm or optimizer.clip_value or penalties.l1)
            and not penalties.l2_bias
        )
        self.plan.allocate(
            min(batch_size, LARGEST_PIECE),
            n_threads,
            sparse=sparse,
            online=batch_size == 1 and plain_steps,
        )
        self._order: Array | None = None
        if shuffle:
            self._order = np.arange(self.n_samples, dtype=np.int64)

    def epoch(self) -> float:
        """Train on every sample once; the mean loss of the batches, penalties included."""
        order = self.samples
        if self._order is not None:
            # scikit-learn permutes the previous epoch's order, and so do we
            permutation = np.arange(self.n_samples, dtype=np.int64)
            self.rng.shuffle(permutation)
            self._order = self._order[permutation]
            order = self._order if self.samples is None else self.samples[self._order]
        try:
            return float(
                self.plan.epoch(
                    self.data, self.batch_size, order, self.optimizer.schedule.rate
                )
            )
        finally:
            self.optimizer.steps = self.plan.steps


def minimize_full_batch(
    network: Network,
    data: Any,
    solver: str,
    penalties: Penalties,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    n_threads: int,
    sparse: bool,
    verbose: bool,
    on_iteration: Callable[[float], bool],
) -> scipy.optimize.OptimizeResult:
    """Minimise the reported risk over all samples at once; `network` ends at the minimum.

    The objective is the loss as it is reported plus penalties, so that the gradient is the
    gradient of what is reported also where the squared error has several outputs.

    Parameters
    ----------
    solver : {"lbfgs"}
    max_iter, max_fun : int
        Most iterations, most evaluations of the risk.
    tol : float
        Largest entry of the gradient at which the search ends.
    on_iteration : callable
        Called after each iteration with the risk; returns True to stop.
    """
    plan = network.plan()
    n = data.shape[0]
    plan.allocate(min(n, FULL_BATCH_ROWS), n_threads, sparse=sparse)
    scale = network.loss_function.core(
        network.output_activation.name, network.n_outputs
    )["value_scale"]
    weight_sum = (
        float(n)
        if data.sample_weight is None
        else float(np.sum(data.sample_weight, dtype=np.float64))
    )

    def risk(vector: Array) -> tuple[float, Array]:
        network.params[:] = vector
        loss = scale * plan.loss_and_gradient(data)
        penalty, gradient = penalties.full_batch(network, weight_sum)
        gradient = gradient.astype(np.float64) + scale * plan.grads
        return loss + penalty, gradient

    def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        if on_iteration(float(intermediate_result.fun)):
            raise StopIteration

    start = network.params.astype(np.float64)
    result = scipy.optimize.minimize(
        risk,
        start,
        method="L-BFGS-B",
        jac=True,
        callback=callback,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
    )
    network.params[:] = result.x
    return result
