"""The course of a fit: epochs, validation, stopping, callbacks; or a full-batch solver."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from time import perf_counter
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils.optimize import _check_optimize_result

from mlp.estimators.callbacks import Announcer
from mlp.estimators.checkpoint import Checkpoint
from mlp.estimators.parameters import pair_of_betas
from mlp.estimators.report import epoch_line, layer_norms
from mlp.estimators.standardize import standardized
from mlp.estimators.training_data import Targets
from mlp.network.network import Network
from mlp.network.transfer import leading_frozen, put_back, tail, take_back
from mlp.progress import GradientNorms
from mlp.threads import resolve_threads
from mlp.training.full_batch import CONVERGED, OUT_OF_STEPS, Risk, minimize
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule, schedule_of
from mlp.training.stopping import Pocket, Progress

__all__ = ["Course"]

Array = NDArray[Any]

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large"
    " values and need to be preprocessed. (Training diverged at epoch {}.)"
)


def _takes_weights(scorer: Any) -> bool:
    metric = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in signature(metric).parameters


class Course(CallbackSupportMixin, BaseEstimator):
    """Trains the network of an estimator, by its parameters; `BaseMLP` is one."""

    network_: Network
    n_layers_: int
    loss_: float
    n_iter_: int
    t_: int
    loss_curve_: list[float]
    validation_scores_: Any
    validation_loss_curve_: Any
    gradient_norms_: list[Array]
    best_validation_score_: Any
    best_loss_: Any
    _progress: Progress
    _optimizer: Optimizer
    _random_generator: RandomState
    _cut: tuple[Network, int]

    def _score_epoch(self, held_out: Targets) -> float:
        """The score that early stopping watches unless told otherwise."""
        raise NotImplementedError

    # -- frozen layers --

    @contextmanager
    def _behind_frozen(self, *samples: Targets | None) -> Iterator[None]:
        """Train the network behind the leading frozen layers, on what they make of the
        samples: they are applied once."""
        network, n = self.network_, leading_frozen(self.network_)
        autoencode = any(
            targets is not None and targets.autoencode for targets in samples
        )
        if n == 0 or self.augment is not None or autoencode:
            yield
            return
        network.refold()  # the layers are applied as in prediction
        for targets in samples:
            if targets is not None:
                features = network.hidden_activations(
                    targets.X, n - 1, resolve_threads(self.n_threads)
                )
                targets.raw_X, targets.X = targets.X, features
        self._cut = (network, n)
        self._use(tail(network, n))
        try:
            yield
        finally:
            put_back(network, self.network_, n)
            self._use(network)
            del self._cut

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """The whole network in place while a user's code looks at the estimator."""
        if "_cut" not in vars(self):
            yield
            return
        trained, cut = self.network_, self._cut
        put_back(cut[0], trained, cut[1])
        self._use(cut[0])
        del self._cut
        try:
            yield
            take_back(trained, cut[0], cut[1])
        finally:
            self._use(trained)
            self._cut = cut

    def _use(self, network: Network) -> None:
        """Make this network the estimator's, `coefs_` and `intercepts_` views into it."""
        self.network_ = network
        self.coefs_ = list(network.coefs)
        self.intercepts_ = list(network.intercepts)

    # -- stochastic solvers --

    def _penalties(self) -> Penalties:
        return Penalties(self.alpha, self.l2, self.l1, self.l2_bias, self.l1_method)

    def _new_optimizer(self) -> Optimizer:
        schedule = Schedule(
            schedule_of(self.learning_rate, self.solver),
            self.learning_rate_init,
            power_t=self.power_t,
            horizon=self.max_iter,
        )
        return Optimizer(
            self.solver,
            schedule,
            momentum=self.momentum if self.solver == "sgd" else 0.0,
            nesterov=self.nesterovs_momentum,
            beta_1=pair_of_betas(self, "beta_1"),
            beta_2=pair_of_betas(self, "beta_2"),
            epsilon=self.epsilon,
            weight_decay=self.weight_decay if self.solver == "adamw" else 0.0,
            clip_norm=self.clip_norm or 0.0,
            clip_value=self.clip_value or 0.0,
        )

    def _split(self, targets: Targets) -> tuple[Array, Array]:
        """Training and validation samples as indices; stratified for single labels where
        that is possible, and as scikit-learn draws them where it is not."""
        n_samples, strata = targets.X.shape[0], targets.strata
        try:
            training, validation = self._draw_split(n_samples, strata)
        except ValueError as error:
            if strata is None or strata.ndim == 2:
                raise
            training, validation = self._draw_split(n_samples, None)
            warnings.warn(
                f"early_stopping=True holds out validation_fraction="
                f"{self.validation_fraction} of {n_samples} samples at random, not "
                f"stratified by class: {error.__cause__}",
                stacklevel=6,
            )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        return np.ascontiguousarray(training), validation

    def _draw_split(self, n_samples: int, strata: Array | None) -> Any:
        try:
            return train_test_split(
                np.arange(n_samples, dtype=np.int64),
                random_state=self._random_generator,
                test_size=self.validation_fraction,
                stratify=strata,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True can't hold out validation_fraction="
                f"{self.validation_fraction} of {n_samples} samples: {error}"
            ) from error

    def _hold_out(self, targets: Targets, validation: Array) -> Targets:
        held_out = targets.take(validation)
        if held_out.sample_weight is not None and not held_out.sample_weight.any():
            raise ValueError(
                f"early_stopping=True holds out {len(validation)} samples, whose "
                "sample_weight are all 0; increase validation_fraction, or give X_val"
            )
        return held_out

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return min(200, n_samples)
        if self.batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. "
                "It is going to be clipped",
                stacklevel=5,
            )
        return int(np.clip(self.batch_size, 1, n_samples))

    def _start_run(self, targets: Targets, training: Array | None) -> StochasticRun:
        n_samples = targets.X.shape[0] if training is None else len(training)
        self.network_.check_rows(n_samples)
        rng = self._random_generator
        augment = self.augment
        return StochasticRun(
            self.network_,
            standardized(self.network_, targets).data(),
            self._optimizer,
            self._penalties(),
            batch_size=self._batch_size(n_samples),
            samples=training,
            shuffle=self.shuffle,
            sampling=self.sampling,
            rng=rng,
            n_threads=resolve_threads(self.n_threads),
            sparse=targets.sparse,
            augment=None if augment is None else lambda batch: augment(batch, rng),
            with_norms=self._wants_norms(),
        )

    def _fit_stochastic(
        self,
        targets: Targets,
        held_out: Targets | None,
        incremental: bool,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        memory = vars(self).get("_optimizer") if incremental else None
        if memory is None or not memory.fits(self.network_):
            self._optimizer = self._new_optimizer()
        self.n_iter_ = 0
        if checkpoint is not None:
            checkpoint.begin(self, targets, held_out)
            if checkpoint.finished:
                return
        training = validation = None
        if checkpoint is not None and checkpoint.resumes:
            training, validation = checkpoint.order, checkpoint.validation
        elif self.early_stopping and held_out is None:
            training, validation = self._split(targets)
        if validation is not None:
            held_out = self._hold_out(targets, validation)
        self._watch(validates=held_out is not None)
        run = self._start_run(targets, training)
        pocket = None
        if self.early_stopping and self.restore_best:
            pocket = Pocket(self.network_)
        if checkpoint is not None:
            checkpoint.start(pocket, validation)
        self._progress.tol = self.tol
        max_epochs = 1 if incremental else self.max_iter
        callbacks = Announcer(self, max_epochs, targets.given)
        ended = self.n_iter_ == self.max_iter
        try:
            while self.n_iter_ < self.max_iter:
                self._epoch(run, held_out, pocket)
                stop = self._should_stop(run)
                ended = stop or self.n_iter_ == self.max_iter
                if checkpoint is not None and not ended:
                    checkpoint.epoch_ended(self, run, pocket)
                if callbacks.epoch_ended() or stop or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                        "reached and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        if pocket is not None:
            pocket.take_out()
        self._check_finite()
        self.network_.refold()
        callbacks.fit_ended()
        if checkpoint is not None and ended:
            checkpoint.fit_ended(self)

    def _watch(self, validates: bool) -> None:
        """A fit that goes on may watch something else than the one before."""
        if validates and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf
        if (self.best_loss_ is None) != self.early_stopping:
            # losses and scores don't compare
            best = min(self.loss_curve_, default=np.inf)
            self.best_loss_ = None if self.early_stopping else best
            self._progress = Progress(self.tol)

    def _epoch(
        self, run: StochasticRun, held_out: Targets | None, pocket: Pocket | None
    ) -> None:
        """One epoch, its records, and the pocket [S 65.94]."""
        self.loss_ = run.epoch()
        self.n_iter_ += 1
        self.t_ += run.n_samples
        self.loss_curve_.append(self.loss_)
        if self.verbose == 1:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        value = -self.loss_
        if held_out is not None:
            value = self._validate_epoch(held_out, value)
        if self._wants_norms():
            rate = run.optimizer.schedule.rate
            self._report(run.gradient_norms, run.n_samples, run.seconds, rate)
        if self._progress.update(value) and pocket is not None:
            pocket.keep()
        if self.best_loss_ is not None:
            self.best_loss_ = min(self.best_loss_, self.loss_)
            if not np.isfinite(self.loss_):
                self._check_finite()

    def _validate_epoch(self, held_out: Targets, value: float) -> float:
        """Score and loss on the validation samples; what early stopping is to watch."""
        self.network_.refold()
        n_threads = resolve_threads(self.n_threads)
        held_out.cast(self.network_.prediction_dtype)
        loss = self.network_.prediction_loss(held_out.data(), n_threads)
        self.validation_loss_curve_.append(loss)
        if self.scoring == "loss":
            score = -loss
        elif self.scoring is None:
            score = self._score_epoch(held_out)
        else:
            scorer = get_scorer(self.scoring)
            weight = held_out.sample_weight
            weighted = weight is not None and _takes_weights(scorer)
            routed = {"sample_weight": weight} if weighted else {}
            X = held_out.X if held_out.raw_X is None else held_out.raw_X
            with self._whole():
                score = float(scorer(self, X, held_out.y, **routed))
        none_yet = not np.isfinite(self.best_validation_score_)
        if self.early_stopping and np.isnan(score) and none_yet:
            self._check_finite()
            raise ValueError(
                f"early_stopping=True: the validation score of epoch {self.n_iter_} is "
                f"NaN, on {held_out.X.shape[0]} samples with scoring={self.scoring!r}"
            )
        self.validation_scores_.append(score)
        self.best_validation_score_ = max(self.best_validation_score_, score)
        if self.verbose == 1:
            print(f"Validation score: {score:f}")
        return score if self.early_stopping else value

    def _wants_norms(self) -> bool:
        callbacks = getattr(self, "_skl_callbacks", ())
        return self.verbose > 1 or any(isinstance(c, GradientNorms) for c in callbacks)

    def _report(
        self,
        norms: Array | None,
        samples: int,
        seconds: float,
        rate: float | None = None,
    ) -> None:
        """Keep the gradient's norms; print the line of ``verbose=2``."""
        if norms is not None:
            # frozen layers in front, which are not part of what is trained, have none
            _, n_frozen = vars(self).get("_cut", (None, 0))
            norms = np.concatenate([np.zeros(n_frozen), norms])
            self.__dict__.setdefault("gradient_norms_", []).append(norms)
        if self.verbose > 1:
            validation = None
            if self.validation_scores_:
                validation = (
                    self.validation_loss_curve_[-1],
                    self.validation_scores_[-1],
                )
            print(
                epoch_line(
                    self.n_iter_,
                    self.loss_,
                    norms=norms,
                    samples=samples,
                    seconds=seconds,
                    rate=rate,
                    validation=validation,
                )
            )

    def _should_stop(self, run: StochasticRun) -> bool:
        schedule = run.optimizer.schedule
        schedule.epoch_ends(self.t_)
        if self._progress.stalled <= self.n_iter_no_change:
            return False
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for "
            f"{self.n_iter_no_change} consecutive epochs."
        )
        rate = schedule.rate
        if schedule.progress_stopped():
            small = schedule.kind == "adaptive" and rate <= schedule.smallest
            if self.verbose:
                reason = " Learning rate too small." if small else ""
                print(f"{message}{reason} Stopping.")
            return True
        if self.verbose:
            print(f"{message} Setting learning rate to {schedule.rate:f}")
        self._progress.stalled = 0
        return False

    def _check_finite(self) -> None:
        params = self.network_.params  # no array of truth values: NaN is in both ends
        if not (np.isfinite(params.min()) and np.isfinite(params.max())):
            raise ValueError(NON_FINITE.format(self.n_iter_))

    # -- full-batch solvers --

    def _fit_full_batch(self, targets: Targets) -> None:
        callbacks = Announcer(self, self.max_iter, targets.given)
        curve = self.loss_curve_

        def on_iteration(value: float) -> bool:
            curve.append(value)
            self.loss_, self.n_iter_ = value, self.n_iter_ + 1
            if self.verbose == 1:
                print(f"Iteration {self.n_iter_}, loss = {value:.8f}")
            if with_norms:
                norms = layer_norms(self.network_, risk.plan.grads)
                done = risk.evaluations * risk.data.shape[0]
                self._report(norms, done, perf_counter() - begun)
            return callbacks.epoch_ended()

        self.n_iter_ = 0
        with_norms, begun = self._wants_norms(), perf_counter()
        risk = Risk(
            self.network_,
            standardized(self.network_, targets).data(),
            self._penalties(),
            resolve_threads(self.n_threads),
            targets.sparse,
        )
        try:
            result = minimize(
                risk,
                self.solver,
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                on_iteration=on_iteration,
            )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
            self.best_loss_ = min(curve, default=np.inf)
        else:
            self.loss_ = float(result.fun)
            if not np.isfinite(self.loss_):
                raise ValueError(NON_FINITE.format(self.n_iter_))
            self.best_loss_ = min([*curve, self.loss_])
            self._check_converged(result)
        self._check_finite()
        self.network_.refold()
        callbacks.fit_ended()

    def _check_converged(self, result: Any) -> None:
        if self.solver == "lbfgs":  # scikit-learn's own words
            self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        elif result.status != CONVERGED:
            advice = f"Increase max_iter={self.max_iter} or max_fun={self.max_fun}."
            if result.status != OUT_OF_STEPS:
                advice = (
                    "Steps along the gradient fail at the kinks of activations such as "
                    "'relu' and of l1: take solver='lbfgs' or 'adam', or a smooth "
                    "activation; where rounding is the reason, increase "
                    f"tol={self.tol:g}."
                )
            warnings.warn(
                f"{self.solver} failed to converge after {self.n_iter_} iterations: "
                f"{result.message}. {advice}",
                ConvergenceWarning,
                stacklevel=5,
            )
