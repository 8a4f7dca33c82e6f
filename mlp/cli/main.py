"""The command line: a demonstration, training on a table, and prediction.

``python -m mlp`` trains on the digits that scikit-learn ships; ``python -m mlp DATA.csv
--target COLUMN`` trains on the user's table; ``python -m mlp predict MODEL DATA.csv``
predicts with a saved model.
"""

import argparse
import csv
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.neural_network
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    confusion_matrix,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

import mlp
from mlp.cli.arguments import predict_parser, train_parser
from mlp.cli.columns import Column, Reading, read_columns
from mlp.cli.model import (
    TableModel,
    choose_features,
    feature_matrix,
    guess_task,
    load_model,
    make_preprocessor,
    notes_on,
    target_scaler,
    target_values,
)
from mlp.cli.tables import Table, TableError, listing, read_table
from mlp.files.container import descriptor_of, takes_bytes, write_atomically
from mlp.progress import ProgressLine

__all__ = ["main"]

Array = NDArray[Any]

MAX_SHOWN_CLASSES = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; None uses those of the process.

    Returns
    -------
    int
        Exit code: 0, 2 after a user error, 130 after an interruption.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["predict"]:
            _predict(predict_parser().parse_args(arguments[1:]))
        else:
            options = train_parser().parse_args(arguments)
            _train_on_table(options) if options.data else _demonstrate(options)
        print(end="", flush=True)
    except TableError as error:
        return _refuse(str(error))
    except MemoryError as error:
        return _refuse(f"not enough memory: {error}" if str(error) else "out of memory")
    except KeyboardInterrupt:
        print("mlp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has exited; prevent an error in Python's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _refuse(message: str) -> int:
    """Print an error in one line and return the exit code."""
    print(f"mlp: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _check_out(path: Path | None, *inputs: Path) -> None:
    """Refuse an unusable output before the training starts."""
    if path is None:
        return
    if os.path.isdir(path):
        raise TableError(f"--out {path} is a folder")
    if takes_bytes(path):  # a pipe, a device or the terminal: the folder is irrelevant
        if descriptor_of(path) is None and not os.access(path, os.W_OK):
            raise TableError(f"--out {path} is not writable")
        return
    folder = Path(os.path.realpath(path)).parent  # where a link points
    if not os.path.isdir(folder):
        raise TableError(f"--out {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise TableError(f"--out {path}: the folder {folder} is not writable")
    known = [other for other in inputs if os.path.exists(other)]
    if os.path.exists(path) and any(path.samefile(other) for other in known):
        raise TableError(f"--out {path} would overwrite an input file")


# --------------------------------------------------------------------- training


@dataclass
class _Fit:
    """A fitted estimator, with the duration of `fit` and the number of epochs."""

    estimator: Any
    seconds: float
    n_epochs: int
    warnings: list[warnings.WarningMessage]


def _make_network(package: Any, task: str, options: argparse.Namespace) -> Any:
    """Return the estimator of `package`: ours, or scikit-learn's of the same name."""
    name = "MLPClassifier" if task == "classify" else "MLPRegressor"
    return getattr(package, name)(
        hidden_layer_sizes=options.hidden,
        activation=options.activation,
        solver=options.solver,
        alpha=options.alpha,
        batch_size="auto" if options.batch_size is None else options.batch_size,
        learning_rate_init=options.learning_rate,
        max_iter=options.epochs,
        random_state=options.seed,
        early_stopping=options.early_stopping,
    )


def _timed_fit(network: Any, task: str, X: Any, y: Array) -> _Fit:
    estimator = network
    if task == "regress":
        estimator = TransformedTargetRegressor(network, transformer=target_scaler())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        try:
            estimator.fit(X, y)
        except ValueError as error:
            raise TableError(f"training failed: {error}") from error
        seconds = time.perf_counter() - start
    trained = estimator.regressor_ if task == "regress" else estimator
    return _Fit(estimator, seconds, trained.n_iter_, caught)


def _fit_ours(options: argparse.Namespace, task: str, X: Any, y: Array) -> _Fit:
    """Train with a progress bar and print a summary of the result."""
    network = _make_network(mlp, task, options)
    fit = _timed_fit(network.set_callbacks(ProgressLine()), task, X, y)
    for trained in (network, getattr(fit.estimator, "regressor_", network)):
        trained.set_callbacks()  # a saved model has no progress bar
    for warning in fit.warnings:
        text = " ".join(str(warning.message).split())
        if "interrupted" in text:
            text = f"Training stopped early, after {fit.n_epochs} epochs."
        elif fit.n_epochs >= options.epochs and issubclass(
            warning.category, ConvergenceWarning
        ):
            text = f"Still improving at epoch {fit.n_epochs}; --epochs N allows more."
        print(text)
    return fit


def _print_times(
    fit: _Fit, options: argparse.Namespace, task: str, X: Any, y: Array
) -> None:
    """Print the times of `fit` and of scikit-learn for the same number of epochs."""
    network = _make_network(sklearn.neural_network, task, options)
    network.set_params(max_iter=max(fit.n_epochs, 1))
    print("Timing scikit-learn ...", file=sys.stderr)
    theirs = _timed_fit(network, task, X, y)
    per_epoch = fit.seconds / max(fit.n_epochs, 1)
    ratio = theirs.seconds / max(theirs.n_epochs, 1) / per_epoch
    _print_time("Training time", fit)
    _print_time("scikit-learn's time", theirs)
    _print_line("Speed-up", f"{ratio:.1f} times as fast as scikit-learn")


def _demonstrate(options: argparse.Namespace) -> None:
    """Train on scikit-learn's digits and print the results."""
    for name in ("target", "task", "out"):
        if getattr(options, name) is not None:
            raise TableError(f"--{name} needs DATA (see python -m mlp --help)")
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    train, test = _split(y, "classify", None, options)
    print(f"Handwritten digits: {len(X):,} images of 8 x 8 pixels, 10 classes")
    print(f"Training on {len(train):,}, testing on {len(test):,}")
    fit = _fit_ours(options, "classify", X[train], y[train])
    predicted = fit.estimator.predict(X[test])
    print()
    _print_line("Test accuracy", f"{np.mean(predicted == y[test]):.1%}")
    _print_times(fit, options, "classify", X[train], y[train])
    _print_confusion(y[test], predicted)


def _train_on_table(options: argparse.Namespace) -> None:
    """Train on the user's table, print the results, and save the model."""
    table, columns, target = _read_training_table(options)
    y_column = columns.pop(target)
    task = options.task or guess_task(y_column, target, table.place)
    if options.task is None:
        print(f"Task: {task} (guessed from {target!r}; --task overrules it)")
    y = target_values(y_column, task, target, table.place)
    features, dropped = choose_features(columns, table.place)
    for reason in dropped:
        print(f"Dropped column {reason}")
    train, test = _split(y, task, table.n_train, options)
    if task == "classify" and len(np.unique(y[train])) < 2:
        raise TableError("too few rows: all training rows are of one class")
    raw = feature_matrix(columns, features, table.place)
    del table, columns, y_column  # the cells as text need more memory than `raw`
    preprocessor = make_preprocessor(features)
    X = preprocessor.fit_transform(raw[train])
    n_numbers = sum(feature.is_number for feature in features)
    print(
        f"Columns: {n_numbers} of numbers, {len(features) - n_numbers} of text, "
        f"{X.shape[1]} network inputs"
    )
    print(f"Training on {len(train):,} rows, testing on {len(test):,}")
    fit = _fit_ours(options, task, X, y[train])
    pipeline = Pipeline([("preprocessor", preprocessor), ("network", fit.estimator)])
    predicted = pipeline.predict(raw[test])
    print()
    _print_scores(task, y[train], y[test], predicted)
    if options.compare:
        _print_times(fit, options, task, X, y[train])
    else:
        _print_time("Training time", fit)
    if task == "classify":
        _print_confusion(y[test], predicted)
    if options.out is not None:
        model = TableModel(features, target, task, pipeline, tuple(options.missing))
        _write(options.out, model.save)
        print(f"\nSaved to {options.out}")


def _read_training_table(
    options: argparse.Namespace,
) -> tuple[Table, dict[str, Column], str]:
    """Return the rows that have a target, their columns, and the target's name."""
    _check_out(options.out, options.data)
    table = read_table(options.data, options.target)
    for note in table.notes:
        print(note)
    target = options.target or table.target
    if target is None:
        raise TableError(f"--target is needed; columns: {listing(table.columns)}")
    reading = _reading(options, table, target)
    y = {target: table.column(target)}
    missing = read_columns(y, table.decimal, reading)[target].missing
    if missing.all():
        raise TableError(f"target {target!r} has no values")
    if missing.any():
        print(f"Dropped {missing.sum():,} rows without a value of {target!r}")
        table = table.rows(~missing)
    columns = read_columns(table.columns, table.decimal, reading)
    for note in notes_on(columns):
        print(note)
    return table, columns, target


def _reading(options: argparse.Namespace, table: Table, target: str) -> Reading:
    """Return the options' instructions for reading the cells of a table."""
    for name in (*options.numeric, *options.categorical):
        table.column(name)
        if name == target:
            raise TableError(f"{name!r} is the target; use --task to choose its kind")
        if name in options.numeric and name in options.categorical:
            raise TableError(f"{name!r} cannot be --numeric and --categorical")
    numeric = [*options.numeric, *([target] if options.task == "regress" else [])]
    return Reading(numeric, options.categorical, options.missing, options.decimal)


def _split(
    y: Array, task: str, n_train: int | None, options: argparse.Namespace
) -> tuple[Array, Array]:
    """Return the row numbers for training and for testing."""
    rows = np.arange(len(y))
    if n_train is not None:
        if n_train in (0, len(rows)):
            raise TableError("there are no rows for training or no rows for testing")
        return rows[:n_train], rows[n_train:]
    n_test = int(np.ceil(options.test_size * len(rows)))
    if not 0 < n_test < len(rows):
        raise TableError(f"too few rows ({len(rows)}) to hold some out for testing")
    stratify = None
    if task == "classify":
        counts = np.unique(y, return_counts=True)[1]
        # Each class needs a training and a test row, and both parts a row of each
        # class.
        if counts.min() > 1 and len(counts) <= min(n_test, len(rows) - n_test):
            stratify = y
    train, test = train_test_split(
        rows, test_size=n_test, random_state=options.seed, stratify=stratify
    )
    return train, test


def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Flush the printed text, which may go to the same file, and call `write(path)`."""
    print(end="", flush=True)
    try:
        write(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise TableError(message) from error


# ---------------------------------------------------------------------- reports


def _print_line(name: str, text: str) -> None:
    print(f"{name:<21}{text}")


def _print_time(name: str, fit: _Fit) -> None:
    _print_line(name, f"{fit.seconds:.3f} s for {fit.n_epochs} epochs")


def _print_scores(task: str, y_train: Array, y_test: Array, predicted: Array) -> None:
    if task == "classify":
        labels, counts = np.unique(y_train, return_counts=True)
        majority = labels[np.argmax(counts)]
        _print_line("Test accuracy", f"{np.mean(predicted == y_test):.1%}")
        baseline = f"{np.mean(y_test == majority):.1%} by always saying {majority}"
        _print_line("Baseline", baseline)
        return
    rmse = root_mean_squared_error(y_test, predicted)
    _print_line("Test RMSE", f"{rmse:.5g}")
    rmse = root_mean_squared_error(y_test, np.full(len(y_test), y_train.mean()))
    _print_line("Baseline RMSE", f"{rmse:.5g} by predicting the training rows' mean")
    _print_line("Test MAE", f"{mean_absolute_error(y_test, predicted):.5g}")
    if len(y_test) > 1:
        _print_line("Test R2", f"{r2_score(y_test, predicted):.4f}")


def _print_confusion(truth: Array, predicted: Array) -> None:
    """Print counts, with a dot for zero; rows are true classes, columns predicted ones."""
    labels = np.unique(np.concatenate([truth, predicted]))
    if len(labels) > MAX_SHOWN_CLASSES:
        print(f"\nNo confusion matrix: {len(labels)} classes are too many to show")
        return
    counts = confusion_matrix(truth, predicted, labels=labels)
    names = [_cut(str(label), 16) for label in labels]
    heads = [_cut(str(label), 7) for label in labels]
    width = max(len(str(cell)) for cell in (*heads, counts.max())) + 2
    margin = max(map(len, names)) + 2
    print("\nConfusion matrix (rows: true class, columns: predicted class)\n")
    print(" " * margin + "".join(head.rjust(width) for head in heads))
    for name, row in zip(names, counts, strict=True):
        cells = "".join((str(n) if n else ".").rjust(width) for n in row)
        print(name.rjust(margin) + cells)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# ------------------------------------------------------------------- prediction


def _predict(options: argparse.Namespace) -> None:
    """Write the predictions of a saved model for a table as CSV."""
    _check_out(options.out, options.model, options.data)
    model = load_model(options.model)
    if options.proba and model.task == "regress":
        raise TableError("--proba needs a classifier, but the model is a regressor")
    names = [feature.name for feature in model.features]
    table = read_table(options.data, inputs=names)
    for note in table.notes:
        print(note, file=sys.stderr)
    inputs = {name: table.columns[name] for name in names if name in table.columns}
    reading = model.reading(options.missing)
    cells = read_columns(inputs, table.decimal, reading)
    X = feature_matrix(cells, model.features, table.place)
    try:
        columns = {"prediction": model.pipeline.predict(X)}
        if options.proba:
            probabilities = model.pipeline.predict_proba(X).T
            labels = model.pipeline.classes_
            for label, column in zip(labels, probabilities, strict=True):
                columns[f"probability of {label}"] = column
    except ValueError as error:
        raise TableError(f"cannot predict: {error}") from error
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(c.tolist() for c in columns.values()), strict=True))
    if options.out is None:
        print(text.getvalue(), end="")
        return
    content = text.getvalue().encode()
    _write(
        options.out,
        lambda path: write_atomically(path, lambda file: file.write(content)),
    )
