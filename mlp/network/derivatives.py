"""Derivatives of a trained network: of its outputs, of each sample's loss, of second order.

These functions are methods of `Network`.  Derivatives in the inputs are those of
`Network.forward`, whatever is folded into it.  Derivatives in the parameters are those of
`Network.params`; they are refused where these don't predict as they are, as those of
`Network.folded` do.
"""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.network.activations import Activation
from mlp.network.samples import as_rows

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = [
    "dead_units",
    "hessian_diagonal",
    "hessian_vector_product",
    "hidden_activations",
    "jacobian",
    "jvp",
    "loss_gradients",
    "vjp",
]

Array = NDArray[Any]

#: cost of multiplying a number of a product by f′, in multiply-adds of the product
#: (bench/micro, 784-100-10, 1000 samples: forward 40 ms, reverse 8 ms)
MULTIPLY_ADDS_A_NUMBER = 32
#: samples whose pre-activations are in memory at once
BLOCK_ROWS = 1024


def jacobian(
    network: "Network", X: Any, n_threads: int = 1, *, mode: str = "auto"
) -> Array:
    """The outputs' derivatives in the inputs, ∂γ̂/∂h [S P65.9–P65.10].

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    n_threads : int, default=1
    mode : {"auto", "forward", "reverse"}, default="auto"
        'forward' costs a pass per input, 'reverse' one per output; 'auto' takes the
        cheaper.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs, n_features)

    Raises
    ------
    ValueError
        For a bad shape or mode, or an activation without a useful derivative.
    """
    modes = ("auto", "forward", "reverse")
    if mode not in modes:
        raise ValueError(f"mode must be one of {modes}, got {mode!r}")
    if mode == "auto":
        mode = cheaper_mode(network.layer_sizes)
    return _evaluate(network, mode, _samples(network, X), n_threads)


def cheaper_mode(sizes: tuple[int, ...]) -> str:
    """'reverse', a VJP per output, or 'forward', a JVP per input, whichever costs less."""
    products = [a * b for a, b in pairwise(sizes)]
    touched = MULTIPLY_ADDS_A_NUMBER * sum(sizes[1:])
    # forward, the first layer takes no product: each input has its row of the weights
    forward = sizes[0] * (sum(products[1:]) + touched)
    reverse = sizes[-1] * (sum(products) + touched)
    return "forward" if forward < reverse else "reverse"


def jvp(network: "Network", X: Any, V: ArrayLike, n_threads: int = 1) -> Array:
    """Each sample's Jacobian times a vector, J v: the outputs' derivative along v.

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    V : array-like of shape (n_samples, n_features)
        A direction for each sample.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Raises
    ------
    ValueError
        For a bad shape, or an activation without a useful derivative.
    """
    data = _samples(network, X)
    direction = _direction(network, "V", V, (data.shape[0], network.n_features))
    return _evaluate(network, "jvp", data, n_threads, direction)


def vjp(network: "Network", X: Any, U: ArrayLike, n_threads: int = 1) -> Array:
    """A vector times each sample's Jacobian, Jᵀu: the gradient of uᵀγ̂ in the inputs.

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    U : array-like of shape (n_samples, n_outputs)
        A direction for each sample.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError
        For a bad shape, or an activation without a useful derivative.
    """
    data = _samples(network, X)
    direction = _direction(network, "U", U, (data.shape[0], network.n_outputs))
    return _evaluate(network, "vjp", data, n_threads, direction)


def loss_gradients(
    network: "Network",
    X: Any,
    y: ArrayLike | None,
    wrt: str = "inputs",
    n_threads: int = 1,
) -> Array:
    """The gradient of each sample's own loss, unweighted [S 65.71–65.76, P65.11].

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    y : array-like
        Targets as `Network.data` takes them; a missing one adds nothing.  None if X is the
        result of `data`.
    wrt : {"inputs", "params"}, default="inputs"
        Derivatives in the sample's inputs, of the loss of the predictions, or in
        ``params``; the mean of the latter over the samples is the gradient of
        `gradients`.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_samples, n_features) or (n_samples, n_params)

    Raises
    ------
    ValueError
        For bad shapes, an activation without a useful derivative or, with 'params', a
        network that is not plain: with batch norm a sample has no loss of its own; take
        `folded` then.
    """
    if wrt not in ("inputs", "params"):
        raise ValueError(f"wrt must be 'inputs' or 'params', got {wrt!r}")
    if wrt == "params":
        _check_plain(network)
    return _evaluate(network, wrt, _samples(network, X, y), n_threads)


def hessian_vector_product(
    network: "Network",
    X: Any,
    y: ArrayLike | None,
    v: ArrayLike,
    sample_weight: ArrayLike | None = None,
    n_threads: int = 1,
) -> Array:
    """The Hessian of the mean loss in ``params``, times a vector; exact (Pearlmutter).

    Costs two or three gradients.  Penalties are left out; second derivatives at the
    corners of f and of the loss are 0.

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X, y
        Samples and targets, see `Network.data`; X may be its result, y is then None.
    v : array-like of shape (n_params,)
        Laid out as ``params``.
    sample_weight : array-like of shape (n_samples,), optional
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_params,)

    Raises
    ------
    ValueError
        For bad shapes, a callable loss, an activation without a useful derivative, or a
        network that is not plain (batch norm, standardisation, dropout's 'test' scaling);
        take `folded` then.
    """
    _check_second_order(network)
    data = _samples(network, X, y, sample_weight)
    direction = _direction(network, "v", v, network.params.shape)
    return _evaluate(network, "product", data, n_threads, direction)


def hessian_diagonal(
    network: "Network",
    X: Any,
    y: ArrayLike | None,
    kind: str = "exact",
    sample_weight: ArrayLike | None = None,
    n_threads: int = 1,
) -> Array:
    """The diagonal of the Hessian of the mean loss in ``params`` [S P65.12–P65.14].

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X, y
        Samples and targets, see `Network.data`; X may be its result, y is then None.
    kind : {"exact", "curvature"}, default="exact"
        'exact' takes each sample's full Hessian in z from layer to layer: between layers of
        n and m units nm(n + m) multiply-adds per sample, nm² if the n are the first hidden
        layer, and 4 matrices of the widest layer for each thread.  'curvature' keeps only
        the term y²·f″(z)·∂Q/∂y, as the textbook prints it, at the cost of a gradient: exact
        only if the loss and all activations above have no second derivative.
    sample_weight : array-like of shape (n_samples,), optional
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_params,)

    Raises
    ------
    ValueError
        As `hessian_vector_product` does, and for another kind.
    """
    if kind not in ("exact", "curvature"):
        raise ValueError(f"kind must be 'exact' or 'curvature', got {kind!r}")
    _check_second_order(network)
    _check_untied(network)
    data = _samples(network, X, y, sample_weight)
    return _evaluate(network, kind, data, n_threads)


def hidden_activations(
    network: "Network", X: Any, layer: int = -1, n_threads: int = 1
) -> Array:
    """Outputs y of a hidden layer, as the next layer takes them [S 65.31].

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    layer : int, default=-1
        Hidden layers are counted from 0; −1 is the last.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_samples, n_units)

    Raises
    ------
    ValueError
        For a bad shape, or if there is no such hidden layer.
    """
    n_hidden = len(network.layer_sizes) - 2
    if layer != int(layer) or not -n_hidden <= layer < n_hidden:
        raise ValueError(
            f"layer={layer!r}: the network has {n_hidden} hidden layers, counted from 0, "
            "or from −1 backwards"
        )
    at = int(layer) % n_hidden
    outputs = network._predictor.forward(_samples(network, X), n_threads, at + 1)
    return outputs.astype(network.dtype, copy=False)


def dead_units(network: "Network", X: Any, n_threads: int = 1) -> list[Array]:
    """Hidden units whose activation has the derivative 0 for every sample [S 65.1].

    No gradient passes through such a unit, and these samples don't train its weights:
    examples are a ReLU that is off for all of them and a sigmoid that is saturated to the
    last bit.
    Activations are those of predictions, without dropout and with batch norm's running
    statistics.

    Parameters
    ----------
    network : Network
        The network; as a method, the object itself.
    X : array-like or sparse array of shape (n_samples, n_features)
    n_threads : int, default=1

    Returns
    -------
    list of bool ndarray of shape (n_units,)
        One array per hidden layer, True for dead units.

    Raises
    ------
    ValueError
        For a bad shape, or if there are no samples.
    """
    X = as_rows(X, network.dtype)
    if network.data(X).shape[0] == 0:
        raise ValueError("X has no samples: dead_units needs at least 1")
    plain = network if network.is_plain() else network.folded()
    blocks = [X[at : at + BLOCK_ROWS] for at in range(0, X.shape[0], BLOCK_ROWS)]
    return [
        np.all([_flat(plain, k, block, n_threads) for block in blocks], axis=0)
        for k in range(len(network.spec.activations))
    ]


def _flat(plain: "Network", k: int, X: Any, n_threads: int) -> Array:
    """Which units of hidden layer k have the derivative 0 for all rows of X."""
    layer, b = plain.spec.activations[k], plain.intercepts[k]
    kinds = (layer,) * len(b) if isinstance(layer, Activation) else layer
    data = plain.data(X)
    if kinds[0].name == "rbf":  # e^z is its own derivative
        flat: Array = (plain._predictor.forward(data, n_threads, 1) == 0).all(axis=0)
        return flat
    Network, W, edges = type(plain), plain.coefs[k], plain.spec.edges[k]
    affine = Network(
        plain.layer_sizes[k : k + 2], connectivity=[edges], dtype=plain.dtype
    )
    affine.params[:] = np.r_[W.ravel() if edges is None else W.data, b]
    below = plain._predictor.forward(data, n_threads, k) if k else X
    Z = affine.forward(below, n_threads)
    flat = np.ones(len(b), bool)
    for f in set(kinds):
        if not f.entry.trainable:  # the derivative is 0 everywhere
            continue
        columns = [j for j, kind in enumerate(kinds) if kind == f]
        z = Z[:, columns].ravel()
        units = Network([1, len(z)], output_activation=f, dtype=z.dtype)
        units.intercepts[0][:], units.coefs[0][:] = z, 1
        slopes = jvp(units, [[0]], [[1]], n_threads).reshape(-1, len(columns))
        flat[columns] = (slopes == 0).all(axis=0)
    return flat


def _samples(
    network: "Network", X: Any, y: Any = None, sample_weight: Any = None
) -> Any:
    """`_core.Data` of the samples, if X is not one already."""
    if isinstance(X, _core.Data):
        return X
    return network._folded.data(X, y, sample_weight)


def _evaluate(
    network: "Network",
    kind: str,
    data: Any,
    n_threads: int,
    direction: Array | None = None,
) -> Array:
    """Derivatives of one kind, of the network that predicts."""
    if data.sparse and network.has_rbf:
        raise ValueError(
            "X is sparse: activation='rbf' measures distances, give an array"
        )
    network.spec.check_trainable()
    plain = network.folded() if not network.is_plain() else network
    if any(network.spec.edges):
        plain = _with_all_connections(plain)
    plan = plain.plan(frozen_statistics=True)
    of_params = kind in ("params", "product", "exact", "curvature")
    if kind == "product" and direction is not None:
        direction = _spread(network, direction)
    found = _core.sensitivity(plan, kind, data, direction, n_threads)
    return _gather(network, found) if of_params else found


def _with_all_connections(network: "Network") -> "Network":
    """The same network with all connections; the weights of the new ones are 0."""
    weights = [W.toarray() if hasattr(W, "indptr") else W for W in network.coefs]
    rest = network.params[network.n_weights :]
    dense = type(network).of(replace(network.spec, edges=None))
    dense.params[:] = np.concatenate([*(W.ravel() for W in weights), rest])
    return dense


def _dense_places(network: "Network") -> Array:
    """Index of each of ``params`` in those of `_with_all_connections`."""
    places, at = [], 0
    for (n_in, n_out), edges in zip(
        pairwise(network.layer_sizes), network.spec.edges, strict=True
    ):
        inside = np.arange(n_in * n_out)
        places.append(at + (inside if edges is None else edges.rows * n_out + edges.to))
        at += n_in * n_out
    rest = network.params.size - network.n_weights
    return np.concatenate([*places, at + np.arange(rest)])


def _spread(network: "Network", v: Array) -> Array:
    """A direction in ``params`` as one in all weights, tied ones included."""
    spec = network.spec
    if any(spec.edges):
        places = _dense_places(network)
        wide = np.zeros(replace(spec, edges=None).n_params, dtype=v.dtype)
        wide[places] = v
        return wide
    if spec.tied:
        v = v.copy()
        weights = network.unpack(v)[0]
        for trained, tied in network.spec.ties:
            weights[tied][:] = weights[trained].T
    return v


def _gather(network: "Network", gradient: Array) -> Array:
    """Derivatives in all weights as those in ``params``: tied ones are added up."""
    spec = network.spec
    if any(spec.edges):
        return np.ascontiguousarray(gradient[..., _dense_places(network)])
    for row in gradient.reshape(-1, gradient.shape[-1]) if spec.tied else ():
        weights = network.unpack(row)[0]
        for trained, tied in network.spec.ties:
            weights[trained] += weights[tied].T
            weights[tied][:] = 0
    return gradient


def _direction(
    network: "Network", name: str, value: ArrayLike, shape: tuple[int, ...]
) -> Array:
    array = np.ascontiguousarray(value, dtype=network.prediction_dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def _check_plain(network: "Network") -> None:
    if not network.is_plain():
        raise ValueError(
            "derivatives in the parameters need parameters that predict as they are, "
            "without batch norm, standardisation or dropout's scaling='test'; take those "
            "of network.folded()"
        )


def _check_untied(network: "Network") -> None:
    if network.spec.tied:
        raise ValueError(
            "tied=True: a weight in two layers has mixed second derivatives, which "
            "hessian_vector_product takes in and hessian_diagonal does not"
        )


def _check_second_order(network: "Network") -> None:
    _check_plain(network)
    if network.spec.loss.function is not None:
        raise ValueError(
            "loss is a callable, which gives no second derivatives; choose one by name"
        )
