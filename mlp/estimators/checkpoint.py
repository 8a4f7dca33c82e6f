"""Checkpoints of an estimator's fit, whose files contain the whole estimator."""

import hashlib
import os
import pickle
from io import BytesIO
from types import MethodType
from typing import Any, ClassVar

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp.estimators import saving
from mlp.estimators.training_data import TrainingData
from mlp.files.encoding import Codec, Encoder, dotted
from mlp.training import checkpoint
from mlp.training.checkpoint import ADVICE, encoded_bytes, fingerprint
from mlp.training.optimizers import STOCHASTIC_SOLVERS

__all__ = ["EstimatorCheckpoint"]

Array = NDArray[Any]

#: parameters that may differ when a run is resumed, because no result depends on them
FREE = ("verbose", "n_threads")
#: attributes that exist during `fit` only
TEMPORARY = ("_random_generator", "_validates")
#: attributes that `fit` takes from the data before it trains
FOUND = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_")
#: fields of `TrainingData` with the data as given; training uses the others
RAW = ("given", "y")


class EstimatorCheckpoint(checkpoint.Checkpoint):
    """Writes the fit of an estimator to a file, and resumes it from there.

    Parameters
    ----------
    given : str, path-like or tuple
        See `mlp.training.checkpoint.Checkpoint`.
    estimator : BaseMLP
        The estimator that is about to be fitted.

    Raises
    ------
    ValueError
        If `given` has another form, or the fit of this estimator can't be resumed.
    """

    codecs: ClassVar[dict[str, Codec]] = saving.CODECS

    def __init__(self, given: Any, estimator: Any) -> None:
        super().__init__(given)
        if estimator.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(
                f"{self._name} needs a stochastic solver "
                f"({', '.join(STOCHASTIC_SOLVERS)}); the state of "
                f"solver={estimator.solver!r} can't be saved"
            )
        if estimator.warm_start:
            raise ValueError(
                f"{self._name} and warm_start=True both set the initial parameters; use "
                "one of them"
            )
        saving.check_class(estimator)
        self._external = _external(estimator)  # before training, which may change them
        self._estimator = estimator
        self.order: Array | None = None
        self.resumes = self.finished = False
        #: context manager in which the estimator is up to date; the fit sets it
        self.shown: Any = None

    def begin(
        self, targets: TrainingData, held_out: TrainingData | None, network: Any
    ) -> None:
        """Restore the estimator's state from the file, if there is one.

        Parameters
        ----------
        targets : TrainingData
            The samples that the estimator has been initialized for.
        held_out : TrainingData or None
            The user's own validation samples.
        network : Network or SiameseNetwork
            The part of the estimator's network that is trained.

        Raises
        ------
        ValueError
            If the file is not a checkpoint, or one of a run with other samples or
            parameters.
        """
        estimator = self._estimator
        self._data = _fingerprint(targets, held_out)
        if not os.path.exists(self.path):
            return
        saved, header = self._read(estimator.get_params())
        run = self._run = header["run"]
        self._check_kind(saved, estimator)
        self._compare(estimator, saved, run, header["outside"])
        self._compare_data(run)
        generator = run["random_generator"]
        if isinstance(estimator.random_state, RandomState):
            estimator.random_state.set_state(generator.get_state(legacy=False))
        else:
            estimator._random_generator = generator
        # the network and the attributes `FOUND` stay those of this fit, with its dtypes;
        # the saved parameters are then copied into the network
        state = saving.state_of(saved, ("network_", *FOUND))
        vars(estimator).update(state)
        self._put_back(network, run["last"])
        self.order, self.validation = run["order"], run["validation"]
        self._check_indices(targets.X.shape[0])
        self.finished, self.resumes = run["finished"], True

    def _compare(
        self, estimator: Any, saved: Any, run: dict[str, Any], external: dict[str, str]
    ) -> None:
        """Refuse to resume with other parameters, or other attributes from the data."""
        for name, now in estimator.get_params(deep=False).items():
            before = getattr(saved, name)
            if name in run["external"]:
                if run["external"][name] == self._external.get(name):
                    continue
                before, now = external[name], dotted(now)
                if before == now:
                    raise ValueError(
                        f"{self._name} holds a run with another {name}: it was also a "
                        f"{before}, but with other attributes or contents; {ADVICE}"
                    )
            if isinstance(now, RandomState) and isinstance(before, RandomState):
                continue  # the run's own is used
            if name not in FREE and encoded_bytes(now, self.codecs) != encoded_bytes(
                before, self.codecs
            ):
                raise ValueError(
                    f"{self._name} holds a run with {name}={before!r}, not {now!r}; "
                    f"{ADVICE}"
                )
        for name in FOUND:
            now, before = (_listed(getattr(e, name, None)) for e in (estimator, saved))
            if now != before:
                raise ValueError(
                    f"{self._name} holds a run with {name}={before}, not {now}; "
                    f"{ADVICE}"
                )

    def _check_indices(self, n_samples: int) -> None:
        parts = [a for a in (self.order, self.validation) if a is not None]
        if parts:
            checkpoint.check_order(
                np.concatenate(parts), np.arange(n_samples), self._name
            )

    def _content(self, encoder: Any, fit: Any) -> tuple[Any, dict[str, Any]]:
        with self.shown(fit.history):
            state = saving.state_of(self._estimator, TEMPORARY)
            content = saving.encode_estimator(encoder, self._estimator, state)
        return content, {"optimizer": None, "history": None, "settings": None}


class _Namer(pickle.Pickler):
    """Pickles objects for comparison; functions and classes are replaced by their names."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=4)
        self.fast = True  # equal contents give equal bytes, in one object or several

    def persistent_id(self, thing: Any) -> str | None:
        """The name that replaces a function or a class."""
        named = hasattr(thing, "__qualname__") and not isinstance(thing, MethodType)
        return dotted(thing) if named else None


def _external(estimator: Any) -> dict[str, str]:
    """Return a checksum of each parameter that can't be stored in a file."""
    return {
        name: _checksum(value)
        for name, value in estimator.get_params(deep=False).items()
        if Encoder(saving.CODECS).parameter(value, name) == {"outside": name}
    }


def _checksum(value: Any) -> str:
    """Return a checksum of an object's contents; its name if it can't be pickled."""
    file = BytesIO()
    try:
        _Namer(file).dump(value)
    except Exception:  # an object's own code may raise any error
        return dotted(value)
    return hashlib.sha256(file.getvalue()).hexdigest()


def _listed(found: Any) -> Any:
    """Convert arrays to lists, which are equal for equal values of different dtypes."""
    if isinstance(found, list):
        return [_listed(part) for part in found]
    return found.tolist() if isinstance(found, np.ndarray) else found


def _fingerprint(targets: TrainingData, held_out: TrainingData | None) -> str:
    """Return the number of samples and a checksum of the values that `fit` uses."""
    parts: list[Any] = []
    for samples in (targets, held_out):
        parts.append(samples)
        if samples is None or samples.y is None or samples.labels is not None:
            continue
        if samples.y.dtype.kind in "biuf":  # for scores: more digits than `values`
            parts.append(samples.y.astype(np.float64, copy=False))
    return fingerprint(*parts, skip=RAW)
