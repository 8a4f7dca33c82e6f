"""Layers taken over from another network, and layers that stand still [S ex. 65.11].

Leading layers that are frozen are a fixed map: it is applied to the samples once, and what
is trained is the network behind it, the `tail`.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from mlp.network.connectivity import assign
from mlp.network.network import Network

__all__ = [
    "frozen_layers",
    "leading_frozen",
    "put_back",
    "tail",
    "take_back",
    "take_over",
]


def frozen_layers(freeze: int | Sequence[bool], n_layers: int) -> tuple[bool, ...]:
    """Which of `n_layers` weight layers stand still.

    Parameters
    ----------
    freeze : int or sequence of bool
        Number of leading layers, or one truth value per layer.
    n_layers : int

    Raises
    ------
    ValueError
        If it doesn't fit the number of layers or leaves nothing to train.
    """
    frozen: tuple[bool, ...] = ()
    if isinstance(freeze, Integral) and not isinstance(freeze, bool):
        count = int(freeze)
        if 0 <= count <= n_layers:
            frozen = (True,) * count + (False,) * (n_layers - count)
    elif np.iterable(freeze):
        listed = list(freeze)
        if len(listed) == n_layers and all(f in (True, False) for f in listed):
            frozen = tuple(bool(f) for f in listed)
    if not frozen:
        raise ValueError(
            f"freeze={freeze!r} must be a number of leading layers, or one truth value "
            f"for each of the {n_layers} layers of weights"
        )
    if all(frozen):
        raise ValueError(f"freeze={freeze!r} leaves nothing to train")
    return frozen


def take_over(network: Network, source: Network) -> int:
    """Copy the leading layers that `network` shares with `source`, in place.

    They are those of the same widths and activations, from the inputs on; never the
    outputs.  Where both have the same batch norm it is copied too; otherwise the layers
    come as they predict, everything folded into weights and offsets.

    Returns
    -------
    int
        Number of layers copied.

    Raises
    ------
    ValueError
        If there is not one, or they can't be copied.
    """
    most = min(len(network.activations), len(source.activations))
    n = 0
    while (
        n < most
        and network.layer_sizes[: n + 2] == source.layer_sizes[: n + 2]
        and network.activations[n] == source.activations[n]
        and network._residuals()[n] == source._residuals()[n]
    ):
        n += 1
    if n == 0:
        raise ValueError(
            f"base has layers {source.layer_sizes} with activations "
            f"{_names(source)}; none can be the first of {network.layer_sizes} with "
            f"{_names(network)}"
        )
    raw = (
        source.input_scale is None
        and source.dropout_scaling == "train"
        and source.batch_norm == network.batch_norm
    )
    if not raw and (any(network.normed[:n]) or network.input_statistics is not None):
        raise ValueError(
            f"batch_norm={network.batch_norm!r} would normalise the layers of base anew, "
            f"which has batch_norm={source.batch_norm!r}, standardisation or dropout "
            "folded into them; set batch_norm=None"
        )
    given = source if raw else source.folded()
    if not network.fit_intercept and any(b.any() for b in given.intercepts[:n]):
        raise ValueError(
            "fit_intercept=False, but the layers of base have offsets, its own or "
            "from standardisation"
        )
    for k in range(n):
        _copy_weights(network.coefs[k], given.coefs[k])
        network.intercepts[k][:] = given.intercepts[k]
        scale, statistics = network.scales[k], network.statistics[k]
        if scale is not None and statistics is not None:
            scale[:], statistics[:] = given.scales[k], given.statistics[k]
    if network.input_statistics is not None and given.input_statistics is not None:
        network.input_statistics[:] = given.input_statistics
    network.refold()
    return n


def _names(network: Network) -> list[str]:
    return [getattr(f, "name", "mixed") for f in network.activations]


def _copy_weights(to: Any, given: Any) -> None:
    if hasattr(to, "indptr"):
        assign(to, given)
    else:
        to[:] = given.toarray() if hasattr(given, "indptr") else given


def leading_frozen(network: Network) -> int:
    """Leading frozen layers that can be cut off: their outputs don't change."""
    frozen = network.frozen or ()
    n = 0
    while n < len(frozen) and frozen[n]:
        n += 1
    if network.tied or (n and network._residuals()[n]):
        return 0
    return n


def tail(network: Network, n: int) -> Network:
    """The network behind the first n layers, on parameters of its own.

    Its batch norm's statistics are the network's; `put_back` brings the parameters home.
    """
    where = network.batch_norm.split("+")[0] if network.batch_norm else None
    short = Network(
        network.layer_sizes[n:],
        network.activations[n:],
        network.output_activation,
        loss=network.loss_function.specification,
        groups=network.groups,
        group_weight=network.group_weight,
        batch_norm=where,
        batch_norm_momentum=network.batch_norm_momentum,
        batch_norm_epsilon=network.batch_norm_epsilon,
        batch_norm_gradient=network.batch_norm_gradient,
        residual=network.residual,
        connectivity=network.edges[n:],
        fit_intercept=network.fit_intercept,
        dtype=network.dtype,
        **network.loss_function.argument(),
    )
    if network.frozen is not None:
        short.frozen = network.frozen[n:]
    short.statistics = network.statistics[n:]
    if network.dropout is not None:
        short.dropout = network.dropout[n:]
    short.dropout_mask = network.dropout_mask
    short.dropout_scaling = network.dropout_scaling
    short.dropout_decay = network.dropout_decay
    short.output_shift, short.output_scale = network.output_shift, network.output_scale
    _copy_parameters(short, network, n, back=False)
    short.refold()
    return short


def put_back(network: Network, short: Network, n: int) -> None:
    """Copy the parameters of the `tail` behind layer n into the network."""
    _copy_parameters(short, network, n, back=True)
    network.refold()


def take_back(short: Network, network: Network, n: int) -> None:
    """Copy the network's parameters behind layer n into its `tail`."""
    _copy_parameters(short, network, n, back=False)
    short.refold()


def _copy_parameters(short: Network, network: Network, n: int, *, back: bool) -> None:
    for ours, theirs in (
        (short.coefs, network.coefs[n:]),
        (short.intercepts, network.intercepts[n:]),
        (short.scales, network.scales[n:]),
    ):
        for ours_l, theirs_l in zip(ours, theirs, strict=True):
            if ours_l is not None and theirs_l is not None:
                source, to = (ours_l, theirs_l) if back else (theirs_l, ours_l)
                _values(to)[...] = _values(source)


def _values(weights: Any) -> Any:
    return weights.data if hasattr(weights, "indptr") else weights
