"""Base class of the estimators: the steps of a fit, and the fitted state."""

import operator
from dataclasses import replace
from math import isfinite
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mlp.estimators.building import BuildsNetwork
from mlp.estimators.checkpoint import EstimatorCheckpoint
from mlp.estimators.fitting import EstimatorFit
from mlp.estimators.parameters import (
    CONSTRAINTS,
    check_combination,
    pair_of_betas,
    warn_without_effect,
)
from mlp.estimators.saving import SaveMixin
from mlp.estimators.standardize import check_sparse, standardized
from mlp.estimators.training_data import TrainingData, check_loss
from mlp.estimators.validation import validate_data
from mlp.network.activations import Activation
from mlp.network.connectivity import assign
from mlp.network.losses import Loss
from mlp.network.network import Network
from mlp.network.summary import Summary
from mlp.threads import resolve_threads
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.optimizers import STOCHASTIC_SOLVERS
from mlp.training.schedules import Schedule, schedule_of
from mlp.training.stopping import Progress

__all__ = ["BaseMLP", "set_parameters"]

Array = NDArray[Any]

#: lists of views into the network's parameters, which are not pickled but made again
PARAMETER_VIEWS = ("coefs_", "intercepts_")
#: records that fits append to
LISTS = (
    "loss_curve_",
    "validation_scores_",
    "validation_loss_curve_",
    "gradient_norms_",
)


def set_parameters(estimator: Any, values: dict[str, Any]) -> None:
    """Store a constructor's arguments unchecked, as scikit-learn requires."""
    for name, value in values.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


class BaseMLP(BuildsNetwork, SaveMixin, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators with a network; subclasses validate y and predict.

    A fitted estimator has its `Network` as ``network_``; ``coefs_`` and ``intercepts_`` are
    views into its parameters.
    """

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
    _optimizer: Any
    _random_generator: RandomState

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS
    _validates = False  # whether `fit` was given validation samples

    # -- methods of subclasses --

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> TrainingData:
        """Validate samples; may set attributes that describe y, such as ``classes_``."""
        raise NotImplementedError

    def _check_combination(self, incremental: bool) -> None:
        """Refuse parameters that contradict each other."""
        check_combination(self, incremental=incremental)

    def _all_layers(self, given: Any) -> Any:
        """Expand a parameter with one entry per layer to all hidden layers."""
        return given

    def _built_by(self, name: str) -> Any:
        """Return `loss` or `output_activation`: during a fit the parameter, and otherwise
        that of the fitted network, which a changed parameter does not affect."""
        if "_validates" in vars(self):
            return getattr(self, name)
        value = getattr(self.network_.spec, name)
        if isinstance(value, Activation | Loss):
            return value.spec
        return [node.spec for node in value]

    # -- state --

    def _adopt_parameters(self) -> None:
        """Copy arrays that a user has assigned to `coefs_` or `intercepts_`."""
        network = self.network_
        for name, views in (
            ("coefs_", network.coefs),
            ("intercepts_", network.intercepts),
        ):
            given = getattr(self, name)
            if len(given) == len(views) and all(map(operator.is_, given, views)):
                continue
            if self.network_ is not network:  # another thread has just ended a fit
                self._adopt_parameters()
                return
            shapes = [np.shape(new) for new in given]
            if shapes != [view.shape for view in views]:
                raise ValueError(
                    f"{name} must have the shapes {[view.shape for view in views]}, "
                    f"got {shapes}"
                )
            fixed = name == "intercepts_" and not network.spec.fit_intercept
            if fixed and any(map(np.any, given)):
                raise ValueError("intercepts_ must be 0 with fit_intercept=False")
            for view, new in zip(views, given, strict=True):
                if hasattr(view, "indptr"):
                    assign(view, new)
                else:
                    view[:] = new
            setattr(self, name, list(views))
            network.tie()
            network.refold()

    @property
    def network(self) -> Network:
        """The trained network, which predicts without scikit-learn."""
        check_is_fitted(self)
        self._adopt_parameters()
        return self.network_

    def __getstate__(self) -> dict[str, Any]:
        if "coefs_" in vars(self):
            self._adopt_parameters()
        state: dict[str, Any] = super().__getstate__()
        if "network_" in state:  # they are in the network already
            state = {k: v for k, v in state.items() if k not in PARAMETER_VIEWS}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self._use(self.network_)

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
        checkpoint: Any = None,
    ) -> Self:
        """Train a copy of this estimator, then take its state: after an error this
        estimator is unchanged."""
        continues = self.warm_start or incremental
        before = vars(self).copy()
        trial = self._for_training(continues)
        lengths = {k: len(v) for k in LISTS if (v := vars(self).get(k)) is not None}
        try:
            trial._train(
                X,
                y,
                sample_weight,
                first="network_" not in vars(self) or not continues,
                incremental=incremental,
                classes=classes,
                validation=validation,
                checkpoint=checkpoint,
            )
        except BaseException:
            for name, n in lengths.items():  # the lists are shared: copies cost time
                del vars(self)[name][n:]
            self.__dict__.update(trial._callback_state())
            raise
        self._take_state(trial, before, continues)
        return self

    def _for_training(self, continues: bool) -> Self:
        """Make an estimator with the same parameters and, to continue training, copies of
        everything that training changes in place."""
        trial = object.__new__(type(self))
        trial.__dict__.update(self.__dict__)
        if continues and "network_" in vars(self):
            self._adopt_parameters()
            trial._use(self.network_.copy())
            trial._progress = replace(self._progress)
            if "_optimizer" in vars(self):
                trial._optimizer = self._optimizer.copy()
        return trial

    def _take_state(self, trial: Self, before: dict[str, Any], continues: bool) -> None:
        """Take what training has changed in `trial`, which began with the attributes
        `before`.  If training continued, the network stays the same object, and so do the
        arrays of `coefs_`, to which a user may have references.

        One update sets all attributes: another thread that predicts never finds some of
        them missing.  Attributes that the caller's code has set meanwhile stay.
        """
        network = before.get("network_")
        if continues and network is not None:
            network.assign(trial.network_)
            trial._use(network)
        changed = vars(trial)
        removed = [name for name in before if name not in changed]
        self.__dict__.update(
            {k: v for k, v in changed.items() if k not in before or before[k] is not v}
        )
        for name in removed:
            self.__dict__.pop(name, None)

    def _callback_state(self) -> dict[str, Any]:
        """State that scikit-learn needs to end running callbacks."""
        return {
            k: v
            for k, v in vars(self).items()
            if k.startswith(("_callback_fit", "_skl_callbacks"))
        }

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        incremental: bool,
        classes: Any,
        validation: tuple[Any, Any, Any] | None,
        checkpoint: Any,
    ) -> None:
        """Validate all arguments, make the network in the `first` fit, and train it."""
        self._validate_params()
        self._validates = validation is not None
        self._check_combination(incremental)
        warn_without_effect(self)
        saved = None if checkpoint is None else EstimatorCheckpoint(checkpoint, self)
        by_hand = vars(self).copy() if self.warm_start or incremental else {}
        targets = self._validate_targets(
            X,
            y,
            sample_weight,
            first=first,
            incremental=incremental,
            classes=classes,
        )
        weights = sample_weight is not None
        metadata = {"sample_weight": sample_weight} if weights else None
        targets.given = {"X": X, "y": y, "metadata": metadata}
        held_out = None
        if validation is not None:
            held_out = self._validation_targets(*validation)
        self._random_generator = check_random_state(self.random_state)
        if first:
            self._initialize(targets)
            for name in PARAMETER_VIEWS:
                if name in by_hand:
                    setattr(self, name, by_hand[name])
        else:
            self._configure_network(targets)
        for samples in (targets, held_out):
            if samples is not None:
                self._check_inputs(samples)
                self._cast(samples)
        if targets.sparse:  # now that X is validated: a frame may be sparse
            self._check_sparse_training()
        self._adopt_parameters()
        if targets.X.shape[0] > 0:  # otherwise no target of the batch is known
            if callable(getattr(self, "loss", None)):
                check_loss(self.network_, self.loss, targets)
            EstimatorFit(
                self, targets, held_out, incremental=incremental, checkpoint=saved
            ).run()
        del self._random_generator, self._validates

    def _use(self, network: Network) -> None:
        """Set the estimator's network, and `coefs_` and `intercepts_` to views into it."""
        self.network_ = network
        self.coefs_ = list(network.coefs)
        self.intercepts_ = list(network.intercepts)

    # -- parts of training --

    def _penalties(self) -> Penalties:
        return Penalties(self.alpha, self.l2, self.l1, self.l2_bias, self.l1_method)

    def _new_optimizer(self) -> Optimizer:
        own = STOCHASTIC_SOLVERS[self.solver].parameters
        schedule = Schedule(
            schedule_of(self.learning_rate, self.solver),
            self.learning_rate_init,
            power_t=self.power_t,
            horizon=self.max_iter,
        )
        return Optimizer(
            self.solver,
            schedule,
            momentum=self.momentum if "momentum" in own else 0.0,
            nesterov=self.nesterovs_momentum,
            beta_1=pair_of_betas(self, "beta_1"),
            beta_2=pair_of_betas(self, "beta_2"),
            epsilon=self.epsilon,
            weight_decay=self.weight_decay if "weight_decay" in own else 0.0,
            clip_norm=self.clip_norm or 0.0,
            clip_value=self.clip_value or 0.0,
        )

    def _start_run(
        self,
        network: Network,
        targets: TrainingData,
        optimizer: Any,
        penalties: Penalties,
        **options: Any,
    ) -> Any:
        """Make the run of epochs of `network`, the whole network or the trained part."""
        augment, rng = self.augment, self._random_generator
        return StochasticRun(
            network,
            standardized(network, targets).data(),
            optimizer,
            penalties,
            augment=None if augment is None else lambda batch: augment(batch, rng),
            **options,
        )

    def _score_epoch(self, network: Any, held_out: TrainingData) -> float:
        """Return the score that early stopping monitors by default, given the trained part
        of the network."""
        raise NotImplementedError

    @staticmethod
    def _validation(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any] | None:
        """Return X_val, y_val and sample_weight_val of `fit`, or None without them."""
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError(
                    "sample_weight_val are weights of X_val, but X_val is None"
                )
            return None
        return X, y, sample_weight

    def _validation_targets(self, X: Any, y: Any, sample_weight: Any) -> TrainingData:
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        # as in partial_fit, labels and features must be those of the fit
        try:
            targets = self._validate_targets(
                X, y, sample_weight, first=False, incremental=True
            )
            targets.check_any_known()
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from error
        targets.smoothing = 0.0
        return targets

    def _cast(self, samples: TrainingData) -> None:
        """Convert samples to the network's dtype, except values to be standardised."""
        network = self.network_
        samples.cast(
            network.dtype,
            inputs=network.input_scale is None,
            values=network.output_scale is None,
        )

    def _begin_records(self) -> None:
        """Clear the records of training and the state of the optimizer."""
        self.t_ = self.n_iter_ = 0
        self.loss_ = np.nan
        self.loss_curve_ = []
        validates = self.early_stopping or self._validates
        validates = validates and self.solver in STOCHASTIC_SOLVERS
        self.validation_scores_ = [] if validates else None
        self.validation_loss_curve_ = [] if validates else None
        self.best_validation_score_ = -np.inf if validates else None
        self.best_loss_ = None if self.early_stopping and validates else np.inf
        self._progress = Progress(self.tol)
        for name in ("_optimizer", "gradient_norms_"):
            self.__dict__.pop(name, None)

    def _check_inputs(self, targets: TrainingData) -> None:
        """Refuse sparse inputs where the zeros of a sample count as values."""
        if targets.sparse:
            check_sparse(self.network_)

    def _check_sparse_training(self) -> None:
        """Refuse sparse X where training needs dense batches."""
        if self.augment is not None:
            raise ValueError("augment needs dense batches, but X is sparse")
        dropout = self.network_.spec.dropout
        if dropout is not None and dropout.input and dropout.mask == "sample":
            raise ValueError(
                f"dropout={self.dropout!r} drops inputs of single samples, which needs "
                "dense inputs, but X is sparse"
            )

    def _scales_targets(self) -> bool:
        return False

    # -- the fitted network and its outputs --

    def summary(self, X: Any = None) -> Summary:
        """Return the fitted network's layers as a table of text; see `Network.summary`.

        Parameters
        ----------
        X : optional
            Samples as for `predict`, for the column "dead": the number of units of each
            hidden layer whose activation has derivative 0 for all of them, such as a ReLU
            that is always 0; no gradient passes through these units.

        Returns
        -------
        Summary
            A str, which an interactive prompt shows as ``print`` does.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self, "network_")
        if X is None:
            return self.network_.summary()
        X = self._checked_rows(X)
        return self.network_.summary(X, resolve_threads(self.n_threads))

    def _checked_rows(self, X: Any) -> Any:
        """Validate samples for the fitted network."""
        if "network_" not in self.__dict__:
            check_is_fitted(self)
        if not self._needs_no_check(X):
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        self._adopt_parameters()
        return X

    def _forward(self, X: Any) -> Array:
        """Return the outputs of the network (n_samples, n_outputs)."""
        X = self._checked_rows(X)
        return self.network_.forward(X, resolve_threads(self.n_threads))

    def _needs_no_check(self, X: Any) -> bool:
        """Whether scikit-learn's validation would return X unchanged; it takes longer than
        a small network's prediction for one row."""
        return (
            type(X) is np.ndarray
            and X.dtype is self.network_.params.dtype
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
