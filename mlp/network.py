"""The network by itself: topology, parameters, outputs, loss, gradient.

Nothing here knows scikit-learn; a `Network` can be used, copied and pickled without it.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from math import prod
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

#: rows whose activations are in the workspace at once where only the loss is wanted
VALIDATION_ROWS = 128


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
    loss : str or callable, default="squared_error"
        A name in `mlp.losses.LOSSES`, or a function ``(y_true, y_out) -> (values,
        gradient)`` on arrays of shape (n, n_outputs), which returns each sample's loss,
        shape (n,), and its gradient in y_out, called once per batch [S P65.11].
    huber_delta, quantile : float
        The parameter of the loss of that name.
    groups : sequence of int, optional
        With softmax outputs: the numbers of outputs of several tasks, in order; a group of
        one is a logistic output.
    batch_norm : {None, "hidden", "all", "hidden+input", "all+input"}, default=None
        Which pre-activations are normalised over the batch in training [S 65.168], and
        whether the inputs are.  Predictions use the running statistics, folded into
        weights and offsets.
    batch_norm_momentum : float, default=0.95
        λ of the running statistics [S 65.176].
    batch_norm_epsilon : float, default=1e-5
        Added to the variances.
    batch_norm_gradient : {"exact", "diagonal"}, default="exact"
        'diagonal' propagates what the listing does [S 65.229], which is not the gradient.
    residual : bool, default=False
        Add each hidden layer's input to its output where the widths are equal.
    dtype : {"float64", "float32"}, default="float64"
    params : ndarray of shape (n_params,), optional
        Parameters to use in place; zeros if not given.

    Attributes
    ----------
    layer_sizes : tuple of int
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …``, each matrix row by row; the
        scales a_l only of layers with batch norm.
    coefs : list of ndarray of shape (n_in, n_out)
        The weights W_l, views into `params`.
    intercepts : list of ndarray of shape (n_out,)
        The offsets b_l = −θ_l, views into `params`.
    scales : list of ndarray of shape (n_out,) or None
        Batch norm's scales a_l, views too.

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

    #: in a folded network, what each residual connection is multiplied by
    skip_scales: list[float] | None = None
    _plan: _core.Plan
    _predictor: _core.Plan

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: Any = "relu",
        output_activation: Any = "identity",
        *,
        loss: Any = "squared_error",
        huber_delta: float = 1.0,
        quantile: float = 0.5,
        groups: Sequence[int] | None = None,
        batch_norm: str | None = None,
        batch_norm_momentum: float = 0.95,
        batch_norm_epsilon: float = 1e-5,
        batch_norm_gradient: str = "exact",
        residual: bool = False,
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
        self.residual = bool(residual)
        if self.output_activation.name == "rbf":
            raise ValueError(
                "output_activation='rbf': 'rbf' is for the first hidden layer"
            )
        self._set_batch_norm(
            batch_norm, batch_norm_momentum, batch_norm_epsilon, batch_norm_gradient
        )
        self.dropout: tuple[float, ...] | None = None
        self.dropout_mask, self.dropout_scaling = "batch", "train"
        self.input_shift: Any = None
        self.input_scale: Any = None
        self.output_shift: Any = None
        self.output_scale: Any = None
        n_params = sum(a * b + b for a, b in pairwise(self.layer_sizes))
        n_params += sum(
            n for n, on in zip(self.layer_sizes[1:], self.normed, strict=True) if on
        )
        if params is None:
            params = _core.aligned_zeros(n_params, self.dtype)
        elif params.shape != (n_params,) or params.dtype != self.dtype:
            raise ValueError(
                f"params must be {self.dtype} of shape ({n_params},), "
                f"got {params.dtype} of shape {params.shape}"
            )
        elif not params.flags.c_contiguous or not params.flags.writeable:
            raise ValueError("params must be contiguous and writeable")
        fresh = not params.any()
        self.params = params
        self.coefs, self.intercepts, self.scales = self.unpack(params)
        for scale in self.scales:
            if fresh and scale is not None:
                scale[:] = 1
        if fresh and self.has_rbf:
            self.intercepts[0][:] = 1
        self.refold()

    def _set_batch_norm(
        self, where: str | None, momentum: float, epsilon: float, gradient: str
    ) -> None:
        if where not in (None, "hidden", "all", "hidden+input", "all+input"):
            raise ValueError(
                "batch_norm must be None, 'hidden', 'all', 'hidden+input' or "
                f"'all+input', got {where!r}"
            )
        if gradient not in ("exact", "diagonal"):
            raise ValueError(
                f"batch_norm_gradient must be 'exact' or 'diagonal', got {gradient!r}"
            )
        if not 0 <= momentum < 1:
            raise ValueError(f"batch_norm_momentum must lie in [0, 1), got {momentum}")
        if not epsilon > 0:
            raise ValueError(f"batch_norm_epsilon must be positive, got {epsilon}")
        self.batch_norm = where
        self.batch_norm_momentum, self.batch_norm_epsilon = momentum, epsilon
        self.batch_norm_gradient = gradient
        layers, hidden = len(self.layer_sizes) - 1, where is not None
        self.normed = [hidden] * (layers - 1) + [hidden and "all" in str(where)]
        if self.has_rbf:
            self.normed[0] = False
        if self.has_rbf and where is not None and "input" in where:
            raise ValueError(
                f"batch_norm={where!r} can't be folded into activation='rbf', whose units "
                "measure distances"
            )
        #: per weight layer: sums of means, of variances, batches seen, or None
        self.statistics: list[Array | None] = [
            np.zeros((3, n)) if on else None
            for n, on in zip(self.layer_sizes[1:], self.normed, strict=True)
        ]
        self.input_statistics: Array | None = None
        if where is not None and "input" in where:
            self.input_statistics = np.zeros((3, self.layer_sizes[0]))

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
    def has_rbf(self) -> bool:
        """Whether the first layer is of radial basis functions: its weights' columns are
        centres μ, its offsets widths λ > 0 [L]."""
        first = self.activations[0] if self.activations else None
        return isinstance(first, Activation) and first.name == "rbf"

    @property
    def n_weights(self) -> int:
        """Number of weights: `params` begins with them, the offsets follow."""
        return sum(a * b for a, b in pairwise(self.layer_sizes))

    def unpack(
        self, vector: Array
    ) -> tuple[list[Array], list[Array], list[Array | None]]:
        """Views of a vector laid out as `params`: (weights, offsets, scales) by layer."""
        at = 0

        def take(*shape: int) -> Array:
            nonlocal at
            at += prod(shape)
            return vector[at - prod(shape) : at].reshape(shape)

        coefs = [take(a, b) for a, b in pairwise(self.layer_sizes)]
        intercepts = [take(n) for n in self.layer_sizes[1:]]
        scales = [
            take(n) if on else None
            for n, on in zip(self.layer_sizes[1:], self.normed, strict=True)
        ]
        return coefs, intercepts, scales

    def copy(self) -> "Network":
        """The same network on a copy of its parameters and statistics."""
        other: Network = Network.__new__(Network)
        other.__setstate__(deepcopy(self.__getstate__()))
        return other

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of all that training changes: parameters and running statistics.

        Parameters
        ----------
        into : list of ndarray, optional
            An earlier snapshot, to be overwritten.
        """
        if into is None:
            return [array.copy() for array in self._changing()]
        for copy, array in zip(into, self._changing(), strict=True):
            copy[...] = array
        return into

    def restore(self, snapshot: list[Array]) -> None:
        """Go back to a `snapshot`."""
        for array, saved in zip(self._changing(), snapshot, strict=True):
            array[...] = saved
        self.refold()

    def _changing(self) -> list[Array]:
        kept = [*self.statistics, self.input_statistics]
        return [self.params, *(array for array in kept if array is not None)]

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_plan", "_folded", "_predictor", "coefs", "intercepts", "scales")
        return {k: v for k, v in self.__dict__.items() if k not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        params = _core.aligned_zeros(self.params.size, self.dtype)
        params[:] = self.params
        self.params = params
        self.coefs, self.intercepts, self.scales = self.unpack(params)
        self.refold()

    # -- what predictions are made with --

    def is_plain(self) -> bool:
        """Whether `params` predict as they are, with nothing to fold in."""
        return not (
            self.batch_norm
            or (self.dropout and self.dropout_scaling == "test")
            or self.input_scale is not None
            or self.output_scale is not None
        )

    def refold(self) -> None:
        """Prepare predictions from the present parameters and statistics.

        Training ends with it.  After changing parameters by hand it is needed only where
        something is folded in: batch norm, standardisation, dropout's 'test' scaling.
        """
        self._plan = self.plan()
        self._folded = self if self.is_plain() else self.folded()
        self._predictor = self._folded._plan

    def folded(self) -> "Network":
        """A plain network with the same predictions [S 65.188].

        Batch norm's scales and statistics, standardisation of inputs and targets, and the
        (1−p) of dropout's 'test' scaling become part of weights and offsets.
        """
        plain = Network(
            self.layer_sizes,
            self.activations,
            self.output_activation,
            loss=self.loss_function.specification,
            groups=self.groups,
            residual=self.residual,
            dtype=self.dtype,
            **self.loss_function.argument(),
        )
        plain.skip_scales = self._skip_scales()
        keep, last = self._kept(), len(self.coefs) - 1
        for k, (W, b) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            weights, offset = W.astype(np.float64), b.astype(np.float64)
            weights *= keep[k]
            product = np.zeros(len(offset))
            if k == 0:
                product = self._fold_inputs(weights)
            statistics, scale = self.statistics[k], self.scales[k]
            if statistics is not None and scale is not None:
                mean, var = running_moments(statistics, self.batch_norm_momentum)
                factor = scale / np.sqrt(var + self.batch_norm_epsilon)
                weights *= factor
                product = (product - mean) * factor
            offset = offset + product
            if k == last and self.output_scale is not None:
                weights *= self.output_scale
                offset = offset * self.output_scale + self.output_shift
            plain.coefs[k][:], plain.intercepts[k][:] = weights, offset
        plain.refold()
        return plain

    def _kept(self) -> list[float]:
        """What each weight layer's input is multiplied by in prediction."""
        if self.dropout is None or self.dropout_scaling == "train":
            return [1.0] * (len(self.layer_sizes) - 1)
        return [1 - p for p in self.dropout]

    def _fold_inputs(self, weights: Array) -> Array:
        """Make the first weights, in place, those for raw inputs; returns what they leave
        over at the origin."""
        shift: Array = np.zeros(len(weights))
        factor: Array = np.ones(len(weights))
        if self.input_scale is not None:
            factor = 1 / self.input_scale
            if self.input_shift is not None:
                shift = self.input_shift * factor
        if self.input_statistics is not None:
            mean, var = running_moments(self.input_statistics, self.batch_norm_momentum)
            root = np.sqrt(var + self.batch_norm_epsilon)
            shift, factor = (shift + mean) / root, factor / root
        left_over: Array = -shift @ weights
        weights *= factor[:, None]
        return left_over

    def _residuals(self) -> list[bool]:
        """Whether each weight layer's input is added to its output."""
        sizes, last = self.layer_sizes, len(self.layer_sizes) - 2
        return [
            self.residual and 0 < k < last and sizes[k] == sizes[k + 1]
            for k in range(last + 1)
        ]

    def _skip_scales(self) -> list[float]:
        return [
            on * keep for on, keep in zip(self._residuals(), self._kept(), strict=True)
        ]

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
            self.normed,
            self.skip_scales or self._skip_scales(),
        )
        plan.set_loss(
            **self.loss_function.core(self.output_activation.name, self.n_outputs)
        )
        return plan

    def training_plan(
        self, *, frozen_statistics: bool = False, augment: Any = None
    ) -> Any:
        """A `plan` that also knows batch norm, dropout and the user's callables."""
        plan = self.plan()
        if self.batch_norm:
            plan.set_norm(
                self.statistics,
                self.input_statistics,
                self.batch_norm_momentum,
                self.batch_norm_epsilon,
                self.batch_norm_gradient == "diagonal",
                frozen_statistics,
            )
        if self.dropout and any(self.dropout) and not frozen_statistics:
            plan.set_dropout(
                self.dropout,
                self.dropout_mask == "sample",
                self.dropout_scaling == "train",
            )
        plan.set_callbacks(self.loss_function.function, augment)
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
            return self._predictor.forward(_core.Data(X), n_threads)
        return self._predictor.forward(self.data(X), n_threads)

    def loss(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean loss over the samples, weighted where weights are given [S table 65.2].

        See `data` for the parameters.  Squared error is ½‖γ̂ − γ‖², summed over outputs.
        With batch norm the statistics are those of X, as in training.
        """
        plan = self._full_plan(X)
        return float(
            plan.loss_and_gradient(self.data(X, y, sample_weight), with_gradient=False)
        )

    def prediction_loss(self, data: Any, n_threads: int = 1) -> float:
        """Mean loss of the predictions, as it is reported: nothing random, nothing of the
        batch in it.

        Parameters
        ----------
        data : _core.Data
            Raw samples, as `data` makes them.
        n_threads : int, default=1
        """
        network = self._folded
        plan = network.training_plan(frozen_statistics=True)
        plan.allocate(min(data.shape[0], VALIDATION_ROWS), n_threads, data.sparse)
        scale = network.loss_function.core(
            network.output_activation.name, network.n_outputs
        ).get("value_scale", 1.0)
        return float(scale * plan.loss_and_gradient(data, with_gradient=False))

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
        plan = self._full_plan(X)
        loss = plan.loss_and_gradient(self.data(X, y, sample_weight))
        return float(loss), plan.grads

    def _full_plan(self, X: Any) -> Any:
        """A plan for all rows of X at once, without dropout; statistics stand still."""
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        plan = self.training_plan(frozen_statistics=True)
        rows = n if self.batch_norm else min(n, 1024)
        plan.allocate(max(1, rows), sparse=hasattr(X, "indptr"))
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


def running_moments(statistics: Array, momentum: float) -> tuple[Array, Array]:
    """Mean and variance from sums that began at 0, rid of the bias of that start; 0 and 1
    for units that were never awake [S 65.176]."""
    sums, seen = statistics[:2], statistics[2]
    mean, var = sums / np.where(seen > 0, 1 - momentum**seen, 1)
    return np.where(seen > 0, mean, 0.0), np.where(seen > 0, var, 1.0)


def as_rows(X: Any, dtype: Any) -> Any:
    """X as the core reads it: CSR, or an array of contiguous rows; no needless copy."""
    if hasattr(X, "tocsr"):
        X = X.tocsr()
        # asking scipy about repeated entries leaves a mark on the object asked
        twin = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
        if not twin.has_canonical_format:  # they mean their sum
            X = X.copy()
            X.sum_duplicates()
        return X if X.dtype == dtype else X.astype(dtype)
    X = np.asarray(X, dtype=dtype)
    if X.ndim == 2 and X.shape[1] > 1 and X.strides[1] != X.itemsize:
        X = np.ascontiguousarray(X)
    if not X.flags.aligned or (X.ndim == 2 and X.strides[0] % X.itemsize):
        X = X.copy(order="C")
    if X.ndim == 2 and X.shape[0] > 1 and X.strides[0] < X.shape[1] * X.itemsize:
        X = np.ascontiguousarray(X)
    return X
