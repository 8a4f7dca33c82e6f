"""The network by itself: topology, parameters, outputs, loss, gradient.

Nothing here knows scikit-learn; a `Network` can be used, copied and pickled without it.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.network import derivatives
from mlp.network.activations import (
    Activation,
    LayerActivation,
    layer_activations,
    layer_name,
    output_activations,
)
from mlp.network.connectivity import Connectivity, Edges, resolve_connectivity
from mlp.network.folding import fold_dtype, fold_into, kept
from mlp.network.layout import FlatParameters
from mlp.network.losses import Loss, resolve_loss
from mlp.network.samples import as_rows, as_targets
from mlp.network.summary import Summary, summarize

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


class Network(FlatParameters):
    """A feedforward network over one flat vector of parameters [S 65.31].

    ``y_{l+1} = f(y_l W_l + b_l)``, one sample a row.  `coefs` and `intercepts` are views
    into `params`, which the compiled core reads and writes in place.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units per layer, inputs first, outputs last; no hidden layer is legal.
    activation : str, tuple or sequence, default="relu"
        Of the hidden layers: a name (`mlp.network.activations.ACTIVATIONS`), a name with
        parameters such as ``("leaky_relu", 0.1)``, a sequence with one per layer, or a
        sequence of sequences with one per node [S P65.6].
    output_activation : str, tuple or sequence, default="identity"
        Any activation, or 'softmax'; a sequence with one per node [S P65.6], such as
        ``["tanh", "relu"]``, for losses that are computed from the outputs.
    loss : str, callable or None, default="squared_error"
        A name in `mlp.network.losses.LOSSES`, or a function ``(y_true, y_out) -> (values,
        gradient)`` on arrays of shape (n, n_outputs), which returns each sample's loss,
        shape (n,), and its gradient in y_out, called once per batch [S P65.11]; None for
        a network that only predicts.
    huber_delta, quantile : float
        The parameter of the loss of that name.
    groups : sequence of int, optional
        With softmax outputs: the numbers of outputs of several tasks, in order; a group of
        one is a logistic output.
    group_weight : sequence of float, optional
        What each task's log_loss is multiplied by, not negative; 1 if not given.
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
    connectivity : sequence or callable, optional
        Which connections the layers have, see
        `mlp.network.connectivity.resolve_connectivity`; others don't exist,
        and the cost is that of those that do [S ex. 65.6].
    tied : bool, default=False
        The second half of the weight matrices are the transposes of the first half, from
        the middle outwards [S ex. 65.5].
    fit_intercept : bool, default=True
        Whether the layers have offsets.  Without, `intercepts` are 0 and stay 0, and so are
        derivatives in them [B].
    dtype : {"float64", "float32"}, default="float64"
    params : ndarray of shape (n_params,), optional
        Parameters to use in place; zeros if not given.

    Attributes
    ----------
    layer_sizes : tuple of int
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …``, each matrix row by row, only
        the weights that exist; the scales a_l only of layers with batch norm.
    coefs : list of ndarray or csr_array of shape (n_in, n_out)
        The weights W_l, views into `params`; CSR where `connectivity` leaves some out.
    intercepts : list of ndarray of shape (n_out,)
        The offsets b_l = −θ_l, views into `params`.
    scales : list of ndarray of shape (n_out,) or None
        Batch norm's scales a_l, views too.

    frozen : tuple of bool or None
        Weight layers whose parameters training leaves alone.

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
    #: probability that an input is set to 0 in training [S ex. 65.5]
    corruption: float = 0.0
    fit_intercept: bool = True
    frozen: tuple[bool, ...] | None = None
    #: which weights a step with dropout decays: those of 'kept' units, or 'all'
    dropout_decay: str = "kept"
    group_weight: Array | None = None
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
        group_weight: ArrayLike | None = None,
        batch_norm: str | None = None,
        batch_norm_momentum: float = 0.95,
        batch_norm_epsilon: float = 1e-5,
        batch_norm_gradient: str = "exact",
        residual: bool = False,
        connectivity: Connectivity | None = None,
        tied: bool = False,
        fit_intercept: bool = True,
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
        self.output_activation = output_activations(
            output_activation, self.layer_sizes[-1]
        )
        self.loss_function: Loss = resolve_loss(
            loss,
            self.output_name,
            huber_delta=huber_delta,
            quantile=quantile,
        )
        self.groups = tuple(groups) if groups is not None else (self.layer_sizes[-1],)
        if sum(self.groups) != self.layer_sizes[-1] or min(self.groups) < 1:
            raise ValueError(
                f"groups={self.groups} must be positive and add up to "
                f"{self.layer_sizes[-1]} outputs"
            )
        if group_weight is not None:
            self._set_group_weight(group_weight)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
        self.residual = bool(residual)
        self._set_batch_norm(
            batch_norm, batch_norm_momentum, batch_norm_epsilon, batch_norm_gradient
        )
        self._set_topology(connectivity, tied)
        self._set_offsets(fit_intercept)
        self.dropout: tuple[float, ...] | None = None
        self.dropout_mask, self.dropout_scaling = "batch", "train"
        self.input_shift: Any = None
        self.input_scale: Any = None
        self.output_shift: Any = None
        self.output_scale: Any = None
        self._set_parameters(params)
        self.refold()

    def _set_parameters(self, params: Array | None) -> None:
        """`params` as it is, or new ones; fresh ones are zeros, and what must not be 0."""
        n_params = (
            self.n_weights
            + sum(self.layer_sizes[1:])
            + sum(
                n for n, on in zip(self.layer_sizes[1:], self.normed, strict=True) if on
            )
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
        if not fresh:
            self.tie()
        if fresh and self.has_rbf:
            self.intercepts[0][:] = 1

    def _set_topology(self, connectivity: Connectivity | None, tied: bool) -> None:
        self.edges: list[Edges | None] = resolve_connectivity(
            connectivity, self.layer_sizes
        )
        self.tied = bool(tied)
        if self.has_rbf and self.edges[0] is not None:
            raise ValueError(
                "connectivity[0] can't leave out connections of activation='rbf', whose "
                "units measure distances"
            )
        mirrored = self.layer_sizes == self.layer_sizes[::-1]
        if self.tied and not (mirrored and len(self.layer_sizes) % 2):
            raise ValueError(
                "tied=True needs layer sizes that read the same backwards around one "
                f"middle layer, got {self.layer_sizes}"
            )
        if self.tied and (self.has_rbf or any(self.edges)):
            other = "activation='rbf'" if self.has_rbf else "connectivity"
            raise ValueError(f"tied=True does not go with {other}")

    def _set_offsets(self, fit_intercept: bool) -> None:
        self.fit_intercept = bool(fit_intercept)
        if not self.fit_intercept and (self.has_rbf or self.batch_norm):
            other = (
                "activation='rbf', whose widths take the offsets' place"
                if self.has_rbf
                else f"batch_norm={self.batch_norm!r}, which has offsets of its own"
            )
            raise ValueError(f"fit_intercept=False does not go with {other}")

    def _set_group_weight(self, given: ArrayLike) -> None:
        weights = np.array(given, dtype=np.float64)
        if self.output_name != "softmax" or (self.loss_function.name != "log_loss"):
            raise ValueError(
                "group_weight needs output_activation='softmax' and loss='log_loss', got "
                f"{self.output_name!r} and {self.loss_function.name!r}"
            )
        if weights.shape != (len(self.groups),) or not (
            np.isfinite(weights).all() and (weights >= 0).all()
        ):
            raise ValueError(
                f"group_weight must be {len(self.groups)} finite numbers >= 0, one a "
                f"group, got {given!r}"
            )
        self.group_weight = weights

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

    # -- state --

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """The name of the outputs' activation; of each node's where they differ."""
        return layer_name(self.output_activation)

    def summary(self, X: Any = None, n_threads: int = 1) -> Summary:
        """The layers as a table of text.

        A line a layer: the shapes of its weights W, offsets b and pre-activations Z for n
        samples, its number of parameters, activation and options; below them the sums and
        the loss.  Widths are those of the whole network, awake or not.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features), optional
            With samples, the column "dead" has the number of each hidden layer's
            `dead_units`.
        n_threads : int, default=1

        Returns
        -------
        Summary
            A str; a prompt shows it as ``print`` does.

        Examples
        --------
        >>> from mlp import Network
        >>> Network([64, 100, 10], output_activation="softmax", loss="log_loss").summary()
        layer     W          b       Z         parameters  activation  options
        ----------------------------------------------------------------------
        input                        (n, 64)
        hidden 1  (64, 100)  (100,)  (n, 100)       6,500  relu
        output    (100, 10)  (10,)   (n, 10)        1,010  softmax
        ----------------------------------------------------------------------
        7,510 parameters, 60,080 bytes as float64; loss log_loss
        """
        return summarize(self, None if X is None else self.dead_units(X, n_threads))

    def copy(self) -> "Network":
        """The same network on a copy of its parameters and statistics."""
        other: Network = Network.__new__(Network)
        shared = {id(self.loss_function): self.loss_function}  # it may be the user's
        other.__setstate__(deepcopy(self.__getstate__(), shared))
        return other

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_plan", "_folded", "_predictor", "coefs", "intercepts", "scales")
        return {k: v for k, v in self.__dict__.items() if k not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # training writes into them, and joblib hands out read-only ones
        self.statistics = [s if s is None else s.copy() for s in self.statistics]
        if self.input_statistics is not None:
            self.input_statistics = self.input_statistics.copy()
        params = _core.aligned_zeros(self.params.size, self.dtype)
        params[:] = self.params
        self.params = params
        self.coefs, self.intercepts, self.scales = self.unpack(params)
        self.refold()

    def save(self, path: Any) -> None:
        """Write the network to a data-only file; `mlp.load` reads it.

        Parameters
        ----------
        path : str or path-like
            What was there before is replaced when the new file is complete.

        Raises
        ------
        ValueError
            If parameters are not finite.
        """
        from mlp.files.io import save

        save(self, path)

    @property
    def network(self) -> "Network":
        """Itself: ``mlp.load(path).network`` is the network, whatever was saved."""
        return self

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
        if not self.fit_intercept and any(b.any() for b in self.intercepts):
            raise ValueError("fit_intercept=False: the offsets must be 0")
        self._plan = self.plan()
        self._folded: Network = self if self.is_plain() else self.folded()
        self._predictor = self._folded._plan

    @property
    def prediction_dtype(self) -> Any:
        """The dtype that predictions are computed in: `dtype`, or float64 where `folded`
        needs it."""
        return self._folded.dtype

    def folded(self, dtype: Any = None) -> "Network":
        """A plain network with the same predictions [S 65.188].

        Batch norm's scales and statistics, standardisation of inputs and targets, and the
        (1−p) of dropout's 'test' scaling become part of weights and offsets.

        Parameters
        ----------
        dtype : {"float32", "float64"}, optional
            Precision of the plain network.  By default it is that of this network, or
            float64 where the mean of an input or a target is more than 256 standard
            deviations from 0: folded in float32, such a mean would leave few digits of what
            varies around it.
        """
        plain = Network(
            self.layer_sizes,
            self.activations,
            self.output_activation,
            loss=self.loss_function.specification,
            groups=self.groups,
            group_weight=self.group_weight,
            residual=self.residual,
            connectivity=self.edges,
            dtype=fold_dtype(self) if dtype is None else dtype,
            **self.loss_function.argument(),
        )
        plain.skip_scales = self._skip_scales()
        fold_into(plain, self)
        plain.refold()
        return plain

    def dense(self) -> "Network":
        """The same network with all connections, those that `connectivity` leaves out 0."""
        whole = self.copy()
        whole.edges = [None] * len(self.edges)
        weights = [W.toarray() if hasattr(W, "indptr") else W for W in self.coefs]
        rest = self.params[self.n_weights :]
        whole.params = np.concatenate([*(W.ravel() for W in weights), rest])
        whole.__setstate__(whole.__getstate__())
        return whole

    def _residuals(self) -> list[bool]:
        """Whether each weight layer's input is added to its output."""
        sizes, last = self.layer_sizes, len(self.layer_sizes) - 2
        return [
            self.residual and 0 < k < last and sizes[k] == sizes[k + 1]
            for k in range(last + 1)
        ]

    def _skip_scales(self) -> list[float]:
        return [
            on * keep for on, keep in zip(self._residuals(), kept(self), strict=True)
        ]

    # -- the core --

    def plan(self, *, training: bool = False) -> Any:
        """A new `_core.Plan` over `params`: what a training run works on."""
        skip_scales = self.skip_scales or self._skip_scales()
        if training and self.skip_scales is None:  # 'test' scaling is for predictions
            skip_scales = [float(on) for on in self._residuals()]
        plan = _core.Plan(
            self.params,
            self.layer_sizes,
            [
                _kernel_activation(f)
                for f in (*self.activations, self.output_activation)
            ],
            self.spans(),
            self.groups,
            self.normed,
            skip_scales,
            self.edges if any(self.edges) else None,
            self.frozen,
            self.ties,
            self.fit_intercept,
        )
        plan.set_loss(
            **self.loss_function.core(self.output_name, self.n_outputs),
            group_weight=self.group_weight,
        )
        return plan

    def training_plan(
        self, *, frozen_statistics: bool = False, augment: Any = None
    ) -> Any:
        """A `plan` that also knows batch norm, dropout and the user's callables."""
        plan = self.plan(training=True)
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
                self.dropout_decay == "all",
            )
        if self.corruption and not frozen_statistics:
            plan.set_corruption(self.corruption)
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
            Targets, NaN where missing; with softmax outputs also integer labels of shape
            (n_samples,), or (n_samples, n_groups): the class within each group's own, −1
            where missing.
        sample_weight : array-like of shape (n_samples,), optional

        Raises
        ------
        ValueError
            If shapes don't fit the network or each other.
        """
        X = as_rows(X, self.dtype)
        if self.has_rbf and hasattr(X, "indptr"):
            raise ValueError(
                "X is sparse: activation='rbf' measures distances, give an array"
            )
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"X must have shape (n_samples, {self.n_features}), got {X.shape}"
            )
        targets = labels = None
        if y is not None:
            targets, labels = as_targets(self, np.asarray(y), X.shape[0])
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight, dtype=self.dtype)
            if sample_weight.shape != (X.shape[0],):
                raise ValueError(
                    f"sample_weight must have shape ({X.shape[0]},), "
                    f"got {sample_weight.shape}"
                )
        return _core.Data(X, targets, labels, sample_weight)

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
            Of dtype `prediction_dtype`.
        """
        if (
            type(X) is np.ndarray
            and X.dtype is self._predictor.dtype
            and X.ndim == 2
            and X.flags.c_contiguous
        ):  # nothing to convert: one row costs microseconds
            return self._predictor.forward(_core.Data(X), n_threads)
        return self._predictor.forward(self._folded.data(X), n_threads)

    def predict_data(
        self, data: Any, n_threads: int = 1, depth: int | None = None
    ) -> Array:
        """Outputs for what `data` has made of samples, or those of the first `depth`
        layers."""
        return self._predictor.forward(data, n_threads, depth)

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
            Raw samples, as the `data` of `folded` makes them.
        n_threads : int, default=1
        """
        network = self._folded
        plan = network.training_plan(frozen_statistics=True)
        plan.allocate(min(data.shape[0], VALIDATION_ROWS), n_threads, data.sparse)
        scale = network.loss_function.core(network.output_name, network.n_outputs).get(
            "value_scale", 1.0
        )
        return float(scale * plan.loss_and_gradient(data, with_gradient=False))

    def gradients(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """The mean loss and its gradient in the parameters [S 65.80–65.81].

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_params,)
            Without penalties, laid out as `params`; `unpack` gives views by layer.
        """
        self.check_trainable()
        plan = self._full_plan(X)
        loss = plan.loss_and_gradient(self.data(X, y, sample_weight))
        return float(loss), plan.grads

    jacobian = derivatives.jacobian
    jvp, vjp = derivatives.jvp, derivatives.vjp
    loss_gradients = derivatives.loss_gradients
    hessian_vector_product = derivatives.hessian_vector_product
    hessian_diagonal = derivatives.hessian_diagonal
    hidden_activations = derivatives.hidden_activations
    dead_units = derivatives.dead_units

    def _full_plan(self, X: Any) -> Any:
        """A plan for all rows of X at once, without dropout; statistics stand still."""
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        self.check_rows(n)
        plan = self.training_plan(frozen_statistics=True)
        rows = n if self.batch_norm else min(n, 1024)
        plan.allocate(max(1, rows), sparse=hasattr(X, "tocsr"))
        return plan

    def check_rows(self, n: int) -> None:
        """Raise ValueError if batch norm has no variance of so many samples [S 65.168]."""
        if self.batch_norm and n == 1:
            raise ValueError(
                f"batch_norm={self.batch_norm!r} needs at least 2 samples, got 1"
            )

    def check_trainable(self) -> None:
        """Raise ValueError if an activation has no useful derivative [G]."""
        for layer in (*self.activations, self.output_activation):
            for f in layer if isinstance(layer, tuple) else (layer,):
                if not f.entry.trainable:
                    raise ValueError(
                        f"activation={f.name!r} can't be trained: its derivative is "
                        "zero almost everywhere; it is for prediction only"
                    )
