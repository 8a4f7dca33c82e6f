"""Values as JSON and arrays, and back: an explicit list of what a file may hold.

JSON's own values stand for themselves, a list for a list.  Everything else is an object of
one key, which is one of `_DECODERS` or of the codecs that a caller gives: ``{"tuple":
[...]}``, ``{"array": 3}``.  A file's names are looked up in these tables; no name in it is
ever imported or called.

Nothing here knows networks or estimators: whoever has objects of a class of its own gives
a `Codec` for them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

__all__ = [
    "BadExternal",
    "Codec",
    "Decoder",
    "Encoder",
    "NotStorable",
    "attributes_codec",
    "dotted",
]

Array = NDArray[Any]

TYPES = {"float": float, "float32": np.float32, "float64": np.float64}

#: length of MT19937's key, and the largest position in it
STATE_WORDS = 624


class NotStorable(ValueError):
    """A file can't hold this value."""


class BadExternal(ValueError):
    """A value was given in place of one that the file doesn't hold, and can't be used."""


@dataclass(frozen=True)
class Codec:
    """How the objects of one class are written, and made again.

    Attributes
    ----------
    kind : type
        The class.
    encode : callable
        ``(encoder, object, where) -> JSON``.
    decode : callable
        ``(decoder, JSON) -> object``.
    subclasses : bool
        Whether `encode` is given objects of subclasses too, if only to refuse them.
    """

    kind: type
    encode: Callable[["Encoder", Any, str], Any]
    decode: Callable[["Decoder", Any], Any]
    subclasses: bool = False

    def fits(self, value: Any) -> bool:
        """Whether `encode` is for this value."""
        exact = type(value) is self.kind
        return exact or (self.subclasses and isinstance(value, self.kind))


def attributes_codec(
    kind: Any,
    names: tuple[str, ...] = (),
    make: Callable[..., Any] | None = None,
) -> Codec:
    """A codec that writes objects by their attributes.

    Parameters
    ----------
    kind : type
        The class.
    names : tuple of str
        Attributes to write; those of a dataclass's fields by default.
    make : callable, optional
        Makes an object of the attributes, given by name; the class itself by default.
    """
    names = names or tuple(field.name for field in fields(kind))

    def encode(encoder: Encoder, value: Any, where: str) -> Any:
        return {name: encoder(getattr(value, name), where) for name in names}

    def decode(decoder: Decoder, content: dict[str, Any]) -> Any:
        unknown = set(content) - set(names)
        if unknown:
            raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        values = {name: decoder(node) for name, node in content.items()}
        if make is not None:
            return make(**values)
        with decoder.blaming(*content.values()):
            made = kind(**values)
        vars(made).update(values)
        return made

    return Codec(kind, encode, decode)


def dotted(thing: Any) -> str:
    """The name of a function, or of an object's class, for a message."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


class Encoder:
    """Turns values into JSON, and collects the arrays.

    Parameters
    ----------
    codecs : mapping of str to Codec
        Codecs of further classes, by the names of their objects in the JSON.

    Attributes
    ----------
    arrays : list of ndarray
        Arrays to be written beside the JSON, which names them by number.
    external : dict of str to str
        Parameters that the file can't hold, such as functions, and their names in
        messages; whoever loads the file gives them.
    """

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = dict(codecs)
        self.arrays: list[Array] = []
        self.external: dict[str, str] = {}
        self._external_objects: dict[int, str] = {}

    def parameter(self, value: Any, where: str) -> Any:
        """JSON for the parameter called `where`, which is external if a file can't hold
        it."""
        n_arrays = len(self.arrays)
        try:
            return self(value, where)
        except NotStorable:
            del self.arrays[n_arrays:]
            self.external[where] = dotted(value)
            self._external_objects[id(value)] = where
            return {"outside": where}

    def __call__(self, value: Any, where: str) -> Any:
        """JSON for a value; `where` is its name in errors.

        Raises
        ------
        NotStorable
        """
        kind = type(value)
        if id(value) in self._external_objects:
            return {"outside": self._external_objects[id(value)]}
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
                raise NotStorable(f"{where} holds more than strings and numbers")
            return {"objects": [list(array.shape), self._items(array.flat, where)]}
        if array.dtype.kind not in "biufcSU" or array.dtype.char in "gG":
            raise NotStorable(f"{where} has dtype {array.dtype}")
        if array.dtype.itemsize == 0:  # strings, all of them empty
            array = array.astype(f"{array.dtype.kind}1")
        self.arrays.append(array)
        return {"array": len(self.arrays) - 1}

    def _scalar(self, value: Any, where: str) -> Any:
        if value.dtype.kind not in "biufU" or value.dtype.char == "g":
            raise NotStorable(f"{where} has dtype {value.dtype}")
        name = value.dtype.newbyteorder("<").str
        return {"scalar": [name, self(value.item(), where)]}

    def _object(self, value: Any, where: str) -> Any:
        if type(value) is RandomState:
            return {"RandomState": self._random_state(value, where)}
        if hasattr(value, "tocsr"):
            return {"csr": self._sparse(value, where)}
        for tag, codec in self.codecs.items():
            if codec.fits(value):
                return {tag: codec.encode(self, value, where)}
        raise NotStorable(f"{where}={value!r} is not a value that a file can hold")

    def _sparse(self, value: Any, where: str) -> Any:
        """A sparse array of any format, as CSR."""
        from scipy.sparse import issparse, sparray

        if not issparse(value) or value.ndim != 2 or value.dtype.kind not in "biufc":
            raise NotStorable(f"{where} is not a sparse matrix of numbers")
        csr, limits = value.tocsr(), np.iinfo(np.int32)
        places = [csr.indices, csr.indptr]
        if max(csr.nnz, *csr.shape) <= limits.max:  # as narrow as they come back
            places = [array.astype(np.int32, copy=False) for array in places]
        parts = self._items([csr.data, *places], where)
        return [isinstance(value, sparray), list(csr.shape), parts]

    def _random_state(self, rng: RandomState, where: str) -> Any:
        state: Any = rng.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise NotStorable(
                f"{where} draws from {state['bit_generator']}, not MT19937"
            )
        key, pos = state["state"]["key"], int(state["state"]["pos"])
        gauss = float(state["gauss"]) if state["has_gauss"] else None
        return [self._array(key, where), pos, gauss]


class Decoder:
    """Makes values of the JSON and the arrays of an `Encoder`.

    A fault raises some exception, `BadExternal` if not the file is to blame; no memory is
    allocated beyond the size of the arrays given.

    Parameters
    ----------
    arrays : sequence of ndarray
        Each is used once.
    external : dict of str to object
        Values of the parameters that the file doesn't hold.
    codecs : mapping of str to Codec
        Codecs of further classes, by the names of their objects in the JSON.
    """

    def __init__(
        self, arrays: Any, external: dict[str, Any], codecs: Mapping[str, Codec]
    ) -> None:
        self._arrays = dict(enumerate(arrays))
        self._external = external
        self.codecs = dict(codecs)

    def __call__(self, node: Any) -> Any:
        """The value that a piece of JSON stands for."""
        if isinstance(node, list):
            return [self(item) for item in node]
        if not isinstance(node, dict):
            return node
        [(tag, content)] = node.items()
        if tag in self.codecs:
            return self.codecs[tag].decode(self, content)
        if tag not in _DECODERS:
            raise ValueError(f"{tag!r} is not a kind of value")
        return _DECODERS[tag](self, content)

    def finish(self) -> None:
        """Raise ValueError if arrays are left over."""
        if self._arrays:
            raise ValueError(f"{len(self._arrays)} arrays are not referred to")

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
            raise ValueError(f"{value!r} is not of dtype {dtype}")
        return dtype.type(value)

    def _dtype(self, name: str) -> Any:
        dtype = np.dtype(name)
        if type(name) is not str or dtype.kind not in "biufcSU":
            raise ValueError(f"{name!r} is not a dtype of numbers or strings")
        return dtype.newbyteorder("=")

    def _type(self, name: str) -> Any:
        return TYPES[name]

    def _given(self, name: str) -> Any:
        return self._external[name]

    @contextmanager
    def blaming(self, *nodes: Any) -> Iterator[None]:
        """Turn an error into a `BadExternal` if one of the nodes is an external value.

        Yields
        ------
        None
        """
        try:
            yield
        except Exception as error:
            for node in nodes:
                if isinstance(node, dict) and "outside" in node:
                    name = node["outside"]
                    raise BadExternal(
                        f"{name}={self._external[name]!r} can't be used: {error}"
                    ) from error
            raise

    def _csr(self, content: Any) -> Any:
        from scipy.sparse import csr_array, csr_matrix

        is_array, shape, parts = content
        data, indices, indptr = self._list(parts)
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{shape} is not a valid shape")
        matrix = (csr_array if is_array else csr_matrix)(
            (data, indices, indptr), shape=tuple(shape)
        )
        matrix.check_format(full_check=True)
        return matrix

    def _random_state(self, content: Any) -> RandomState:
        words, pos, gauss = content
        key = self(words)
        # NumPy itself doesn't check the position, and would read from it
        if key.shape != (STATE_WORDS,) or key.dtype != np.uint32:
            raise ValueError("the state of a RandomState has the wrong shape or dtype")
        if type(pos) is not int or not 0 <= pos <= STATE_WORDS:
            raise ValueError(f"a RandomState can't have the position {pos}")
        rng = RandomState(0)
        rng.set_state(("MT19937", key, pos, int(gauss is not None), gauss or 0.0))
        return rng


#: tag -> method; the codecs come first
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
}
