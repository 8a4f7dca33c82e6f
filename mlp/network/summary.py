"""A network's layers as a table of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mlp.network.activations import Activation, LayerActivation

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["Summary", "summarize"]

HEADER = ("layer", "W", "b", "Z", "parameters", "activation", "options")
RIGHT = ("parameters", "dead")


class Summary(str):
    """Text that a prompt shows as `print` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summarize(network: Network, dead: Sequence[NDArray[Any]] | None = None) -> Summary:
    """The table of `Network.summary`.

    Parameters
    ----------
    network : Network
    dead : sequence of bool ndarray, optional
        `Network.dead_units` of the samples for the column "dead".
    """
    rows = [HEADER, _input_row(network)]
    rows += [_row(network, k) for k in range(len(network.coefs))]
    if dead is not None:
        cells = ("dead", "", *(f"{units.sum():,}" for units in dead), "")
        rows = [
            (*row[:-1], cell, row[-1]) for row, cell in zip(rows, cells, strict=True)
        ]
    lines = _lines(rows)
    rule = "-" * max(map(len, lines))
    params, loss = network.params, network.spec.loss
    n_params = params.size
    if not network.spec.fit_intercept:
        n_params -= sum(b.size for b in network.intercepts)
    total = (
        f"{n_params:,} parameters, {params.nbytes:,} bytes as {params.dtype}; "
        f"loss {getattr(loss.function, '__name__', loss.name)}"
    )
    return Summary("\n".join([lines[0], rule, *lines[1:], rule, total]))


def _lines(rows: list[tuple[str, ...]]) -> list[str]:
    """The rows as text, each column as wide as its longest cell."""
    padded = []
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        pad = str.rjust if column[0] in RIGHT else str.ljust
        padded.append([pad(text, width) for text in column])
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _input_row(network: Network) -> tuple[str, ...]:
    options = []
    if network.input_scale is not None:
        options.append("standardize")
    if network.input_statistics is not None:
        options.append("batch norm")
    options += _dropout(network, 0)
    shape = f"(n, {network.n_features})"
    return "input", "", "", shape, "", "", ", ".join(options)


def _row(network: Network, k: int) -> tuple[str, ...]:
    """The row of weight layer k and its outputs."""
    spec = network.spec
    W, b, scale = network.coefs[k], network.intercepts[k], network.scales[k]
    last = k == len(network.coefs) - 1
    options = [] if scale is None else ["batch norm"]
    if spec.edges[k] is not None:
        options.append(f"{W.nnz:,} of {W.shape[0] * W.shape[1]:,} connections")
    options += [f"W = W_{a}ᵀ" for a, b in spec.ties if b == k]
    if spec.frozen and spec.frozen[k]:
        options.append("frozen")
    if spec.skip_scales[k]:
        options.append("residual")
    if last and network.output_scale is not None:
        options.append("standardize")
    if not last:
        options += _dropout(network, k + 1)
    offsets = b.size if spec.fit_intercept else 0
    size = W.size + offsets + (0 if scale is None else scale.size)
    activation = _output_name(network) if last else _name(spec.activations[k])
    return (
        "output" if last else f"hidden {k + 1}",
        str(W.shape),
        str(b.shape) if spec.fit_intercept else "",
        f"(n, {len(b)})",
        f"{size:,}",
        activation,
        ", ".join(options),
    )


def _dropout(network: Network, layer: int) -> list[str]:
    dropout, rates = network.spec.dropout, network.spec.drop_rates
    if dropout is None or not rates or not rates[layer]:
        return []
    per = " per sample" if dropout.mask == "sample" else ""
    return [f"dropout {rates[layer]:g}{per}"]


def _name(f: LayerActivation) -> str:
    if isinstance(f, Activation):
        values = ", ".join(f"{value:.4g}" for value in f.parameters)
        return f"{f.name}({values})" if values else f.name
    return ", ".join(f"{n} {_name(kind)}" for kind, n in Counter(f).items())


def _output_name(network: Network) -> str:
    name = _name(network.spec.output_activation)
    if len(network.spec.groups) > 1:
        name += " of " + " + ".join(map(str, network.spec.groups))
    return name
