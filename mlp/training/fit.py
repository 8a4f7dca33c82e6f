"""Fitting a network: epochs, validation, stopping, the best parameters [S 65.94].

A `Fit` runs the epochs of a stochastic solver, a `FullBatchFit` the iterations of a
full-batch one.  Both keep a `History`, and after each epoch notify observers: a
`mlp.training.checkpoint.Checkpoint`, `mlp.training.report.EpochLines`, or any other
`mlp.training.report.Observer`.  No scikit-learn is involved::

    optimizer = Optimizer("adam", Schedule("constant", 0.001))
    data = network.data(X, y)
    epochs = StochasticRun(
        network, data, optimizer, Penalties(), batch_size=32, rng=RandomState(0)
    )
    validator = Validator(network, network.data(X_val, y_val))
    fit = Fit(epochs, Stopping(early=True), validator=validator)
    history = fit.run()
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.plans import PredictionLoss
from mlp.training.full_batch import Risk, minimize
from mlp.training.report import Observer, layer_norms
from mlp.training.stopping import Pocket, Progress, Stopping

__all__ = ["Fit", "FullBatchFit", "History", "Validator"]

Array = NDArray[Any]

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large"
    " values and need to be preprocessed. (Training diverged at epoch {}.)"
)


@dataclass
class History:
    """The records of a fit; a warm start continues those of the previous fit.

    Attributes
    ----------
    losses : list of float
        Mean loss of each epoch, penalties included.
    validation_losses, validation_scores : list of float or None
        Loss and score on the held-out samples after each epoch; None without validation.
    gradient_norms : list of ndarray of shape (n_layers,)
        See `mlp.progress.GradientNorms`; empty unless they are requested.
    epochs : int
        Number of epochs of this fit.
    samples : int
        Number of samples visited in this fit and those that it continues.
    loss : float
        Loss of the last epoch.
    best_loss : float or None
        Smallest loss; None if the validation score is monitored instead.
    best_score : float or None
        Largest validation score.
    progress : Progress
        Progress of the monitored value.
    """

    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] | None = None
    validation_scores: list[float] | None = None
    gradient_norms: list[Array] = field(default_factory=list)
    epochs: int = 0
    samples: int = 0
    loss: float = math.nan
    best_loss: float | None = math.inf
    best_score: float | None = None
    progress: Progress = field(default_factory=lambda: Progress(0.0))

    def begin(self, stopping: Stopping, *, validates: bool) -> None:
        """Prepare for the epochs of another fit, which may monitor another value."""
        self.progress.tol = stopping.tol
        if validates and self.validation_scores is None:
            self.validation_scores, self.validation_losses = [], []
            self.best_score = -math.inf
        if (self.best_loss is None) != stopping.early:
            # losses and scores cannot be compared
            self.best_loss = (
                None if stopping.early else min(self.losses, default=math.inf)
            )
            self.progress = Progress(stopping.tol)


class Validator:
    """Computes loss and score on held-out samples, which are prepared once per fit.

    Parameters
    ----------
    network : Network or SiameseNetwork
        The network that is trained.
    data : _core.Data or _core.PairData
        Held-out samples, prepared as for predictions, of the network's `prediction_dtype`.
    n_threads : int, default=1
        Number of threads.
    score : callable, optional
        Function without arguments that returns the score, where larger is better; by
        default the score is the negated loss.
    """

    def __init__(
        self,
        network: Any,
        data: Any,
        n_threads: int = 1,
        score: Callable[[], float] | None = None,
    ) -> None:
        self.network, self.data = network, data
        self._loss, self._score = PredictionLoss(network, data, n_threads), score

    def evaluate(self) -> tuple[float, float]:
        """Return loss and score of the current parameters."""
        self.network.refold()
        loss = self._loss()
        return loss, -loss if self._score is None else self._score()


class _Fit:
    """Base of both kinds of fit: records, observers, and the end of the fit."""

    def __init__(
        self, network: Any, history: History | None, observers: Sequence[Observer]
    ) -> None:
        self.network = network
        self.history = History() if history is None else history
        self.observers = observers
        #: why the fit stops or changes its rate after this epoch, for reports
        self.message = ""
        #: whether Ctrl-C ended the fit
        self.interrupted = False
        #: learning rate of the last step, where the solver has one
        self.rate: float | None = None

    def _epoch_ended(self) -> bool:
        asked = [observer.epoch_ended(self) for observer in self.observers]
        return any(asked)

    def _finish(self) -> None:
        self.check_finite()
        self.network.refold()
        for observer in reversed(self.observers):
            observer.fit_ended(self)

    def check_finite(self) -> None:
        """Raise ValueError if a parameter is not finite."""
        params = self.network.params
        # minimum and maximum are NaN if an entry is: no array of truth values is needed
        if not (np.isfinite(params.min()) and np.isfinite(params.max())):
            raise ValueError(NON_FINITE.format(self.history.epochs))


class Fit(_Fit):
    """Epochs of a stochastic solver until it stops.

    Parameters
    ----------
    epochs : StochasticRun or PairRun
        Object whose method ``epoch`` trains the network for one epoch.
    stopping : Stopping
        Conditions that end the fit.
    history : History, optional
        The records to continue; new ones by default.
    validator : Validator, optional
        Evaluates the network after each epoch.
    observers : sequence of Observer, default=()
        Notified in this order after each epoch, in the reverse order at the end.

    Attributes
    ----------
    network : Network or SiameseNetwork
        The network, which is trained in place; with ``stopping.early`` and
        ``stopping.restore_best`` it has the parameters of the best epoch at the end.
    pocket : Pocket or None
        The best parameters so far [S 65.94].
    ended : bool
        Whether the fit is complete: it stopped by itself, or after the last epoch.
    out_of_epochs : bool
        Whether the fit ended because ``stopping.max_epochs`` was reached.
    """

    def __init__(
        self,
        epochs: Any,
        stopping: Stopping,
        *,
        history: History | None = None,
        validator: Validator | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        super().__init__(epochs.network, history, observers)
        self.epochs, self.stopping, self.validator = epochs, stopping, validator
        keeps_best = stopping.early and stopping.restore_best
        self.pocket = Pocket(self.network) if keeps_best else None
        self.ended = self.out_of_epochs = False

    def run(self) -> History:
        """Train until progress stops, an observer stops the fit, or the last epoch is done.

        Ctrl-C ends the fit as an observer does; ``interrupted`` is then True.

        Raises
        ------
        ValueError
            If parameters or the first validation score are not finite.
        """
        history, most = self.history, self.stopping.max_epochs
        for observer in self.observers:
            observer.fit_began(self)
        history.begin(self.stopping, validates=self.validator is not None)
        self.ended = self.ended or history.epochs >= most
        try:
            while not self.ended:
                self._epoch()
                stops = self._should_stop()
                self.ended = stops or history.epochs >= most
                if self._epoch_ended():
                    break
                self.out_of_epochs = self.ended and not stops
        except KeyboardInterrupt:
            self.interrupted = True
        if self.pocket is not None:
            self.pocket.take_out()
        self._finish()
        return history

    @property
    def norms(self) -> Array | None:
        """Norms of the last batch's gradient by layer, if the run records them."""
        norms: Array | None = self.epochs.gradient_norms
        return norms

    @property
    def samples(self) -> int:
        """Number of samples of the last epoch."""
        return int(self.epochs.n_samples)

    @property
    def seconds(self) -> float:
        """Duration of the last epoch's training."""
        return float(self.epochs.seconds)

    def _epoch(self) -> None:
        history = self.history
        history.loss = self.epochs.epoch()
        history.epochs += 1
        history.samples += self.epochs.n_samples
        history.losses.append(history.loss)
        value = -history.loss
        if self.validator is not None:
            score = self._validate(self.validator)
            if self.stopping.early:
                value = score
        if self.norms is not None:
            history.gradient_norms.append(self.norms.copy())
        self.rate = self.epochs.optimizer.schedule.rate
        if history.progress.update(value) and self.pocket is not None:
            self.pocket.keep()
        if history.best_loss is not None:
            history.best_loss = min(history.best_loss, history.loss)
            if not math.isfinite(history.loss):
                self.check_finite()

    def _validate(self, validator: Validator) -> float:
        history = self.history
        loss, score = validator.evaluate()
        assert history.validation_losses is not None
        assert history.validation_scores is not None
        assert history.best_score is not None
        history.validation_losses.append(loss)
        if (
            self.stopping.early
            and math.isnan(score)
            and not math.isfinite(history.best_score)
        ):
            self.check_finite()
            raise ValueError(
                f"early_stopping: the validation score of epoch {history.epochs} is NaN, "
                f"on {validator.data.shape[0]} samples"
            )
        history.validation_scores.append(score)
        history.best_score = max(history.best_score, score)
        return score

    def _should_stop(self) -> bool:
        history, stopping = self.history, self.stopping
        schedule = self.epochs.optimizer.schedule
        schedule.epoch_ends(history.samples)
        self.message = ""
        if history.progress.stalled <= stopping.patience:
            return False
        what = "Validation score" if stopping.early else "Training loss"
        self.message = (
            f"{what} did not improve more than tol={stopping.tol:f} for "
            f"{stopping.patience} consecutive epochs."
        )
        rate = schedule.rate
        if schedule.progress_stopped():
            small = schedule.kind == "adaptive" and rate <= schedule.smallest
            reason = " Learning rate too small." if small else ""
            self.message += f"{reason} Stopping."
            return True
        self.message += f" Setting learning rate to {schedule.rate:f}"
        history.progress.stalled = 0
        return False


class FullBatchFit(_Fit):
    """Iterations of a full-batch solver, each an epoch of the history.

    Parameters
    ----------
    risk : Risk
        The risk that is minimised.
    solver : {"lbfgs", "cg", "gd"}
        Name of the solver.
    max_iter, max_fun, tol
        See `mlp.training.full_batch.minimize`.
    history : History, optional
        The records to continue; new ones by default.
    observers : sequence of Observer, default=()
        Notified in this order after each iteration, in the reverse order at the end.
    with_norms : bool, default=False
        Whether to record the norms of the gradient.

    Attributes
    ----------
    result : scipy.optimize.OptimizeResult or None
        What the solver returned; None after Ctrl-C.
    norms : ndarray of shape (n_layers,) or None
        Norms of the gradient by layer after the last iteration.
    samples : int
        Samples visited in all evaluations.
    seconds : float
        Time since the fit began.
    """

    def __init__(
        self,
        risk: Risk,
        solver: str,
        *,
        max_iter: int = 200,
        max_fun: int = 15000,
        tol: float = 1e-4,
        history: History | None = None,
        observers: Sequence[Observer] = (),
        with_norms: bool = False,
    ) -> None:
        super().__init__(risk.network, history, observers)
        self.risk, self.solver = risk, solver
        self.limits: dict[str, Any] = {
            "max_iter": max_iter,
            "max_fun": max_fun,
            "tol": tol,
        }
        self.with_norms = with_norms
        self.norms: Array | None = None
        self.result: Any = None
        self._began = 0.0

    @property
    def samples(self) -> int:
        """Samples visited in all evaluations."""
        return int(self.risk.evaluations * self.risk.data.shape[0])

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return perf_counter() - self._began

    def run(self) -> History:
        """Minimise the risk; Ctrl-C ends the fit with the last accepted parameters.

        Raises
        ------
        ValueError
            If the loss or a parameter is not finite.
        """
        history, self._began = self.history, perf_counter()
        for observer in self.observers:
            observer.fit_began(self)
        try:
            self.result = minimize(
                self.risk, self.solver, on_iteration=self._iterated, **self.limits
            )
        except KeyboardInterrupt:
            self.interrupted = True
            history.best_loss = min(history.losses, default=math.inf)
        else:
            history.loss = float(self.result.fun)
            if not math.isfinite(history.loss):
                raise ValueError(NON_FINITE.format(history.epochs))
            history.best_loss = min([*history.losses, history.loss])
        self._finish()
        return history

    def _iterated(self, value: float) -> bool:
        history = self.history
        history.losses.append(value)
        history.loss, history.epochs = value, history.epochs + 1
        if self.with_norms:
            norms = layer_norms(self.network, self.risk.plan.grads)
            self.norms = norms
            history.gradient_norms.append(norms)
        return self._epoch_ended()
