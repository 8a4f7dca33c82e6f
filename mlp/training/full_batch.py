"""Full-batch solvers, on the core's loss and gradient: 'lbfgs', 'cg', 'gd' [B; O].

With l1_method='proximal' the `Risk` is smooth and does not contain the penalty l1‖W‖₁.
'lbfgs' then minimises over P, N ≥ 0 with W = P − N, where the penalty is l1·Σ(P + N); 'gd'
takes steps W ← S_{a·l1}(W − a∇) with a found by backtracking.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from mlp.network.network import Network
from mlp.training.minibatch import Penalties

__all__ = ["FULL_BATCH_SOLVERS", "Risk", "minimize"]

Array = NDArray[Any]

#: rows that the network evaluates at once
ROWS = 1024
#: scipy's status after a StopIteration
STOPPED = 99
#: statuses of the other solvers
CONVERGED, OUT_OF_STEPS, NO_DESCENT = 0, 1, 2
TOO_MANY_EVALUATIONS = "STOP: TOTAL NO. OF EVALUATIONS REACHED LIMIT"
#: scikit-learn's default `tol`, and SciPy's relative decrease at which L-BFGS-B stops
USUAL_TOL, USUAL_DECREASE = 1e-4, 1e7 * np.finfo(float).eps


@dataclass
class Risk:
    """The risk of a network over all samples, and its gradient [S 65.45].

    It is the mean loss, summed over the outputs, plus the penalties.  Stochastic solvers
    minimise the same risk, so that a penalty has the same meaning with every solver.
    """

    network: Network
    data: Any
    penalties: Penalties
    n_threads: int
    sparse: bool
    accepted: Array = field(init=False)

    def __post_init__(self) -> None:
        network, n = self.network, self.data.shape[0]
        network.check_rows(n)
        self.plan = network.plan(frozen_statistics=True)
        self.plan.allocate(
            n if network.spec.batch_norm else min(n, ROWS), self.n_threads, self.sparse
        )
        self.scale = network.value_scale
        weights = self.data.sample_weight
        self.weight_sum = (
            float(n) if weights is None else float(np.sum(weights, dtype=np.float64))
        )
        self.evaluations = 0
        self._measuring: Any = None
        self.trained = [slice(at, at + n) for _, at, n in network.spans()]
        self._smooth = self.penalties
        #: with l1_method='proximal': l1 of each trained parameter, left out of the risk
        self.l1: Array | None = None
        if self.penalties.l1 and self.penalties.l1_method == "proximal":
            strengths = [
                np.full(n, self.penalties.l1 if kind == "weights" else 0.0)
                for kind, _, n in network.spans()
            ]
            self.l1 = np.concatenate(strengths)
            self._smooth = replace(self.penalties, l1=0.0)

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """Value and gradient (float64) at these values of the trained parameters."""
        self.evaluations += 1
        self.put(vector)
        loss = self.plan.loss_and_gradient(self.data)
        penalty, gradient = self._smooth.full_batch(self.network, self.weight_sum)
        gradient = gradient.astype(np.float64) + self.plan.grads
        return loss + penalty, self._trained_of(gradient)

    def reported(self, risk: float) -> float:
        """Return the loss to report for this risk of the network's parameters.

        As in scikit-learn, the squared error is averaged over the outputs, and penalties
        are not.
        """
        penalty, _ = self.penalties.full_batch(self.network, self.weight_sum)
        return risk if self.scale == 1 else self.scale * (risk - penalty) + penalty

    def get(self) -> Array:
        """The trained parameters, float64."""
        return self._trained_of(self.network.params.astype(np.float64))

    def put(self, vector: Array) -> None:
        """Set the trained parameters."""
        at = 0
        for part in self.trained:
            n = part.stop - part.start
            self.network.params[part] = vector[at : at + n]
            at += n
        self.network.tie()

    def accept(self, vector: Array) -> None:
        """Set the trained parameters, and the statistics of batch norm over all samples, so
        that the network is ready for predictions."""
        self.accepted = vector.copy()
        self.put(vector)
        network = self.network
        if not network.spec.batch_norm:
            return
        if self._measuring is None:
            self._measuring = network.plan()
            self._measuring.allocate(self.data.shape[0], self.n_threads, self.sparse)
        for array in (*network.statistics, network.input_statistics):
            if array is not None:
                array[:] = 0
        self._measuring.loss_and_gradient(self.data, with_gradient=False)

    def _trained_of(self, vector: Array) -> Array:
        if len(self.trained) == 1:
            return vector[self.trained[0]]
        return np.concatenate([vector[part] for part in self.trained])

    def bounds(self) -> scipy.optimize.Bounds | None:
        """Bounds that keep widths of radial basis functions positive; None without them."""
        network = self.network
        if not network.has_rbf:
            return None
        lower = np.full(network.params.size, -np.inf)
        network.unpack(lower)[1][0][:] = 1e-6
        return scipy.optimize.Bounds(self._trained_of(lower), np.inf)


#: function of the parameters after an iteration and their risk; returns True to stop
@dataclass(frozen=True)
class Limits:
    """The largest numbers of iterations and evaluations, and the tolerance."""

    max_iter: int
    max_fun: int
    tol: float


OnIteration = Callable[[Array, float], bool]


def _lbfgs(
    risk: "Risk | _Split",
    start: Array,
    limits: Limits,
    on_iteration: OnIteration,
) -> scipy.optimize.OptimizeResult:
    def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        if on_iteration(intermediate_result.x, float(intermediate_result.fun)):
            raise StopIteration

    result = scipy.optimize.minimize(
        risk,
        start,
        method="L-BFGS-B",
        jac=True,
        bounds=risk.bounds(),
        callback=callback,
        options={
            "maxfun": limits.max_fun,
            "maxiter": limits.max_iter,
            "gtol": limits.tol,
            # near the minimum the decrease is proportional to the squared gradient
            "ftol": USUAL_DECREASE * min(1.0, limits.tol / USUAL_TOL) ** 2,
        },
    )
    if result.status == STOPPED:  # not a reason to warn
        result.status, result.message = 0, "STOPPED BY A CALLBACK"
    return result


def _cg(
    risk: Risk,
    start: Array,
    limits: Limits,
    on_iteration: OnIteration,
) -> scipy.optimize.OptimizeResult:
    """Nonlinear conjugate gradient (Polak–Ribière) [O]."""

    stopped = False

    def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        nonlocal stopped
        stopped = on_iteration(intermediate_result.x, float(intermediate_result.fun))
        if stopped or risk.evaluations >= limits.max_fun:
            raise StopIteration

    result = scipy.optimize.minimize(
        risk,
        start,
        method="CG",
        jac=True,
        callback=callback,
        options={"maxiter": limits.max_iter, "gtol": limits.tol},
    )
    if result.status == STOPPED:
        if stopped:
            result.status, result.message = CONVERGED, "STOPPED BY A CALLBACK"
        else:
            result.status, result.message = OUT_OF_STEPS, TOO_MANY_EVALUATIONS
    return result


def _gd(
    risk: Risk,
    start: Array,
    limits: Limits,
    on_iteration: OnIteration,
) -> scipy.optimize.OptimizeResult:
    """Steepest descent with exact line searches [B].

    Where the line search finds no lower risk, as at the kinks of 'relu', the last step is
    halved until the risk is lower; if no step lowers it, the solver ends there without
    having converged.
    """
    x = start.copy()
    value, gradient = risk(x)
    step, status = 1.0, OUT_OF_STEPS
    message = "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT"
    iterations = 0
    while iterations < limits.max_iter:
        if np.abs(gradient).max() <= limits.tol:
            status, message = CONVERGED, "CONVERGENCE: NORM OF GRADIENT <= TOL"
            break
        if risk.evaluations >= limits.max_fun:
            message = TOO_MANY_EVALUATIONS
            break
        line = scipy.optimize.minimize_scalar(
            lambda a, x=x, g=gradient: risk(x - a * g)[0],
            bracket=(0.0, step),
            method="brent",
            options={"xtol": 1e-4, "maxiter": 50},
        )
        if line.fun < value and line.x > 0:
            step = float(line.x)
        else:
            shorter = _shorter_step(risk, x, gradient, value, step)
            if shorter is None:
                status, message = NO_DESCENT, "STOP: NO STEP LOWERS THE RISK"
                break
            step = shorter
        x = x - step * gradient
        value, gradient = risk(x)
        iterations += 1
        if on_iteration(x, value):
            status, message = CONVERGED, "STOPPED BY A CALLBACK"
            break
    return scipy.optimize.OptimizeResult(
        x=x, fun=value, nit=iterations, status=status, message=message
    )


def _shorter_step(
    risk: Risk, x: Array, gradient: Array, value: float, step: float
) -> float | None:
    """Return the first of step/2, step/4, … along the gradient whose risk is below `value`.

    Return None if there is no such step, or if the value or gradient is not finite.
    """
    if not np.isfinite(value) or not np.isfinite(gradient).all():
        return None
    while np.any(x - step * gradient != x):
        step /= 2
        if risk(x - step * gradient)[0] < value:
            return step
    return None


# ---- l1_method='proximal' --------------------------------------------------------------


class _Split:
    """A risk plus its l1‖W‖₁ as a smooth function of (x with P for W, N), W = P − N."""

    def __init__(self, risk: Risk, l1: Array) -> None:
        self.risk, self.where = risk, np.flatnonzero(l1)
        self.n, self.l1 = len(l1), l1[self.where]

    @property
    def evaluations(self) -> int:
        return self.risk.evaluations

    def split(self, vector: Array) -> Array:
        first = vector.copy()
        first[self.where] = np.maximum(vector[self.where], 0)
        return np.concatenate([first, np.maximum(-vector[self.where], 0)])

    def joined(self, z: Array) -> Array:
        vector: Array = z[: self.n].copy()
        vector[self.where] -= z[self.n :]
        return vector

    def total(self, z: Array, value: float) -> float:
        """Return the risk with l1‖W‖₁, given that with l1·Σ(P + N)."""
        return value - 2 * float(self.l1 @ np.minimum(z[self.where], z[self.n :]))

    def __call__(self, z: Array) -> tuple[float, Array]:
        value, gradient = self.risk(self.joined(z))
        first = gradient.copy()
        first[self.where] += self.l1
        value += float(self.l1 @ (z[self.where] + z[self.n :]))
        return value, np.concatenate([first, self.l1 - gradient[self.where]])

    def bounds(self) -> scipy.optimize.Bounds:
        lower = np.full(self.n + len(self.where), -np.inf)
        given = self.risk.bounds()
        if given is not None:
            lower[: self.n] = given.lb
        lower[self.where] = lower[self.n :] = 0
        return scipy.optimize.Bounds(lower, np.inf)


def _split_lbfgs(
    risk: Risk,
    start: Array,
    limits: Limits,
    on_iteration: OnIteration,
) -> scipy.optimize.OptimizeResult:
    assert risk.l1 is not None
    split = _Split(risk, risk.l1)
    result = _lbfgs(
        split,
        split.split(start),
        limits,
        lambda z, value: on_iteration(split.joined(z), split.total(z, value)),
    )
    result.fun = split.total(result.x, float(result.fun))
    result.x = split.joined(result.x)
    return result


def _least_subgradient(x: Array, gradient: Array, l1: Array) -> float:
    """Return the largest entry of the risk's subgradient of smallest norm, with l1‖W‖₁."""
    at_zero = np.maximum(np.abs(gradient) - l1, 0)
    return float(np.where(x == 0, at_zero, np.abs(gradient + l1 * np.sign(x))).max())


def _proximal_gradient(
    risk: Risk,
    start: Array,
    limits: Limits,
    on_iteration: OnIteration,
) -> scipy.optimize.OptimizeResult:
    """ISTA with backtracking that begins at the Barzilai–Borwein step."""
    assert risk.l1 is not None
    l1, x = risk.l1, start.copy()
    value, gradient = risk(x)
    rounding = 8 * float(np.finfo(risk.network.dtype).eps)
    step, status = 1.0, OUT_OF_STEPS
    message = "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT"
    iterations = 0
    while iterations < limits.max_iter:
        if _least_subgradient(x, gradient, l1) <= limits.tol:
            status, message = CONVERGED, "CONVERGENCE: NORM OF SUBGRADIENT <= TOL"
            break
        while risk.evaluations < limits.max_fun:
            u = x - step * gradient
            new = u - np.clip(u, -step * l1, step * l1)  # exactly 0 below the threshold
            d = new - x
            new_value, new_gradient = risk(new)
            above = new_value - value - d @ gradient - d @ d / (2 * step)
            stuck = not d.any() or not np.isfinite(d).all()
            if stuck or above <= rounding * abs(value):
                break
            step /= 2
        else:
            message = TOO_MANY_EVALUATIONS
            break
        if stuck:
            status, message = NO_DESCENT, "STOP: NO STEP LOWERS THE RISK"
            break
        curvature = float(d @ (new_gradient - gradient))
        step = float(d @ d) / curvature if curvature > 0 else 2 * step
        x, value, gradient = new, new_value, new_gradient
        iterations += 1
        if on_iteration(x, value + float(l1 @ np.abs(x))):
            status, message = CONVERGED, "STOPPED BY A CALLBACK"
            break
    return scipy.optimize.OptimizeResult(
        x=x,
        fun=value + float(l1 @ np.abs(x)),
        nit=iterations,
        status=status,
        message=message,
    )


#: name -> function of (risk, start, limits, on_iteration)
FULL_BATCH_SOLVERS: dict[str, Callable[..., scipy.optimize.OptimizeResult]] = {
    "lbfgs": _lbfgs,
    "cg": _cg,
    "gd": _gd,
}
#: the same for a risk that does not contain its penalty `l1`
PROXIMAL_SOLVERS: dict[str, Callable[..., scipy.optimize.OptimizeResult]] = {
    "lbfgs": _split_lbfgs,
    "gd": _proximal_gradient,
}


def minimize(
    risk: Risk,
    solver: str,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    on_iteration: Callable[[float], bool],
) -> scipy.optimize.OptimizeResult:
    """Minimise the risk.

    The network then has the parameters of the minimum, or after an exception those of the
    last iteration.  The ``fun`` of the result is the loss to report.

    Parameters
    ----------
    risk : Risk
        The risk to minimise.
    solver : key of `FULL_BATCH_SOLVERS`
        Name of the solver.
    max_iter, max_fun : int
        Largest number of iterations, and of evaluations of the risk.
    tol : float
        Largest entry of the gradient at which the solver stops; 'lbfgs' also stops at a
        relative decrease of 2.2e-9, which shrinks as the square of a tol below 1e-4.
    on_iteration : callable
        Function that is called with the loss to report after each iteration, when the
        network has the parameters of that iteration; it returns True to stop.
    """
    network = risk.network
    if network.has_rbf and solver != "lbfgs":
        raise ValueError(
            f"solver={solver!r} can't keep the widths of activation='rbf' positive; use "
            "'lbfgs' or a stochastic solver"
        )
    risk.accepted = start = risk.get()

    def accept(vector: Array, value: float) -> bool:
        risk.accept(vector)
        return on_iteration(risk.reported(value))

    limits = Limits(max_iter, max_fun, tol)
    try:
        solvers = FULL_BATCH_SOLVERS if risk.l1 is None else PROXIMAL_SOLVERS
        result = solvers[solver](risk, start, limits, accept)
    except BaseException:
        risk.accept(risk.accepted)
        raise
    risk.accept(result.x)
    result.fun = risk.reported(result.fun)
    return result
