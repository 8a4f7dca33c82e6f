"""The table of activations [S table 65.1] and how a user may name one.

A new activation takes an entry of `ACTIVATIONS` here and, in ``src/core``, an item of
``ACTIVATION_LIST`` (``mlp_core.h``) with f, f′ and f″ in ``activation.h``;
``docs/extending.rst`` goes through it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import tanh
from numbers import Real
from typing import Any

from mlp._core import ACTIVATION_CODES

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "describe",
    "hidden_activations",
    "is_single",
    "layer_activations",
    "layer_name",
    "output_activations",
    "resolve_activation",
]


@dataclass(frozen=True)
class Entry:
    """Everything there is to say about one activation.

    Attributes
    ----------
    code : str
        A key of ``ACTIVATION_CODES``.
    doc : str
        f(z) as docstrings have it.
    formula, derivative : str
        f and f′ in LaTeX, as the guide has them.
    remark : str
        What the guide says besides, after f′.
    onnx : callable or None
        ``(g, z, *parameters) -> f(z)`` in operators of ONNX, where ``g(operator, *inputs)``
        adds one (`mlp.onnx.graph.Graph`); None for an activation of a whole layer.
    parameters : tuple of (name, default)
    fixed : tuple of float or None
        The core's parameters in a special case of another entry.
    positive : bool
        The parameters must be > 0, else only nonzero.
    hidden, trainable : bool
        Whether hidden layers may have it; whether it has a useful derivative.
    """

    code: str
    doc: str
    formula: str
    derivative: str
    remark: str = ""
    onnx: Callable[..., str] | None = None
    parameters: tuple[tuple[str, float], ...] = ()
    fixed: tuple[float, float] | None = None
    positive: bool = False
    hidden: bool = True
    trainable: bool = True


def _leaky(g: Any, z: str, alpha: float) -> str:
    return str(g.by_sign(z, g("Mul", z, alpha), z))


def _elu(g: Any, z: str, alpha: float, scale: float) -> str:
    grown = g("Sub", g("Exp", g("Min", z, 0.0)), 1.0)
    return str(g("Mul", g.by_sign(z, g("Mul", grown, alpha), z), scale))


#: name -> Entry; `fixed` has the parameters of a special case of another entry
ACTIVATIONS: dict[str, Entry] = {
    "identity": Entry(
        "identity",
        "z",
        "z",
        "1",
        onnx=lambda g, z: z,
    ),
    "logistic": Entry(
        "logistic",
        "1 / (1 + exp(−z))",
        r"\dfrac{1}{1+e^{-z}}",
        "f(1-f)",
        "[S 65.6]",
        onnx=lambda g, z: g("Sigmoid", z),
    ),
    "tanh": Entry(
        "tanh",
        "tanh(z)",
        r"\tanh z",
        "1-f^2",
        "[S 65.7]",
        onnx=lambda g, z: g("Tanh", z),
    ),
    "scaled_tanh": Entry(
        "scaled_tanh",
        "a tanh(b z)",
        r"a\,\tanh(bz)",
        r"ab\,(1-(f/a)^2)",
        "[S 65.10]",
        onnx=lambda g, z, a, b: g("Mul", g("Tanh", g("Mul", z, b)), a),
        parameters=(("a", 1 / tanh(2 / 3)), ("b", 2 / 3)),
        positive=True,
    ),
    "relu": Entry(
        "relu",
        "max(0, z)",
        r"\max(0, z)",
        r"1\text{ if }z>0\text{, else }0",
        "[S 65.11]",
        onnx=lambda g, z: g("Relu", z),
    ),
    "leaky_relu": Entry(
        "leaky_relu",
        "z where z ≥ 0, else alpha z",
        r"z\text{ if }z\ge0\text{, else }\alpha z",
        r"1\text{ if }z>0\text{, else }\alpha",
        "[S 65.12; L]",
        onnx=_leaky,
        parameters=(("alpha", 0.01),),
    ),
    "two_sided_relu": Entry(
        "leaky_relu",
        "max(0, z) + alpha min(0, z)",
        r"\max(0,z)+\alpha\,\min(0,z)",
        r"1\text{ if }z>0\text{, else }\alpha",
        "[S P65.4]",
        onnx=_leaky,
        parameters=(("alpha", -1.0),),
    ),
    "elu": Entry(
        "elu",
        "scale z where z ≥ 0, else scale alpha (exp(z) − 1)",
        r"s z\text{ if }z\ge0\text{, else }s\alpha(e^z-1)",
        r"s\text{ if }z\ge0\text{, else }f+s\alpha",
        onnx=_elu,
        parameters=(("alpha", 1.0), ("scale", 1.0)),
        positive=True,
    ),
    "selu": Entry(
        "elu",
        "'elu' with alpha = 1.6733 and scale = 1.0507",
        r"s z\text{ if }z\ge0\text{, else }s\alpha(e^z-1)",
        r"s\text{ if }z\ge0\text{, else }f+s\alpha",
        r"with :math:`\alpha = 1.6733…,\ s = 1.0507…`",
        onnx=_elu,
        fixed=(1.6732632423543772, 1.0507009873554805),
    ),
    "softplus": Entry(
        "softplus",
        "ln(1 + exp(z))",
        r"\ln(1+e^z)",
        "1-e^{-f}",
        "the logistic of :math:`z`",
        onnx=lambda g, z: g.softplus(z),
    ),
    "erf": Entry(
        "erf",
        "erf(z)",
        r"\frac{2}{\sqrt\pi}\int_0^z e^{-t^2}dt",
        r"\frac{2}{\sqrt\pi}e^{-z^2}",
        onnx=lambda g, z: g.erf(z),
    ),
    "gaussian": Entry(
        "gaussian",
        "exp(−z²/2)",
        "e^{-z^2/2}",
        "-z f",
        onnx=lambda g, z: g("Exp", g("Mul", g("Mul", z, z), -0.5)),
    ),
    "gelu": Entry(
        "gelu",
        "z Φ(z), Φ the normal distribution function",
        r"z\,\Phi(z)",
        r"\Phi(z) + z\,\varphi(z)",
        onnx=lambda g, z: g("Mul", z, g.normal_cdf(z)),
    ),
    "silu": Entry(
        "silu",
        "z / (1 + exp(−z))",
        r"z\,\sigma(z)",
        r"\sigma(z)+z\,\sigma(z)(1-\sigma(z))",
        # not by Sigmoid: onnxruntime's never goes below 1.5e-8 in float32
        onnx=lambda g, z: g("Div", z, g("Add", g("Exp", g("Neg", z)), 1.0)),
    ),
    "mish": Entry(
        "mish",
        "z tanh(ln(1 + exp(z)))",
        r"z\,t,\quad t = \tanh(\ln(1+e^z))",
        r"t + z(1-t^2)\,\sigma(z)",
        onnx=lambda g, z: g("Mul", z, g("Tanh", g.softplus(z))),
    ),
    "exp": Entry(
        "exp",
        "exp(z)",
        "e^z",
        "f",
        onnx=lambda g, z: g("Exp", z),
    ),
    "sign": Entry(
        "sign",
        "1 where z ≥ 0, else −1; for prediction only",
        r"1\text{ if }z\ge0\text{, else }-1",
        "0",
        "prediction only [S 65.16; G]",
        onnx=lambda g, z: g.by_sign(z, -1.0, 1.0),
        trainable=False,
    ),
    "step": Entry(
        "step",
        "1 where z ≥ 0, else 0; for prediction only",
        r"1\text{ if }z\ge0\text{, else }0",
        "0",
        "prediction only [S 65.16; G]",
        onnx=lambda g, z: g.by_sign(z, 0.0, 1.0),
        trainable=False,
    ),
    "rbf": Entry(
        "rbf",
        "exp(−‖x − μ‖² / (2 λ)) of the inputs x, for the first layer only [L]",
        r"\exp\left(-\|x-\mu_m\|^2/(2\lambda_m)\right)",
        "",
        "first hidden layer only, see below [L]",
    ),
    "softmax": Entry(
        "softmax",
        "exp(z_q) / Σ_k exp(z_k), for the output layer only",
        r"e^{z_q-\max z}\,/\sum_k e^{z_k-\max z}",
        r"\operatorname{diag}(\hat\gamma)-\hat\gamma\hat\gamma^\top",
        "the Jacobian; output only [S 65.69]",
        hidden=False,
    ),
}


def hidden_activations() -> list[str]:
    """The activations that training takes for hidden layers."""
    return [name for name, e in ACTIVATIONS.items() if e.hidden and e.trainable]


def describe(name: str) -> str:
    """The line of an activation in docstrings."""
    entry = ACTIVATIONS[name]
    given = ", ".join(f"{what} = {default:.5g}" for what, default in entry.parameters)
    return f"'{name}': {entry.doc}" + (f"; by default {given}" if given else "")


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
    def core(self) -> tuple[int, bool, float, float]:
        """Arguments for the core: code, whether f′ needs z, two parameters."""
        code, keeps_z = ACTIVATION_CODES[self.entry.code]
        a, b = self.entry.fixed or (*self.parameters, 0.0, 0.0)[:2]
        return code, keeps_z, a, b

    def onnx(self, g: Any, z: str) -> str:
        """Add f(z) to the graph `g`, a `mlp.onnx.graph.Graph`; returns its name."""
        form = self.entry.onnx
        if form is None:
            raise ValueError(f"activation={self.name!r} is that of a whole layer")
        return form(g, z, *(self.entry.fixed or self.parameters))

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
