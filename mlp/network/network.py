"""A network by itself: parameters, outputs, loss, gradient, without scikit-learn."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.files import io
from mlp.files.encoding import Encoder
from mlp.network import derivatives, plans, samples
from mlp.network.connectivity import Connectivity
from mlp.network.features import BatchNorm, Dropout
from mlp.network.file_format import FEATURE_CODECS, encode_network
from mlp.network.folding import fold_dtype, fold_into
from mlp.network.layout import FlatParameters
from mlp.network.spec import CONFIGURABLE, NetworkSpec
from mlp.network.summary import Summary, summarize

__all__ = ["Network"]

Array = NDArray[Any]

#: attributes that follow from the others
DERIVED = ("_folded", "_made_for", "_predictor", "coefs", "intercepts", "scales")


class Network(FlatParameters):
    """A feedforward network over one flat vector of parameters [S 65.31].

    ``y_{l+1} = f(y_l W_l + b_l)``, one sample per row.  `coefs` and `intercepts` are views
    into `params`, which the compiled core reads and writes in place.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units per layer, inputs first, outputs last; no hidden layer is legal.
    activation : str, tuple or sequence, default="relu"
        Activation of the hidden layers: a name (`mlp.network.activations.ACTIVATIONS`), a
        name with parameters such as ``("leaky_relu", 0.1)``, a sequence with one per
        layer, or a sequence of sequences with one per node [S P65.6].
    output_activation : str, tuple or sequence, default="identity"
        Any activation, or 'softmax'; a sequence with one per node [S P65.6], such as
        ``["tanh", "relu"]``, for losses that are computed from the outputs.
    loss : str, tuple, callable or None, default="squared_error"
        A name in `mlp.network.losses.LOSSES`, a name with its parameter such as
        ``("huber", 0.5)``, or a function ``(y_true, y_out) -> (values, gradient)`` on
        arrays of shape (n, n_outputs), which returns each sample's loss, shape (n,), and
        its gradient in y_out, called once per batch [S P65.11]; None for a network that
        only predicts.
    groups : sequence of int, optional
        With softmax outputs: the numbers of outputs of several tasks, in order; a group of
        one is a logistic output.
    group_weight : sequence of float, optional
        Factor of each task's log_loss, not negative; 1 by default.
    batch_norm : None, bool, str or BatchNorm, default=None
        Pre-activations that are normalised over the batch in training [S 65.168]:
        'hidden' (or True), 'all', 'hidden+input', 'all+input'; see `BatchNorm`.
    dropout : None, float, sequence of float or Dropout, default=None
        Rate at which hidden units are dropped in training, one or one per hidden layer;
        see `Dropout`.
    residual : bool, default=False
        Whether each hidden layer's input is added to its output where the widths are
        equal.
    connectivity : sequence or callable, optional
        The connections of the layers, see
        `mlp.network.connectivity.resolve_connectivity`; the cost is proportional to
        their number [S ex. 65.6].
    tied : bool, default=False
        Whether the second half of the weight matrices are the transposes of the first
        half, from the middle outwards [S ex. 65.5].
    fit_intercept : bool, default=True
        Whether the layers have offsets.  Without, `intercepts` are 0 and stay 0, and so are
        derivatives in them [B].
    dtype : {"float64", "float32"}, default="float64"
        Precision of the parameters, and of training.
    params : ndarray of shape (n_params,), optional
        Parameters to use in place; zeros if not given, scales as `BatchNorm` has them.

    Attributes
    ----------
    spec : NetworkSpec
        Everything about the network but its numbers; `configure` replaces it.
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …``, each matrix row by row, only
        the weights that exist; only layers with batch norm have scales a_l.
    coefs : list of ndarray or csr_array of shape (n_in, n_out)
        The weights W_l, views into `params`; CSR where `connectivity` leaves some out.
    intercepts : list of ndarray of shape (n_out,)
        The offsets b_l = −θ_l, views into `params`.
    scales : list of ndarray of shape (n_out,) or None
        Batch norm's scales a_l, views into `params`.
    statistics : list of ndarray of shape (3, n_out) or None
        Per weight layer with batch norm: sums of means, of variances, batches seen.
    input_statistics : ndarray of shape (3, n_features) or None
        The same sums for the inputs.
    input_shift, input_scale, output_shift, output_scale : ndarray or None
        Standardisation: the network is trained on (x − input_shift)/input_scale and
        (y − output_shift)/output_scale; predictions have it folded in.

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
        loss: Any = "squared_error",
        groups: Sequence[int] | None = None,
        group_weight: ArrayLike | None = None,
        batch_norm: bool | str | BatchNorm | None = None,
        dropout: float | Sequence[float] | Dropout | None = None,
        residual: bool = False,
        connectivity: Connectivity | None = None,
        tied: bool = False,
        fit_intercept: bool = True,
        dtype: Any = "float64",
        params: Array | None = None,
    ) -> None:
        spec = NetworkSpec(
            tuple(layer_sizes),
            activation,
            output_activation,
            loss,
            groups,
            group_weight,
            batch_norm=batch_norm,
            dropout=dropout,
            skip_scales=residual,
            edges=connectivity,
            tied=tied,
            fit_intercept=fit_intercept,
            dtype=dtype,
        )
        self._build(spec, params)

    @classmethod
    def of(cls, spec: NetworkSpec, params: Array | None = None) -> "Network":
        """The network of a specification.

        Parameters
        ----------
        spec : NetworkSpec
        params : ndarray of shape (n_params,), optional
            Parameters to use in place; zeros if not given.
        """
        network = cls.__new__(cls)
        network._build(spec, params)
        return network

    def _build(self, spec: NetworkSpec, params: Array | None) -> None:
        self.spec = spec
        self.input_shift: Any = None
        self.input_scale: Any = None
        self.output_shift: Any = None
        self.output_scale: Any = None
        self.statistics: list[Array | None] = [
            np.zeros((3, n)) if on else None
            for n, on in zip(spec.layer_sizes[1:], spec.normed, strict=True)
        ]
        self.input_statistics: Array | None = None
        if spec.batch_norm is not None and spec.batch_norm.has_input:
            self.input_statistics = np.zeros((3, spec.layer_sizes[0]))
        self._set_parameters(params)
        self.refold()

    def _set_parameters(self, params: Array | None) -> None:
        """`params` as they are, or new ones: zeros but for scales and widths."""
        spec = self.spec
        if params is None:
            params = _core.aligned_zeros(spec.n_params, spec.dtype)
        elif params.shape != (spec.n_params,) or params.dtype != spec.dtype:
            raise ValueError(
                f"params must be {spec.dtype} of shape ({spec.n_params},), "
                f"got {params.dtype} of shape {params.shape}"
            )
        elif not params.flags.c_contiguous or not params.flags.writeable:
            raise ValueError("params must be contiguous and writeable")
        self.params = params
        self.coefs, self.intercepts, self.scales = self.unpack(params)
        if params.any():
            self.tie()
            return
        for scale in self.scales:
            if scale is not None:
                scale[:] = spec.batch_norm.scale_init
        if spec.has_rbf:
            self.intercepts[0][:] = 1

    # -- state --

    @property
    def dtype(self) -> Any:
        """Precision of the parameters: float32 or float64."""
        return self.spec.dtype

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """The name of the outputs' activation; of each node's where they differ."""
        return self.spec.output_name

    def summary(self, X: Any = None, n_threads: int = 1) -> Summary:
        """The layers as a table of text.

        There is one line per layer: the shapes of its weights W, offsets b and
        pre-activations Z for n samples, its number of parameters, activation and options;
        below them the sums and the loss.  Widths count all units, dropped or kept.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features), optional
            With samples, the column "dead" has the number of each hidden layer's
            `dead_units`.
        n_threads : int, default=1
            Number of threads for the activations of the samples.

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

    def configure(self, **changes: Any) -> None:
        """Change the fields of the specification that may change between two fits.

        Parameters
        ----------
        **changes : object
            New values of `NetworkSpec`'s dropout, corruption, frozen or group_weight.

        Raises
        ------
        TypeError
            For another field of the specification.
        ValueError
            For a value that `NetworkSpec` refuses.

        Examples
        --------
        >>> from mlp import Network
        >>> network = Network([4, 8, 8, 1])
        >>> network.configure(dropout=0.5, frozen=1)
        >>> network.spec.frozen
        (True, False, False)
        """
        if fixed := set(changes) - set(CONFIGURABLE):
            raise TypeError(
                f"{', '.join(sorted(fixed))} can't change in a network; "
                f"{', '.join(CONFIGURABLE)} can"
            )
        self.spec = replace(self.spec, **changes)
        self.refold()

    def copy(self) -> "Network":
        """The same network on a copy of its parameters and statistics."""
        state = self.__getstate__()
        spec = state.pop("spec")
        other: Network = Network.__new__(Network)
        other.__setstate__({"spec": spec, **deepcopy(state)})
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in DERIVED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.clear()
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
        """Write the network to a file of data alone; `mlp.load_network` reads it.

        Parameters
        ----------
        path : str or path-like
            A file that is there already is replaced when the new one is complete.

        Raises
        ------
        ValueError
            If parameters are not finite.
        """
        encoder = Encoder(FEATURE_CODECS)
        content = {"Network": encode_network(encoder, self, "Network")}
        io.write(path, encoder, content)

    # -- predictions --

    def is_plain(self) -> bool:
        """Whether `params` predict as they are: without batch norm, standardisation or
        dropout's 'test' scaling."""
        spec = self.spec
        return not (
            spec.batch_norm
            or (spec.dropout and spec.dropout.scaling == "test")
            or self.input_scale is not None
            or self.output_scale is not None
        )

    def refold(self) -> None:
        """Prepare predictions from the present parameters and statistics.

        Training ends with it.  After a change of parameters by hand it is needed where
        something is folded in: batch norm, standardisation, dropout's 'test' scaling.
        """
        if not self.spec.fit_intercept and any(b.any() for b in self.intercepts):
            raise ValueError("fit_intercept=False: the offsets must be 0")
        dtype, is_plain = fold_dtype(self), self.is_plain()
        made_for = (self.spec, is_plain, dtype)
        if self.__dict__.get("_made_for") != made_for:
            self._made_for = made_for
            if is_plain:
                self._folded: Network = self
                self._predictor: _core.Plan = self.plan(frozen_statistics=True)
                self._predictor.set_callbacks()  # a callable loss asks for one thread
            else:
                self._folded = Network.of(self.spec.folded(dtype))
                self._predictor = self._folded._predictor
        if not is_plain:
            fold_into(self._folded, self)

    @property
    def value_scale(self) -> float:
        """Factor of the loss where it is reported."""
        scale: float = self.spec.loss.value_scale(self.n_outputs)
        return scale

    @property
    def prediction_dtype(self) -> Any:
        """Precision of predictions: `dtype`, or float64 where `folded` needs it."""
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
            deviations from 0: folded in float32, such a mean would leave few digits of the
            values around it.
        """
        spec = self.spec.folded(fold_dtype(self) if dtype is None else dtype)
        plain = Network.of(spec)
        fold_into(plain, self)
        plain.refold()
        return plain

    plan = plans.plan
    data = samples.data

    # -- outputs, loss, derivatives --

    def forward(self, X: Any, n_threads: int = 1) -> Array:
        """Outputs γ̂ for each row of X [S 65.31].

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        n_threads : int, default=1

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            Outputs, of dtype `prediction_dtype`.
        """
        if (
            type(X) is np.ndarray
            and X.dtype is self._predictor.dtype
            and X.ndim == 2
            and X.flags.c_contiguous
        ):  # nothing to convert: one row costs microseconds
            return self._predictor.forward(_core.Data(X), n_threads)
        return self._predictor.forward(self._folded.data(X), n_threads)

    def loss(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean loss over the samples, weighted where weights are given [S table 65.2].

        `data` describes the parameters.  Squared error is ½‖γ̂ − γ‖², summed over outputs.
        With batch norm the statistics are those of X, as in training.
        """
        plan = plans.evaluation_plan(self, X)
        return float(
            plan.loss_and_gradient(self.data(X, y, sample_weight), with_gradient=False)
        )

    def prediction_loss(self, data: Any, n_threads: int = 1) -> float:
        """Mean loss of the predictions, as it is reported: without anything random, and
        with batch norm's running statistics.

        Parameters
        ----------
        data : _core.Data
            Raw samples, made by the `data` of `folded`.
        n_threads : int, default=1
        """
        return plans.PredictionLoss(self, data, n_threads)()

    def plain(self) -> "Network":
        """The plain network that predicts, the same object until `configure` changes it;
        `refold` brings its parameters up to date."""
        return self._folded

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
        self.spec.check_trainable()
        plan = plans.evaluation_plan(self, X)
        loss = plan.loss_and_gradient(self.data(X, y, sample_weight))
        return float(loss), plan.grads

    jacobian = derivatives.jacobian
    jvp, vjp = derivatives.jvp, derivatives.vjp
    loss_gradients = derivatives.loss_gradients
    hessian_vector_product = derivatives.hessian_vector_product
    hessian_diagonal = derivatives.hessian_diagonal
    hidden_activations = derivatives.hidden_activations
    dead_units = derivatives.dead_units

    def check_rows(self, n: int) -> None:
        """Raise ValueError if batch norm has no variance of n samples [S 65.168]."""
        norm = self.spec.batch_norm
        if norm is not None and n == 1:
            raise ValueError(
                f"batch_norm={norm.where!r} needs at least 2 samples, got 1"
            )
