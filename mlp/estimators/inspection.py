"""What a fitted estimator can be asked: derivatives, sensitivities, hidden activations."""

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

from mlp.estimators.training_data import Targets
from mlp.estimators.validation import validate_data
from mlp.network.network import Network
from mlp.network.samples import as_rows
from mlp.threads import resolve_threads

__all__ = ["Inspection"]

Array = NDArray[Any]

#: numbers of a Jacobian that are held at once where only its mean is wanted
JACOBIAN_NUMBERS = 2**22


class Inspection:
    """Questions to ``network_``, with X and y as the estimator takes them.

    Outputs are the network's: a class's probability, a label's, a target's.  With two
    classes there is one, the second class's.  X is checked as `predict` checks it.
    """

    network_: Network
    n_threads: int | None
    _adopt_parameters: Callable[[], None]
    _validate_targets: Callable[..., Targets]

    # -- first order --

    def jacobian(self, X: Any, *, mode: str = "auto") -> Array:
        """The outputs' derivatives in the features, ∂γ̂/∂h [S P65.9–P65.10].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        mode : {"auto", "forward", "reverse"}, default="auto"
            'forward' costs a pass per feature, 'reverse' one per output; 'auto' takes the
            cheaper.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_features)
        """
        X = self._question(X)
        return self.network_.jacobian(X, resolve_threads(self.n_threads), mode=mode)

    def jvp(self, X: Any, V: ArrayLike) -> Array:
        """Each sample's Jacobian times a vector: how fast the outputs change along it.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        V : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        X = self._question(X)
        return self.network_.jvp(X, V, resolve_threads(self.n_threads))

    def vjp(self, X: Any, U: ArrayLike) -> Array:
        """A vector times each sample's Jacobian: the gradient of uᵀγ̂ in the features.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        U : array-like of shape (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        X = self._question(X)
        return self.network_.vjp(X, U, resolve_threads(self.n_threads))

    def loss_gradients(self, X: Any, y: Any, wrt: str = "inputs") -> Array:
        """The gradient of each sample's loss, without penalties and weights [S P65.11].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            As for `fit`; labels are not smoothed.
        wrt : {"inputs", "params"}, default="inputs"
            In the features, or in ``network_.params``, which is refused with batch norm,
            ``standardize`` and dropout with ``scaling='test'``; ask ``network_.folded()``
            then.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, n_params)
            Zeros for a sample of which no target is known.
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
        """The Hessian of the mean loss in ``network_.params``, times a vector; exact.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        v : array-like of shape (n_params,)
        sample_weight : array-like of shape (n_samples,), optional
            Multiplied by the weights of the classes.

        Returns
        -------
        ndarray of shape (n_params,)
            Without penalties: ``alpha`` would add ``alpha * v / n_samples`` to the weights.
        """
        data, threads = (
            self._labelled(X, y, sample_weight),
            resolve_threads(self.n_threads),
        )
        return self.network_.hessian_vector_product(data, None, v, n_threads=threads)

    def hessian_diagonal(
        self, X: Any, y: Any, kind: str = "exact", sample_weight: Any = None
    ) -> Array:
        """The diagonal of the Hessian of the mean loss in ``network_.params``.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        kind : {"exact", "curvature"}, default="exact"
            'curvature' keeps the textbook's f″ term alone [S P65.12–P65.14]; see
            `Network.hessian_diagonal` for costs.
        sample_weight : array-like of shape (n_samples,), optional
            Multiplied by the weights of the classes.

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
        """How much the outputs depend on each feature: the mean of ∣∂γ̂/∂h∣ over X.

        In units of the output per unit of the feature: to compare features of different
        scales, multiply by their deviations.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        Bunch
            ``mean``, shape (n_features,): the average over the outputs of ``per_output``,
            shape (n_outputs, n_features); ``feature_names``, those of ``fit``, or x0, x1,
            …; ``output_names``: classes, or numbers; of several tasks, pairs of the
            task's column and the class.
        """
        X = as_rows(self._question(X), self.network_.prediction_dtype)
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
        """Outputs of a hidden layer: the features that the network has learnt.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        layer : int, default=-1
            Hidden layers are counted from 0; −1 is the last.

        Returns
        -------
        ndarray of shape (n_samples, n_units)
        """
        X = self._question(X)
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
        X = self._question(X)
        return self.network_.dead_units(X, resolve_threads(self.n_threads))

    def _output_names(self) -> Any:
        n_outputs = self.network_.n_outputs
        return getattr(self, "classes_", np.arange(n_outputs))[-n_outputs:]

    # -- input --

    def _question(self, X: Any) -> Any:
        """X, checked as for prediction."""
        check_is_fitted(self)
        self._adopt_parameters()
        return validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)

    def _labelled(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """What the core works on."""
        targets = self._targets(X, y, sample_weight)
        targets.check_any_known()
        return targets.data()

    def _targets(self, X: Any, y: Any, sample_weight: Any = None) -> Targets:
        """Samples checked as for going on with a fit."""
        check_is_fitted(self)
        self._adopt_parameters()
        targets = self._validate_targets(
            X, y, sample_weight, first=False, incremental=True
        )
        targets.smoothing = 0.0
        targets.cast(self.network_.prediction_dtype)
        return targets
