"""A fit's state on disk: written between epochs, and gone on from with the same bits."""

import hashlib
import json
import os
import pickle
import time
import warnings
from dataclasses import fields, is_dataclass
from io import BytesIO
from numbers import Integral, Real
from types import MethodType
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp.estimators.parameters import STOCHASTIC_SOLVERS
from mlp.estimators.training_data import Targets
from mlp.files import io
from mlp.files.encoding import dotted
from mlp.training.minibatch import StochasticRun
from mlp.training.stopping import Pocket

__all__ = ["Checkpoint"]

Array = NDArray[Any]

UNITS = ("epochs", "seconds")
#: parameters that may change before a run goes on: they don't change its bits
FREE = ("verbose", "n_threads")
#: attributes that exist during `fit` only
PASSING = ("_random_generator", "_validates", "_cut")
#: what `fit` has found in the data before it trains
FOUND = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_")
#: what a file says about its run: `_write`
RUN = (
    "data",
    "outside",
    "random_generator",
    "order",
    "validation",
    "last",
    "best",
    "finished",
)
#: what `Targets` keep as it was given: what trains is in `values` and `labels`
RAW = ("given", "y")
#: rows that are hashed at once
ROWS = 4096


class Checkpoint:
    """Where and how often a fit is written, and the run that was there before.

    Parameters
    ----------
    given : str, path-like or tuple
        A path, for after every epoch; ``(path, n)`` or ``(path, n, "epochs")``; or
        ``(path, n, "seconds")``.
    estimator : BaseMLP
        About to be fitted.

    Raises
    ------
    ValueError
        If it is none of these, or the estimator's fit has nothing to go on from.
    """

    def __init__(self, given: Any, estimator: Any) -> None:
        self.path, self.every, self.unit = _parsed(given)
        name = f"checkpoint={os.fspath(self.path)!r}"
        if estimator.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(
                f"{name} needs a solver that goes by epochs: "
                f"{', '.join(STOCHASTIC_SOLVERS)}; what solver={estimator.solver!r} "
                "remembers can't be saved"
            )
        if estimator.warm_start:
            raise ValueError(
                f"{name} and warm_start=True both say what to go on from; use one"
            )
        io.check_class(estimator)
        _check_place(os.fspath(self.path), name)
        self._name, self._data = name, ""
        self._outside = _outside(estimator)  # now: training may change objects
        self._last = time.monotonic()
        self._run: dict[str, Any] = {}
        self.order: Array | None = None
        self.validation: Array | None = None
        self.resumes = self.finished = False

    # -- going on --

    def begin(self, estimator: Any, targets: Targets, held_out: Targets | None) -> None:
        """Let the estimator take over the run in the file, if there is one.

        Parameters
        ----------
        estimator : BaseMLP
            Initialised for these samples.
        targets : Targets
        held_out : Targets or None
            The user's own validation samples.

        Raises
        ------
        ValueError
            If there is something else in the file, or a run of other samples or
            parameters.
        """
        self._data = _fingerprint(targets, held_out)
        if not os.path.exists(self.path):
            return
        saved, run, outside = self._read(estimator.get_params())
        self._run = run
        if type(saved) is not type(estimator):
            raise ValueError(
                f"{self._name} holds a {type(saved).__name__}, not a "
                f"{type(estimator).__name__}"
            )
        self._compare(estimator, saved, run, outside)
        generator = run["random_generator"]
        if isinstance(estimator.random_state, RandomState):
            estimator.random_state.set_state(generator.get_state(legacy=False))
        else:
            estimator._random_generator = generator
        # the network is a new one of the same kind: what it has learnt is put into it
        # and what `fit` has found in the data is as these data have it, dtypes included
        state = io.state_of(saved, ("network_", *FOUND))
        vars(estimator).update(state)
        self._put_back(estimator.network_, run["last"])
        self.order, self.validation = run["order"], run["validation"]
        self._check_indices(targets.X.shape[0])
        self.finished, self.resumes = run["finished"], True

    def _put_back(self, network: Any, arrays: list[Array]) -> None:
        wanted = [array.shape for array in network.snapshot()]
        found = [array.shape for array in arrays]
        if wanted != found:
            raise ValueError(
                f"{self._name} holds arrays of shapes {found}, the network's are {wanted}"
            )
        network.restore(arrays)

    def _read(self, functions: dict[str, Any]) -> tuple[Any, Any, dict[str, str]]:
        """The estimator and the run in the file, and what its functions were."""
        saved, header = io.read(self.path, functions)
        if header["run"] is None:
            raise ValueError(
                f"{self._name} holds a saved model, not a run; give another path"
            )
        if not isinstance(header["run"], dict) or {*header["run"]} != {*RUN}:
            raise ValueError(
                f"{self._name} is no valid file: its run is incomplete, or of another mlp"
            )
        return saved, header["run"], header["outside"]

    def _compare(
        self, estimator: Any, saved: Any, run: dict[str, Any], outside: dict[str, str]
    ) -> None:
        """Refuse to go on with other parameters or samples."""
        other = "delete it to start anew, or give another path"
        for name, now in estimator.get_params(deep=False).items():
            before = getattr(saved, name)
            if name in run["outside"]:
                if run["outside"][name] == self._outside.get(name):
                    continue
                before, now = outside[name], dotted(now)
                if before == now:
                    raise ValueError(
                        f"{self._name} holds a run with another {name}: it was a "
                        f"{before} too, with other attributes or contents; {other}"
                    )
            if isinstance(now, RandomState) and isinstance(before, RandomState):
                continue  # it goes on from where the run's stands
            if name not in FREE and _bytes(now) != _bytes(before):
                raise ValueError(
                    f"{self._name} holds a run with {name}={before!r}, not {now!r}; {other}"
                )
        for name in FOUND:
            now, before = (_listed(getattr(e, name, None)) for e in (estimator, saved))
            if now != before:
                raise ValueError(
                    f"{self._name} holds a run with {name}={before}, here it is {now}; "
                    f"{other}"
                )
        if run["data"] != self._data:
            n_before, n_now = (data.split()[0] for data in (run["data"], self._data))
            raise ValueError(
                f"{self._name} holds a run over {n_before} samples, these are {n_now} or "
                f"have other values; {other}"
            )

    def _check_indices(self, n_samples: int) -> None:
        """The core takes an order on trust."""
        parts = [a for a in (self.order, self.validation) if a is not None]
        whole = np.sort(np.concatenate(parts)) if parts else np.arange(n_samples)
        if whole.dtype != np.int64 or not np.array_equal(whole, np.arange(n_samples)):
            raise ValueError(
                f"{self._name}: its order is not one of {n_samples} samples"
            )

    def start(self, pocket: Pocket | None, validation: Array | None) -> None:
        """Fill the pocket, and remember which samples are held out."""
        self.validation = validation
        if pocket is not None and self.resumes:
            for kept, saved in zip(pocket.kept, self._run["best"], strict=True):
                kept[...] = saved

    # -- writing --

    def epoch_ended(
        self, estimator: Any, run: StochasticRun, pocket: Pocket | None
    ) -> None:
        """Write the run if it is time to."""
        if self.unit == "epochs":
            due = estimator.n_iter_ % self.every == 0
        else:
            due = time.monotonic() - self._last >= self.every
        if not due:
            return
        last = estimator.network_.snapshot()
        if pocket is None:
            estimator._check_finite()
            self._write(estimator, last, order=run.order)
            return
        try:  # the file holds what a fit that is stopped here would leave
            estimator.network_.restore(pocket.kept)
            self._write(estimator, last, order=run.order, best=pocket.kept)
        finally:
            estimator.network_.restore(last)

    def fit_ended(self, estimator: Any) -> None:
        """Write the result, so that the same fit need not be done again."""
        self._write(estimator, estimator.network_.snapshot(), finished=True)

    def _write(
        self,
        estimator: Any,
        last: list[Array],
        *,
        order: Array | None = None,
        best: list[Array] | None = None,
        finished: bool = False,
    ) -> None:
        encoder = io.new_encoder()
        with estimator._whole():
            state = io.state_of(estimator, PASSING)
            content = io.encode_estimator(encoder, estimator, state)
        run = {
            "data": self._data,
            "outside": self._outside,
            "random_generator": estimator._random_generator,
            "order": order,
            "validation": None if finished else self.validation,
            "last": last,
            "best": best,
            "finished": finished,
        }
        try:
            io.write(self.path, encoder, content, run=encoder(run, "run"))
        except OSError as error:  # a full disk must not cost the training
            warnings.warn(
                f"{self._name} could not be written, training goes on: {error}",
                RuntimeWarning,
                stacklevel=7,
            )
        self._last = time.monotonic()


def _parsed(given: Any) -> tuple[Any, Any, str]:
    path, every, unit = given, 1, "epochs"
    if isinstance(given, tuple) and len(given) in (2, 3):
        path, every, unit = (*given, "epochs")[:3]
    legal = isinstance(path, str | os.PathLike) and unit in UNITS
    number = Integral if unit == "epochs" else Real
    if not legal or isinstance(every, bool) or not isinstance(every, number):
        legal = False
    if not legal or not every > 0:
        raise ValueError(
            "checkpoint must be a path, (path, n, 'epochs') with an integer n > 0, or "
            f"(path, n, 'seconds') with n > 0; got {given!r}"
        )
    return path, every, unit


def _check_place(path: str, name: str) -> None:
    """Refuse what no file can be written to, before anything is trained."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.basename(path) or "\0" in path:
        raise ValueError(f"{name} names no file; it must be the path of one")
    if os.path.isdir(path):
        raise ValueError(f"{name} is a folder; it must be the path of a file")
    if not os.path.isdir(folder):
        raise ValueError(f"{name}: there is no folder {folder}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name} is a pipe or a device; it must be the path of a file")


def _bytes(value: Any) -> bytes:
    """The same for two values that a file would hold alike."""
    encoder = io.new_encoder()
    text = json.dumps([encoder.parameter(value, "value"), encoder.outside])
    arrays = [a.dtype.str + repr(a.shape) for a in encoder.arrays]
    return b"".join([text.encode(), repr(arrays).encode(), *map(_raw, encoder.arrays)])


class _Namer(pickle.Pickler):
    """Pickles, to be compared: functions and classes are no more than their names."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=4)
        self.fast = True  # what is equal gives the same bytes, one object or several

    def persistent_id(self, thing: Any) -> str | None:
        """What stands in a function's or a class's place."""
        named = hasattr(thing, "__qualname__") and not isinstance(thing, MethodType)
        return dotted(thing) if named else None


def _outside(estimator: Any) -> dict[str, str]:
    """A checksum of each parameter that a file can't hold."""
    return {
        name: _checksum(value)
        for name, value in estimator.get_params(deep=False).items()
        if io.new_encoder().parameter(value, name) == {"outside": name}
    }


def _checksum(value: Any) -> str:
    """Of a function's name; of what is in an object, as far as it can be pickled."""
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


def _raw(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _fingerprint(targets: Targets, held_out: Targets | None) -> str:
    """Number of samples, and a checksum of the values that `fit` works on."""
    hashed = hashlib.sha256()

    def take_in(part: Any) -> None:
        if is_dataclass(part):
            for field in fields(part):
                if field.name not in RAW:
                    take_in(getattr(part, field.name))
        elif hasattr(part, "indptr"):
            for array in (part.data, part.indices, part.indptr):
                take_in(array)
        elif isinstance(part, np.ndarray):
            # integers of another width are the same integers
            dtype = np.dtype(np.int64) if part.dtype.kind in "iu" else part.dtype
            hashed.update(f"{dtype.str}{part.shape}".encode())
            for at in range(0, len(part), ROWS):
                hashed.update(_raw(part[at : at + ROWS].astype(dtype, copy=False)))
        else:
            hashed.update(_bytes(part))

    for samples in (targets, held_out):
        take_in(samples)
        if samples is None or samples.y is None or samples.labels is not None:
            continue
        if samples.y.dtype.kind in "biuf":  # scores see more digits than `values` has
            take_in(samples.y.astype(np.float64, copy=False))
    return f"{targets.X.shape[0]} {hashed.hexdigest()}"
