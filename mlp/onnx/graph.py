"""Networks as ONNX graphs: a builder and the layers; `mlp.network.activations` has f(z).

The graphs use only operators of the standard domain, opset 13 (onnx 1.8, 2020), that
onnxruntime supports in float32 and float64.  It does not support Erf, Elu, LeakyRelu and
Softplus in float64; these are composed of other operators, in the same way for both
precisions except for Erf.
"""

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import erfcx

from mlp.network.activations import Activation, LayerActivation
from mlp.network.network import Network

__all__ = ["IR_VERSION", "OPSET", "Graph", "layer_outputs"]

Array = NDArray[Any]

#: version of the operators, and of the file format that came with it
OPSET, IR_VERSION = 13, 7

#: degree of the polynomial in 1/(1 + x/2) for e^{x²} erfc(x), to 5e-15 or to 3e-7
ERFC_DEGREE = {"float64": 24, "float32": 10}


def import_onnx() -> Any:
    """Return the `onnx` package, or raise an ImportError with the install command."""
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError(
            "to_onnx needs the package onnx: pip install 'fastmlp[onnx]'"
        ) from error
    return onnx


class Graph:
    """Nodes, constants, inputs and outputs of a graph under construction.

    A value is identified by its name, a str.  Operators also accept numbers and dense or
    sparse arrays, which become constants: floats in the graph's dtype, integers as int64.

    Parameters
    ----------
    dtype : {float32, float64}
        Type of all values except labels and indices.
    """

    def __init__(self, dtype: Any) -> None:
        self.onnx = import_onnx()
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.integer = int(self.onnx.TensorProto.INT64)
        self._named: dict[Any, tuple[str, Any]] = {}
        self._folded: dict[int, tuple[Network, Network]] = {}

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self._node(operator, inputs, 1, attributes)[0]

    def split(self, value: str, sizes: Any) -> list[str]:
        """Split the columns of a matrix into groups of these sizes."""
        if len(sizes) == 1:
            return [value]
        widths = np.asarray(sizes, dtype=np.int64)
        return self._node("Split", (value, widths), len(sizes), {"axis": 1})

    def _node(
        self, operator: str, inputs: Any, n_outputs: int, attributes: dict[str, Any]
    ) -> list[str]:
        name = f"{operator}_{len(self.nodes)}"
        outputs = [f"{name}_{k}" for k in range(n_outputs)] if n_outputs > 1 else [name]
        self.nodes.append(
            self.onnx.helper.make_node(
                operator,
                [i if isinstance(i, str) else self.constant(i) for i in inputs],
                outputs,
                name=name,
                **attributes,
            )
        )
        return outputs

    def constant(self, value: Any) -> str:
        """Return the name of a constant, the same for equal floats and identical
        objects."""
        key = value if isinstance(value, float) else ("object", id(value))
        if key in self._named:
            return self._named[key][0]
        array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64)
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        self._named[key] = name, value  # keeps the object's id unique
        return name

    def folded(self, network: Network) -> Network:
        """Return `Network.folded`, cached.

        A network that is applied to two inputs has its weights in the graph once.
        """
        if id(network) not in self._folded:
            self._folded[id(network)] = network.folded(), network
        return self._folded[id(network)][0]

    def input(self, name: str, n_features: int) -> str:
        """Declare an input of shape (n_samples, n_features)."""
        self.inputs.append(self._described(name, self.dtype, ["n_samples", n_features]))
        return name

    def output(self, name: str, value: str, *columns: int, dtype: Any = None) -> None:
        """Declare an output of shape (n_samples, *columns), by default of the graph's
        dtype."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name))
        shape = ["n_samples", *columns]
        self.outputs.append(self._described(name, dtype or self.dtype, shape))

    # -- functions that the standard domain lacks, or onnxruntime in float64 --

    def by_sign(self, z: str, below: Any, above: Any) -> str:
        """`below` where z < 0, else `above`."""
        return self("Where", self("Less", z, 0.0), below, above)

    def softplus(self, z: str) -> str:
        """max(z, 0) + ln(1 + e^{−|z|}), which cannot overflow."""
        tail = self("Log", self("Add", self("Exp", self("Neg", self("Abs", z))), 1.0))
        return self("Add", self("Max", z, 0.0), tail)

    def erf(self, z: str) -> str:
        """erf(z)."""
        if self.dtype == np.float32:
            return self("Erf", z)
        tail = self._erfc(z)
        return self.by_sign(z, self("Sub", tail, 1.0), self("Sub", 1.0, tail))

    def normal_cdf(self, z: str) -> str:
        """Φ(z) by erfc: 1 + erf cancels where z is large and negative."""
        tail = self("Mul", self._erfc(self("Mul", z, 1 / sqrt(2))), 0.5)
        return self.by_sign(z, tail, self("Sub", 1.0, tail))

    def _erfc(self, x: str) -> str:
        """erfc(|x|): e^{−x²} times a polynomial in u = 2/(1 + |x|/2) − 1."""

        def scaled(u: Any) -> Any:  # u is never −1
            return erfcx(4 / (u + 1) - 2)

        degree = ERFC_DEGREE[self.dtype.name]
        powers = chebyshev.cheb2poly(chebyshev.chebinterpolate(scaled, degree))
        size = self("Abs", x)
        u = self("Sub", self("Div", 2.0, self("Add", self("Mul", size, 0.5), 1.0)), 1.0)
        value = self.constant(float(powers[-1]))
        for c in powers[-2::-1]:
            value = self("Add", self("Mul", value, u), float(c))
        return self("Mul", value, self("Exp", self("Neg", self("Mul", x, x))))

    def _described(self, name: str, dtype: Any, shape: list[Any]) -> Any:
        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, shape)

    def model(self, name: str, doc_string: str, **properties: str) -> Any:
        """Return the checked ModelProto.

        Parameters
        ----------
        name : str
            Name of the graph.
        doc_string : str
        **properties : str
            Entries of the metadata.
        """
        from mlp import __version__

        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants, doc_string
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="mlp",
            producer_version=__version__,
            doc_string=doc_string,
        )
        helper.set_model_props(model, properties)
        self.onnx.checker.check_model(model, full_check=True)
        return model


# -- activations --


def _activate(g: Graph, z: str, f: LayerActivation) -> str:
    """Return f(z); if nodes differ [S P65.6], compute every kind and select."""
    if isinstance(f, Activation):
        return f.onnx(g, z)
    first, *others = dict.fromkeys(f)
    y = _activate(g, z, first)
    for kind in others:
        here = np.array([node == kind for node in f])
        y = g("Where", here, _activate(g, z, kind), y)
    return y


# -- layers --


def _softmaxes(g: Graph, z: str, groups: tuple[int, ...]) -> str:
    """Return the softmax of each task; a group of one is a logistic output."""
    parts = [
        g("Softmax", part, axis=1) if width > 1 else g("Sigmoid", part)
        for part, width in zip(g.split(z, groups), groups, strict=True)
    ]
    return g("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _radial(g: Graph, x: str, centres: Array, widths: Array) -> str:
    """Return exp(−‖x − μ_m‖² / (2 λ_m)) [L].

    Distances are computed from differences, which do not cancel; n_samples × n_features ×
    n_centres of them are in memory at once.
    """
    apart = g("Sub", g("Unsqueeze", x, [2]), centres[None])
    squares = g("ReduceSum", g("Mul", apart, apart), [1], keepdims=0)
    return g("Exp", g("Div", g("Mul", squares, -0.5), widths))


def layer_outputs(g: Graph, x: str, network: Network) -> Iterator[str]:
    """Add the layers of the folded network to the graph one by one [S 65.31].

    Parameters
    ----------
    g : Graph
    x : str
        Inputs of shape (n_samples, n_features).
    network : Network
        Batch norm, standardisation and the scaling of dropout are folded in.

    Yields
    ------
    str
        The outputs of each layer, of shape (n_samples, width); the last are γ̂.
    """
    plain = g.folded(network)
    y = x
    for k, (f, W, b) in enumerate(
        zip(plain.spec.layers, plain.coefs, plain.intercepts, strict=True)
    ):
        if k == 0 and plain.has_rbf:
            y = _radial(g, x, W, b)
            yield y
            continue
        z = g("Gemm", y, W, b)
        if isinstance(f, Activation) and f.name == "softmax":
            out = _softmaxes(g, z, plain.spec.groups)
        else:
            out = _activate(g, z, f)
        skip = plain.spec.skip_scales[k]
        if skip:
            out = g("Add", out, y if skip == 1 else g("Mul", y, float(skip)))
        y = out
        yield y
