"""Save estimators to files that contain only data, and load them.

`mlp.files` defines the format.  scikit-learn is not imported here, nor by `load` for a file
that contains a `Network`.
"""

import inspect
from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar

from mlp.files import io
from mlp.files.encoding import Codec, Decoder, Encoder
from mlp.network.features import BatchNorm, Dropout
from mlp.network.losses import LOSSES
from mlp.training.saving import CODECS as TRAINING_CODECS
from mlp.training.stopping import EarlyStopping

__all__ = ["SaveMixin", "load"]

#: the estimators that files may hold, and their modules
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
#: beginnings of scikit-learn's own attributes, which no fit sets: callbacks, routing
NOT_SAVED = ("_skl_", "_callback", "_parent_callback", "_metadata_request")


class SaveMixin:
    """Adds `save` to an estimator."""

    #: codecs of classes that only this estimator's attributes have
    _codecs: ClassVar[dict[str, Codec]] = {}

    def save(self, path: Any, *, training_state: bool = False) -> None:
        """Write the parameters and fitted attributes to a file, which `mlp.load` reads.

        The file contains only data: loading it executes no code.  It is written completely
        or not at all: after a crash the previous file at `path` is still there.  Of
        parameters that are not data, such as functions, the file has only the names; pass
        their values to `mlp.load`.  Callbacks are not saved.

        Parameters
        ----------
        path : str or path-like
            Path of the file.
        training_state : bool, default=False
            Whether to save the optimizer's state too (with 'adam', twice the size of the
            parameters), so that `partial_fit` continues with the same bits.

        Raises
        ------
        ValueError
            If a fitted attribute can't be stored in a file.
        """
        encoder = Encoder(CODECS)
        state = state_of(self, () if training_state else TRAINING_STATE)
        io.write(path, encoder, encode_estimator(encoder, self, state))


def state_of(estimator: Any, skip: Iterable[str] = ()) -> dict[str, Any]:
    """Fitted attributes by name."""
    if hasattr(estimator, "_adopt_parameters") and hasattr(estimator, "network_"):
        estimator._adopt_parameters()
    left_out = {*estimator.get_params(deep=False), *skip}
    return {
        name: value
        for name, value in estimator.__getstate__().items()
        if name not in left_out and not name.startswith(NOT_SAVED)
    }


def check_class(estimator: Any) -> None:
    """Raise ValueError unless `load` can make an estimator of exactly this class."""
    kind = type(estimator)
    if ESTIMATORS.get(kind.__name__) != kind.__module__:
        raise ValueError(
            f"a {kind.__name__} can't be saved: files contain data, not classes, and can "
            f"only be of {', '.join(ESTIMATORS)}"
        )


def encode_estimator(
    encoder: Encoder, estimator: Any, state: dict[str, Any], prefix: str = ""
) -> Any:
    """Return the JSON of an estimator with these fitted attributes.

    Raises
    ------
    ValueError
        If its class is not one of `ESTIMATORS`.
    """
    return {"estimator": _encoded(encoder, estimator, state, prefix)}


def _encoded(
    encoder: Encoder, estimator: Any, state: dict[str, Any], prefix: str
) -> list[Any]:
    check_class(estimator)
    encoder.codecs.update(estimator._codecs)
    parameters = {
        name: encoder.parameter(value, prefix + name)
        for name, value in estimator.get_params(deep=False).items()
    }
    fitted = {name: encoder(value, prefix + name) for name, value in state.items()}
    return [type(estimator).__name__, parameters, fitted]


def _encode_inner(encoder: Encoder, estimator: Any, where: str) -> list[Any]:
    """Encode an estimator that is a parameter or attribute of another."""
    return _encoded(encoder, estimator, state_of(estimator), f"{where}__")


#: parameter, its class of objects, and the names of parameters in files of version 1 ->
#: the arguments of the class that they have become
FEATURES_OF_VERSION_1: Any = (
    (
        "dropout",
        Dropout,
        {
            "input_dropout": "input",
            "dropout_mask": "mask",
            "dropout_scaling": "scaling",
            "dropout_decay": "decay",
        },
    ),
    (
        "batch_norm",
        BatchNorm,
        {
            "batch_norm_momentum": "momentum",
            "batch_norm_epsilon": "epsilon",
            "batch_norm_scale_init": "scale_init",
            "batch_norm_gradient": "gradient",
        },
    ),
)


def _of_version_1(parameters: dict[str, Any]) -> dict[str, Any]:
    """Convert the parameters of files of version 1, which has no objects of features."""
    new = dict(parameters)
    if "restore_best" in new:
        early = EarlyStopping(new.pop("scoring"), new.pop("restore_best"))
        if new["early_stopping"] and early != EarlyStopping():
            new["early_stopping"] = early
    for name, kind, arguments in FEATURES_OF_VERSION_1:
        given = {a: new.pop(old) for old, a in arguments.items() if old in new}
        if given and new[name] is not None:
            feature = kind(new[name], **given)
            new[name] = new[name] if feature == kind(new[name]) else feature
    for name, loss in (("huber_delta", "huber"), ("quantile", "quantile")):
        value = new.pop(name, None)
        if value is not None and new["loss"] == loss:
            parameter = LOSSES[loss].parameter
            is_default = parameter is not None and value == parameter.default
            new["loss"] = loss if is_default else (loss, value)
    return new


def _decode(decoder: Decoder, content: Any) -> Any:
    name, parameters, fitted = content
    if name not in ESTIMATORS:
        raise ValueError(f"{name!r} is not an estimator that files may hold")
    kind = getattr(import_module(ESTIMATORS[name]), name)
    decoder.codecs.update(kind._codecs)
    parameters = _of_version_1({k: decoder(v) for k, v in parameters.items()})
    fitted = {k: decoder(v) for k, v in fitted.items()}
    fitted.pop("_built_with", None)  # in files of version 1
    unknown = set(parameters) - set(inspect.signature(kind).parameters)
    if unknown:
        raise ValueError(f"{name} has no {', '.join(sorted(unknown))}")
    if any(callable(getattr(kind, attribute, None)) for attribute in fitted):
        raise ValueError(f"a fitted attribute would replace a method of {name}")
    made = kind(**parameters)
    made.__setstate__({**vars(made), **fitted})
    return made


#: codecs of estimators, networks and their training, by their names in files
CODECS: dict[str, Codec] = {
    **TRAINING_CODECS,
    "estimator": Codec(SaveMixin, _encode_inner, _decode, True),
}


def load(path: Any, **external: Any) -> Any:
    """Load an estimator or a `Network` from a file that its `save` has written.

    `load_network` reads an estimator's network without importing scikit-learn.

    The file contains only data: no code in it is executed.  Its checksum, its size and the
    consistency of all shapes are checked before an object is made of it.

    Parameters
    ----------
    path : str or path-like
        Path of the file.
    **external : object
        Values of the parameters that the file does not contain, such as functions passed as
        `loss` or `augment`.  A value that is no longer needed can be None: a model without
        its loss still predicts.

    Returns
    -------
    MLPClassifier, another estimator, or Network
        The saved object.

    Raises
    ------
    ValueError
        If the file was not written by `save`, is truncated or altered, has a newer format
        or contains values that do not fit together; or if `external` has other names than
        the file needs.
    OSError
        If the file can't be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import mlp
    >>> path = os.path.join(tempfile.mkdtemp(), "model.mlp")
    >>> mlp.MLPRegressor(max_iter=50).save(path)
    >>> mlp.load(path)
    MLPRegressor(max_iter=50)
    """
    content, header = io.read(path, CODECS, external)
    if unknown := sorted(set(external) - set(header["outside"])):
        raise ValueError(f"{path} needs no value for {', '.join(unknown)}")
    return content
