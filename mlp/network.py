"""The network by itself: topology, parameters, outputs, loss, gradient.

Nothing here knows scikit-learn; a `Network` can be used, copied and pickled without it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.activations import (
    Activation,
    LayerActivation,
    layer_activations,
    resolve_activation,
)
from mlp.losses import Loss, resolve_loss

__all__ = ["Network"]

Array = NDArray[Any]


def _kernel_activation(f: LayerActivation) -> tuple[Any, ...]:
    """What `_core.Plan` wants for a layer: one activation, or kinds and each node's."""
    if isinstance(f, Activation):
        return f.kernel
    kinds = list(dict.fromkeys(f))
    return [k.kernel for k in kinds], [kinds.index(node) for node in f]


class Network:
    """A feedforward network over one flat vector of parameters [S 65.31].

    ``y_{l+1} = f(y_l W_l + b_l)``, one sample a row.  `coefs` and `intercepts` are views
    into `params`, which the compiled core reads and writes in place.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units per layer, inputs first, outputs last; no hidden layer is legal.
    activation : str, tuple or sequence, default="relu"
        Of the hidden layers: a name (`mlp.activations.ACTIVATIONS`), a name with parameters
        such as ``("leaky_relu", 0.1)``, a sequence with one per layer, or a sequence of
        sequences with one per node [S P65.6].
    output_activation : str or tuple, default="identity"
        Any activation, or 'softmax'.
    loss : str, default="squared_error"
        A name in `mlp.losses.LOSSES`.
    huber_delta, quantile : float
        The parameter of the loss of that name.
    groups : sequence of int, optional
        With softmax outputs: the numbers of outputs of several tasks, in order; a group of
        one is a logistic output.
    dtype : {"float64", "float32"}, default="float64"
    params : ndarray of shape (n_params,), optional
        Parameters to use in place; zeros if not given.

    Attributes
    ----------
    layer_sizes : tuple of int
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | …``, each matrix row by row.
    coefs : list of ndarray of shape (n_in, n_out)
        The weights W_l, views into `params`.
    intercepts : list of ndarray of shape (n_out,)
        The offsets b_l = −θ_l, views into `params`.

    Examples
    --------
    The exclusive or of two signs, by hand [S P65.1]:

    >>> import numpy as np
    >>> from mlp import Network
    >>> net = Network([2, 2, 1])
    >>> net.coefs[0][:] = -0.5
    >>> net.intercepts[0][:] = [1, 0]
    >>> net.coefs[1][:] = [[2], [-4]]
    >>> net.intercepts[1][:] = -1
    >>> net.forward(np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])).ravel()
    array([-1.,  1.,  1., -1.])
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: Any = "relu",
        output_activation: Any = "identity",
        *,
        loss: str = "squared_error",
        huber_delta: float = 1.0,
        quantile: float = 0.5,
        groups: Sequence[int] | None = None,
        dtype: Any = "float64",
        params: Array | None = None,
    ) -> None:
        self.layer_sizes = tuple(int(n) for n in layer_sizes)
        if len(self.layer_sizes) < 2 or min(self.layer_sizes) < 1:
            raise ValueError(
                f"layer_sizes must name at least inputs and outputs, all > 0; "
                f"got {list(layer_sizes)}"
            )
        self.activations = layer_activations(activation, self.layer_sizes[1:-1])
        self.output_activation = resolve_activation(
            output_activation, "output_activation"
        )
        self.loss_function: Loss = resolve_loss(
            loss,
            self.output_activation.name,
            huber_delta=huber_delta,
            quantile=quantile,
        )
        self.groups = tuple(groups) if groups is not None else (self.layer_sizes[-1],)
        if sum(self.groups) != self.layer_sizes[-1] or min(self.groups) < 1:
            raise ValueError(
                f"groups={self.groups} must be positive and add up to "
                f"{self.layer_sizes[-1]} outputs"
            )
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
        n_params = sum(a * b + b for a, b in pairwise(self.layer_sizes))
        if params is None:
            params = _core.aligned_zeros(n_params, self.dtype)
        elif params.shape != (n_params,) or params.dtype != self.dtype:
            raise ValueError(
                f"params must be {self.dtype} of shape ({n_params},), "
                f"got {params.dtype} of shape {params.shape}"
            )
        self.params = params
        self.coefs, self.intercepts = self.unpack(params)
        self._plan = self.plan()

    # -- parameters --

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.layer_sizes[-1]

    @property
    def n_weights(self) -> int:
        """Number of weights: `params` begins with them, the offsets follow."""
        return sum(a * b for a, b in pairwise(self.layer_sizes))

    def unpack(self, vector: Array) -> tuple[list[Array], list[Array]]:
        """Views of a vector laid out as `params`: (weights, offsets), a layer each."""
        coefs, intercepts, at = [], [], 0
        for n_in, n_out in pairwise(self.layer_sizes):
            coefs.append(vector[at : at + n_in * n_out].reshape(n_in, n_out))
            at += n_in * n_out
        for n_out in self.layer_sizes[1:]:
            intercepts.append(vector[at : at + n_out])
            at += n_out
        return coefs, intercepts

    def copy(self) -> "Network":
        """The same network on a copy of the parameters."""
        params = _core.aligned_zeros(self.params.size, self.dtype)
        params[:] = self.params
        return self._like(params)

    def _like(self, params: Array) -> "Network":
        return Network(
            self.layer_sizes,
            self.activations,
            self.output_activation,
            loss=self.loss_function.name,
            groups=self.groups,
            dtype=self.dtype,
            params=params,
            **self._loss_parameter(),
        )

    def _loss_parameter(self) -> dict[str, float]:
        name = {"huber": "huber_delta", "quantile": "quantile"}.get(
            self.loss_function.name
        )
        return {name: self.loss_function.parameter} if name else {}

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for derived in ("_plan", "coefs", "intercepts"):
            del state[derived]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        params = _core.aligned_zeros(self.params.size, self.dtype)
        params[:] = self.params
        self.params = params
        self.coefs, self.intercepts = self.unpack(params)
        self._plan = self.plan()

    # -- the core --

    def plan(self) -> Any:
        """A new `_core.Plan` over `params`: what a training run works on."""
        plan = _core.Plan(
            self.params,
            self.layer_sizes,
            [
                _kernel_activation(f)
                for f in (*self.activations, self.output_activation)
            ],
            self.groups,
        )
        plan.set_loss(
            **self.loss_function.core(self.output_activation.name, self.n_outputs)
        )
        return plan

    def data(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Any:
        """`_core.Data` of these samples, converted only where dtype or order ask for it.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_outputs) or (n_samples,), optional
            Targets, NaN where missing; integers of shape (n_samples,) are class labels if
            the outputs are a softmax.
        sample_weight : array-like of shape (n_samples,), optional

        Raises
        ------
        ValueError
            If shapes don't fit the network or each other.
        """
        X = as_rows(X, self.dtype)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"X must have shape (n_samples, {self.n_features}), got {X.shape}"
            )
        targets = labels = None
        if y is not None:
            targets, labels = self._targets(np.asarray(y), X.shape[0])
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight, dtype=self.dtype)
            if sample_weight.shape != (X.shape[0],):
                raise ValueError(
                    f"sample_weight must have shape ({X.shape[0]},), "
                    f"got {sample_weight.shape}"
                )
        return _core.Data(X, targets, labels, sample_weight)

    def _targets(self, y: Array, n: int) -> tuple[Array | None, Array | None]:
        if y.shape[:1] != (n,):
            raise ValueError(f"y has {y.shape[:1]} rows, X has {n}")
        if (
            y.ndim == 1
            and self.output_activation.name == "softmax"
            and len(self.groups) == 1
        ):
            labels = y.astype(np.int32)
            if (
                (labels != y).any()
                or labels.min() < 0
                or labels.max() >= self.n_outputs
            ):
                raise ValueError(
                    f"class labels must be integers from 0 to {self.n_outputs - 1}"
                )
            return None, np.ascontiguousarray(labels[:, None])
        y = y[:, None] if y.ndim == 1 else y
        if y.shape != (n, self.n_outputs):
            raise ValueError(
                f"y must have shape ({n}, {self.n_outputs}), got {y.shape}"
            )
        return np.ascontiguousarray(y, dtype=self.dtype), None

    # -- what a network does --

    def forward(self, X: Any, n_threads: int = 1) -> Array:
        """Outputs γ̂ for each row of X [S 65.31].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        n_threads : int, default=1

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        if (
            type(X) is np.ndarray
            and X.dtype is self._plan.dtype
            and X.ndim == 2
            and X.flags.c_contiguous
        ):  # nothing to convert: one row costs microseconds
            return self._plan.forward(_core.Data(X), n_threads)
        return self._plan.forward(self.data(X), n_threads)

    def loss(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean loss over the samples, weighted where weights are given [S table 65.2].

        See `data` for the parameters.  Squared error is ½‖γ̂ − γ‖², summed over outputs.
        """
        plan = self._training_plan(X)
        return float(
            plan.loss_and_gradient(self.data(X, y, sample_weight), with_gradient=False)
        )

    def gradients(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """The mean loss and its gradient in the parameters [S 65.80–65.81].

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_params,)
            Laid out as `params`; `unpack` gives views by layer.
        """
        self.check_trainable()
        plan = self._training_plan(X)
        loss = plan.loss_and_gradient(self.data(X, y, sample_weight))
        return float(loss), plan.grads

    def _training_plan(self, X: Any) -> Any:
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        plan = self.plan()
        plan.allocate(max(1, min(n, 1024)), sparse=hasattr(X, "indptr"))
        return plan

    def check_trainable(self) -> None:
        """Raise ValueError if an activation has no useful derivative [G]."""
        for layer in (*self.activations, self.output_activation):
            for f in layer if isinstance(layer, tuple) else (layer,):
                if not f.entry.trainable:
                    raise ValueError(
                        f"activation={f.name!r} can't be trained: its derivative is "
                        "zero almost everywhere; it is for prediction only"
                    )


def as_rows(X: Any, dtype: Any) -> Any:
    """X as the core reads it: CSR, or an array of contiguous rows; no needless copy."""
    if hasattr(X, "tocsr"):
        X = X.tocsr()
        if X.dtype != dtype:
            X = X.astype(dtype)
        return X
    X = np.asarray(X, dtype=dtype)
    if X.ndim == 2 and X.shape[1] > 1 and X.strides[1] != X.itemsize:
        X = np.ascontiguousarray(X)
    if X.ndim == 2 and X.shape[0] > 1 and X.strides[0] % X.itemsize:
        X = np.ascontiguousarray(X)
    if X.ndim == 2 and X.shape[0] > 1 and X.strides[0] < X.shape[1] * X.itemsize:
        X = np.ascontiguousarray(X)
    return X
