"""`MLPRegressor`."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d, validate_data

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.parameters import document
from mlp.estimators.targets import Targets, check_weights
from mlp.network import as_rows

__all__ = ["MLPRegressor"]


@document
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for regression, one or several outputs.

    A drop-in for scikit-learn's class of the same name, trained by a compiled core; for
    the same ``random_state`` it gives the same numbers.

    Parameters
    ----------
    {parameters}
    loss : str or callable, default="squared_error"
        'squared_error', 'poisson' (outputs are exponentials), 'huber', 'absolute_error' or
        'quantile' [S table 65.2]; or a callable ``(y_true, y_out) -> (values, gradient)``
        [S P65.11].
    quantile : float, default=0.5
        The quantile that ``loss="quantile"`` estimates.

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

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        output_activation: Any = None,
        huber_delta: float = 1.0,
        quantile: float = 0.5,
        l1: float = 0.0,
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        dropout_mask: str = "batch",
        dropout_scaling: str = "train",
        batch_norm: str | None = None,
        batch_norm_momentum: float = 0.95,
        batch_norm_epsilon: float = 1e-5,
        batch_norm_scale_init: float = 1.0,
        batch_norm_gradient: str = "exact",
        residual: bool = False,
        standardize: bool = False,
        augment: Any = None,
        scoring: Any = None,
        restore_best: bool = True,
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
    ) -> Self:
        """Fit the network to the samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        X_val, y_val, sample_weight_val : optional
            Samples to validate on, instead of a part of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input, or if training diverges; the estimator is then as it was before.
        """
        validation = None
        if X_val is not None or y_val is not None:
            validation = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation=validation)

    @available_if(lambda est: est._check_partial_fit())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once over the samples, from where training stands.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predicted values.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._predict(X)

    def _predict(self, X: Any, check_input: bool = True) -> NDArray[Any]:
        out = self._forward(X, check_input)
        return out.ravel() if out.shape[1] == 1 else out

    def _score_epoch(self, held_out: Targets) -> float:
        prediction = self._predict(held_out.X, check_input=False)
        if not np.isfinite(prediction).all():
            return float("nan")
        return float(
            r2_score(held_out.y, prediction, sample_weight=held_out.sample_weight)
        )

    def _scales_targets(self) -> bool:
        return self.network_.output_activation.name == "identity"

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
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=self._working_dtype(),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError("y must not be negative with loss='poisson'")
        X = as_rows(X, X.dtype)
        values = np.ascontiguousarray(y.reshape(len(y), -1), dtype=X.dtype)
        output = self.output_activation
        if output is None:
            output = "exp" if self.loss == "poisson" else "identity"
        return Targets(
            X,
            y,
            values.shape[1],
            output,
            values=values,
            sample_weight=check_weights(sample_weight, X),
        )
