"""What all estimators built on a trained network share: the course of a fit."""

import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from inspect import signature
from itertools import pairwise
from math import isfinite
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import check_is_fitted, validate_data

from mlp.activations import layer_activations
from mlp.estimators.constraints import (
    CONSTRAINTS,
    STOCHASTIC_SOLVERS,
    check_combination,
    dropout_rates,
    hidden_sizes,
    pair_of_betas,
)
from mlp.estimators.targets import Targets
from mlp.initializers import draw
from mlp.losses import check_callable
from mlp.network import Network
from mlp.schedules import Schedule
from mlp.solvers import Risk, minimize
from mlp.stopping import Pocket, Progress
from mlp.threads import resolve_threads
from mlp.training import Optimizer, Penalties, StochasticRun

__all__ = ["BaseMLP", "set_parameters"]

Array = NDArray[Any]

#: lists of views into the network's parameters: not pickled, made again from it
PARAMETER_VIEWS = ("coefs_", "intercepts_")
#: parameters that are part of the network, whose change would not reach a fitted one
BUILT_IN = (
    "activation",
    "loss",
    "output_activation",
    "huber_delta",
    "batch_norm",
    "batch_norm_momentum",
    "batch_norm_epsilon",
    "batch_norm_gradient",
    "dropout_scaling",
    "residual",
    "standardize",
)
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large"
    " values and need to be preprocessed. (Training diverged at epoch {}.)"
)


def set_parameters(estimator: Any, values: dict[str, Any]) -> None:
    """Store a constructor's arguments, unchecked, as scikit-learn asks."""
    for name, value in values.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


def _takes_weights(scorer: Any) -> bool:
    metric = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in signature(metric).parameters


def check_measured(name: str, shift: Any, deviation: Array, values: Any) -> None:
    """Refuse to standardise what overflows or vanishes when squared."""
    finite = np.isfinite(deviation).all() and (
        shift is None or np.isfinite(shift).all()
    )
    still = deviation == 0
    if finite and still.any() and not hasattr(values, "indptr"):
        columns = values[:, still]
        finite = (np.nanmax(columns, axis=0) == np.nanmin(columns, axis=0)).all()
    if not finite:
        raise ValueError(
            f"standardize=True: the deviation of {name} is too large or too small for "
            "floating point; rescale its values first"
        )


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """Training and state of the estimators; subclasses say what y is.

    A fitted estimator holds its `Network` as ``network_``; ``coefs_`` and ``intercepts_``
    are views into its parameters.
    """

    network_: Network
    loss_curve_: list[float]
    validation_scores_: Any
    validation_loss_curve_: Any
    best_validation_score_: Any
    best_loss_: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS
    _validates = False  # samples to validate on were given to `fit`

    # -- what a subclass says --

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> Targets:
        """Checked samples; may set what describes y, such as ``classes_``."""
        raise NotImplementedError

    def _score_epoch(self, held_out: Targets) -> float:
        """The score that early stopping watches unless told otherwise."""
        raise NotImplementedError

    # -- state --

    def _expose_parameters(self) -> None:
        """`coefs_` and `intercepts_`: lists of views into the network's parameters."""
        self.coefs_ = list(self.network_.coefs)
        self.intercepts_ = list(self.network_.intercepts)

    def _adopt_parameters(self) -> None:
        """Take over what a user has put into `coefs_` or `intercepts_` by hand."""
        network = self.network_
        for name, views in (
            ("coefs_", network.coefs),
            ("intercepts_", network.intercepts),
        ):
            given = getattr(self, name)
            if len(given) == len(views) and all(map(operator.is_, given, views)):
                continue
            shapes = [np.shape(new) for new in given]
            if shapes != [view.shape for view in views]:
                raise ValueError(
                    f"{name} must have the shapes {[view.shape for view in views]}, "
                    f"got {shapes}"
                )
            for view, new in zip(views, given, strict=True):
                view[:] = new
            setattr(self, name, list(views))
            network.refold()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "network_" in state:  # they are in the network already
            state = {k: v for k, v in state.items() if k not in PARAMETER_VIEWS}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self._expose_parameters()

    @contextmanager
    def _unchanged_on_error(self, goes_on: bool) -> Iterator[None]:
        """Put everything back if fitting fails: bad input or divergence loses nothing."""
        before = self.__dict__.copy()
        if goes_on:  # what is fitted will be changed in place
            before.update(
                (k, deepcopy(v))
                for k, v in before.items()
                if (k.endswith("_") and k not in PARAMETER_VIEWS)
                or k in ("_optimizer", "_progress")
            )
        try:
            yield
        except Exception:
            running = {
                k: v
                for k, v in self.__dict__.items()
                if k.startswith(("_callback_fit", "_skl_callbacks"))
            }
            self.__dict__.clear()
            self.__dict__.update(before, **running)
            if goes_on and "network_" in before:
                self._expose_parameters()
            raise

    # -- fit --

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        incremental: bool = False,
        classes: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
    ) -> Self:
        go_on = self.warm_start or incremental
        with self._unchanged_on_error(go_on):
            self._validate_params()
            self._validates = validation is not None
            check_combination(self, incremental=incremental, sparse=hasattr(X, "tocsr"))
            first = "network_" not in vars(self) or not go_on
            by_hand = vars(self).copy() if first and go_on else {}
            targets = self._validate_targets(
                X,
                y,
                sample_weight,
                first=first,
                incremental=incremental,
                classes=classes,
            )
            held_out = None
            if validation is not None:
                held_out = self._validation_targets(*validation)
            self._random_generator = check_random_state(self.random_state)
            if first:
                self._initialize(targets)
                for name in PARAMETER_VIEWS:
                    if name in by_hand:
                        setattr(self, name, by_hand[name])
            self._check_topology(targets)
            for samples in (targets, held_out):
                if samples is not None:
                    samples.cast(self.network_.dtype)
            self._adopt_parameters()
            if callable(self.loss):
                self._check_loss(targets)
            if self.solver in STOCHASTIC_SOLVERS:
                self._fit_stochastic(targets, held_out, incremental)
            else:
                self._fit_full_batch(targets)
        del self._random_generator, self._validates
        return self

    def _validation_targets(self, X: Any, y: Any, sample_weight: Any) -> Targets:
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        # the labels must be known ones, the features those of X: as in partial_fit
        try:
            targets = self._validate_targets(
                X, y, sample_weight, first=False, incremental=True
            )
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from error
        targets.smoothing = 0.0
        return targets

    def _working_dtype(self) -> Any:
        if self.dtype is None:
            return (np.float64, np.float32)
        dtype: Any
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise ValueError(
                f"dtype must be None, float32 or float64, got {self.dtype!r}"
            )
        return dtype.type

    def _initialize(self, targets: Targets) -> None:
        """A new network, drawn as scikit-learn draws it for the same random_state."""
        sizes = [targets.X.shape[1], *hidden_sizes(self), targets.n_outputs]
        network = Network(
            sizes,
            self.activation,
            targets.output_activation,
            loss=self.loss,
            huber_delta=self.huber_delta,
            quantile=getattr(self, "quantile", 0.5),
            groups=targets.groups,
            batch_norm=self.batch_norm,
            batch_norm_momentum=self.batch_norm_momentum,
            batch_norm_epsilon=self.batch_norm_epsilon,
            batch_norm_gradient=self.batch_norm_gradient,
            residual=self.residual,
            dtype=targets.X.dtype,
        )
        network.check_trainable()
        name = self.activation if isinstance(self.activation, str) else ""
        for W, b, (n_in, n_out) in zip(
            network.coefs, network.intercepts, pairwise(sizes), strict=True
        ):
            W[:], b[:] = draw(self.init, self._random_generator, n_in, n_out, name)
        if network.has_rbf:
            self._place_centres(network, targets)
        for scale in network.scales:
            if scale is not None:
                scale[:] = self.batch_norm_scale_init
        network.dropout_scaling = self.dropout_scaling
        self._built_with = {name: getattr(self, name) for name in BUILT_IN}
        self.network_ = network
        if self.standardize:
            self._measure(targets)
        self._expose_parameters()
        self.n_layers_ = len(sizes)
        self.n_outputs_ = targets.n_outputs
        self.out_activation_ = network.output_activation.name
        self.t_ = self.n_iter_ = 0
        self.loss_curve_ = []
        validates = self.early_stopping or self._validates
        validates = validates and self.solver in STOCHASTIC_SOLVERS
        self.validation_scores_ = [] if validates else None
        self.validation_loss_curve_ = [] if validates else None
        self.best_validation_score_ = -np.inf if validates else None
        self.best_loss_ = None if self.early_stopping and validates else np.inf
        self._progress = Progress(self.tol)
        self.__dict__.pop("_optimizer", None)

    def _place_centres(self, network: Network, targets: Targets) -> None:
        """Radial basis functions start at samples, as wide as the samples are spread."""
        X, n_centres = targets.X, network.layer_sizes[1]
        if targets.sparse or self.standardize or self.input_dropout:
            other = "sparse X" if targets.sparse else "standardize or input_dropout"
            raise ValueError(f"activation='rbf' measures distances: not with {other}")
        chosen = self._random_generator.choice(
            len(X), n_centres, replace=len(X) < n_centres
        )
        network.coefs[0][:] = X[chosen].T
        spread = float(X.var(axis=0, dtype=np.float64).sum())
        network.intercepts[0][:] = spread if spread > 0 else 1.0

    def _check_topology(self, targets: Targets) -> None:
        """A network that goes on must be the one that the parameters describe."""
        network = self.network_
        if targets.n_outputs != network.n_outputs:
            raise ValueError(
                f"y has {targets.n_outputs} outputs, the fitted network has "
                f"{network.n_outputs} outputs"
            )
        if tuple(hidden_sizes(self)) != network.layer_sizes[1:-1]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} differs from the fitted "
                f"network's {network.layer_sizes[1:-1]}; refit with warm_start=False"
            )
        for name, before in self._built_with.items():
            now = getattr(self, name)
            if name == "activation":  # a list says the same as a tuple
                widths = network.layer_sizes[1:-1]
                now, before = (layer_activations(f, widths) for f in (now, before))
            if now != before:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} can't take the place of {before!r} in "
                    "a fitted network; refit with warm_start=False"
                )
        network.dropout = dropout_rates(self)
        network.dropout_mask = self.dropout_mask

    def _check_loss(self, targets: Targets) -> None:
        """The user's gradient, against differences at the first samples."""
        few = targets.take(np.arange(min(8, targets.X.shape[0])))
        y_out = self.network_.forward(few.X)
        y_true = few.values
        if y_true is None:
            y_true = np.zeros_like(y_out)
            labels = few.labels[:, 0]
            if y_out.shape[1] == 1:
                y_true[:, 0] = labels
            else:
                y_true[np.arange(len(labels)), labels] = 1
        check_callable(self.loss, y_true, y_out)

    # -- standardisation --

    def _measure(self, targets: Targets) -> None:
        """Means and deviations of inputs and targets; sparse inputs are only scaled."""
        network = self.network_
        X = targets.X
        if targets.sparse:
            mean_square = np.asarray(
                X.multiply(X).mean(axis=0), dtype=np.float64
            ).ravel()
            mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
            deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
        else:
            network.input_shift = X.mean(axis=0, dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                deviation = X.std(axis=0, dtype=np.float64)
        check_measured("X", network.input_shift, deviation, X)
        network.input_scale = np.where(deviation > 0, deviation, 1.0)
        values = targets.values
        if self._scales_targets() and values is not None:
            network.output_shift = np.nanmean(values, axis=0, dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                deviation = np.nanstd(values, axis=0, dtype=np.float64)
            check_measured("y", network.output_shift, deviation, values)
            network.output_scale = np.where(deviation > 0, deviation, 1.0)

    def _scales_targets(self) -> bool:
        return False

    def _standardized(self, targets: Targets) -> Targets:
        """The samples as the network is trained on them."""
        network = self.network_
        if network.input_scale is None:
            return targets
        whole = targets.take(slice(None))  # type: ignore[arg-type]
        whole.smoothing = targets.smoothing
        factor = (1 / network.input_scale).astype(network.dtype)
        if targets.sparse:
            whole.X = targets.X.multiply(factor).tocsr()
        else:
            whole.X = (targets.X - network.input_shift.astype(network.dtype)) * factor
        if network.output_scale is not None and targets.values is not None:
            values = (targets.values - network.output_shift) / network.output_scale
            whole.values = np.ascontiguousarray(values, dtype=network.dtype)
        return whole

    # -- stochastic solvers --

    def _penalties(self) -> Penalties:
        return Penalties(self.alpha, self.l2, self.l1, self.l2_bias)

    def _new_optimizer(self) -> Optimizer:
        schedule = Schedule(
            self.learning_rate,
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
        """Training and validation samples as indices; stratified for single labels."""
        try:
            training, validation = train_test_split(
                np.arange(targets.X.shape[0], dtype=np.int64),
                random_state=self._random_generator,
                test_size=self.validation_fraction,
                stratify=targets.strata,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True can't hold out validation_fraction="
                f"{self.validation_fraction} of {targets.X.shape[0]} samples: {error}"
            ) from error
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        return np.ascontiguousarray(training), validation

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
        if n_samples == 1 and self.batch_norm:
            raise ValueError(
                f"batch_norm={self.batch_norm!r} needs at least 2 samples, got 1"
            )
        rng = self._random_generator
        augment = self.augment
        return StochasticRun(
            self.network_,
            self._standardized(targets).data(),
            self._optimizer,
            self._penalties(),
            batch_size=self._batch_size(n_samples),
            samples=training,
            shuffle=self.shuffle,
            rng=rng,
            n_threads=resolve_threads(self.n_threads),
            sparse=targets.sparse,
            augment=None if augment is None else lambda batch: augment(batch, rng),
        )

    def _fit_stochastic(
        self, targets: Targets, held_out: Targets | None, incremental: bool
    ) -> None:
        if not incremental or "_optimizer" not in vars(self):
            self._optimizer = self._new_optimizer()
        training = None
        if self.early_stopping and held_out is None:
            training, validation = self._split(targets)
            held_out = targets.take(validation)
        run = self._start_run(targets, training)
        pocket = None
        if self.early_stopping and self.restore_best:
            pocket = Pocket(self.network_)
        self._progress.tol = self.tol
        callbacks = self._begin_callbacks(1 if incremental else self.max_iter)
        self.n_iter_ = 0
        try:
            while self.n_iter_ < self.max_iter:
                self._epoch(run, held_out, pocket)
                stop = self._should_stop(run)
                if callbacks() or stop or incremental:
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

    def _epoch(
        self, run: StochasticRun, held_out: Targets | None, pocket: Pocket | None
    ) -> None:
        """One epoch, its records, and the pocket [S 65.94]."""
        self.loss_ = run.epoch()
        self.n_iter_ += 1
        self.t_ += run.n_samples
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        value = -self.loss_
        if held_out is not None:
            value = self._validate_epoch(held_out, value)
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
            score = float(scorer(self, held_out.X, held_out.y, **routed))
        self.validation_scores_.append(score)
        self.best_validation_score_ = max(self.best_validation_score_, score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        return score if self.early_stopping else value

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
        callbacks = self._begin_callbacks(self.max_iter)
        curve = self.loss_curve_

        def on_iteration(risk: float) -> bool:
            curve.append(risk)
            self.loss_, self.n_iter_ = risk, self.n_iter_ + 1
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {risk:.8f}")
            return callbacks()

        self.n_iter_ = 0
        risk = Risk(
            self.network_,
            self._standardized(targets).data(),
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
        else:
            self.loss_ = float(result.fun)
            self.best_loss_ = min([*curve, self.loss_])
            self._check_converged(result)
        self._check_finite()
        self.network_.refold()

    def _check_converged(self, result: Any) -> None:
        if self.solver == "lbfgs":  # scikit-learn's own words
            self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        elif result.status == 1:
            warnings.warn(
                f"{self.solver} failed to converge after {self.n_iter_} iterations: "
                f"{result.message}. Increase max_iter={self.max_iter} or "
                f"max_fun={self.max_fun}.",
                ConvergenceWarning,
                stacklevel=5,
            )

    # -- callbacks --

    def _begin_callbacks(self, max_epochs: int) -> Callable[[], bool]:
        """A function to call after each epoch; True if a callback wants to stop."""
        if not getattr(self, "_skl_callbacks", None):
            return lambda: False
        context = self._init_callback_context(max_subtasks=max_epochs)
        context.call_on_fit_task_begin(estimator=self)

        def fitted_so_far() -> dict[str, Any]:
            self.network_.refold()
            return {
                **{k: v for k, v in vars(self).items() if k.endswith("_")},
                "network_": self.network_.copy(),
            }

        def epoch_ended() -> bool:
            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(estimator=self)
            return bool(
                epoch.call_on_fit_task_end(
                    estimator=self, reconstruction_attributes=fitted_so_far
                )
            )

        return epoch_ended

    # -- prediction --

    def _forward(self, X: Any, check_input: bool = True) -> Array:
        """Outputs (n_samples, n_outputs)."""
        if "network_" not in self.__dict__:
            check_is_fitted(self)
        if check_input and not self._needs_no_check(X):
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        self._adopt_parameters()
        return self.network_.forward(X, resolve_threads(self.n_threads))

    def _needs_no_check(self, X: Any) -> bool:
        """Whether scikit-learn's validation would pass X through as it is; it takes longer
        than a small network's prediction for one row."""
        return (
            type(X) is np.ndarray
            and X.dtype is self.network_.dtype
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and X.shape[0] > 0
            and "feature_names_in_" not in self.__dict__
            and isfinite(X.sum())
        )

    def _check_partial_fit(self) -> bool:
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
