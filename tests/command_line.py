"""Runs of the command line and its data, shared by the tests of it."""

import csv
import re

import numpy as np

from mlp.cli import main as cli
from mlp.cli.columns import read_columns
from mlp.cli.model import choose_features
from mlp.cli.tables import read_table


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def animal_rows(n_rows=80):
    """Cats are light and indoors, dogs heavy and outdoors."""
    rng = np.random.default_rng(0)
    for i in range(n_rows):
        dog = i % 2
        weight = f"{4 + 20 * dog + rng.random():.3f}"
        yield [weight, ["indoors", "outdoors"][dog], ["cat", "dog"][dog]]


def value_of(name, text):
    """Return the first number printed behind `name`."""
    return float(re.search(rf"^{re.escape(name)}\s+(-?[\d.]+)", text, re.MULTILINE)[1])


def error_of(capsys, *arguments):
    """Return the one line printed for a refused command."""
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("mlp: error: ")
    assert message.count("\n") == 1
    return message


def predictions(text):
    return list(csv.DictReader(text.splitlines()))


def kinds(path, target="y"):
    table = read_table(path)
    columns = read_columns(table.columns, table.decimal)
    del columns[target]
    features, dropped = choose_features(columns, table.place)
    return {f.name: "number" if f.is_number else "text" for f in features}, dropped


def mostly_numbers(path, odd="abc"):
    rows = [[i / 7, i % 5, i * 1.5] for i in range(100)]
    rows[16][0] = odd
    return write_csv(path, ["x", "z", "y"], rows)
