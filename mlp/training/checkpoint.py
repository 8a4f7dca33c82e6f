"""Checkpoints: the state of a fit in a file, from which it resumes with the same bits."""

import hashlib
import json
import os
import time
import warnings
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlp.files import io
from mlp.files.encoding import Codec, Encoder
from mlp.training.report import Observer, caller_level
from mlp.training.saving import CODECS

__all__ = ["Checkpoint", "fingerprint"]

Array = NDArray[Any]

UNITS = ("epochs", "seconds")
#: parts of the file's "run": `Checkpoint._write`
RUN = (
    "data",
    "external",
    "random_generator",
    "order",
    "validation",
    "optimizer",
    "history",
    "settings",
    "last",
    "best",
    "finished",
)
#: rows that are hashed at once
ROWS = 4096
ADVICE = "delete it to start anew, or give another path"


class Checkpoint(Observer):
    """Observer that writes a `mlp.training.fit.Fit` to a file, and resumes it from there.

    The file is written completely or not at all, and contains only data.  `mlp.load` reads
    the network as the fit would leave it if it stopped at that epoch.

    Parameters
    ----------
    given : str, path-like or tuple
        Path of the file and the interval at which it is written: a path alone stands for
        every epoch, ``(path, n)`` and ``(path, n, "epochs")`` for every n epochs, and
        ``(path, n, "seconds")`` for the end of an epoch when n seconds have passed.

    Raises
    ------
    ValueError
        If `given` has another form, or no file can be written to the path.
    """

    #: codecs of the classes that the file holds
    codecs: ClassVar[dict[str, Codec]] = CODECS

    def __init__(self, given: Any) -> None:
        self.path, self.every, self.unit = _parsed(given)
        self._name = f"checkpoint={os.fspath(self.path)!r}"
        _check_place(os.fspath(self.path), self._name)
        self._data = ""
        self._external: dict[str, str] = {}  # checksums of what files can't store
        self._last = time.monotonic()
        self._run: dict[str, Any] = {}
        self.validation: Array | None = None

    # -- resuming --

    def fit_began(self, fit: Any) -> None:
        """Resume the fit from the file, if there is one.

        Raises
        ------
        ValueError
            If the file is not a checkpoint, or one of a run with other samples or another
            solver.
        """
        if not self._data:  # an estimator would have read the file before
            self._data = fingerprint(fit.epochs.data)
            _settings(fit.epochs)  # refuse what no file can hold before the first epoch
            if os.path.exists(self.path):
                functions = {"loss": _loss_function(fit.network)}
                network, header = self._read(functions)
                self._check_network(network, fit.network)
                self._compare_solver(fit.epochs.optimizer, header["run"])
                self._compare_settings(fit.epochs, header["run"])
                self._compare_data(header["run"])
                self._run = header["run"]
                self._restore(fit)
        if self._run and fit.pocket is not None:
            # None in a finished run, whose network has the best parameters
            best = self._run["best"]
            for kept, saved in zip(
                fit.pocket.kept, best or fit.network.snapshot(), strict=True
            ):
                kept[...] = saved

    def _restore(self, fit: Any) -> None:
        run, epochs = self._run, fit.epochs
        self._put_back(fit.network, run["last"])
        optimizer, saved = epochs.optimizer, run["optimizer"]
        optimizer.schedule = saved.schedule
        for mine, other in zip(_solvers(optimizer), _solvers(saved), strict=True):
            for field in fields(other):
                setattr(mine, field.name, getattr(other, field.name))
        optimizer.attach(epochs.plan)
        epochs.rng.set_state(run["random_generator"].get_state(legacy=False))
        if not run["finished"] and (run["order"] is None) != (epochs.order is None):
            raise ValueError(
                f"{self._name} holds a run over other samples of the data; {ADVICE}"
            )
        if run["order"] is not None:
            check_order(run["order"], epochs.order, self._name)
            epochs.order[:] = run["order"]
        for name, value in run["history"].items():
            setattr(fit.history, name, value)
        fit.ended = run["finished"]

    def _put_back(self, network: Any, arrays: list[Array]) -> None:
        wanted = [array.shape for array in network.snapshot()]
        found = [array.shape for array in arrays]
        if wanted != found:
            raise ValueError(
                f"{self._name} holds arrays of shapes {found}, the network's are {wanted}"
            )
        network.restore(arrays)

    def _read(self, functions: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the content and the header of the file, whose "run" is complete."""
        content, header = io.read(self.path, self.codecs, functions)
        if header["run"] is None:
            raise ValueError(
                f"{self._name} holds a saved model, not a run; give another path"
            )
        if not isinstance(header["run"], dict) or {*header["run"]} != {*RUN}:
            raise ValueError(
                f"{self._name} is not a valid file: its run is incomplete, or of another "
                "version of mlp"
            )
        return content, header

    def _check_kind(self, saved: Any, now: Any) -> None:
        if type(saved) is not type(now):
            raise ValueError(
                f"{self._name} holds a {type(saved).__name__}, not a {type(now).__name__}"
            )

    def _check_network(self, saved: Any, now: Any) -> None:
        """Refuse to resume the fit of another network."""
        self._check_kind(saved, now)
        parts = (getattr(network, "networks", [network]) for network in (saved, now))
        for before, part in zip(*parts, strict=True):
            if names := before.spec.differences(part.spec):
                raise ValueError(
                    f"{self._name} holds a run of a network with "
                    f"{names[0]}={before.spec.notation(names[0])!r}, not "
                    f"{part.spec.notation(names[0])!r}; {ADVICE}"
                )

    def _compare_settings(self, epochs: Any, run: dict[str, Any]) -> None:
        """Refuse to resume with other settings of the epochs."""
        for name, now in _settings(epochs).items():
            if run["settings"][name] != now:
                raise ValueError(
                    f"{self._name} holds a run with {name}={run['settings'][name]!r}, not "
                    f"{now!r}; {ADVICE}"
                )

    def _compare_solver(self, optimizer: Any, run: dict[str, Any]) -> None:
        """Refuse to resume with a solver of other constants."""
        changes = ("steps", "moment_1", "moment_2", "schedule")
        for mine, saved in zip(
            _solvers(optimizer), _solvers(run["optimizer"]), strict=True
        ):
            for field in fields(mine):
                now, before = getattr(mine, field.name), getattr(saved, field.name)
                if field.name not in changes and now != before:
                    raise ValueError(
                        f"{self._name} holds a run with {field.name}={before!r}, not "
                        f"{now!r}; {ADVICE}"
                    )

    def _compare_data(self, run: dict[str, Any]) -> None:
        if run["data"] != self._data:
            n_before, n_now = (data.split()[0] for data in (run["data"], self._data))
            raise ValueError(
                f"{self._name} holds a run over {n_before} samples, these are {n_now} or "
                f"have other values; {ADVICE}"
            )

    # -- writing --

    def epoch_ended(self, fit: Any) -> bool:
        """Write the file if it is due; never stops the fit."""
        if self.unit == "epochs":
            due = fit.history.epochs % self.every == 0
        else:
            due = time.monotonic() - self._last >= self.every
        if fit.ended or not due:
            return False
        last = fit.network.snapshot()
        if fit.pocket is None:
            fit.check_finite()
            self._write(fit, last)
            return False
        try:  # write the network as a fit that stops here would leave it
            fit.network.restore(fit.pocket.kept)
            self._write(fit, last)
        finally:
            fit.network.restore(last)
        return False

    def fit_ended(self, fit: Any) -> None:
        """Write the result of a fit that has ended, so that it is not repeated."""
        if fit.ended:
            self._write(fit, fit.network.snapshot(), finished=True)

    def _write(self, fit: Any, last: list[Array], *, finished: bool = False) -> None:
        encoder = Encoder(self.codecs)
        content, own = self._content(encoder, fit)
        pocket = fit.pocket
        run = {
            "data": self._data,
            "external": self._external,
            "random_generator": fit.epochs.rng,
            "order": None if finished else fit.epochs.order,
            "validation": None if finished else self.validation,
            "last": last,
            "best": None if finished or pocket is None else pocket.kept,
            "finished": finished,
            **own,
        }
        try:
            io.write(self.path, encoder, content, run=encoder(run, "run"))
        except OSError as error:  # a full disk must not end the training
            warnings.warn(
                f"{self._name} could not be written, training continues: {error}",
                RuntimeWarning,
                stacklevel=caller_level(),
            )
        self._last = time.monotonic()

    def _content(self, encoder: Any, fit: Any) -> tuple[Any, dict[str, Any]]:
        """Return the file's content, and the parts of the run that it does not contain."""
        history = {f.name: getattr(fit.history, f.name) for f in fields(fit.history)}
        own = {
            "optimizer": fit.epochs.optimizer,
            "history": history,
            "settings": _settings(fit.epochs),
        }
        return encoder(fit.network, "Network"), own


def _solvers(optimizer: Any) -> list[Any]:
    """The optimizers of a `PairOptimizer`, or the optimizer alone."""
    return getattr(optimizer, "each", [optimizer])


def _loss_function(network: Any) -> Any:
    """The user's own loss of a network, or None."""
    return getattr(network, "spec", None) and network.spec.loss.function


def _settings(epochs: Any) -> dict[str, Any]:
    """The settings of a run that decide over its bits, beside those of the solver."""
    schedule, penalties = epochs.optimizer.schedule, epochs.penalties
    if callable(schedule.kind):
        raise ValueError(
            "a checkpoint cannot hold the function that gives the learning rate; use a "
            "Decay of mlp.training.schedules"
        )
    return {
        "batch_size": epochs.batch_size,
        "shuffle": epochs.shuffle,
        "sampling": epochs.sampling,
        **{field.name: getattr(penalties, field.name) for field in fields(penalties)},
        "learning_rate": schedule.kind,
        "learning_rate_init": schedule.initial,
        "power_t": schedule.power_t,
    }


def check_order(order: Array, own: Array | None, name: str) -> None:
    """Refuse an order that does not permute the run's samples; the core relies on it."""
    if (
        own is None
        or order.dtype != np.int64
        or not np.array_equal(np.sort(order), np.sort(own))
    ):
        n = 0 if own is None else len(own)
        raise ValueError(f"{name}: its order is not a permutation of {n} samples")


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
    """Refuse a path that no file can be written to, before training."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.basename(path) or "\0" in path:
        raise ValueError(f"{name} is not the path of a file")
    if os.path.isdir(path):
        raise ValueError(f"{name} is a folder; it must be the path of a file")
    if not os.path.isdir(folder):
        raise ValueError(f"{name}: there is no folder {folder}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name} is a pipe or a device; it must be the path of a file")


def encoded_bytes(value: Any, codecs: dict[str, Codec] = CODECS) -> bytes:
    """Encode a value as bytes, which are equal for values that files store alike."""
    encoder = Encoder(codecs)
    text = json.dumps([encoder.parameter(value, "value"), encoder.external])
    arrays = [a.dtype.str + repr(a.shape) for a in encoder.arrays]
    return b"".join([text.encode(), repr(arrays).encode(), *map(_raw, encoder.arrays)])


def _raw(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def fingerprint(*samples: Any, skip: tuple[str, ...] = ()) -> str:
    """Return the number of samples of the first argument and a checksum of all values.

    Parameters
    ----------
    *samples : _core.Data, _core.PairData, or a dataclass of arrays
        Sets of samples.
    skip : tuple of str
        Fields of dataclasses that are left out.
    """
    hashed = hashlib.sha256()

    def update(part: Any) -> None:
        if is_dataclass(part):
            for field in fields(part):
                if field.name not in skip:
                    update(getattr(part, field.name))
        elif hasattr(part, "indptr"):
            for array in (part.data, part.indices, part.indptr):
                update(array)
        elif isinstance(part, np.ndarray):
            # equal integers of different widths have the same checksum
            dtype = np.dtype(np.int64) if part.dtype.kind in "iu" else part.dtype
            hashed.update(f"{dtype.str}{part.shape}".encode())
            for at in range(0, len(part), ROWS):
                hashed.update(_raw(part[at : at + ROWS].astype(dtype, copy=False)))
        elif hasattr(part, "arrays"):
            for array in part.arrays:
                update(array)
        else:
            hashed.update(encoded_bytes(part))

    for part in samples:
        update(part)
    first = samples[0]
    n = first.X.shape[0] if hasattr(first, "X") else first.shape[0]
    return f"{n} {hashed.hexdigest()}"
