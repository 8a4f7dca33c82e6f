"""The arguments of `python -m mlp` and of `python -m mlp predict`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mlp.cli.tables import TableError

__all__ = ["predict_parser", "train_parser"]

DESCRIPTION = """\
Train a multilayer perceptron on a table and report its accuracy on held-out rows.
Without DATA, run a demonstration on handwritten digits and compare its time with
scikit-learn's.
"""

EPILOG = """\
examples:
  python -m mlp                                   the digits demonstration
  python -m mlp iris.csv --target species --out iris.model
  python -m mlp houses.csv --target price --hidden 100,50 --epochs 500
  python -m mlp predict iris.model new.csv --out predictions.csv

data:
  text   a header, then one row per line; commas, semicolons, tabs or bars between
         the cells; UTF-8, UTF-16 or Windows-1252; plain, .gz, .bz2, .xz or .zip.
         1234.5, 1,234.5, 1.234,5, $12 and 12% are numbers; empty cells and NA, N/A,
         nan, null, #N/A and ? are missing values, and so are None, . and - among numbers.
         Digits with leading zeros (00501) are text. Labels stay as they are written.
  .npz   X and y, or x_train, y_train, x_test and y_test, or one array per column.
  Columns of numbers are standardised, columns of text are one-hot encoded, and text
  that differs in nearly every row (a name, an id) is dropped.

'python -m mlp predict --help' explains how to use a saved model. A model file is a
pickle, and loading one can run any code: only use files from a source you trust.
"""

PREDICT_EPILOG = """\
DATA needs the columns that the model was trained on, in any order; others, such as
the target, are ignored. If an .npz file has x_train and x_test, x_test is predicted.
The result is CSV, one line per row of DATA. A model file is a pickle, and loading
one can run any code: only use files from a source you trust.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report bad arguments like all other errors, in one line from `main`."""
        raise TableError(f"{message} (see python -m mlp --help)")


def _hidden_layers(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of positive layer sizes such as 100,50"
        )
    return sizes


def _whole_number(least: int) -> Callable[[str], int]:
    most = 2**32 - 1  # of NumPy's seeds

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}"
            )
        return int(text)

    return parse


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return share


def train_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m mlp``; it raises errors as TableError."""
    parser = _Parser(
        prog="python -m mlp",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "data",
        nargs="?",
        type=Path,
        metavar="DATA",
        help="a text table or .npz file; - for the standard input",
    )
    add("--target", metavar="COLUMN", help="column to predict (.npz: y if not given)")
    add(
        "--task",
        choices=["classify", "regress"],
        help="kind of the target; guessed if not given",
    )
    add("--out", type=Path, metavar="MODEL", help="file to save the trained model to")
    add(
        "--test-size",
        type=_share,
        default=0.2,
        metavar="FRACTION",
        help="fraction of the rows held out for testing (default: 0.2)",
    )
    add(
        "--compare",
        action="store_true",
        help="also time scikit-learn's own network on the same data, which may take long",
    )
    _add_table_arguments(parser.add_argument_group("cells of the table"))
    _add_network_arguments(parser.add_argument_group("network and training"))
    return parser


def _add_table_arguments(group: Any) -> None:
    add = group.add_argument
    add(
        "--categorical",
        action="append",
        default=[],
        metavar="COLUMN",
        help="treat this column as text; may be repeated",
    )
    add(
        "--numeric",
        action="append",
        default=[],
        metavar="COLUMN",
        help="treat this column as numbers, 0012 as 12; may be repeated",
    )
    _add_missing(group)
    add(
        "--decimal",
        choices=[".", ","],
        help="decimal sign of all numbers; recognised if not given",
    )


def _add_missing(group: Any) -> None:
    group.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="VALUE",
        help="treat cells with this content as missing; may be repeated",
    )


def _add_network_arguments(group: Any) -> None:
    add = group.add_argument
    add(
        "--hidden",
        type=_hidden_layers,
        default=(100,),
        metavar="SIZES",
        help="sizes of the hidden layers (default: 100)",
    )
    add(
        "--epochs",
        type=_whole_number(1),
        default=200,
        metavar="N",
        help="maximum number of epochs (default: 200)",
    )
    add(
        "--seed",
        type=_whole_number(0),
        default=0,
        metavar="S",
        help="random seed (default: 0)",
    )
    add(
        "--activation",
        default="relu",
        metavar="NAME",
        help="hidden activation: relu, tanh, logistic or identity (default: relu)",
    )
    add(
        "--solver",
        default="adam",
        metavar="NAME",
        help="adam, sgd or lbfgs (default: adam)",
    )
    add(
        "--learning-rate",
        type=float,
        default=0.001,
        metavar="RATE",
        help="initial step size (default: 0.001)",
    )
    add(
        "--batch-size",
        type=_whole_number(1),
        metavar="N",
        help="rows per step (default: 200, or all if fewer)",
    )
    add(
        "--alpha",
        type=float,
        default=1e-4,
        help="strength of the L2 penalty (default: 0.0001)",
    )
    add(
        "--early-stopping",
        action="store_true",
        help="hold out a tenth of the training rows, and stop when their score stalls",
    )


def predict_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m mlp predict``; it raises TableError."""
    parser = _Parser(
        prog="python -m mlp predict",
        description="Predict each row of a table with a saved model.",
        epilog=PREDICT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="a file written by --out")
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a text table or .npz file; - for the standard input",
    )
    add("--out", type=Path, metavar="CSV", help="write to this file, not the terminal")
    add("--proba", action="store_true", help="add the probability of each class")
    _add_missing(parser)
    return parser
