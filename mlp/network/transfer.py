"""Copying layers of another network, and dividing a network at its frozen layers
[S ex. 65.11].

Frozen leading layers are a fixed map: it is applied to the samples once, and the rest of
the network, its tail, is trained.
"""

from typing import Any

from mlp.network.connectivity import assign
from mlp.network.network import Network
from mlp.network.spec import NetworkSpec

__all__ = [
    "copy_layers",
    "frozen_prefix",
    "read_tail",
    "split_off_tail",
    "write_tail",
]


def copy_layers(network: Network, source: Network) -> int:
    """Copy the leading layers that `network` shares with `source`, in place.

    They are those of the same widths and activations, from the inputs on; never the
    outputs.  Where both have the same batch norm it is copied too; otherwise the layers
    are copied as they predict, with everything folded into weights and offsets.

    Returns
    -------
    int
        Number of layers copied.

    Raises
    ------
    ValueError
        If no layer can be copied.
    """
    spec, given_spec = network.spec, source.spec
    n = _shared_layers(spec, given_spec)
    if n == 0:
        raise ValueError(
            f"base has layers {source.layer_sizes} with activations "
            f"{_names(given_spec)}; none can be the first of {network.layer_sizes} with "
            f"{_names(spec)}"
        )
    norms = [s.batch_norm and s.batch_norm.where for s in (spec, given_spec)]
    scales_in_training = set(given_spec.keeps) == {1.0}
    raw = source.input_scale is None and scales_in_training and norms[0] == norms[1]
    if not raw and (any(spec.normed[:n]) or network.input_statistics is not None):
        raise ValueError(
            f"batch_norm={norms[0]!r} would normalise the layers of base anew, "
            f"which has batch_norm={norms[1]!r}, standardisation or dropout "
            "folded into them; set batch_norm=None"
        )
    given = source if raw else source.folded()
    if not spec.fit_intercept and any(b.any() for b in given.intercepts[:n]):
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


def _shared_layers(spec: NetworkSpec, other: NetworkSpec) -> int:
    """Number of leading hidden layers that the two have in common."""
    n = 0
    while (
        n < min(len(spec.activations), len(other.activations))
        and spec.layer_sizes[: n + 2] == other.layer_sizes[: n + 2]
        and spec.activations[n] == other.activations[n]
        and bool(spec.skip_scales[n]) == bool(other.skip_scales[n])
    ):
        n += 1
    return n


def _names(spec: NetworkSpec) -> list[str]:
    return [getattr(f, "name", "mixed") for f in spec.activations]


def _copy_weights(to: Any, given: Any) -> None:
    if hasattr(to, "indptr"):
        assign(to, given)
    else:
        to[:] = given.toarray() if hasattr(given, "indptr") else given


def frozen_prefix(spec: NetworkSpec) -> int:
    """Number of frozen leading layers whose outputs don't change in training."""
    frozen = spec.frozen or ()
    n = 0
    while n < len(frozen) and frozen[n]:
        n += 1
    if spec.tied or (n and spec.skip_scales[n]):
        return 0
    return n


def split_off_tail(network: Network, n: int) -> Network:
    """The network after the first n layers, on parameters of its own.

    It shares the statistics of batch norm with the network; `write_tail` copies its
    parameters back.
    """
    tail = Network.of(network.spec.tail(n))
    tail.statistics = network.statistics[n:]
    tail.output_shift, tail.output_scale = network.output_shift, network.output_scale
    read_tail(tail, network, n)
    return tail


def write_tail(network: Network, tail: Network, n: int) -> None:
    """Copy the tail's parameters into the network's layers after the first n."""
    _copy_parameters(network, tail, n, to_tail=False)
    network.refold()


def read_tail(tail: Network, network: Network, n: int) -> None:
    """Copy the parameters of the network's layers after the first n into the tail."""
    _copy_parameters(network, tail, n, to_tail=True)
    tail.refold()


def _copy_parameters(network: Network, tail: Network, n: int, *, to_tail: bool) -> None:
    for whole, part in (
        (network.coefs[n:], tail.coefs),
        (network.intercepts[n:], tail.intercepts),
        (network.scales[n:], tail.scales),
    ):
        for ours, theirs in zip(whole, part, strict=True):
            if ours is not None and theirs is not None:
                source, to = (ours, theirs) if to_tail else (theirs, ours)
                _values(to)[...] = _values(source)


def _values(weights: Any) -> Any:
    return weights.data if hasattr(weights, "indptr") else weights
