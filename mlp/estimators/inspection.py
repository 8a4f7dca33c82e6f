"""Inspection of a fitted estimator: derivatives, sensitivities, hidden activations."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import (
    _check_feature_names_in,
    _num_samples,
    check_is_fitted,
)

from mlp.estimators.training_data import TrainingData
from mlp.estimators.validation import validate_data
from mlp.network.network import Network
from mlp.network.samples import as_rows
from mlp.threads import resolve_threads

__all__ = ["Inspection"]

Array = NDArray[Any]

#: numbers of a Jacobian that are in memory at once where only its mean is needed
JACOBIAN_NUMBERS = 2**22


class Inspection:
    """Derivatives and activations of ``network_``, for X and y as the estimator takes them.

    Outputs are those of the network: probabilities of classes or labels, or predicted
    targets.  With two classes there is one output, the probability of the second class.  X
    is validated as in `predict`.
    """

    network_: Network
    n_threads: int | None
    _adopt_parameters: Callable[[], None]
    _validate_targets: Callable[..., TrainingData]

    # -- first order --

    def jacobian(self, X: Any, *, mode: str = "auto") -> Array:
        """Derivatives of the outputs with respect to features, ∂γ̂/∂h [S P65.9–P65.10].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        mode : {"auto", "forward", "reverse"}, default="auto"
            Direction of the computation: 'forward' costs one pass per feature, 'reverse'
            one per output; 'auto' chooses the cheaper one.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_features)
        """
        X = self._checked(X)
        return self.network_.jacobian(X, resolve_threads(self.n_threads), mode=mode)

    def jvp(self, X: Any, V: ArrayLike) -> Array:
        """Product of each sample's Jacobian and a vector: the outputs' change along it.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        V : array-like of shape (n_samples, n_features)
            Direction in the features for each sample.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        X = self._checked(X)
        return self.network_.jvp(X, V, resolve_threads(self.n_threads))

    def vjp(self, X: Any, U: ArrayLike) -> Array:
        """Product of a vector and each sample's Jacobian: the gradient of uᵀγ̂ in features.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        U : array-like of shape (n_samples, n_outputs)
            Factors u of the outputs for each sample.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        X = self._checked(X)
        return self.network_.vjp(X, U, resolve_threads(self.n_threads))

    def loss_gradients(self, X: Any, y: Any, wrt: str = "inputs") -> Array:
        """Gradient of each sample's loss, without penalties and sample weights [S P65.11].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets or labels as for `fit`; label smoothing is not applied.
        wrt : {"inputs", "params"}, default="inputs"
            In the features, or in ``network_.params``, which is refused with batch norm,
            ``standardize`` and dropout with ``scaling='test'``; ask ``network_.folded()``
            then.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, n_params)
            The gradients; 0 for samples without a known target.
        """
        targets = self._targets(X, y)
        gradients = self.network_.loss_gradients(
            targets.data(), None, wrt, resolve_threads(self.n_threads)
        )
        if targets.kept is None:
            return gradients
        whole = np.zeros((_num_samples(X), gradients.shape[1]), gradients.dtype)
        whole[targets.kept] = gradients
        return whole

    # -- second order --

    def hessian_vector_product(
        self, X: Any, y: Any, v: ArrayLike, sample_weight: Any = None
    ) -> Array:
        """Exact product of the mean loss's Hessian in ``network_.params`` and a vector.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        v : array-like of shape (n_params,)
            Vector that is multiplied by the Hessian.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, which are multiplied by those of their classes.

        Returns
        -------
        ndarray of shape (n_params,)
            The product, without penalties; ``alpha`` would add ``alpha * v / n_samples``
            for the weights.
        """
        data, threads = (
            self._labelled(X, y, sample_weight),
            resolve_threads(self.n_threads),
        )
        return self.network_.hessian_vector_product(data, None, v, n_threads=threads)

    def hessian_diagonal(
        self, X: Any, y: Any, kind: str = "exact", sample_weight: Any = None
    ) -> Array:
        """Diagonal of the Hessian of the mean loss in ``network_.params``.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        kind : {"exact", "curvature"}, default="exact"
            Whether the diagonal is exact, or has only the f″ term of the textbook
            [S P65.12–P65.14]; see `Network.hessian_diagonal` for the costs.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, which are multiplied by those of their classes.

        Returns
        -------
        ndarray of shape (n_params,)
        """
        data, threads = (
            self._labelled(X, y, sample_weight),
            resolve_threads(self.n_threads),
        )
        return self.network_.hessian_diagonal(data, None, kind, n_threads=threads)

    # -- summaries --

    def feature_sensitivity(self, X: Any) -> Bunch:
        """Mean absolute derivative ∣∂γ̂/∂h∣ of the outputs in each feature over X.

        Its unit is that of the output per unit of the feature.  To compare features of
        different scales, multiply it by their standard deviations.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        Bunch
            ``per_output`` of shape (n_outputs, n_features); ``mean`` of shape
            (n_features,), its average over the outputs; ``feature_names``, those of `fit`
            or x0, x1, …; ``output_names``, the classes or the numbers of the outputs, or
            with several tasks pairs of a task's column and a class.
        """
        X = as_rows(self._checked(X), self.network_.prediction_dtype)
        n_outputs, n_features = self.network_.n_outputs, self.network_.n_features
        total = np.zeros((n_outputs, n_features))
        step = max(1, JACOBIAN_NUMBERS // total.size)
        threads = resolve_threads(self.n_threads)
        for at in range(0, X.shape[0], step):
            part = self.network_.jacobian(X[at : at + step], threads)
            total += np.abs(part, out=part).sum(axis=0, dtype=np.float64)
        per_output = total / X.shape[0]
        outputs = self._output_names()
        return Bunch(
            mean=per_output.mean(axis=0),
            per_output=per_output,
            feature_names=_check_feature_names_in(self),
            output_names=outputs,
        )

    def hidden_activations(self, X: Any, layer: int = -1) -> Array:
        """Outputs of a hidden layer, which are features that the network has learnt.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        layer : int, default=-1
            Index of the hidden layer, counted from 0; −1 is the last one.

        Returns
        -------
        ndarray of shape (n_samples, n_units)
        """
        X = self._checked(X)
        return self.network_.hidden_activations(
            X, layer, resolve_threads(self.n_threads)
        )

    def dead_units(self, X: Any) -> list[Array]:
        """Hidden units whose activation has the derivative 0 for every sample [S 65.1].

        No gradient passes through such a unit, so these samples can't train its weights.
        `summary` counts them.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        list of bool ndarray of shape (n_units,)
            One array per hidden layer, True for dead units.
        """
        X = self._checked(X)
        return self.network_.dead_units(X, resolve_threads(self.n_threads))

    def _output_names(self) -> Any:
        n_outputs = self.network_.n_outputs
        return getattr(self, "classes_", np.arange(n_outputs))[-n_outputs:]

    # -- input --

    def _checked(self, X: Any) -> Any:
        """Validate X as for predictions."""
        check_is_fitted(self)
        self._adopt_parameters()
        return validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)

    def _labelled(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Validate samples and return them as data of the core."""
        targets = self._targets(X, y, sample_weight)
        targets.check_any_known()
        return targets.data()

    def _targets(self, X: Any, y: Any, sample_weight: Any = None) -> TrainingData:
        """Validate samples as for another call of `partial_fit`."""
        check_is_fitted(self)
        self._adopt_parameters()
        targets = self._validate_targets(
            X, y, sample_weight, first=False, incremental=True
        )
        targets.smoothing = 0.0
        targets.cast(self.network_.prediction_dtype)
        return targets
