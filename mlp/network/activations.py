"""The table of activations [S table 65.1] and how a user may name one.

Adding an activation takes a line in `ACTIVATIONS` here and one in ``ELEMENTWISE``
(``onnx_graph.py``), in ``src/core`` a name in ``ACTIVATION_LIST`` (``mlp_core.h``) with
f, f′ and f″ in ``activation.h``, its twin in ``tests/oracle/functions.py`` and a row in
the guide; ``docs/extending.rst`` goes through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import tanh
from numbers import Real
from typing import Any

from mlp._core import ACTIVATION_CODES

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "is_single",
    "layer_activations",
    "layer_name",
    "output_activations",
    "resolve_activation",
]


@dataclass(frozen=True)
class Entry:
    """One activation: its kernel, its parameters (name, default), what it is for."""

    kernel: str
    parameters: tuple[tuple[str, float], ...] = ()
    fixed: tuple[float, float] | None = None
    positive: bool = False  # the parameters must be > 0, else only nonzero
    hidden: bool = True
    trainable: bool = True


#: name -> Entry; `fixed` gives the kernel parameters of a special case of another entry
ACTIVATIONS: dict[str, Entry] = {
    "identity": Entry("identity"),
    "logistic": Entry("logistic"),
    "tanh": Entry("tanh"),
    "relu": Entry("relu"),
    "leaky_relu": Entry("leaky_relu", (("alpha", 0.01),)),
    "two_sided_relu": Entry("leaky_relu", (("alpha", -1.0),)),
    "scaled_tanh": Entry(
        "scaled_tanh", (("a", 1 / tanh(2 / 3)), ("b", 2 / 3)), positive=True
    ),
    "elu": Entry("elu", (("alpha", 1.0), ("scale", 1.0)), positive=True),
    "selu": Entry("elu", fixed=(1.6732632423543772, 1.0507009873554805)),
    "softplus": Entry("softplus"),
    "erf": Entry("erf"),
    "gaussian": Entry("gaussian"),
    "gelu": Entry("gelu"),
    "silu": Entry("silu"),
    "mish": Entry("mish"),
    "exp": Entry("exp"),
    "sign": Entry("sign", trainable=False),
    "step": Entry("step", trainable=False),
    "rbf": Entry("rbf"),
    "softmax": Entry("softmax", hidden=False),
}


@dataclass(frozen=True)
class Activation:
    """A named activation with its parameters.

    Attributes
    ----------
    name : str
        A key of `ACTIVATIONS`.
    parameters : tuple of float
        In the order of the entry's parameter names.
    """

    name: str
    parameters: tuple[float, ...] = ()

    @property
    def entry(self) -> Entry:
        """The line of the table."""
        return ACTIVATIONS[self.name]

    @property
    def kernel(self) -> tuple[int, bool, float, float]:
        """What the core wants: code, whether f′ needs z, two parameters."""
        code, keeps_z = ACTIVATION_CODES[self.entry.kernel]
        a, b = self.entry.fixed or (*self.parameters, 0.0, 0.0)[:2]
        return code, keeps_z, a, b

    @property
    def spec(self) -> Any:
        """The shortest specification that resolves to this activation."""
        return (self.name, *self.parameters) if self.parameters else self.name


def resolve_activation(spec: Any, parameter: str = "activation") -> Activation:
    """The activation that `spec` names.

    Parameters
    ----------
    spec : str, or tuple of str and floats
        ``"tanh"``, or with parameters ``("leaky_relu", 0.1)``.
    parameter : str
        What to call it in an error.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        For an unknown name, too many parameters or a parameter out of range.
    """
    if isinstance(spec, Activation):
        return spec
    name, *given = [spec] if isinstance(spec, str) else list(spec)
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{parameter}={spec!r} is not an activation; there are "
            f"{', '.join(sorted(ACTIVATIONS))}"
        )
    entry = ACTIVATIONS[name]
    names = entry.parameters
    if len(given) > len(names):
        raise ValueError(
            f"{parameter}={spec!r}: {name} takes {len(names)} parameters"
            + (f" ({', '.join(n for n, _ in names)})" if names else "")
        )
    values = [float(v) for v in given] + [d for _, d in names[len(given) :]]
    for (what, _), value in zip(names, values, strict=True):
        if not (value > 0 if entry.positive else value != 0 and value == value):
            raise ValueError(
                f"{parameter}={spec!r}: {what} must be "
                f"{'positive' if entry.positive else 'nonzero'}"
            )
    return Activation(name, tuple(values))


def is_single(spec: Any) -> bool:
    """A name, or a name with numbers behind it; else a sequence of specifications."""
    if isinstance(spec, str | Activation):
        return True
    return (
        len(spec) > 0
        and isinstance(spec[0], str)
        and len(spec) > 1
        and all(isinstance(v, Real) for v in spec[1:])
    )


LayerActivation = Activation | tuple[Activation, ...]


def layer_name(f: LayerActivation) -> str | tuple[str, ...]:
    """The name of a layer's activation; of each node's where they differ."""
    return f.name if isinstance(f, Activation) else tuple(node.name for node in f)


def output_activations(spec: Any, width: int) -> LayerActivation:
    """The activation of the outputs, or that of each of them [S P65.6].

    Parameters
    ----------
    spec : activation, or sequence of them (one per node)
    width : int
        Number of outputs.

    Raises
    ------
    ValueError
        If the numbers don't agree, or an activation is not for outputs or for single ones.
    """
    if isinstance(spec, str | Activation) or is_single(spec):
        layer: LayerActivation = resolve_activation(spec, "output_activation")
    else:
        layer = tuple(resolve_activation(node, "output_activation") for node in spec)
        if len(layer) != width:
            raise ValueError(
                f"output_activation={spec!r} names {len(layer)} nodes, there are {width} "
                "outputs"
            )
    nodes = layer if isinstance(layer, tuple) else (layer,)
    if any(f.name == "rbf" for f in nodes):
        raise ValueError("output_activation='rbf': 'rbf' is for the first hidden layer")
    if isinstance(layer, tuple) and any(f.name == "softmax" for f in nodes):
        raise ValueError(
            f"output_activation={spec!r}: 'softmax' couples all outputs and can't be that "
            "of one node"
        )
    return layer


def layer_activations(spec: Any, widths: Sequence[int]) -> list[LayerActivation]:
    """One activation a hidden layer, or one a node [S P65.6].

    Parameters
    ----------
    spec : activation, sequence of them (one a layer), or of sequences (one a node)
    widths : sequence of int
        Units of the hidden layers.

    Returns
    -------
    list of Activation or tuple of Activation
        A tuple names the activation of each node.

    Raises
    ------
    ValueError
        If the numbers of layers or nodes don't agree, or an activation can't be hidden.
    """
    if is_single(spec):
        layers: list[Any] = [spec] * len(widths)
    else:
        layers = list(spec)
        if len(layers) != len(widths):
            raise ValueError(
                f"activation={spec!r} names {len(layers)} layers, "
                f"hidden_layer_sizes has {len(widths)}"
            )
    resolved: list[LayerActivation] = []
    for width, layer in zip(widths, layers, strict=True):
        if is_single(layer):
            resolved.append(resolve_activation(layer))
            continue
        if len(layer) != width:
            raise ValueError(
                f"activation={layer!r} names {len(layer)} nodes, the layer has {width}"
            )
        resolved.append(tuple(resolve_activation(node) for node in layer))
    for layer in resolved:
        for f in layer if isinstance(layer, tuple) else (layer,):
            if not f.entry.hidden:
                raise ValueError(f"activation={f.name!r} is for the output layer only")
    for k, layer in enumerate(resolved):
        names = {f.name for f in (layer if isinstance(layer, tuple) else (layer,))}
        if "rbf" in names and (k > 0 or isinstance(layer, tuple)):
            raise ValueError(
                f"activation={spec!r}: 'rbf' is for the whole first hidden layer; give a "
                "sequence with the other layers' activations"
            )
    return resolved
