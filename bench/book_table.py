"""Common parts of `mnist.py` and `cifar10.py`: data, resumable runs and their report.

A run is a sequence of passes, each one call of `partial_fit`. The estimator gets a
``RandomState`` instance that is pickled with it, so each pass continues the stream of
random numbers, and a resumed run ends with the same bits as an uninterrupted one.
"""

import argparse
import os
import pickle
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from mlp import Dropout, MLPClassifier

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Data:
    """Training and test samples, one per row."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    X_test_by_training_mean: np.ndarray


def load(path, dtype=np.float32):
    """Return pixels/255, each set centred by its own mean image, as in [S ex. 65.9]."""
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in ARRAYS if name not in file]
        if missing:
            raise SystemExit(f"{path} lacks the arrays {', '.join(missing)}")
        x, y, x_test, y_test = (file[name] for name in ARRAYS)
    X, X_test = (a.reshape(len(a), -1).astype(dtype) / 255 for a in (x, x_test))
    mean, mean_test = (a.mean(axis=0, dtype=np.float64) for a in (X, X_test))
    X -= mean.astype(dtype)
    by_training_mean = X_test - mean.astype(dtype)
    X_test -= mean_test.astype(dtype)
    return Data(X, y.ravel(), X_test, y_test.ravel(), by_training_mean)


def rates(text):
    """Parse '0.1,0.5,0.5': the dropout rate of the inputs, then of each hidden layer."""
    return tuple(float(p) for p in text.split(","))


def common_arguments(parser, *, epochs, every, batch_size):
    """Add the options that both scripts have."""
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument(
        "--epochs", type=int, default=epochs, help="number of passes (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument(
        "--learning-rate", type=float, help="default: 0.001 times the batch size"
    )
    parser.add_argument(
        "--init", default="normal", help="the estimator's init (%(default)s)"
    )
    parser.add_argument("--dropout", type=rates, metavar="P1,P2,P3")
    parser.add_argument("--scaling", choices=("train", "test"), default="train")
    parser.add_argument("--dropout-decay", choices=("kept", "all"), default="kept")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--n-jobs", type=int, default=1, help="seeds in parallel")
    parser.add_argument("--n-threads", type=int, default=1, help="threads per run")
    parser.add_argument(
        "--every", type=int, default=every, help="passes between reports"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="file to resume from; must contain {seed} if there are several seeds",
    )
    parser.add_argument(
        "--record", action="store_true", help=f"append a row to {RESULTS.name}"
    )


def parse(parser):
    """Parse the command line and check what argparse does not check."""
    options = parser.parse_args()
    if options.learning_rate is None:
        options.learning_rate = 0.001 * options.batch_size
    several = len(options.seed) > 1 and options.checkpoint is not None
    if several and "{seed}" not in str(options.checkpoint):
        parser.error("--checkpoint must contain {seed} when there are several seeds")
    if options.epochs < 1 or options.every < 1:
        parser.error("--epochs and --every must be positive")
    if options.dropout and len(options.dropout) != 3:
        parser.error("--dropout takes three rates: inputs and two hidden layers")
    return options


def settings(options, hidden, activation, seed):
    """Return the estimator's parameters for [S 65.149], or for [S 65.150] if B = 1."""
    parameters = {
        "hidden_layer_sizes": hidden,
        "activation": activation,
        "solver": "sgd",
        "momentum": 0.0,
        "batch_size": options.batch_size,
        "learning_rate_init": options.learning_rate,
        "alpha": 0.0,
        "l2": 0.0001,  # ρ, independent of the batch size
        "init": options.init,
        "n_threads": options.n_threads,
        "random_state": seed,
    }
    if options.dropout:
        parameters["dropout"] = Dropout(
            options.dropout[1:],
            input=options.dropout[0],
            scaling=options.scaling,
            decay=options.dropout_decay,
        )
    return parameters


class Run:
    """A training run that can be interrupted at any time and resumed.

    Attributes
    ----------
    model : MLPClassifier
    history : list of (pass, test error, training error, seconds)
        Errors are in per cent; seconds are the training time so far, without evaluation.
    """

    def __init__(self, parameters, checkpoint):
        self.parameters, self.checkpoint = parameters, checkpoint
        self.passes, self.seconds, self.history = 0, 0.0, []
        seed = np.random.RandomState(parameters["random_state"])
        self.model = MLPClassifier(**{**parameters, "random_state": seed})
        if checkpoint is not None and checkpoint.exists():
            self._resume()

    def _resume(self):
        with open(self.checkpoint, "rb") as file:
            state = pickle.load(file)
        saved = state["parameters"]
        differing = {
            name
            for name in {*saved, *self.parameters} - {"n_threads"}
            if saved.get(name) != self.parameters.get(name)
        }
        if differing:
            raise SystemExit(
                f"{self.checkpoint} belongs to a run with other settings: "
                + ", ".join(f"{k}={saved.get(k)!r}" for k in sorted(differing))
            )
        state["parameters"] = self.parameters
        self.__dict__.update(state)
        self.model.set_params(n_threads=self.parameters["n_threads"])
        print(f"resuming after {self.passes} passes", flush=True)

    def save(self):
        """Write the checkpoint; the old one is replaced when the new one is complete."""
        if self.checkpoint is None:
            return
        state = {k: v for k, v in vars(self).items() if k != "checkpoint"}
        part = self.checkpoint.with_name(self.checkpoint.name + ".part")
        with open(part, "wb") as file:
            pickle.dump(state, file, protocol=5)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.checkpoint)

    def one_pass(self, data):
        """Train on every sample once, in a new order."""
        start = time.perf_counter()
        with warnings.catch_warnings():
            # an interrupted pass must not count as a complete one
            warnings.filterwarnings("error", message="Training interrupted")
            try:
                self.model.partial_fit(data.X, data.y, classes=np.unique(data.y))
            except UserWarning:
                raise SystemExit(f"interrupted in pass {self.passes + 1}") from None
        self.seconds += time.perf_counter() - start
        self.passes += 1

    def evaluate(self, data):
        """Compute test and training error in per cent and append them to the history."""
        errors = (
            100 * np.mean(self.model.predict(X) != y)
            for X, y in ((data.X_test, data.y_test), (data.X, data.y))
        )
        self.history.append((self.passes, *errors, self.seconds))
        return self.history[-1]

    def to_end(self, data, epochs, every):
        """Train up to `epochs` passes; report and save after every `every` of them."""
        seed = self.parameters["random_state"]
        while self.passes < epochs:
            self.one_pass(data)
            if self.passes % every == 0 or self.passes == epochs:
                passes, test, training, seconds = self.evaluate(data)
                print(
                    f"seed {seed} pass {passes:4d}  loss {self.model.loss_:.5f}  "
                    f"test {test:6.2f} %  training {training:8.4f} %  {seconds:7.0f} s",
                    flush=True,
                )
                self.save()
        return self


def train(options, hidden, activation, seed):
    """A whole run; its estimator's last errors (see `Run.history`), and one more: of test
    samples centred by the training mean."""
    data = load(options.data)
    checkpoint = options.checkpoint
    if checkpoint is not None:
        checkpoint = Path(str(checkpoint).replace("{seed}", str(seed)))
    run = Run(settings(options, hidden, activation, seed), checkpoint)
    run.to_end(data, options.epochs, options.every)
    other = run.model.predict(data.X_test_by_training_mean) != data.y_test
    return (*run.history[-1], 100 * np.mean(other))


def report(options, hidden, activation, *, command, book):
    """Train for every seed and print the errors and the book's; record them if asked to.

    Parameters
    ----------
    options : argparse.Namespace
    hidden : tuple of int
    activation : str
    command : str
        The command of this run, without data, seed, passes and bookkeeping.
    book : (float, float, int) or None
        The book's test and training error in per cent and its number of passes, if given.
    """
    outcomes = Parallel(n_jobs=options.n_jobs)(
        delayed(train)(options, hidden, activation, seed) for seed in options.seed
    )
    theirs = book or ("-", "-", "-")
    rows = []
    for seed, outcome in zip(options.seed, outcomes, strict=True):
        passes, test, training, seconds, by_training_mean = outcome
        print(f"\nseed {seed}, {passes} passes, {seconds:.0f} s of training")
        print(f"test error     {test:7.2f} %   book: {theirs[0]} %")
        print(
            f"training error {training:7.4f} %   book: {theirs[1]} % ({theirs[2]} passes)"
        )
        print(f"test error {by_training_mean:.2f} % if centred by the training mean")
        rows.append(
            f"| `{command}` | {seed} | {passes} ({theirs[2]}) | {test:.2f} ({theirs[0]}) "
            f"| {training:.4g} ({theirs[1]}) | {seconds:.0f} s |"
        )
    if options.record:
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write("".join(f"{row}\n" for row in rows))


def command(options, *shown):
    """Return the command with the options that distinguish the rows of the table."""
    words = [Path(options.script).name, *shown]
    if options.dropout:
        words += ["--dropout", ",".join(f"{p:g}" for p in options.dropout)]
        words += ["--scaling", options.scaling]
        if options.dropout_decay != "kept":
            words += ["--dropout-decay", options.dropout_decay]
    if options.init != "normal":
        words += ["--init", options.init]
    return " ".join(words)


def new_parser(description, script):
    """Return a parser that keeps the docstring's layout and stores the script's name."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(script=script)
    return parser
