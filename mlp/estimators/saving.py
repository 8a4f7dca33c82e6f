"""Saving and loading estimators: one file of data alone.

`mlp.files` has the format.  No scikit-learn is imported here, nor by `load` for a file
that holds a `Network`.
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
#: scikit-learn's own, independent of what is fitted: callbacks, routing
NOT_SAVED = ("_skl_", "_callback", "_parent_callback", "_metadata_request")


class SaveMixin:
    """Gives an estimator its `save`."""

    #: codecs of classes that only this estimator's attributes have
    _codecs: ClassVar[dict[str, Codec]] = {}

    def save(self, path: Any, *, training_state: bool = False) -> None:
        """Write parameters and fitted attributes to a file; `mlp.load` reads it.

        The file holds data only: loading it executes nothing.  It is written completely or
        not at all: after a crash the file that was at `path` before is still there.
        Parameters that are not data, such as functions, are left out by name, and given to
        `mlp.load`.  Callbacks are not saved.

        Parameters
        ----------
        path : str or path-like
        training_state : bool, default=False
            Whether to save the solver's memory too (for adam, twice the size of the
            parameters), so that `partial_fit` continues with the same bits.

        Raises
        ------
        ValueError
            If a file can't hold a fitted attribute.
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
            f"a {kind.__name__} can't be saved: files hold data, not classes, and only "
            f"these are known to load: {', '.join(ESTIMATORS)}"
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
    """An estimator within another."""
    return _encoded(encoder, estimator, state_of(estimator), f"{where}__")


#: parameter, class, names that the arguments had as parameters of estimators
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
    """Parameters of files that have those of features by themselves."""
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
        raise ValueError(f"it would replace methods of {name}")
    made = kind(**parameters)
    made.__setstate__({**vars(made), **fitted})
    return made


#: codecs of estimators, networks and their training, by their names in files
CODECS: dict[str, Codec] = {
    **TRAINING_CODECS,
    "estimator": Codec(SaveMixin, _encode_inner, _decode, True),
}


def load(path: Any, **external: Any) -> Any:
    """The estimator, or the `Network`, that `save` has written to a file.

    `load_network` reads an estimator's network without importing scikit-learn.

    The file is data: nothing in it is executed, and it is checked against its checksum,
    its own size and the shapes that belong together before an object is made of it.

    Parameters
    ----------
    path : str or path-like
    **external : object
        Values of the parameters that the file doesn't hold, such as the functions that were
        given as `loss` or `augment`; None will do for those that are not needed any more:
        without its loss, a model still predicts.

    Returns
    -------
    MLPClassifier, another estimator, or Network

    Raises
    ------
    ValueError
        If the file is not one of ours, truncated, altered, of a newer format, or holds
        values that don't fit together; or if `external` has other names than the
        file asks for.
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
        raise ValueError(f"{path} doesn't ask for {', '.join(unknown)}")
    return content
