"""Values as JSON and arrays, and back: an explicit list of what a file may hold.

JSON's own values stand for themselves, a list for a list.  Everything else is an object of
one key, which is one of `_DECODERS`: ``{"tuple": [...]}``, ``{"array": 3}``.  What a file
names is looked up in tables here; no name in it is ever imported or called.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp.network.activations import (
    Activation,
    LayerActivation,
    layer_name,
    resolve_activation,
)
from mlp.network.connectivity import Edges
from mlp.network.losses import resolve_loss
from mlp.network.network import Network

__all__ = ["Decoder", "Encoder", "Unsuitable", "Unsupported", "dotted"]

Array = NDArray[Any]

#: classes written by their attributes, all of which their constructors take, and where
#: they are; dataclasses have those of their fields
OBJECTS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "Optimizer": ("mlp.training.minibatch", None),
    "PairOptimizer": ("mlp.training.pairs", ("schedule", "each")),
    "Progress": ("mlp.training.stopping", None),
    "RidgeFunction": (
        "mlp.projection_pursuit.ridge_function",
        ("knots", "values", "degrees_of_freedom"),
    ),
    "Schedule": ("mlp.training.schedules", None),
    "SiameseNetwork": ("mlp.network.siamese", ("twin", "kind", "head")),
}

# What is added to a network must have a default that means what networks were before:
# files written until then don't have it.

#: what a network is built from, by the names of its constructor's arguments
BUILT_FROM = (
    "layer_sizes",
    "groups",
    "group_weight",
    "batch_norm",
    "batch_norm_momentum",
    "batch_norm_epsilon",
    "batch_norm_gradient",
    "residual",
    "tied",
    "fit_intercept",
    "dtype",
)
#: what it is told afterwards
TOLD = (
    "dropout",
    "dropout_mask",
    "dropout_scaling",
    "dropout_decay",
    "input_shift",
    "input_scale",
    "output_shift",
    "output_scale",
    "skip_scales",
    "corruption",
    "frozen",
)
#: what is written in a way of its own, or follows from the rest
OTHERS = (
    "activations",
    "output_activation",
    "loss_function",
    "params",
    "statistics",
    "input_statistics",
    "normed",
    "edges",
)

TYPES = {"float": float, "float32": np.float32, "float64": np.float64}

#: numbers of words and of a place in MT19937's state
STATE_WORDS = 624


class Unsupported(ValueError):
    """A value that a file can't hold."""


class Unsuitable(ValueError):
    """A value given for what a file doesn't hold, of which nothing can be made."""


def _class_of(name: str) -> Any:
    module, _ = OBJECTS[name]
    return getattr(import_module(module), name)


def _attributes(name: str) -> tuple[str, ...]:
    _, names = OBJECTS[name]
    return names or tuple(field.name for field in fields(_class_of(name)))


def dotted(thing: Any) -> str:
    """What to call a function or an object in a message."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


class Encoder:
    """Turns values into JSON, and collects the arrays.

    Parameters
    ----------
    estimator : callable
        ``(encoder, value, where) -> JSON or None``: how estimators are written; None for
        what is none.

    Attributes
    ----------
    arrays : list of ndarray
        To be written beside the JSON, which names them by number.
    outside : dict of str to str
        Parameters that the file can't hold, functions for example, and what they were;
        whoever loads it gives them.
    """

    def __init__(self, estimator: Callable[..., Any]) -> None:
        self.arrays: list[Array] = []
        self.outside: dict[str, str] = {}
        self._estimator = estimator
        self._outside_objects: dict[int, str] = {}

    def parameter(self, value: Any, where: str) -> Any:
        """A value that may stay outside, as the parameter called `where`."""
        n_arrays = len(self.arrays)
        try:
            return self(value, where)
        except Unsupported:
            del self.arrays[n_arrays:]
            self.outside[where] = dotted(value)
            self._outside_objects[id(value)] = where
            return {"outside": where}

    def __call__(self, value: Any, where: str) -> Any:
        """JSON for a value; `where` is what to call it in an error.

        Raises
        ------
        Unsupported
        """
        kind = type(value)
        if id(value) in self._outside_objects:
            return {"outside": self._outside_objects[id(value)]}
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if np.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self._items(value, where)
        if kind is tuple:
            return {"tuple": self._items(value, where)}
        if kind is dict:
            pairs = [
                [self(k, where), self(v, f"{where}[{k!r}]")] for k, v in value.items()
            ]
            return {"dict": pairs}
        if kind in (np.ndarray, np.memmap):
            return self._array(value, where)
        if isinstance(value, np.generic):
            return self._scalar(value, where)
        if isinstance(value, np.dtype) and value.kind in "biufcSU":
            return {"dtype": value.newbyteorder("<").str}
        for name, legal in TYPES.items():
            if value is legal:
                return {"type": name}
        return self._object(value, where)

    def _items(self, values: Any, where: str) -> list[Any]:
        return [self(v, f"{where}[{i}]") for i, v in enumerate(values)]

    def _array(self, array: Array, where: str) -> Any:
        if array.dtype.kind == "O":
            scalars = (bool, int, float, str, type(None), np.generic)
            if not all(isinstance(item, scalars) for item in array.flat):
                raise Unsupported(f"{where} holds more than strings and numbers")
            return {"objects": [list(array.shape), self._items(array.flat, where)]}
        if array.dtype.kind not in "biufcSU" or array.dtype.char in "gG":
            raise Unsupported(f"{where} has dtype {array.dtype}")
        if array.dtype.itemsize == 0:  # strings, all of them empty
            array = array.astype(f"{array.dtype.kind}1")
        self.arrays.append(array)
        return {"array": len(self.arrays) - 1}

    def _scalar(self, value: Any, where: str) -> Any:
        if value.dtype.kind not in "biufU" or value.dtype.char == "g":
            raise Unsupported(f"{where} has dtype {value.dtype}")
        name = value.dtype.newbyteorder("<").str
        return {"scalar": [name, self(value.item(), where)]}

    def _object(self, value: Any, where: str) -> Any:
        name = type(value).__name__
        if type(value) is Network:
            return {"Network": self._network(value, where)}
        if type(value) is RandomState:
            return {"RandomState": self._random_state(value, where)}
        if hasattr(value, "tocsr"):
            return {"csr": self._sparse(value, where)}
        if name in OBJECTS and type(value) is _class_of(name):
            return {
                name: {a: self(getattr(value, a), where) for a in _attributes(name)}
            }
        written = self._estimator(self, value, where)
        if written is None:
            raise Unsupported(
                f"{where}={value!r} is not something that a file can hold"
            )
        return written

    def _sparse(self, value: Any, where: str) -> Any:
        """A sparse array of any format, as CSR."""
        from scipy.sparse import issparse, sparray

        if not issparse(value) or value.ndim != 2 or value.dtype.kind not in "biufc":
            raise Unsupported(f"{where} is no sparse matrix of numbers")
        csr, limits = value.tocsr(), np.iinfo(np.int32)
        places = [csr.indices, csr.indptr]
        if max(csr.nnz, *csr.shape) <= limits.max:  # as narrow as they come back
            places = [array.astype(np.int32, copy=False) for array in places]
        parts = self._items([csr.data, *places], where)
        return [isinstance(value, sparray), list(csr.shape), parts]

    def _random_state(self, rng: RandomState, where: str) -> Any:
        state: Any = rng.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise Unsupported(
                f"{where} draws from {state['bit_generator']}, not MT19937"
            )
        key, pos = state["state"]["key"], int(state["state"]["pos"])
        gauss = float(state["gauss"]) if state["has_gauss"] else None
        return [self._array(key, where), pos, gauss]

    def _network(self, network: Network, where: str) -> Any:
        state = network.__getstate__()
        unknown = set(state) - {*BUILT_FROM, *TOLD, *OTHERS}
        if unknown:  # the format must be told of it: nothing is left out in silence
            raise ValueError(f"{where} has {', '.join(sorted(unknown))}")
        if not _finite(state["params"]):
            raise ValueError(f"{where} has parameters that are not finite")
        plain = [a for a in (*BUILT_FROM, *TOLD) if a in state]
        loss = network.loss_function
        return {
            **{a: self(state[a], f"{where}.{a}") for a in plain},
            "activations": [_layer_named(f) for f in network.activations],
            "output_activation": _layer_named(network.output_activation),
            "edges": [
                edges and self._edges(edges, f"{where}.edges")
                for edges in network.edges
            ],
            "loss": self.parameter(loss.specification, "loss"),
            "loss_arguments": self(loss.argument(), where),
            "params": self(network.params, where),
            "statistics": self(network.statistics, where),
            "input_statistics": self(network.input_statistics, where),
        }

    def _edges(self, edges: Edges, where: str) -> list[Any]:
        return [edges.n_in, edges.n_out, self(edges.rows, where), self(edges.to, where)]


def _named(f: Activation) -> dict[str, Any]:
    return {"name": f.name, "parameters": list(f.parameters)}


def _layer_named(f: LayerActivation) -> Any:
    return _named(f) if isinstance(f, Activation) else [_named(node) for node in f]


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())


class Decoder:
    """Makes values again from what an `Encoder` made of them.

    Whatever is wrong raises some exception, `Unsuitable` if it is not the file that is
    wrong; nothing is allocated beyond the size of what is given.

    Parameters
    ----------
    arrays : sequence of ndarray
        Each is used once.
    outside : dict of str to object
        What the file doesn't hold.
    estimator : callable
        ``(decoder, JSON) -> estimator``.
    """

    def __init__(
        self, arrays: Any, outside: dict[str, Any], estimator: Callable[..., Any]
    ) -> None:
        self._arrays = dict(enumerate(arrays))
        self._outside = outside
        self._estimator = estimator

    def __call__(self, node: Any) -> Any:
        """The value that a piece of JSON stands for."""
        if isinstance(node, list):
            return [self(item) for item in node]
        if not isinstance(node, dict):
            return node
        [(tag, content)] = node.items()
        if tag in OBJECTS:
            return self._object(tag, content)
        if tag not in _DECODERS:
            raise ValueError(f"{tag!r} is not a kind of value")
        return _DECODERS[tag](self, content)

    def finish(self) -> None:
        """Raise ValueError if arrays are left over."""
        if self._arrays:
            raise ValueError(f"{len(self._arrays)} arrays belong to nothing")

    def _float(self, text: str) -> float:
        if text not in ("nan", "inf", "-inf"):
            raise ValueError(f"{text!r} is not nan, inf or -inf")
        return float(text)

    def _tuple(self, items: Any) -> tuple[Any, ...]:
        return tuple(self._list(items))

    def _list(self, items: Any) -> list[Any]:
        if not isinstance(items, list):
            raise ValueError(f"{items!r} is not a list")
        return [self(item) for item in items]

    def _dict(self, pairs: Any) -> dict[Any, Any]:
        return {self(k): self(v) for k, v in pairs}

    def _array(self, number: int) -> Array:
        array = self._arrays.pop(number)
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")

    def _objects(self, content: Any) -> Array:
        shape, items = content
        values = self._list(items)
        if prod(shape) != len(values):
            raise ValueError(f"{len(values)} objects in an array of shape {shape}")
        array = np.empty(len(values), dtype=object)
        for i, value in enumerate(values):
            array[i] = value
        return array.reshape(shape)

    def _scalar(self, content: Any) -> Any:
        name, node = content
        dtype, value = self._dtype(name), self(node)
        if type(value) not in (bool, int, float, str):
            raise ValueError(f"{value!r} is no {dtype}")
        return dtype.type(value)

    def _dtype(self, name: str) -> Any:
        dtype = np.dtype(name)
        if type(name) is not str or dtype.kind not in "biufcSU":
            raise ValueError(f"{name!r} is not a dtype of numbers or strings")
        return dtype.newbyteorder("=")

    def _type(self, name: str) -> Any:
        return TYPES[name]

    def _given(self, name: str) -> Any:
        return self._outside[name]

    @contextmanager
    def _blaming(self, *nodes: Any) -> Iterator[None]:
        """If nothing can be made of these, the one from outside is to blame."""
        try:
            yield
        except Exception as error:
            for node in nodes:
                if isinstance(node, dict) and "outside" in node:
                    name = node["outside"]
                    raise Unsuitable(
                        f"{name}={self._outside[name]!r} can't be used: {error}"
                    ) from error
            raise

    def _csr(self, content: Any) -> Any:
        from scipy.sparse import csr_array, csr_matrix

        is_array, shape, parts = content
        data, indices, indptr = self._list(parts)
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{shape} is no shape")
        matrix = (csr_array if is_array else csr_matrix)(
            (data, indices, indptr), shape=tuple(shape)
        )
        matrix.check_format(full_check=True)
        return matrix

    def _random_state(self, content: Any) -> RandomState:
        words, pos, gauss = content
        key = self(words)
        # NumPy itself doesn't check the place, and would read from it
        if key.shape != (STATE_WORDS,) or key.dtype != np.uint32:
            raise ValueError("the state of a RandomState has another shape")
        if type(pos) is not int or not 0 <= pos <= STATE_WORDS:
            raise ValueError(f"a RandomState can't be at place {pos}")
        rng = RandomState(0)
        rng.set_state(("MT19937", key, pos, int(gauss is not None), gauss or 0.0))
        return rng

    def _object(self, name: str, content: dict[str, Any]) -> Any:
        unknown = set(content) - set(_attributes(name))
        if unknown:
            raise ValueError(f"{name} has no {', '.join(sorted(unknown))}")
        values = {a: self(node) for a, node in content.items()}
        if name in _MAKERS:
            return _MAKERS[name](**values)
        with self._blaming(*content.values()):
            made = _class_of(name)(**values)
        vars(made).update(values)
        return made

    def _network(self, content: dict[str, Any]) -> Network:
        parts = {
            name: node if "activation" in name or name == "edges" else self(node)
            for name, node in content.items()
        }
        unknown = set(parts) - {*BUILT_FROM, *TOLD, *OTHERS, "loss", "loss_arguments"}
        if unknown:
            raise ValueError(
                f"networks have no {', '.join(sorted(unknown))} in this mlp; was it "
                "written by a newer one?"
            )
        params, statistics = parts["params"], parts["statistics"]
        sizes = parts["layer_sizes"]
        if not all(type(n) is int and n > 0 for n in sizes):
            raise ValueError(f"layer_sizes={sizes} are no sizes")
        for name in ("input_shift", "input_scale"):
            _check_vector(parts[name], name, sizes[0])
        for name in ("output_shift", "output_scale"):
            _check_vector(parts[name], name, sizes[-1])
        for array, n in zip(
            (parts["input_statistics"], *statistics), sizes, strict=True
        ):
            _check_statistics(array, n)
        if not _finite(params):
            raise ValueError("the network's parameters are not finite")
        output = _layer_activation(parts["output_activation"])
        with self._blaming(content["loss"]):
            resolve_loss(parts["loss"], layer_name(output), **parts["loss_arguments"])
        network = Network(
            activation=[_layer_activation(f) for f in parts["activations"]],
            output_activation=output,
            loss=parts["loss"],
            connectivity=[edges and self._edges(edges) for edges in parts["edges"]]
            if "edges" in parts
            else None,
            params=params.copy(),
            **parts["loss_arguments"],
            **{name: parts[name] for name in BUILT_FROM if name in parts},
        )
        network.params[:] = params  # zeros, too, mean zeros here, not a fresh start
        for name in TOLD:
            if name in parts:
                setattr(network, name, parts[name])
        _check_rates(network.dropout, len(sizes) - 1)
        if network.frozen is not None and len(network.frozen) != len(sizes) - 1:
            raise ValueError(
                f"frozen={network.frozen} must name {len(sizes) - 1} layers"
            )
        if not 0 <= network.corruption < 1:
            raise ValueError(f"corruption={network.corruption} must lie in [0, 1)")
        _check_skips(network)
        given = (parts["input_statistics"], *statistics)
        for array, own in zip(
            given, (network.input_statistics, *network.statistics), strict=True
        ):
            if (array is None) != (own is None):
                raise ValueError("batch norm's statistics are not where they should be")
            if own is not None:
                own[:] = array
        network.__setstate__(network.__getstate__())
        return network

    def _edges(self, content: Any) -> Edges:
        n_in, n_out, inputs, outputs = (self(node) for node in content)
        for units, n in ((inputs, n_in), (outputs, n_out)):
            if units.dtype.kind not in "iu" or units.ndim != 1:
                raise ValueError("edges must be vectors of integers")
            if units.size and not 0 <= units.min() <= units.max() < n:
                raise ValueError(f"edges must lie between units 0 and {n - 1}")
        if len(np.unique(np.stack([inputs, outputs]), axis=1).T) != len(inputs):
            raise ValueError("an edge is there twice")
        return Edges(n_in, n_out, inputs, outputs)


def _siamese_network(twin: Any, kind: Any, head: Any) -> Any:
    """The head is made as the kind asks, so that it fits the twin."""
    layers = () if head is None else head.layer_sizes[1:-1]
    activations = "relu" if head is None else head.activations
    made = _class_of("SiameseNetwork")(twin, kind, layers, activations)
    if (head is None) != (made.head is None) or (
        head is not None and head.layer_sizes != made.head.layer_sizes
    ):
        raise ValueError(f"this is no head of a {kind}")
    if head is not None:
        made.head.params[:] = head.params
    made.refold()
    return made


def _pair_optimizer(schedule: Any, each: Any) -> Any:
    made = _class_of("PairOptimizer")(each[0])
    made.schedule, made.each = schedule, each
    for optimizer in each:
        optimizer.schedule = schedule
    return made


_MAKERS: dict[str, Callable[..., Any]] = {
    "SiameseNetwork": _siamese_network,
    "PairOptimizer": _pair_optimizer,
}


def _activation(content: dict[str, Any]) -> Activation:
    return resolve_activation([content["name"], *content["parameters"]])


def _layer_activation(content: Any) -> LayerActivation:
    if isinstance(content, list):
        return tuple(map(_activation, content))
    return _activation(content)


def _check_vector(array: Any, name: str, n: int) -> None:
    if array is not None and (array.shape != (n,) or not _finite(array)):
        raise ValueError(f"{name} must be {n} finite numbers")


def _check_statistics(array: Any, n: int) -> None:
    if array is not None and (array.shape != (3, n) or not _finite(array)):
        raise ValueError(f"batch norm's statistics must be finite, of shape (3, {n})")


def _check_rates(rates: Any, n_layers: int) -> None:
    if rates is not None and (
        len(rates) != n_layers or not all(0 <= float(p) < 1 for p in rates)
    ):
        raise ValueError(f"dropout={rates} must be {n_layers} rates in [0, 1)")


def _check_skips(network: Network) -> None:
    """The core adds a layer's input to its output without asking for their sizes."""
    scales, legal = network.skip_scales, network._residuals()
    if scales is not None and (
        len(scales) != len(legal)
        or any(scale and not on for scale, on in zip(scales, legal, strict=True))
    ):
        raise ValueError(f"skip_scales={scales} don't fit the layers")


def _estimator(decoder: Decoder, content: Any) -> Any:
    return decoder._estimator(decoder, content)


#: tag -> method; beside them the names of OBJECTS
_DECODERS: dict[str, Callable[[Decoder, Any], Any]] = {
    "float": Decoder._float,
    "tuple": Decoder._tuple,
    "dict": Decoder._dict,
    "array": Decoder._array,
    "objects": Decoder._objects,
    "scalar": Decoder._scalar,
    "dtype": Decoder._dtype,
    "type": Decoder._type,
    "outside": Decoder._given,
    "csr": Decoder._csr,
    "RandomState": Decoder._random_state,
    "Network": Decoder._network,
    "estimator": _estimator,
}
