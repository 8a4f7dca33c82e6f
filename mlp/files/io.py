"""Saving and loading: one data-only file for a network or an estimator.

`mlp.files.container` says how the file is built, `mlp.files.encoding` what it may hold.  No
scikit-learn is imported here, nor by `load` for the sake of a network.
"""

import inspect
import sys
from collections.abc import Iterable
from importlib import import_module
from threading import RLock
from typing import Any

from mlp import __version__
from mlp.files import container
from mlp.files.encoding import Decoder, Encoder, Unsuitable
from mlp.network.network import Network

__all__ = ["SaveMixin", "load", "save"]

#: the estimators that files may hold, and where they are
ESTIMATORS = {
    "MLPAutoencoder": "mlp.estimators.autoencoder",
    "MLPClassifier": "mlp.estimators.classifier",
    "MLPRegressor": "mlp.estimators.regressor",
    "MultiTaskClassifier": "mlp.estimators.multitask",
    "ProjectionPursuitRegressor": "mlp.projection_pursuit.regressor",
    "SiameseClassifier": "mlp.estimators.siamese",
}

#: attributes that only training needs
TRAINING_STATE = ("_optimizer",)
#: scikit-learn's own, which have nothing to do with what is fitted: callbacks, routing
NOT_SAVED = ("_skl_", "_callback", "_parent_callback", "_metadata_request")


class SaveMixin:
    """Gives an estimator its `save`."""

    def save(self, path: Any, *, training_state: bool = False) -> None:
        """Write parameters and all that is fitted to a file; `mlp.load` reads it.

        The file holds data only: loading it executes nothing.  It is complete or not
        there: a crash leaves what was at `path` before.  Parameters that are no data, such
        as functions, are left out by name, and given to `mlp.load`.  Callbacks are not
        saved.

        Parameters
        ----------
        path : str or path-like
        training_state : bool, default=False
            Whether to save the solver's memory too (for adam, twice as much as the
            parameters), so that `partial_fit` goes on with the same bits.

        Raises
        ------
        ValueError
            If a fitted attribute is something that a file can't hold.
        """
        save(self, path, training_state=training_state)


def save(thing: Any, path: Any, *, training_state: bool = False) -> None:
    """Write a network or an estimator to a file; see `SaveMixin.save`."""
    encoder = new_encoder()
    skip = () if training_state else TRAINING_STATE
    if not isinstance(thing, Network):
        content = encode_estimator(encoder, thing, state_of(thing, skip))
    else:
        content = encoder(thing, "Network")
    write(path, encoder, content)


def new_encoder() -> Encoder:
    """An encoder that knows estimators."""
    return Encoder(_encoded)


def write(path: Any, encoder: Encoder, content: Any, **more: Any) -> None:
    """Write what `encoder` made of something, and `more` of the header."""
    header = {
        "written_by": f"mlp {__version__}",
        "outside": encoder.outside,
        "content": content,
        **more,
    }
    container.write(path, header, encoder.arrays)


def state_of(estimator: Any, skip: Iterable[str] = ()) -> dict[str, Any]:
    """What is fitted, by attribute."""
    if hasattr(estimator, "_adopt_parameters") and hasattr(estimator, "network_"):
        estimator._adopt_parameters()
    left_out = {*estimator.get_params(deep=False), *skip}
    return {
        name: value
        for name, value in estimator.__getstate__().items()
        if name not in left_out and not name.startswith(NOT_SAVED)
    }


def check_class(estimator: Any) -> None:
    """Raise ValueError unless `load` can make an estimator of just this class."""
    kind = type(estimator)
    if ESTIMATORS.get(kind.__name__) != kind.__module__:
        raise ValueError(
            f"a {kind.__name__} can't be saved: a file holds data, no classes of others; "
            f"there are {', '.join(ESTIMATORS)}"
        )


def encode_estimator(
    encoder: Encoder, estimator: Any, state: dict[str, Any], prefix: str = ""
) -> Any:
    """JSON for an estimator with these fitted attributes.

    Raises
    ------
    ValueError
        If it is of another class than those that files may hold.
    """
    check_class(estimator)
    parameters = {
        name: encoder.parameter(value, prefix + name)
        for name, value in estimator.get_params(deep=False).items()
    }
    fitted = {name: encoder(value, prefix + name) for name, value in state.items()}
    return {"estimator": [type(estimator).__name__, parameters, fitted]}


def _encoded(encoder: Encoder, value: Any, where: str) -> Any:
    """An estimator within another."""
    if not isinstance(value, SaveMixin):
        return None
    return encode_estimator(encoder, value, state_of(value), f"{where}__")


def load(path: Any, **outside: Any) -> Any:
    """What `save` has written: an estimator or a `Network`.

    The network of either is its attribute `network`; as long as nothing else is asked for,
    no scikit-learn is imported, so that a small process can load a model and predict::

        network = mlp.load("model.mlp").network
        network.forward(X)

    The file is data: nothing in it is executed, and it is checked against its checksum,
    its own size and the shapes that belong together before anything is made of it.

    Parameters
    ----------
    path : str or path-like
    **outside : object
        Values of the parameters that the file doesn't hold, such as the functions that were
        given as `loss` or `augment`; None will do for what is no longer needed: without
        its loss, a model still predicts.

    Returns
    -------
    MLPClassifier, another estimator, or Network

    Raises
    ------
    ValueError
        If the file is not one of ours, truncated, altered, of a newer format, or holds what
        makes no sense; or if `outside` is not what it asks for.
    OSError
        If the file can't be read.

    Examples
    --------
    >>> import mlp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "xor.mlp")
    >>> mlp.Network([2, 2, 1]).save(path)
    >>> mlp.load(path).network.layer_sizes
    (2, 2, 1)
    """
    content, header = read(path, outside)
    if unknown := sorted(set(outside) - set(header["outside"])):
        raise ValueError(f"{path} doesn't ask for {', '.join(unknown)}")
    return content


def read(path: Any, outside: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What is in a file, and its header with the decoded "run" of a checkpoint.

    Parameters
    ----------
    path : str or path-like
    outside : dict
        At least what the file asks for.

    Raises
    ------
    ValueError, OSError
        See `load`.
    """
    header, arrays = container.read(path)
    _check_outside(path, header.get("outside"), outside)
    decoder = Decoder(arrays, outside, lambda d, node: _decoded(d, node, str(path)))
    try:
        content = decoder(header["content"])
        header["run"] = decoder(header.get("run"))
        decoder.finish()
    except Unsuitable as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # whoever can compute a checksum can write anything
        raise ValueError(f"{path} is no valid file: {error}") from error
    return content, header


def _check_outside(path: Any, wanted: Any, given: dict[str, Any]) -> None:
    if not isinstance(wanted, dict):
        raise ValueError(f"{path} is no valid file: it has no list of what is outside")
    if missing := {k: v for k, v in wanted.items() if k not in given}:
        names = ", ".join(f"{name} ({what})" for name, what in missing.items())
        call = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{path} doesn't hold {names}, which is no data; give it: load(path, {call})"
        )


# -- an estimator, when it is needed --


def _decoded(decoder: Decoder, content: Any, path: str) -> Any:
    name, parameters, fitted = content
    if name not in ESTIMATORS:
        raise ValueError(f"{name!r} is not an estimator that files may hold")
    parameters = {k: decoder(v) for k, v in parameters.items()}
    fitted = {k: decoder(v) for k, v in fitted.items()}
    unloaded = _Unloaded()
    attributes = object.__getattribute__(unloaded, "__dict__")
    attributes["_unloaded"] = (path, name, parameters, fitted)
    if sys.modules.get("sklearn"):  # the class costs nothing more
        _become_real(unloaded)
    return unloaded


_lock = RLock()


def _class_of(unloaded: Any) -> Any:
    with _lock:
        if type(unloaded) is not _Unloaded:  # another thread was here first
            return type(unloaded)
        attributes = object.__getattribute__(unloaded, "__dict__")
        _, name, *_ = attributes["_unloaded"]
        return getattr(import_module(ESTIMATORS[name]), name)


def _become_real(unloaded: Any) -> None:
    """Make the estimator what it is, in place."""
    with _lock:
        kind = _class_of(unloaded)
        if type(unloaded) is kind:
            return
        attributes = object.__getattribute__(unloaded, "__dict__")
        path, name, parameters, fitted = attributes["_unloaded"]
        unknown = set(parameters) - set(inspect.signature(kind).parameters)
        if unknown:
            raise ValueError(f"{path}: {name} has no {', '.join(sorted(unknown))}")
        if any(callable(getattr(kind, attribute, None)) for attribute in fitted):
            raise ValueError(f"{path} would replace methods of {name}")
        made = kind(**parameters)
        made.__setstate__({**vars(made), **fitted})
        # the class comes last: until then other threads wait for the lock
        attributes.update(vars(made))
        object.__setattr__(unloaded, "__class__", kind)
        del attributes["_unloaded"]


class _Unloaded:
    """An estimator before anything but its network was asked for.

    Its class needs scikit-learn, its network doesn't.  Whatever else is asked of it makes
    it an instance of its class, as `importlib.util.LazyLoader` does with modules.
    """

    @property
    def network(self) -> Network:
        """The network, which needs no scikit-learn."""
        with _lock:
            if type(self) is _Unloaded:
                _, _, _, fitted = object.__getattribute__(self, "__dict__")["_unloaded"]
                if "network_" in fitted:
                    network: Network = fitted["network_"]
                    return network
        _become_real(self)
        return self.network

    def __getattribute__(self, name: str) -> Any:
        if name == "network":
            return object.__getattribute__(self, name)
        if name == "__class__":  # isinstance asks, and would not see the class change
            return _class_of(self)
        _become_real(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _become_real(self)
        setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        _become_real(self)
        delattr(self, name)

    def __repr__(self) -> str:
        _become_real(self)
        return repr(self)

    def __dir__(self) -> Iterable[str]:
        _become_real(self)
        return dir(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _become_real(self)
        return self.__reduce_ex__(protocol)
