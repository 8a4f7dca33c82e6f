"""Networks as files hold them: a specification and arrays.

The JSON has the fields of `NetworkSpec` and the names in `ARRAYS` side by side.  A new
field needs a default equal to the old behaviour: older files lack it.
"""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.files.encoding import Codec, Decoder, Encoder, attributes_codec
from mlp.network.activations import (
    Activation,
    LayerActivation,
    layer_name,
    resolve_activation,
)
from mlp.network.connectivity import Edges
from mlp.network.features import BatchNorm, Dropout
from mlp.network.losses import resolve_loss
from mlp.network.spec import NetworkSpec

__all__ = ["FEATURE_CODECS", "decode_network", "encode_network"]

Array = NDArray[Any]

FEATURE_CODECS: dict[str, Codec] = {
    "BatchNorm": attributes_codec(BatchNorm),
    "Dropout": attributes_codec(Dropout),
}

#: state of a network beside its specification
ARRAYS = (
    "params",
    "statistics",
    "input_statistics",
    "input_shift",
    "input_scale",
    "output_shift",
    "output_scale",
)
#: fields that are not encoded like any other value
CODED = ("activations", "output_activation", "edges", "loss")


def encode_network(encoder: Encoder, network: Any, where: str) -> dict[str, Any]:
    """JSON for a `Network`.

    Raises
    ------
    ValueError
        If the network has further attributes, or parameters that are not finite.
    """
    state = network.__getstate__()
    spec: NetworkSpec = state.pop("spec")
    unknown = set(state) - set(ARRAYS)
    if unknown:
        raise ValueError(
            f"{where} has {', '.join(sorted(unknown))}: files have no such"
        )
    if not _finite(network.params):
        raise ValueError(f"{where} has parameters that are not finite")
    plain = [f.name for f in fields(spec) if f.name not in CODED]
    return {
        **{name: encoder(getattr(spec, name), f"{where}.{name}") for name in plain},
        "activations": [_layer_json(f) for f in spec.activations],
        "output_activation": _layer_json(spec.output_activation),
        "edges": [e and _edges_json(encoder, e, f"{where}.edges") for e in spec.edges],
        "loss": encoder.parameter(spec.loss.spec, "loss"),
        **{name: encoder(state[name], f"{where}.{name}") for name in ARRAYS},
    }


def _layer_json(f: LayerActivation) -> Any:
    if not isinstance(f, Activation):
        return [_layer_json(node) for node in f]
    return {"name": f.name, "parameters": list(f.parameters)}


def _edges_json(encoder: Encoder, edges: Edges, where: str) -> list[Any]:
    ends = [encoder(array, where) for array in (edges.rows, edges.to)]
    return [edges.n_in, edges.n_out, *ends]


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())


def decode_network(decoder: Decoder, content: dict[str, Any]) -> dict[str, Any]:
    """The state of a `Network` for its ``__setstate__``, checked.

    Raises
    ------
    BadExternal
        If the loss that was given in place of the file's own is not one.
    Exception
        If something in the file is wrong.
    """
    parts = {name: decoder(v) for name, v in content.items() if name not in CODED}
    parameter = [*parts.pop("loss_arguments", {}).values()]  # once beside the name
    parts = _of_version_1(parts)
    known = {*ARRAYS, *(field.name for field in fields(NetworkSpec))}
    if unknown := {*parts, *content.keys() & {*CODED}} - known:
        raise ValueError(
            f"networks have no {', '.join(sorted(unknown))} in this mlp; was it written by "
            "a newer one?"
        )
    sizes = parts["layer_sizes"]
    if not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(f"layer_sizes={sizes} must be integers > 0")
    output = _layer(content["output_activation"])
    with decoder.blaming(content["loss"]):
        given = decoder(content["loss"])
        given = (given, *parameter) if parameter else given
        loss = resolve_loss(given, layer_name(output))
    state = {name: parts.pop(name) for name in ARRAYS}
    spec = NetworkSpec(
        **parts,
        activations=[_layer(f) for f in content["activations"]],
        output_activation=output,
        loss=loss,
        edges=[e and _edges(decoder, e) for e in content["edges"]]
        if "edges" in content
        else None,
    )
    _check_arrays(spec, **state)
    return {"spec": spec, **state}


def _of_version_1(parts: dict[str, Any]) -> dict[str, Any]:
    """The fields that files of version 1 had for batch norm, dropout and residuals."""
    if "batch_norm_momentum" not in parts:
        return parts
    new = dict(parts)
    names = ("momentum", "epsilon", "gradient")
    given = {n: new.pop(f"batch_norm_{n}") for n in names if f"batch_norm_{n}" in parts}
    if parts["batch_norm"] is not None:
        new["batch_norm"] = BatchNorm(parts["batch_norm"], **given)
    names = ("mask", "scaling", "decay")
    given = {n: new.pop(f"dropout_{n}") for n in names if f"dropout_{n}" in parts}
    if parts["dropout"] is not None:
        input_rate, *rates = parts["dropout"]
        new["dropout"] = Dropout(rates, input_rate, **given)
    residual = new.pop("residual")
    if new.get("skip_scales") is None:
        new["skip_scales"] = residual
    return new


def _layer(content: Any) -> LayerActivation:
    if isinstance(content, list):
        return tuple(map(_activation, content))
    return _activation(content)


def _activation(content: dict[str, Any]) -> Activation:
    return resolve_activation([content["name"], *content["parameters"]])


def _edges(decoder: Decoder, content: Any) -> Edges:
    n_in, n_out, inputs, outputs = (decoder(node) for node in content)
    for units, n in ((inputs, n_in), (outputs, n_out)):
        if units.dtype.kind not in "iu" or units.ndim != 1:
            raise ValueError("edges must be vectors of integers")
        if units.size and not 0 <= units.min() <= units.max() < n:
            raise ValueError(f"edges must lie between units 0 and {n - 1}")
    if len(np.unique(np.stack([inputs, outputs]), axis=1).T) != len(inputs):
        raise ValueError("edges must be different, one is there twice")
    return Edges(n_in, n_out, inputs, outputs)


def _check_arrays(
    spec: NetworkSpec,
    params: Any,
    statistics: Any,
    input_statistics: Any,
    **scaling: Any,
) -> None:
    """The core reads them without asking for their shapes."""
    sizes, normed = spec.layer_sizes, spec.normed
    if params.shape != (spec.n_params,) or params.dtype != spec.dtype:
        raise ValueError(
            f"params must be {spec.dtype} of shape ({spec.n_params},), got {params.dtype} "
            f"of shape {params.shape}"
        )
    if not _finite(params):
        raise ValueError("params must be finite")
    of_input = spec.batch_norm is not None and spec.batch_norm.has_input
    for array, on, n in zip(
        (input_statistics, *statistics), (of_input, *normed), sizes, strict=True
    ):
        if (array is not None) != on:
            raise ValueError("statistics must be there just where batch norm is")
        if on and (array.shape != (3, n) or not _finite(array)):
            raise ValueError(f"statistics must be finite, of shape (3, {n})")
    for name, array in scaling.items():
        n = sizes[0] if name.startswith("input") else sizes[-1]
        if array is not None and (array.shape != (n,) or not _finite(array)):
            raise ValueError(f"{name} must be {n} finite numbers")
