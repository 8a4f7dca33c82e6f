"""Derivatives of a trained network: of its outputs, of each sample's loss, of second order.

These functions are methods of `Network`.  Derivatives in the inputs are those of what
`Network.forward` computes, whatever is folded into it.  Derivatives in the parameters are
those of `Network.params`, and are refused where these don't predict as they are;
`Network.folded` gives a network of which that is true.
"""

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

#: what it costs to multiply a number that has come out of a product by f′, in multiply-adds
#: of the product (bench/micro, 784-100-10, 1000 samples: forward 40 ms, reverse 8 ms)
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
        What stands before the dot, where this is its method.
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
    return _ask(network, mode, _samples(network, X), n_threads)


def cheaper_mode(sizes: tuple[int, ...]) -> str:
    """'reverse', a VJP an output, or 'forward', a JVP an input, whichever costs less."""
    products = [a * b for a, b in pairwise(sizes)]
    touched = MULTIPLY_ADDS_A_NUMBER * sum(sizes[1:])
    # upwards each input begins with its row of the first weights: no product
    forward = sizes[0] * (sum(products[1:]) + touched)
    reverse = sizes[-1] * (sum(products) + touched)
    return "forward" if forward < reverse else "reverse"


def jvp(network: "Network", X: Any, V: ArrayLike, n_threads: int = 1) -> Array:
    """Each sample's Jacobian times a vector, J v: how fast the outputs change along v.

    Parameters
    ----------
    network : Network
        What stands before the dot, where this is its method.
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
    return _ask(network, "jvp", data, n_threads, direction)


def vjp(network: "Network", X: Any, U: ArrayLike, n_threads: int = 1) -> Array:
    """A vector times each sample's Jacobian, Jᵀu: the gradient of uᵀγ̂ in the inputs.

    Parameters
    ----------
    network : Network
        What stands before the dot, where this is its method.
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
    return _ask(network, "vjp", data, n_threads, direction)


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
        What stands before the dot, where this is its method.
    X : array-like or sparse array of shape (n_samples, n_features)
    y : array-like
        Targets as `Network.data` takes them; a missing one adds nothing.  None if X is what
        `data` has made of samples.
    wrt : {"inputs", "params"}, default="inputs"
        In the sample's inputs, of the loss of what `forward` predicts; or in ``params``:
        the mean over the samples is then what `gradients` returns.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_samples, n_features) or (n_samples, n_params)

    Raises
    ------
    ValueError
        For bad shapes, an activation without a useful derivative or, with 'params', a
        network that is not plain: with batch norm a sample has no loss of its own.  Ask
        `folded` then.
    """
    if wrt not in ("inputs", "params"):
        raise ValueError(f"wrt must be 'inputs' or 'params', got {wrt!r}")
    if wrt == "params":
        _check_plain(network)
    return _ask(network, wrt, _samples(network, X, y), n_threads)


def hessian_vector_product(
    network: "Network",
    X: Any,
    y: ArrayLike | None,
    v: ArrayLike,
    sample_weight: ArrayLike | None = None,
    n_threads: int = 1,
) -> Array:
    """The Hessian of the mean loss in ``params``, times a vector; exact (Pearlmutter).

    Costs two or three gradients.  No penalties; corners of f and of the loss are straight.

    Parameters
    ----------
    network : Network
        What stands before the dot, where this is its method.
    X, y
        See `Network.data`; X may be what it has made of them, y is then None.
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
        ask `folded` then.
    """
    _check_second_order(network)
    data = _samples(network, X, y, sample_weight)
    direction = _direction(network, "v", v, network.params.shape)
    return _ask(network, "product", data, n_threads, direction)


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
        What stands before the dot, where this is its method.
    X, y
        See `Network.data`; X may be what it has made of them, y is then None.
    kind : {"exact", "curvature"}, default="exact"
        'exact' takes each sample's full Hessian in z from layer to layer: between layers of
        n and m units nm(n + m) multiply-adds a sample, nm² if the n are the first hidden
        layer, and 4 matrices of the widest layer for each thread.  'curvature' keeps only
        the term y²·f″(z)·∂Q/∂y, as the textbook prints it, at the cost of a gradient: exact
        only where nothing above bends, neither the loss nor an activation.
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
    return _ask(network, kind, data, n_threads)


def hidden_activations(
    network: "Network", X: Any, layer: int = -1, n_threads: int = 1
) -> Array:
    """Outputs y of a hidden layer, residual connection included [S 65.31].

    Parameters
    ----------
    network : Network
        What stands before the dot, where this is its method.
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
    outputs = network.predict_data(_samples(network, X), n_threads, at + 1)
    return outputs.astype(network.dtype, copy=False)


def dead_units(network: "Network", X: Any, n_threads: int = 1) -> list[Array]:
    """Hidden units whose activation has the derivative 0 for every sample [S 65.1].

    No gradient passes through such a unit, so these samples can't train its weights: a
    ReLU that is off for all of them, or a sigmoid that is saturated to the last bit.
    Activations are those of predictions, without dropout and with batch norm's running
    statistics.

    Parameters
    ----------
    network : Network
        What stands before the dot, where this is its method.
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
        for k in range(len(network.activations))
    ]


def _flat(plain: "Network", k: int, X: Any, n_threads: int) -> Array:
    """Which units of hidden layer k have the derivative 0 for all rows of X."""
    layer, b = plain.activations[k], plain.intercepts[k]
    kinds = (layer,) * len(b) if isinstance(layer, Activation) else layer
    data = plain.data(X)
    if kinds[0].name == "rbf":  # e^z is its own derivative
        flat: Array = (plain.predict_data(data, n_threads, 1) == 0).all(axis=0)
        return flat
    Network, W = type(plain), plain.coefs[k]
    affine = Network(
        plain.layer_sizes[k : k + 2], connectivity=[plain.edges[k]], dtype=plain.dtype
    )
    affine.params[:] = np.r_[W.ravel() if plain.edges[k] is None else W.data, b]
    Z = affine.forward(plain.predict_data(data, n_threads, k) if k else X, n_threads)
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
    """Samples for the core, if they are not that already."""
    if isinstance(X, _core.Data):
        return X
    return network._folded.data(X, y, sample_weight)


def _ask(
    network: "Network",
    question: str,
    data: Any,
    n_threads: int,
    direction: Array | None = None,
) -> Array:
    """The core's answer, of the network that predicts."""
    if data.sparse and network.has_rbf:
        raise ValueError(
            "X is sparse: activation='rbf' measures distances, give an array"
        )
    network.check_trainable()
    dense = network.folded() if not network.is_plain() else network
    if any(network.edges):
        dense = dense.dense()
    plan = dense.plan()
    plan.set_callbacks(network.loss_function.function)
    of_params = question in ("params", "product", "exact", "curvature")
    if question == "product" and direction is not None:
        direction = _spread(network, direction)
    answer = _core.sensitivity(plan, question, data, direction, n_threads)
    return _gather(network, answer) if of_params else answer


def _dense_places(network: "Network") -> Array:
    """Where each of ``params`` lies in those of `Network.dense`."""
    places, at = [], 0
    for (n_in, n_out), edges in zip(
        pairwise(network.layer_sizes), network.edges, strict=True
    ):
        inside = np.arange(n_in * n_out)
        places.append(at + (inside if edges is None else edges.rows * n_out + edges.to))
        at += n_in * n_out
    rest = network.params.size - network.n_weights
    return np.concatenate([*places, at + np.arange(rest)])


def _spread(network: "Network", v: Array) -> Array:
    """A direction in ``params`` as one in all weights: tied ones move along."""
    if any(network.edges):
        places = _dense_places(network)
        wide = np.zeros(network.dense().params.size, dtype=v.dtype)
        wide[places] = v
        return wide
    if network.tied:
        v = v.copy()
        weights = network.unpack(v)[0]
        for trained, tied in network.ties:
            weights[tied][:] = weights[trained].T
    return v


def _gather(network: "Network", gradient: Array) -> Array:
    """Derivatives in all weights as those in ``params``: what is tied adds up."""
    if any(network.edges):
        return np.ascontiguousarray(gradient[..., _dense_places(network)])
    for row in gradient.reshape(-1, gradient.shape[-1]) if network.tied else ():
        weights = network.unpack(row)[0]
        for trained, tied in network.ties:
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
            "batch norm, standardisation or dropout_scaling='test' stand between the "
            "parameters and the outputs; ask network.folded(), whose parameters predict "
            "as they are"
        )


def _check_untied(network: "Network") -> None:
    if network.tied:
        raise ValueError(
            "tied=True: a weight that stands in two places has mixed second derivatives; "
            "hessian_vector_product has them"
        )


def _check_second_order(network: "Network") -> None:
    _check_plain(network)
    if network.loss_function.function is not None:
        raise ValueError(
            "loss is a callable, which gives no second derivatives; choose one by name"
        )
