"""`MLPRegressor`."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    column_or_1d,
)

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.conversion import to_sklearn
from mlp.estimators.docstrings import document
from mlp.estimators.inspection import Inspection
from mlp.estimators.training_data import TrainingData, check_weights
from mlp.estimators.validation import validate_data
from mlp.network.losses import resolve_loss
from mlp.network.samples import as_rows, refuse_dates
from mlp.threads import resolve_threads
from mlp.training.stopping import EarlyStopping

__all__ = ["MLPRegressor"]

#: options of the validation of y: NaN marks a missing target, infinity is an error
TARGETS: dict[str, Any] = {
    "ensure_2d": False,
    "dtype": "numeric",
    "ensure_all_finite": "allow-nan",
}


@document
class MLPRegressor(RegressorMixin, Inspection, BaseMLP):
    """Multilayer perceptron for regression with one or several targets.

    It replaces scikit-learn's class of the same name, with the same parameters and, for the
    same ``random_state``, the same results.  A compiled core trains the network.  Targets
    may be missing (NaN): they do not contribute to the loss, and samples without a known
    target are left out.

    Parameters
    ----------
    {parameters}
    loss : str, tuple or callable, default="squared_error"
        Loss of a sample [S table 65.2]:

        {losses of values}

        Or a callable ``(y_true, y_out) -> (values, gradient)`` [S P65.11], which must leave
        out targets that are NaN.

    Attributes
    ----------
    {attributes}

    Examples
    --------
    >>> from mlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=5, random_state=0)
    >>> model = MLPRegressor((10,), solver="lbfgs", max_iter=500, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.99)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        loss: Any = "squared_error",
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | EarlyStopping = False,
        validation_fraction: float = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        output_activation: Any = None,
        sampling: str = "shuffle",
        l1: float = 0.0,
        l1_method: str = "subgradient",
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        dropout: Any = 0.0,
        batch_norm: Any = None,
        residual: bool = False,
        connectivity: Any = None,
        base: Any = None,
        freeze: Any = 0,
        standardize: bool = False,
        augment: Any = None,
        fit_intercept: bool = True,
        init: Any = "sklearn",
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        checkpoint: Any = None,
    ) -> Self:
        """Fit the network to the samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets; NaN marks missing ones.  Each column needs a known target.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.
        X_val, y_val, sample_weight_val : optional
            Samples for validation, which replace a held-out part of X.
        checkpoint : str, path-like or tuple, optional
            Path of a file to which the state of the fit is written after every epoch, or
            ``(path, n, "epochs")`` or ``(path, n, "seconds")`` to write it less often.  If
            the file has an unfinished fit of the same parameters and samples, that fit is
            resumed and ends with the same bits as without an interruption; the result of a
            finished one is loaded.  `mlp.load` reads the file too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is invalid or training diverges; the estimator is then unchanged.
        """
        validation = self._validation(X_val, y_val, sample_weight_val)
        return self._fit(
            X, y, sample_weight, validation=validation, checkpoint=checkpoint
        )

    @available_if(lambda est: est._check_partial_fit())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one more epoch on the given samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets; NaN marks missing ones.  Samples without a known target are left
            out; without any sample nothing is trained.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the targets.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return _squeezed(self._forward(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R² on the known targets, averaged over the outputs.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets; NaN marks missing ones.  Outputs with fewer than two known targets
            are left out.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        float
        """
        refuse_dates(y, "y")
        y = check_array(y, input_name="y", **TARGETS)
        return known_r2(y, self.predict(X), sample_weight)

    def _score_epoch(self, network: Any, held_out: TrainingData) -> float:
        out = network.forward(held_out.X, resolve_threads(self.n_threads))
        prediction = _squeezed(out)
        if not np.isfinite(prediction).all():
            return float("nan")
        y = np.asarray(held_out.y)
        return known_r2(y, prediction, held_out.sample_weight)

    def _scales_targets(self) -> bool:
        return self.network_.output_name == "identity"

    to_sklearn = to_sklearn

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
        refuse_dates(y, "y")
        names = getattr(y, "columns", None)
        X, y = validate_data(
            self,
            X,
            y,
            validate_separately=(
                {"accept_sparse": ["csr", "csc"], "dtype": self._working_dtype()},
                TARGETS,
            ),
            reset=first,
        )
        check_consistent_length(X, y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        poisson = resolve_loss(self._built_by("loss")).name == "poisson"
        if poisson and (y < 0).any():
            raise ValueError("y must not be negative with loss='poisson'")
        X = as_rows(X, X.dtype)
        dtype = np.float64 if self.standardize else X.dtype  # rounded when standardised
        values = np.ascontiguousarray(y.reshape(len(y), -1), dtype=dtype)
        known = ~np.isnan(values)
        if not incremental or (first and self.standardize):
            check_each_known(known, names)
        output = self._built_by("output_activation")
        if output is None:
            output = "exp" if poisson else "identity"
        return TrainingData(
            X,
            y,
            values.shape[1],
            output,
            values=values,
            sample_weight=check_weights(sample_weight, X),
        ).where_known(known)


def _squeezed(out: NDArray[Any]) -> NDArray[Any]:
    """Return outputs in the shape of y: a vector for one target."""
    return out.ravel() if out.shape[1] == 1 else out


def check_each_known(known: NDArray[Any], names: Any) -> None:
    """Raise ValueError if an output has no known target, with its name in a data frame."""
    lost = np.flatnonzero(~known.any(axis=0))
    if len(lost):
        where = f" in column {lost[0]}" if known.shape[1] > 1 else ""
        name = f" ({names[lost[0]]!r})" if where and names is not None else ""
        raise ValueError(f"y: every target is missing{where}{name}")


def known_r2(
    y: NDArray[Any], prediction: NDArray[Any], sample_weight: Any = None
) -> float:
    """Return R² where y is not NaN, averaged over outputs with at least two such targets.

    Parameters
    ----------
    y, prediction : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets and predictions.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the samples.
    """
    if not np.isnan(y).any():
        return float(r2_score(y, prediction, sample_weight=sample_weight))
    y, prediction = y.reshape(len(y), -1), prediction.reshape(len(prediction), -1)
    if y.shape != prediction.shape:
        raise ValueError(f"y must have shape {prediction.shape}, got {y.shape}")
    weights = _check_sample_weight(sample_weight, y, dtype=np.float64)
    scores = []
    for t, p in zip(y.T, prediction.T, strict=True):
        known = ~np.isnan(t) & (weights > 0)
        if known.sum() > 1:
            scores.append(r2_score(t[known], p[known], sample_weight=weights[known]))
    return float(np.mean(scores)) if scores else float("nan")
