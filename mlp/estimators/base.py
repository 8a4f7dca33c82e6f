"""What all estimators built on a trained network share."""

import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlp.initializers import draw
from mlp.network import Network, as_rows
from mlp.schedules import SCHEDULES, Schedule
from mlp.threads import resolve_threads
from mlp.training import Optimizer, Penalties, StochasticRun, minimize_full_batch

__all__ = ["BaseMLP", "set_parameters"]

Array = NDArray[Any]

STOCHASTIC_SOLVERS = ("sgd", "adam", "adamw")
PARAMETER_VIEWS = ("coefs_", "intercepts_")
#: betas, one for all parameters or (weights, biases)
BETAS: list[Any] = [Interval(Real, 0, 1, closed="left"), tuple]
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large"
    " values and need to be preprocessed. (Training diverged at epoch {}.)"
)


def set_parameters(estimator: Any, values: dict[str, Any]) -> None:
    """Store a constructor's arguments, unchecked, as scikit-learn asks."""
    for name, value in values.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """Training and state of the estimators; subclasses say what y is.

    A fitted estimator holds its `Network` as ``network_``; ``coefs_`` and ``intercepts_``
    are views into its parameters.
    """

    network_: Network

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [str, tuple, list],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC_SOLVERS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "learning_rate": [StrOptions(set(SCHEDULES)), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": BETAS,
        "beta_2": BETAS,
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "loss": [str],
        "output_activation": [str, tuple, None],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
        "l1": [Interval(Real, 0, None, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "l2_bias": ["boolean"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_value": [Interval(Real, 0, None, closed="neither"), None],
        "init": [str, callable],
        "dtype": [None, str, type, np.dtype],
        "n_threads": [None, Interval(Integral, 1, None, closed="left")],
    }

    # -- what a subclass says --

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> "Targets":
        raise NotImplementedError

    def _score_epoch(self, X: Any, y: Any, sample_weight: Any) -> float:
        raise NotImplementedError

    # -- fitted attributes --

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

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "network_" in state:  # they are in the network already
            state = {k: v for k, v in state.items() if k not in PARAMETER_VIEWS}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self._expose_parameters()

    # -- fit --

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put everything back if fitting fails: bad input or divergence loses nothing."""
        before = self.__dict__.copy()
        params = state = None
        if "network_" in before:
            params = self.network_.params.copy()
            state = self._saved_training_state()
        try:
            yield
        except Exception:
            running = {
                k: v
                for k, v in self.__dict__.items()
                if k.startswith("_callback_fit") or k.startswith("_skl_callbacks")
            }
            self.__dict__.clear()
            self.__dict__.update(before, **running)
            if params is not None:
                self.network_.params[:] = params
                self._restore_training_state(state)
            raise

    def _saved_training_state(self) -> Any:
        optimizer = getattr(self, "_optimizer_state", None)
        lists = {
            k: list(v)
            for k, v in vars(self).items()
            if k in ("loss_curve_", "validation_scores_") and v is not None
        }
        moments = None
        if optimizer is not None:
            moments = (
                optimizer.steps,
                optimizer.schedule.rate,
                *(
                    None if m is None else m.copy()
                    for m in (optimizer.moment_1, optimizer.moment_2)
                ),
            )
        return lists, moments

    def _restore_training_state(self, state: Any) -> None:
        lists, moments = state
        self.__dict__.update(lists)
        if moments is not None:
            optimizer = self._optimizer_state
            optimizer.steps, optimizer.schedule.rate = moments[:2]
            for kept, saved in zip(
                (optimizer.moment_1, optimizer.moment_2), moments[2:], strict=True
            ):
                if kept is not None:
                    kept[:] = saved

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        incremental: bool = False,
        classes: Any = None,
    ) -> Self:
        with self._unchanged_on_error():
            self._validate_options(incremental)
            go_on = self.warm_start or incremental
            first = "network_" not in vars(self) or not go_on
            by_hand = vars(self).copy() if first and go_on else {}
            targets = self._validate_targets(
                X, y, sample_weight, first, incremental, classes
            )
            self._random_generator = check_random_state(self.random_state)
            if first:
                self._initialize(targets)
                for name in PARAMETER_VIEWS:
                    if name in by_hand:
                        setattr(self, name, by_hand[name])
            self._check_topology(targets)
            self._adopt_parameters()
            if self.solver in STOCHASTIC_SOLVERS:
                self._fit_stochastic(targets, incremental)
            else:
                self._fit_full_batch(targets)
        del self._random_generator
        return self

    def _validate_options(self, incremental: bool) -> None:
        self._validate_params()
        sizes = self._hidden_sizes()
        if any(n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        resolve_threads(self.n_threads)
        for name in ("beta_1", "beta_2"):
            self._betas(name)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        return [int(n) for n in (sizes if np.iterable(sizes) else [sizes])]

    def _betas(self, name: str) -> tuple[float, float]:
        value = getattr(self, name)
        pair = value if isinstance(value, tuple) else (value, value)
        if len(pair) != 2 or not all(0 <= b < 1 for b in pair):
            raise ValueError(
                f"{name} must lie in [0, 1), one number or a pair (weights, biases); "
                f"got {value!r}"
            )
        return float(pair[0]), float(pair[1])

    def _working_dtype(self) -> Any:
        if self.dtype is None:
            return (np.float64, np.float32)
        dtype = np.dtype(self.dtype)
        if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise ValueError(
                f"dtype must be None, float32 or float64, got {self.dtype!r}"
            )
        return dtype.type

    def _initialize(self, targets: "Targets") -> None:
        """A new network, drawn as scikit-learn draws it for the same random_state."""
        n_features = targets.X.shape[1]
        sizes = [n_features, *self._hidden_sizes(), targets.n_outputs]
        network = Network(
            sizes,
            self.activation,
            targets.output_activation,
            loss=self.loss,
            huber_delta=self.huber_delta,
            quantile=getattr(self, "quantile", 0.5),
            dtype=targets.X.dtype,
        )
        network.check_trainable()
        name = self.activation if isinstance(self.activation, str) else ""
        for W, b, n_in, n_out in zip(
            network.coefs, network.intercepts, sizes, sizes[1:], strict=False
        ):
            W[:], b[:] = draw(self.init, self._random_generator, n_in, n_out, name)
        self.network_ = network
        self._expose_parameters()
        self.n_layers_ = len(sizes)
        self.n_outputs_ = targets.n_outputs
        self.out_activation_ = network.output_activation.name
        self.t_ = self.n_iter_ = self._no_improvement = 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: Any = None
        self.best_validation_score_: Any = None
        self.best_loss_: Any = np.inf
        if self.early_stopping and self.solver in STOCHASTIC_SOLVERS:
            self.validation_scores_ = []
            self.best_validation_score_ = -np.inf
            self.best_loss_ = None
        self.__dict__.pop("_optimizer_state", None)

    def _check_topology(self, targets: "Targets") -> None:
        """A network that goes on must be the one that the parameters describe."""
        network = self.network_
        if targets.n_outputs != network.n_outputs:
            raise ValueError(
                f"y has {targets.n_outputs} outputs, the fitted network has "
                f"{network.n_outputs} outputs"
            )
        if tuple(self._hidden_sizes()) != network.layer_sizes[1:-1]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} differs from the fitted "
                f"network's {network.layer_sizes[1:-1]}; refit with warm_start=False"
            )
        if targets.X.dtype != network.dtype:
            targets.X = as_rows(targets.X, network.dtype)
            targets.cast(network.dtype)

    def _penalties(self) -> Penalties:
        return Penalties(self.alpha, self.l2, self.l1, self.l2_bias)

    # -- stochastic solvers --

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
            beta_1=self._betas("beta_1"),
            beta_2=self._betas("beta_2"),
            epsilon=self.epsilon,
            weight_decay=self.weight_decay if self.solver == "adamw" else 0.0,
            clip_norm=self.clip_norm or 0.0,
            clip_value=self.clip_value or 0.0,
        )

    def _split(self, targets: "Targets") -> tuple[Array | None, Array | None]:
        """Training and validation samples as indices; stratified for single labels."""
        if not self.early_stopping:
            return None, None
        training, validation = train_test_split(
            np.arange(targets.X.shape[0], dtype=np.int64),
            random_state=self._random_generator,
            test_size=self.validation_fraction,
            stratify=targets.strata,
        )
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

    def _fit_stochastic(self, targets: "Targets", incremental: bool) -> None:
        if not incremental or "_optimizer_state" not in vars(self):
            self._optimizer_state = self._new_optimizer()
        training, validation = self._split(targets)
        n_samples = targets.X.shape[0] if training is None else len(training)
        run = StochasticRun(
            self.network_,
            targets.data(),
            self._optimizer_state,
            self._penalties(),
            batch_size=self._batch_size(n_samples),
            samples=training,
            shuffle=self.shuffle,
            rng=self._random_generator,
            n_threads=resolve_threads(self.n_threads),
            sparse=hasattr(targets.X, "indptr"),
        )
        held_out = None if validation is None else targets.held_out(validation)
        best = None if validation is None else self.network_.params.copy()
        callbacks = self._begin_callbacks(1 if incremental else self.max_iter)
        self.n_iter_ = 0
        try:
            while self.n_iter_ < self.max_iter:
                self._epoch(run, held_out, best)
                stop = self._should_stop(run)
                if callbacks() or stop or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                        "reached and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            self.network_.params[:] = best
        self._check_finite()

    def _epoch(self, run: StochasticRun, held_out: Any, best: Any) -> None:
        """One epoch, its records, and the pocket [S 65.94]."""
        self.loss_ = run.epoch()
        self.n_iter_ += 1
        self.t_ += run.n_samples
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if held_out is None:
            self._count_progress(-self.loss_, -self.best_loss_)
            self.best_loss_ = min(self.best_loss_, self.loss_)
        else:
            score = self._score_epoch(*held_out)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            self._count_progress(score, self.best_validation_score_, strict=True)
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                best[:] = self.network_.params
        if held_out is None and not np.isfinite(self.loss_):
            self._check_finite()

    def _count_progress(self, value: float, best: float, strict: bool = False) -> None:
        """Epochs in a row that improved on the best by less than tol."""
        stalled = value < best + self.tol
        self._no_improvement = self._no_improvement + 1 if stalled else 0

    def _should_stop(self, run: StochasticRun) -> bool:
        schedule = run.optimizer.schedule
        schedule.epoch_ends(self.n_iter_, self.t_)
        if self._no_improvement <= self.n_iter_no_change:
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
                print(
                    message
                    + (" Learning rate too small." if small else "")
                    + " Stopping."
                )
            return True
        if self.verbose:
            print(f"{message} Setting learning rate to {schedule.rate:f}")
        self._no_improvement = 0
        return False

    def _check_finite(self) -> None:
        if not np.isfinite(self.network_.params).all():
            raise ValueError(NON_FINITE.format(self.n_iter_))

    # -- full-batch solvers --

    def _fit_full_batch(self, targets: "Targets") -> None:
        callbacks = self._begin_callbacks(self.max_iter)
        curve = self.loss_curve_

        def on_iteration(risk: float) -> bool:
            curve.append(risk)
            self.loss_, self.n_iter_ = risk, self.n_iter_ + 1
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {risk:.8f}")
            return callbacks()

        self.n_iter_ = 0
        try:
            result = minimize_full_batch(
                self.network_,
                targets.data(),
                self.solver,
                self._penalties(),
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                n_threads=resolve_threads(self.n_threads),
                sparse=hasattr(targets.X, "indptr"),
                verbose=bool(self.verbose),
                on_iteration=on_iteration,
            )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
            self._check_finite()
            return
        self._check_finite()
        self.loss_ = float(result.fun)
        self.n_iter_ = _check_optimize_result(self.solver, result, self.max_iter)
        self.best_loss_ = min([*curve, self.loss_])

    # -- callbacks --

    def _begin_callbacks(self, max_epochs: int) -> Any:
        """A function to call after each epoch; True if a callback wants to stop."""
        if not getattr(self, "_skl_callbacks", None):
            return lambda: False
        context = self._init_callback_context(max_subtasks=max_epochs)
        context.call_on_fit_task_begin(estimator=self)

        def epoch_ended() -> bool:
            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(estimator=self)
            return bool(
                epoch.call_on_fit_task_end(
                    estimator=self,
                    reconstruction_attributes=lambda: {
                        **{k: v for k, v in vars(self).items() if k.endswith("_")},
                        "network_": self.network_.copy(),
                    },
                )
            )

        return epoch_ended

    # -- prediction --

    def _forward(self, X: Any, check_input: bool = True) -> Array:
        """Outputs (n_samples, n_outputs)."""
        check_is_fitted(self)
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        self._adopt_parameters()
        return self.network_.forward(X, resolve_threads(self.n_threads))

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


class Targets:
    """Validated samples: inputs, and what the network is to learn from them.

    Attributes
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    y : ndarray
        As the user gave it, for scoring held-out samples.
    values : ndarray of shape (n_samples, n_outputs) or None
    labels : int32 ndarray of shape (n_samples, n_tasks) or None
    sample_weight : ndarray of shape (n_samples,) or None
    n_outputs : int
    output_activation : str or tuple
    strata : ndarray of shape (n_samples,) or None
        Labels by which a validation set is stratified.
    """

    def __init__(
        self,
        X: Any,
        y: Array,
        *,
        n_outputs: int,
        output_activation: Any,
        values: Array | None = None,
        labels: Array | None = None,
        sample_weight: Array | None = None,
        strata: Array | None = None,
    ) -> None:
        self.X, self.y, self.values, self.labels = X, y, values, labels
        self.sample_weight, self.strata = sample_weight, strata
        self.n_outputs, self.output_activation = n_outputs, output_activation

    def data(self) -> Any:
        """What the core trains on."""
        from mlp import _core

        return _core.Data(self.X, self.values, self.labels, self.sample_weight)

    def cast(self, dtype: Any) -> None:
        """Bring values and weights to the network's dtype."""
        if self.values is not None:
            self.values = self.values.astype(dtype)
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight.astype(dtype)

    def held_out(self, samples: Array) -> tuple[Any, Array, Array | None]:
        """Inputs, targets and weights of the validation samples."""
        weights = None if self.sample_weight is None else self.sample_weight[samples]
        return self.X[samples], self.y[samples], weights


def check_weights(sample_weight: Any, X: Any) -> Array | None:
    """Sample weights as a vector of X's dtype, or None."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    if not np.sum(weights) > 0:
        raise ValueError("sample_weight must add up to a positive number")
    return np.ascontiguousarray(weights)


__all__ += ["Targets", "check_weights", "is_classifier"]
