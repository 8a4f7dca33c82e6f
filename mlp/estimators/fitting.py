"""The fit of an estimator: its parameters and samples become a `Fit` of its network."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils.optimize import _check_optimize_result

from mlp.estimators.callbacks import CallbackNotifier
from mlp.estimators.checkpoint import EstimatorCheckpoint
from mlp.estimators.standardize import standardized
from mlp.estimators.training_data import TrainingData
from mlp.network.transfer import (
    frozen_prefix,
    read_tail,
    split_off_tail,
    write_tail,
)
from mlp.progress import GradientNorms
from mlp.threads import resolve_threads
from mlp.training.fit import Fit, FullBatchFit, History, Validator
from mlp.training.full_batch import CONVERGED, OUT_OF_STEPS, Risk
from mlp.training.optimizers import STOCHASTIC_SOLVERS
from mlp.training.report import EpochLines, caller_level
from mlp.training.stopping import EarlyStopping, Stopping

__all__ = ["EstimatorFit"]

Array = NDArray[Any]

#: fields of `History` and the attributes of an estimator that hold them
RECORDS = {
    "losses": "loss_curve_",
    "validation_losses": "validation_loss_curve_",
    "validation_scores": "validation_scores_",
    "epochs": "n_iter_",
    "samples": "t_",
    "loss": "loss_",
    "best_loss": "best_loss_",
    "best_score": "best_validation_score_",
    "progress": "_progress",
}


class EstimatorFit:
    """Trains the network of an estimator according to its parameters.

    Parameters
    ----------
    estimator : BaseMLP
        The estimator, with a network that is ready to be trained; it is changed in place.
    targets : TrainingData
        The samples.
    held_out : TrainingData or None
        The user's own validation samples.
    incremental : bool
        Whether this is one epoch of `partial_fit`.
    checkpoint : EstimatorCheckpoint or None
    """

    def __init__(
        self,
        estimator: Any,
        targets: TrainingData,
        held_out: TrainingData | None,
        *,
        incremental: bool,
        checkpoint: EstimatorCheckpoint | None,
    ) -> None:
        self.estimator, self.incremental = estimator, incremental
        self.targets, self.held_out, self.checkpoint = targets, held_out, checkpoint
        self.n_threads = resolve_threads(estimator.n_threads)
        self.n_frozen = 0
        self.network = estimator.network_
        self._split_off_frozen()

    def run(self) -> None:
        """Train; afterwards the estimator has the trained network and the records."""
        self.estimator.n_iter_ = 0
        if self.estimator.solver in STOCHASTIC_SOLVERS:
            self._run_stochastic()
        else:
            self._run_full_batch()

    # -- leading frozen layers --

    def _split_off_frozen(self) -> None:
        """Apply leading frozen layers to the samples once, and train only the others."""
        network, samples = self.network, (self.targets, self.held_out)
        n = frozen_prefix(network.spec)
        autoencode = any(part is not None and part.autoencode for part in samples)
        if n == 0 or self.estimator.augment is not None or autoencode:
            return
        network.refold()  # the layers are applied as in prediction
        for part in samples:
            if part is not None:
                features = network.hidden_activations(part.X, n - 1, self.n_threads)
                part.raw_X, part.X = part.X, features
        self.n_frozen, self.network = n, split_off_tail(network, n)

    # -- the estimator, brought up to date --

    def _history(self) -> History:
        """The estimator's records, to be continued."""
        return History(
            **{name: getattr(self.estimator, of) for name, of in RECORDS.items()}
        )

    def _publish(self, history: History) -> None:
        """Copy the records to the estimator, and the parameters to its whole network."""
        estimator = self.estimator
        for name, attribute in RECORDS.items():
            setattr(estimator, attribute, getattr(history, name))
        if history.gradient_norms:  # of this fit; 0 for frozen layers
            norms = estimator.__dict__.setdefault("gradient_norms_", [])
            front = np.zeros(self.n_frozen)
            norms.extend(np.concatenate([front, n]) for n in history.gradient_norms)
            history.gradient_norms.clear()
        if self.n_frozen:
            write_tail(estimator.network_, self.network, self.n_frozen)

    @contextmanager
    def _shown(self, history: History) -> Iterator[None]:
        """Keep the estimator up to date while a user's code reads it."""
        self._publish(history)
        yield
        if self.n_frozen:
            read_tail(self.network, self.estimator.network_, self.n_frozen)

    def _observers(self, max_epochs: int) -> list[Any]:
        callbacks = CallbackNotifier(
            self.estimator, max_epochs, self.targets.given, self._shown
        )
        if self.checkpoint is None:
            return [EpochLines(self.estimator.verbose), callbacks]
        self.checkpoint.shown = self._shown
        return [EpochLines(self.estimator.verbose), self.checkpoint, callbacks]

    def _wants_norms(self) -> bool:
        callbacks = getattr(self.estimator, "_skl_callbacks", ())
        return self.estimator.verbose > 1 or any(
            isinstance(c, GradientNorms) for c in callbacks
        )

    # -- stochastic solvers --

    def _run_stochastic(self) -> None:
        estimator, checkpoint = self.estimator, self.checkpoint
        memory = vars(estimator).get("_optimizer") if self.incremental else None
        if memory is None or not memory.fits(self.network):
            estimator._optimizer = estimator._new_optimizer()
        if checkpoint is not None:
            checkpoint.begin(self.targets, self.held_out, self.network)
        history = self._history()
        if checkpoint is None or not checkpoint.finished:
            training, held_out = self._split()
            validator = None
            if held_out is not None:
                validator = self._validator(held_out, history)
            max_epochs = 1 if self.incremental else estimator.max_iter
            fit = Fit(
                self._epochs(training),
                self._stopping(max_epochs),
                history=history,
                validator=validator,
                observers=self._observers(max_epochs),
            )
            fit.run()
            self._warn(fit.interrupted, fit.out_of_epochs and not self.incremental)
        self._publish(history)

    def _warn(self, interrupted: bool, out_of_epochs: bool) -> None:
        if interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=caller_level())
        elif out_of_epochs:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.estimator.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )

    def _stopping(self, max_epochs: int) -> Stopping:
        e, early = self.estimator, EarlyStopping.of(self.estimator.early_stopping)
        return Stopping(
            max_epochs,
            e.tol,
            e.n_iter_no_change,
            early=early is not None,
            restore_best=early is not None and early.restore_best,
        )

    def _epochs(self, training: Array | None) -> Any:
        """Make the run over the training samples, all of them if None."""
        n_samples = self.targets.X.shape[0] if training is None else len(training)
        e = self.estimator
        self.network.check_rows(n_samples)
        return e._start_run(
            self.network,
            self.targets,
            e._optimizer,
            e._penalties(),
            batch_size=self._batch_size(n_samples),
            samples=training,
            shuffle=e.shuffle,
            sampling=e.sampling,
            rng=e._random_generator,
            n_threads=self.n_threads,
            with_norms=self._wants_norms(),
        )

    def _batch_size(self, n_samples: int) -> int:
        batch_size = self.estimator.batch_size
        if batch_size == "auto":
            return min(200, n_samples)
        if batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. "
                "It is going to be clipped",
                stacklevel=caller_level(),
            )
        return int(np.clip(batch_size, 1, n_samples))

    # -- held-out samples --

    def _split(self) -> tuple[Array | None, TrainingData | None]:
        """Return the indices of the training samples (None: all), and held-out samples."""
        checkpoint, training, validation = self.checkpoint, None, None
        if checkpoint is not None and checkpoint.resumes:
            training, validation = checkpoint.order, checkpoint.validation
        elif self.estimator.early_stopping and self.held_out is None:
            training, validation = self._draw()
        if checkpoint is not None:
            checkpoint.validation = validation
        if validation is None:
            return training, self.held_out
        held_out = self.targets.take(validation)
        if held_out.sample_weight is not None and not held_out.sample_weight.any():
            raise ValueError(
                f"early_stopping=True holds out {len(validation)} samples, whose "
                "sample_weight are all 0; increase validation_fraction, or give X_val"
            )
        return training, held_out

    def _draw(self) -> tuple[Array, Array]:
        """Draw indices of training and validation samples, as scikit-learn does.

        They are stratified for single labels where that is possible.
        """
        n_samples, strata = self.targets.X.shape[0], self.targets.strata
        fraction = self.estimator.validation_fraction
        try:
            training, validation = self._draw_split(n_samples, strata)
        except ValueError as error:
            if strata is None or strata.ndim == 2:
                raise
            training, validation = self._draw_split(n_samples, None)
            warnings.warn(
                f"early_stopping=True holds out validation_fraction={fraction} of "
                f"{n_samples} samples at random, not stratified by class: "
                f"{error.__cause__}",
                stacklevel=caller_level(),
            )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        return np.ascontiguousarray(training), validation

    def _draw_split(self, n_samples: int, strata: Array | None) -> Any:
        fraction = self.estimator.validation_fraction
        try:
            return train_test_split(
                np.arange(n_samples, dtype=np.int64),
                random_state=self.estimator._random_generator,
                test_size=fraction,
                stratify=strata,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True can't hold out validation_fraction={fraction} of "
                f"{n_samples} samples: {error}"
            ) from error

    def _validator(self, held_out: TrainingData, history: History) -> Validator:
        network = self.network
        network.refold()
        held_out.cast(network.prediction_dtype)
        return Validator(
            network, held_out.data(), self.n_threads, self._score(held_out, history)
        )

    def _score(self, held_out: TrainingData, history: History) -> Any:
        """Make a function that scores the network on held-out samples (None: the loss)."""
        estimator = self.estimator
        early = EarlyStopping.of(estimator.early_stopping)
        scoring = None if early is None else early.scoring
        if scoring == "loss":
            return None
        if scoring is None:
            return lambda: estimator._score_epoch(self.network, held_out)
        scorer, weight = get_scorer(scoring), held_out.sample_weight
        weighted = weight is not None and _takes_weights(scorer)
        routed = {"sample_weight": weight} if weighted else {}
        X = held_out.X if held_out.raw_X is None else held_out.raw_X

        def score() -> float:
            with self._shown(history):
                return float(scorer(estimator, X, held_out.y, **routed))

        return score

    # -- full-batch solvers --

    def _run_full_batch(self) -> None:
        e, history = self.estimator, self._history()
        risk = Risk(
            self.network,
            standardized(self.network, self.targets).data(),
            e._penalties(),
            self.n_threads,
            self.targets.sparse,
        )
        fit = FullBatchFit(
            risk,
            e.solver,
            max_iter=e.max_iter,
            max_fun=e.max_fun,
            tol=e.tol,
            history=history,
            observers=self._observers(e.max_iter),
            with_norms=self._wants_norms(),
        )
        fit.run()
        self._publish(history)
        self._warn(fit.interrupted, out_of_epochs=False)
        if fit.result is not None:
            self._check_converged(fit.result)

    def _check_converged(self, result: Any) -> None:
        e = self.estimator
        if e.solver == "lbfgs":  # scikit-learn's own warning
            e.n_iter_ = _check_optimize_result("lbfgs", result, e.max_iter)
        elif result.status != CONVERGED:
            advice = f"Increase max_iter={e.max_iter} or max_fun={e.max_fun}."
            if result.status != OUT_OF_STEPS:
                advice = (
                    "Steps along the gradient fail at the kinks of activations such as "
                    "'relu' and of l1: use solver='lbfgs' or 'adam', or a smooth "
                    "activation.  If rounding is the reason, increase "
                    f"tol={e.tol:g}."
                )
            warnings.warn(
                f"{e.solver} failed to converge after {e.n_iter_} iterations: "
                f"{result.message}. {advice}",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )


def _takes_weights(scorer: Any) -> bool:
    metric = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in signature(metric).parameters
