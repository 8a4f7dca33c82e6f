"""The checkpoint of an estimator's fit: its file holds the whole estimator."""

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
from mlp.estimators.training_data import Targets
from mlp.files.encoding import Codec, Encoder, dotted
from mlp.training import checkpoint
from mlp.training.checkpoint import ADVICE, encoded_bytes, fingerprint
from mlp.training.optimizers import STOCHASTIC_SOLVERS

__all__ = ["EstimatorCheckpoint"]

Array = NDArray[Any]

#: parameters that may change before a run is resumed: they don't change its bits
FREE = ("verbose", "n_threads")
#: attributes that exist during `fit` only
TEMPORARY = ("_random_generator", "_validates")
#: what `fit` has found in the data before it trains
FOUND = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_")
#: fields of `Targets` that are as they were given: what trains is in the others
RAW = ("given", "y")


class EstimatorCheckpoint(checkpoint.Checkpoint):
    """Writes the fit of an estimator, and lets another one resume it.

    Parameters
    ----------
    given : str, path-like or tuple
        See `mlp.training.checkpoint.Checkpoint`.
    estimator : BaseMLP
        About to be fitted.

    Raises
    ------
    ValueError
        If it is none of these, or the estimator's fit has nothing to resume.
    """

    codecs: ClassVar[dict[str, Codec]] = saving.CODECS

    def __init__(self, given: Any, estimator: Any) -> None:
        super().__init__(given)
        if estimator.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(
                f"{self._name} needs a solver that goes by epochs: "
                f"{', '.join(STOCHASTIC_SOLVERS)}; the state of "
                f"solver={estimator.solver!r} can't be saved"
            )
        if estimator.warm_start:
            raise ValueError(
                f"{self._name} and warm_start=True both say what to start from; use one"
            )
        saving.check_class(estimator)
        self._external = _external(estimator)  # now: training may change objects
        self._estimator = estimator
        self.order: Array | None = None
        self.resumes = self.finished = False
        #: context manager in which the estimator is up to date; the fit sets it
        self.shown: Any = None

    def begin(self, targets: Targets, held_out: Targets | None, network: Any) -> None:
        """Bring the estimator to where the run in the file is, if there is one.

        Parameters
        ----------
        targets : Targets
            The samples that the estimator has been initialized for.
        held_out : Targets or None
            The user's own validation samples.
        network : Network or SiameseNetwork
            The part of the estimator's network that is trained.

        Raises
        ------
        ValueError
            If there is something else in the file, or a run of other samples or
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
        # the network is a new one of the same kind: what it has learnt is put into it
        # and what `fit` has found in the data is as these data have it, dtypes included
        state = saving.state_of(saved, ("network_", *FOUND))
        vars(estimator).update(state)
        self._put_back(network, run["last"])
        self.order, self.validation = run["order"], run["validation"]
        self._check_indices(targets.X.shape[0])
        self.finished, self.resumes = run["finished"], True

    def _compare(
        self, estimator: Any, saved: Any, run: dict[str, Any], external: dict[str, str]
    ) -> None:
        """Refuse to resume with other parameters or what follows from other samples."""
        for name, now in estimator.get_params(deep=False).items():
            before = getattr(saved, name)
            if name in run["external"]:
                if run["external"][name] == self._external.get(name):
                    continue
                before, now = external[name], dotted(now)
                if before == now:
                    raise ValueError(
                        f"{self._name} holds a run with another {name}: it was a "
                        f"{before} too, with other attributes or contents; {ADVICE}"
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
                    f"{self._name} holds a run with {name}={before}, here it is {now}; "
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
        return content, {"optimizer": None, "history": None}


class _Namer(pickle.Pickler):
    """Pickles, to be compared: functions and classes are no more than their names."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=4)
        self.fast = True  # what is equal gives the same bytes, one object or several

    def persistent_id(self, thing: Any) -> str | None:
        """The name that replaces a function or a class."""
        named = hasattr(thing, "__qualname__") and not isinstance(thing, MethodType)
        return dotted(thing) if named else None


def _external(estimator: Any) -> dict[str, str]:
    """A checksum of each parameter that a file can't hold."""
    return {
        name: _checksum(value)
        for name, value in estimator.get_params(deep=False).items()
        if Encoder(saving.CODECS).parameter(value, name) == {"outside": name}
    }


def _checksum(value: Any) -> str:
    """Of a function's name; of the contents of an object, as far as it can be pickled."""
    file = BytesIO()
    try:
        _Namer(file).dump(value)
    except Exception:  # whatever an object says when it is asked for its state
        return dotted(value)
    return hashlib.sha256(file.getvalue()).hexdigest()


def _listed(found: Any) -> Any:
    """Arrays as lists: the same for values that are equal in another dtype."""
    if isinstance(found, list):
        return [_listed(part) for part in found]
    return found.tolist() if isinstance(found, np.ndarray) else found


def _fingerprint(targets: Targets, held_out: Targets | None) -> str:
    """Number of samples, and a checksum of the values that `fit` works on."""
    parts: list[Any] = []
    for samples in (targets, held_out):
        parts.append(samples)
        if samples is None or samples.y is None or samples.labels is not None:
            continue
        if samples.y.dtype.kind in "biuf":  # scores see more digits than `values` has
            parts.append(samples.y.astype(np.float64, copy=False))
    return fingerprint(*parts, skip=RAW)
