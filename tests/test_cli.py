"""The command line: what it learns, prints and saves, and how it refuses."""

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import zipfile

import joblib
import numpy as np
import pytest

from mlp.cli import main as cli
from mlp.cli.columns import Reading, read_columns
from mlp.cli.model import TableModel, choose_features
from mlp.cli.tables import read_table
from mlp.cli.text_tables import _names
from mlp.progress import ProgressLine


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


@pytest.fixture
def animals(tmp_path):
    return write_csv(
        tmp_path / "animals.csv", ["weight", "home", "kind"], animal_rows()
    )


@pytest.fixture
def line(tmp_path):
    """`y = 3 x + 100`, exactly."""
    x = np.linspace(-1, 1, 120).round(4)
    rows = [[a, 3 * a + 100] for a in x]
    return write_csv(tmp_path / "line.csv", ["x", "y"], rows)


@pytest.fixture
def animal_model(animals, tmp_path):
    path = tmp_path / "animals.model"
    assert run(animals, "--target", "kind", "--epochs", 100, "--out", path) == 0
    return path


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


# --------------------------------------------------------------- demonstration


def test_demonstration_trains_and_times_the_digits(tmp_path):
    command = [sys.executable, "-m", "mlp", "--epochs", "30"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert value_of("Test accuracy", done.stdout) > 90
    assert "30 epochs" in done.stdout
    for part in ("Training time", "scikit-learn's time", "Speed-up", "Confusion matrix"):
        assert part in done.stdout
    assert "Warning" not in done.stderr


def test_the_demonstration_takes_no_options_of_a_table(capsys):
    assert "--out needs DATA" in error_of(capsys, "--out", "x.model")


def test_help_warns_of_untrusted_model_files(capsys):
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    assert "trust" in capsys.readouterr().out


# -------------------------------------------------------------------- training


def test_classes_are_learned_from_numbers_and_text(animals, capsys):
    assert run(animals, "--target", "kind", "--epochs", 100) == 0
    out = capsys.readouterr().out
    assert value_of("Test accuracy", out) == 100
    assert value_of("Baseline", out) == 50
    assert "1 of numbers, 1 of text, 3 network inputs" in out


def test_the_confusion_matrix_has_the_truth_in_rows(capsys):
    truth, predicted = np.array(["a", "a", "b"]), np.array(["b", "a", "b"])
    cli._print_confusion(truth, predicted)
    lines = capsys.readouterr().out.splitlines()
    assert [row.split() for row in lines[-3:]] == [
        ["a", "b"],
        ["a", "1", "1"],
        ["b", ".", "1"],
    ]


def test_a_number_is_learned_in_the_targets_own_units(line, capsys):
    arguments = ("--target", "y", "--epochs", 300, "--learning-rate", 0.01)
    assert run(line, *arguments) == 0
    out = capsys.readouterr().out
    assert "Task: regress (guessed" in out
    assert value_of("Test R2", out) > 0.99
    assert value_of("Test RMSE", out) < 0.1 * value_of("Baseline RMSE", out)
    assert value_of("Test MAE", out) <= value_of("Test RMSE", out)


def test_baseline_is_computed_from_the_training_rows_only(tmp_path, capsys):
    path = tmp_path / "t.npz"
    X, y = np.arange(30.0).reshape(15, 2), np.arange(15) + 0.5
    np.savez(path, x_train=X[:9], y_train=y[:9], x_test=X[9:], y_test=y[9:])
    assert run(path, "--task", "regress", "--epochs", 1) == 0
    expected = np.sqrt(np.mean((y[9:] - y[:9].mean()) ** 2))
    baseline = value_of("Baseline RMSE", capsys.readouterr().out)
    assert baseline == pytest.approx(expected, rel=1e-4)


def test_network_options_reach_the_network(animals, tmp_path):
    path = tmp_path / "m"
    options = (
        "--hidden 7,3 --epochs 2 --seed 5 --activation tanh --solver sgd "
        "--learning-rate 0.02 --batch-size 9 --alpha 0.5 --early-stopping"
    )
    assert run(animals, "--target", "kind", "--out", path, *options.split()) == 0
    network = joblib.load(path).pipeline[-1]
    expected = {
        "hidden_layer_sizes": (7, 3),
        "max_iter": 2,
        "random_state": 5,
        "activation": "tanh",
        "solver": "sgd",
        "learning_rate_init": 0.02,
        "batch_size": 9,
        "alpha": 0.5,
        "early_stopping": True,
    }
    assert expected.items() <= network.get_params().items()


def test_early_stopping_with_a_class_of_one_row_trains_and_says_so(tmp_path, capsys):
    rows = [*animal_rows(), ["5.0", "indoors", "ferret"]]
    table = write_csv(tmp_path / "zoo.csv", ["weight", "home", "kind"], rows)
    assert run(table, "--target", "kind", "--early-stopping", "--epochs", 3) == 0
    assert "not stratified by class" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_model(animals, tmp_path):
    for name in "ab":
        arguments = ("--target", "kind", "--epochs", 3, "--seed", 1)
        assert run(animals, *arguments, "--out", tmp_path / name) == 0
    a, b = (joblib.load(tmp_path / name).pipeline[-1] for name in "ab")
    assert all(np.array_equal(u, v) for u, v in zip(a.coefs_, b.coefs_, strict=True))


def test_compare_times_scikit_learn_on_the_table(animals, capsys):
    assert run(animals, "--target", "kind", "--epochs", 5, "--compare") == 0
    out = capsys.readouterr().out
    assert re.search(r"scikit-learn's time +[\d.]+ s for 5 epochs", out)


def test_test_size_sets_the_number_of_test_rows(animals, capsys):
    run(animals, "--target", "kind", "--epochs", 1, "--test-size", 0.25)
    assert "Training on 60 rows, testing on 20" in capsys.readouterr().out


def test_whole_numbers_are_classes_if_few_and_quantities_if_many(tmp_path, capsys):
    for n_values, task in ((3, "classify"), (60, "regress")):
        rows = [[i, i % n_values] for i in range(120)]
        path = write_csv(tmp_path / "t.csv", ["x", "y"], rows)
        run(path, "--target", "y", "--epochs", 1)
        assert f"Task: {task} (guessed" in capsys.readouterr().out


def test_task_option_overrides_the_guess(tmp_path, capsys):
    path = write_csv(tmp_path / "t.csv", ["x", "y"], [[i, i % 3] for i in range(60)])
    assert run(path, "--target", "y", "--task", "regress", "--epochs", 1) == 0
    out = capsys.readouterr().out
    assert "Test RMSE" in out
    assert "guessed" not in out


def test_rows_without_a_target_are_dropped(tmp_path, capsys):
    rows = [*animal_rows(40), ["9", "indoors", "NA"], ["9", "indoors", ""]]
    path = write_csv(tmp_path / "t.csv", ["weight", "home", "kind"], rows)
    assert run(path, "--target", "kind", "--epochs", 1) == 0
    assert "Dropped 2 rows without a value of 'kind'" in capsys.readouterr().out


def test_training_with_a_class_of_one_row_works(tmp_path):
    rows = [*animal_rows(40), ["500", "outdoors", "horse"]]
    path = write_csv(tmp_path / "t.csv", ["weight", "home", "kind"], rows)
    assert run(path, "--target", "kind", "--epochs", 1) == 0


def test_many_classes_are_reported_without_a_matrix(tmp_path, capsys):
    rows = [[i % 30, f"class {i % 30}"] for i in range(300)]
    path = write_csv(tmp_path / "t.csv", ["x", "y"], rows)
    assert run(path, "--target", "y", "--epochs", 1) == 0
    assert "30 classes are too many" in capsys.readouterr().out


@pytest.fixture
def heeds_ctrl_c():
    """Undo what the parent may have done: jobs in the background ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_training_but_not_the_report(
    animals, tmp_path, capsys, monkeypatch
):
    class Impatient(ProgressLine):
        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            if context.parent is not None and context.task_id == 2:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cli, "ProgressLine", Impatient)
    path = tmp_path / "m"
    assert run(animals, "--target", "kind", "--epochs", 5000, "--out", path) == 0
    out = capsys.readouterr().out
    assert "Training stopped early" in out
    assert "Test accuracy" in out
    assert path.exists()


def test_ctrl_c_elsewhere_ends_without_a_traceback(animals, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_table", interrupted)
    assert run(animals, "--target", "kind") == 130
    assert capsys.readouterr().err == "mlp: interrupted\n"


# ------------------------------------------------------------- reading columns


def kinds(path, target="y"):
    table = read_table(path)
    columns = read_columns(table.columns, table.decimal)
    del columns[target]
    features, dropped = choose_features(columns, table.place)
    return {f.name: "number" if f.is_number else "text" for f in features}, dropped


def test_columns_are_numbers_if_every_value_present_is(tmp_path):
    header = ["a", "b", "c", "d", "y"]
    cells = ["1", "x", "true", "1_0", "1"], ["-2e3", "1", "false", "2_0", "2"]
    rows = [*cells, *cells, ["?", "nan", "", " NA ", "1"]]
    path = write_csv(tmp_path / "t.csv", header, rows)
    expected = {"a": "number", "b": "text", "c": "text", "d": "text"}
    assert kinds(path)[0] == expected


def test_names_empty_columns_and_row_numbers_are_dropped(tmp_path):
    rows = [[i, f"name {i}", "", i % 4, i] for i in range(30)]
    path = write_csv(tmp_path / "t.csv", ["", "name", "void", "a", "y"], rows)
    kept, dropped = kinds(path)
    assert kept == {"a": "number"}
    assert [text.split(":")[0] for text in dropped] == [
        "unnamed column 1",
        "name",
        "void",
    ]


def test_dropped_columns_are_reported(tmp_path, capsys):
    rows = [[f"name {i}", i % 4, i % 2] for i in range(30)]
    path = write_csv(tmp_path / "t.csv", ["name", "a", "y"], rows)
    assert run(path, "--target", "y", "--epochs", 1) == 0
    assert "Dropped column name: 30 different texts" in capsys.readouterr().out


def test_quoted_cells_may_hold_commas_quotes_and_line_breaks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,"b, c"\n"1","x ""y"",\nz"\n')
    columns = read_table(path).columns
    assert list(columns) == ["a", "b, c"]
    assert columns["b, c"][0] == 'x "y",\nz'


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(tmp_path, delimiter):
    path = tmp_path / "t.csv"
    path.write_text(f"\ufeffa{delimiter}b\n1{delimiter}2\n\n", encoding="utf-8")
    columns = read_table(path).columns
    assert {name: list(values) for name, values in columns.items()} == {
        "a": ["1"],
        "b": ["2"],
    }


def test_missing_cells_are_learned_from_and_predicted(tmp_path, capsys):
    rows = list(animal_rows())
    for i in range(0, 80, 5):
        rows[i][i % 2] = "?"
    path = write_csv(tmp_path / "t.csv", ["weight", "home", "kind"], rows)
    assert run(path, "--target", "kind", "--epochs", 100) == 0
    assert value_of("Test accuracy", capsys.readouterr().out) > 90


# ------------------------------------------------------- numbers and how they look


def numbers_of(path, name="a", fallback=None, **known):
    """Return the column as it is read, after all columns of the file were seen."""
    table = read_table(path)
    reading = Reading(**known)
    return read_columns(table.columns, fallback or table.decimal, reading)[name]


def column_file(path, cells, name="a", delimiter=";"):
    """Write a table of one column beside another that says nothing."""
    rows = [f"{cell}{delimiter}{i}" for i, cell in enumerate(cells)]
    path.write_text("\n".join([f"{name}{delimiter}b", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def column_of(tmp_path):
    def read(cells, delimiter=";", **known):
        cells = [f'"{cell}"' for cell in cells]
        path = column_file(tmp_path / "t.csv", cells, delimiter=delimiter)
        return numbers_of(path, **known)

    return read


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_table_with_decimal_commas_gives_the_numbers_of_one_with_points(
    tmp_path, capsys, task
):
    rng = np.random.default_rng(0)
    X = rng.uniform(-9, 9, (200, 3)).round(2)
    y = (X @ [1, -2, 3]).round(1) if task == "regress" else (X[:, 0] > 0).astype(int)
    scores = []
    for decimal, delimiter in ((",", ";"), (".", ",")):
        rows = [["a", "b", "c", "y"], *np.column_stack([X, y.astype(object)])]
        path = tmp_path / "t.csv"
        text = "\n".join(delimiter.join(map(str, row)) for row in rows)
        text = text.replace(".", decimal)
        path.write_text(text)
        assert run(path, "--target", "y", "--epochs", 5) == 0
        scores.append(capsys.readouterr().out)
    n_columns = 4 if task == "regress" else 3
    assert f"Decimal commas in {n_columns} columns (a, b, c" in scores[0]
    assert f"Task: {task} (guessed" in scores[0]
    name = "Test R2" if task == "regress" else "Test accuracy"
    assert value_of(name, scores[0]) == value_of(name, scores[1])


@pytest.mark.parametrize(
    ("cells", "values", "marks"),
    [
        (["2,6", "-0,5", ",25", "3"], [2.6, -0.5, 0.25, 3], ["decimal commas"]),
        (["1,5e3", "2"], [1500, 2], ["decimal commas"]),
        (["1,234,567", "1,234.5"], [1234567, 1234.5], ["thousands separators"]),
        (
            ["1.234.567", "1.234,5"],
            [1234567, 1234.5],
            ["thousands separators", "decimal commas"],
        ),
        (["1 234", "1\u202f234.5", "7"], [1234, 1234.5, 7], ["thousands separators"]),
        (["1'234.5", "10"], [1234.5, 10], ["thousands separators"]),
        (["$14600.00", "-$3", "$-4"], [14600, -3, -4], ["currency signs"]),
        (["$1,234.50", "9"], [1234.5, 9], ["thousands separators", "currency signs"]),
        (["1,50 €", "2 €"], [1.5, 2], ["decimal commas", "currency signs"]),
        (["12%", "3.5 %"], [12, 3.5], ["percent signs"]),
        (["\u22125", "+3"], [-5, 3], []),
    ],
)
def test_number_formats_are_recognised(column_of, cells, values, marks):
    column = column_of(cells)
    assert column.numbers.tolist() == values
    assert list(column.marks) == marks


@pytest.mark.parametrize(
    ("cells", "known", "value"),
    [
        (["1,234", "999"], {"delimiter": ","}, 1234),
        (["1,234", "999"], {"delimiter": ";"}, 1.234),
        (["1,234", "56789"], {"delimiter": ","}, 1.234),
        (["1,234", "0,5"], {"delimiter": ","}, 1.234),
        (["1,234", "2.5"], {"delimiter": ";"}, 1234),
        (["1.234", "999"], {"delimiter": ";"}, 1.234),
        (["1.234", "1.234.567"], {"delimiter": ","}, 1234),
        (["1,234"], {"delimiter": ";", "decimal": "."}, 1234),
        (["1,234"], {"delimiter": ",", "assumed": {"a": ","}}, 1.234),
        (["1,234", "2.5"], {"delimiter": ",", "assumed": {"a": ","}}, 1234),
    ],
)
def test_decimal_sign_is_the_one_that_fits_all_cells(column_of, cells, known, value):
    assert column_of(cells, **known).numbers[0] == value


@pytest.mark.parametrize(
    ("proof", "cell", "value"), [("2,5", "1.234", 1234), ("2.5", "1,234", 1234)]
)
def test_ambiguous_column_uses_the_decimal_sign_of_others(tmp_path, proof, cell, value):
    path = tmp_path / "t.csv"
    path.write_text(f"a;b\n{cell};{proof}\n999;1\n")
    assert numbers_of(path).numbers.tolist() == [value, 999]


def test_numbers_among_texts_do_not_determine_other_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n1,234;2.5;2,5\n999;x;3\n7;y;4\n")
    assert numbers_of(path).numbers.tolist() == [1.234, 999, 7]


@pytest.mark.parametrize(
    "cells",
    [
        ["1_0", "2_0"],
        ["1,23,4", "5"],
        ["2020-01-05", "2020-01-06"],
        ["1.10.2", "1.2.3"],
        ["$1", "€2"],
        ["1 23", "4"],
        ["0x1F", "0x20"],
        ["\u0661", "\u0662"],
    ],
)
def test_cells_that_are_not_numbers_stay_text(column_of, cells):
    column = column_of(cells)
    assert column.numbers is None
    assert column.texts().tolist() == cells


SIGNS_FOR_MISSING = [
    *("NA", "N/A", "n/a", "N.A.", "#N/A", "#DIV/0!", "NaN", "-nan", "+NaN", "NaT"),
    *("None", "null", "NULL", "<NA>", ".", "-", "--", "?", "missing"),
]


@pytest.mark.parametrize("sign", ["", *SIGNS_FOR_MISSING])
@pytest.mark.parametrize("odd", ["7", "7,5", "$7"])
def test_signs_for_missing_among_numbers_are_missing(column_of, sign, odd):
    column = column_of([odd, sign, "3"])
    assert column.missing.tolist() == [False, True, False]
    assert np.isnan(column.numbers).tolist() == [False, True, False]


def test_signs_for_missing_in_a_numeric_target_leave_it_numeric(tmp_path, capsys):
    rows = [[i, i * 1.5] for i in range(60)]
    for row, sign in zip(rows, SIGNS_FOR_MISSING, strict=False):
        row[1] = sign
    path = write_csv(tmp_path / "t.csv", ["x", "y"], rows)
    assert run(path, "--target", "y", "--epochs", 1) == 0
    out = capsys.readouterr().out
    n_missing = len(SIGNS_FOR_MISSING)
    assert f"Dropped {n_missing} rows without a value of 'y'" in out
    assert "Task: regress" in out


def test_none_and_a_dash_are_texts_among_texts(column_of):
    column = column_of(["None", "-", "brick", "NA"])
    assert column.missing.tolist() == [False, False, False, True]


def test_a_dash_among_codes_is_a_category(column_of):
    column = column_of(["007", "-", "010", ""])
    assert column.texts().tolist() == ["007", "-", "010", ""]
    assert column.missing.tolist() == [False, False, False, True]


def test_unusual_missing_values_are_reported(tmp_path, capsys):
    path = write_csv(tmp_path / "t.csv", ["x", "y"], [["-", 1], *[[5, 2], [6, 1]] * 5])
    assert run(path, "--target", "y", "--epochs", 1) == 0
    assert "'-' for missing values in 1 column (x)" in capsys.readouterr().out


def mostly_numbers(path, odd="abc"):
    rows = [[i / 7, i % 5, i * 1.5] for i in range(100)]
    rows[16][0] = odd
    return write_csv(path, ["x", "z", "y"], rows)


def test_an_odd_cell_among_numbers_is_refused_with_its_line(tmp_path, capsys):
    path = mostly_numbers(tmp_path / "t.csv")
    message = error_of(capsys, path, "--target", "y")
    assert "column 'x' has numbers in 99 of 100 cells, and 'abc' in line 18" in message
    assert "--missing=abc" in message
    assert "--categorical=x" in message


def test_an_odd_cell_is_found_behind_blank_lines_and_line_breaks(tmp_path, capsys):
    rows = "".join(f'"{i}"\n\n' for i in range(40))
    path = tmp_path / "t.csv"
    path.write_text('y,"x\ncm"\n,"1"\n' + rows.replace('"\n', '",5\n') + "41,abc\n")
    message = error_of(capsys, path, "--target", "y")
    assert "'abc' in line 84" in message


def test_an_odd_cell_in_the_target_is_refused_unless_it_is_a_class(tmp_path, capsys):
    path = mostly_numbers(tmp_path / "t.csv")
    message = error_of(capsys, path, "--target", "x")
    assert "target 'x' has numbers in 99 of 100 cells, and 'abc' in line 18" in message
    assert run(path, "--target", "x", "--task", "classify", "--epochs", 1) == 0


def test_a_point_among_decimal_commas_is_refused(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("x;y\n" + "2,6;1\n1,5;0\n" * 20 + "2.65;1\n")
    message = error_of(capsys, path, "--target", "y")
    assert "decimal commas in 40 of 41 cells, and '2.65' in line 42" in message


@pytest.mark.parametrize(
    ("option", "n_numbers"), [("--missing=abc", 2), ("--categorical=x", 1)]
)
def test_choices_for_odd_cells_are_saved_in_the_model(
    tmp_path, capsys, option, n_numbers
):
    path, model = mostly_numbers(tmp_path / "t.csv"), tmp_path / "m"
    if option == "--categorical=x":
        rows = [[i % 5 if i != 16 else "abc", i % 3, i * 1.5] for i in range(100)]
        write_csv(path, ["x", "z", "y"], rows)
    arguments = ("--target", "y", "--epochs", 1, "--out", model)
    assert run(path, *arguments, option) == 0
    assert f"Columns: {n_numbers} of numbers" in capsys.readouterr().out
    assert run("predict", model, path) == 0
    assert len(predictions(capsys.readouterr().out)) == 100


def test_missing_option_of_predict_extends_the_models(animal_model, tmp_path, capsys):
    path = write_csv(tmp_path / "new.csv", ["weight", "home"], [["heavy", "outdoors"]])
    message = error_of(capsys, "predict", animal_model, path)
    assert "--missing=heavy" in message
    assert run("predict", animal_model, path, "--missing=heavy") == 0


def test_missing_option_with_a_number_matches_all_its_spellings(column_of):
    column = column_of(["-200", "-200,0", "-20", "1"], missing=["-200"])
    assert column.missing.tolist() == [True, True, False, False]


def test_options_for_columns_are_checked(animals, capsys):
    for options, message in (
        (("--categorical", "wight"), "did you mean 'weight'?"),
        (("--numeric", "kind"), "'kind' is the target"),
        (("--numeric", "home", "--categorical", "home"), "cannot be"),
        (("--numeric", "home"), "column 'home' has numbers in 0 of 80 cells"),
        (("--decimal", ";"), "argument --decimal"),
    ):
        assert message in error_of(capsys, animals, "--target", "kind", *options)


def test_predictions_read_ambiguous_cells_as_the_training_cells_were(
    tmp_path, capsys
):
    path, model = tmp_path / "t.csv", tmp_path / "m"
    path.write_text("x;y\n" + "".join(f"0,{i:03};{i % 2}\n" for i in range(60)))
    assert run(path, "--target", "y", "--epochs", 1, "--out", model) == 0
    (feature,) = joblib.load(model).features
    assert feature.decimal == ","
    read = joblib.load(model).reading()
    cells = {"x": np.array(["1,234"], dtype=object)}
    assert read_columns(cells, ".", read)["x"].numbers.tolist() == [1.234]


# ------------------------------------------------------------------ labels, codes


def saved_labels(tmp_path, cells, *options):
    """Train on the cells as labels and return the classes of the saved model."""
    rows = [[i, cell] for i, cell in enumerate(cells * 20)]
    path = write_csv(tmp_path / "t.csv", ["x", "y"], rows)
    model = tmp_path / "m"
    assert run(path, "--target", "y", "--epochs", 1, "--out", model, *options) == 0
    return joblib.load(model).pipeline[-1].classes_.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        ["00501", "02139", "07310", "90210"],
        ["001", "01", "1", "2"],
        ["100", "1E2", "2E1", "3"],
        ["0.0", "1.0"],
        ["+1", "1"],
        ["-0", "0"],
        ["1.1", "1.10", "2.0", "3.14"],
        ["1,5", "2,5"],
        ["9007199254740992", "9007199254740993", "9223372036854775808"],
    ],
)
def test_labels_that_look_like_numbers_stay_text(tmp_path, labels):
    assert saved_labels(tmp_path, labels, "--task", "classify") == labels


def test_labels_written_as_whole_numbers_are_whole_numbers(tmp_path):
    assert saved_labels(tmp_path, ["-1", "0", "10"]) == [-1, 0, 10]


@pytest.mark.parametrize(
    "labels",
    [
        ["00501", "02139"],
        ["1.1", "1.10", "2.0"],
        ["9007199254740993", "9007199254740995", "9007199254740997"],
    ],
)
def test_few_different_labels_are_guessed_to_be_classes(tmp_path, capsys, labels):
    assert len(saved_labels(tmp_path, labels)) == len(labels)
    assert "Task: classify (guessed" in capsys.readouterr().out


def test_predictions_and_probabilities_show_labels_as_written(tmp_path, capsys):
    saved_labels(tmp_path, ["00501", "02139"])
    capsys.readouterr()
    assert run("predict", tmp_path / "m", tmp_path / "t.csv", "--proba") == 0
    rows = predictions(capsys.readouterr().out)
    assert {row["prediction"] for row in rows} <= {"00501", "02139"}
    assert list(rows[0])[1:] == ["probability of 00501", "probability of 02139"]


def test_codes_with_leading_zeros_are_categories_unless_numeric(tmp_path, capsys):
    rows = [[f"{i % 7:03}", i % 2] for i in range(60)]
    path = write_csv(tmp_path / "t.csv", ["zip", "y"], rows)
    run(path, "--target", "y", "--epochs", 1)
    out = capsys.readouterr().out
    assert "Codes with leading zeros, read as text, in 1 column (zip)" in out
    assert "0 of numbers, 1 of text, 7 network inputs" in out
    run(path, "--target", "y", "--epochs", 1, "--numeric", "zip")
    assert "1 of numbers, 0 of text" in capsys.readouterr().out


def test_npz_labels_of_whole_numbers_keep_their_kind(tmp_path):
    X = np.arange(40.0).reshape(20, 2)
    large = np.array([2**53 + 1, 2**53 + 3] * 10)
    for y, expected in (
        (np.arange(20) % 2.0, [0, 1]),
        (large, large[:2].tolist()),
        (np.array(["01", "1"] * 10), ["01", "1"]),
    ):
        np.savez(tmp_path / "t.npz", X=X, y=y)
        assert run(tmp_path / "t.npz", "--epochs", 1, "--out", tmp_path / "m") == 0
        assert joblib.load(tmp_path / "m").pipeline[-1].classes_.tolist() == expected


# ------------------------------------------------------- targets of large offset


@pytest.mark.parametrize(
    ("offset", "size"), [(2460000.5, 0.1), (5.4e6, 0.3), (81234567.89, 2), (1.7e9, 20)]
)
def test_a_target_of_large_offset_is_predicted_as_one_without(
    tmp_path, capsys, offset, size
):
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = np.tanh(X @ [1, 2])
    r2 = []
    for target in (y, offset + size * y):
        path = tmp_path / "t.npz"
        np.savez(path, X=X, y=target)
        options = ("--solver", "lbfgs", "--epochs", 60, "--hidden", 8)
        assert run(path, "--task", "regress", *options) == 0
        r2.append(value_of("Test R2", capsys.readouterr().out))
    assert r2[1] == pytest.approx(r2[0], abs=2e-3)
    assert r2[1] > 0.98


# --------------------------------------------------- files: encodings, pipes, ...

SMALL = "größe,y\n1,a\n2,b\n"


def read_back(path):
    return {name: list(cells) for name, cells in read_table(path).columns.items()}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]
)
def test_encodings_are_recognised(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_text(SMALL, encoding=encoding)
    assert read_back(path) == {"größe": ["1", "2"], "y": ["a", "b"]}


def test_guessed_encoding_is_reported(tmp_path, capsys):
    path = tmp_path / "t.csv"
    rows = "".join(f"{i},{'äö'[i % 2]}\n" for i in range(40))
    path.write_text("x,y\n" + rows, encoding="cp1252")
    assert run(path, "--target", "y", "--epochs", 1, "--out", tmp_path / "m") == 0
    assert "read as Windows-1252" in capsys.readouterr().out
    assert run("predict", tmp_path / "m", path) == 0
    printed = capsys.readouterr()
    assert "read as Windows-1252" in printed.err
    assert {row["prediction"] for row in predictions(printed.out)} <= {"ä", "ö"}


def test_an_encoding_that_fails_late_is_guessed_again(tmp_path):
    path = tmp_path / "t.csv"
    text = "x,y\n" + "1,a\n" * 100_000 + "1,ä\n"
    path.write_text(text, encoding="cp1252")
    assert read_table(path).columns["y"][-1] == "ä"


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("t.csv", content)
    return file.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_compressed_tables_are_read(tmp_path, pack):
    path = tmp_path / "t.csv.packed"
    path.write_bytes(pack(SMALL.encode()))
    assert read_back(path) == {"größe": ["1", "2"], "y": ["a", "b"]}


@pytest.fixture
def pipe_of():
    """Return the name of a pipe through which some bytes come, once."""
    opened = []

    def pipe_of(content):
        reading, writing = os.pipe()
        opened.append(reading)
        os.write(writing, content)
        os.close(writing)
        return f"/dev/fd/{reading}"

    yield pipe_of
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
@pytest.mark.parametrize("kind", ["plain", "gzip", "npz"])
def test_tables_come_through_a_pipe(tmp_path, capsys, pipe_of, kind):
    content = b"a,y\n" + b"".join(b"%d,%d\n" % (i, i % 2) for i in range(40))
    if kind == "gzip":
        content = gzip.compress(content)
    if kind == "npz":
        file = io.BytesIO()
        np.savez(file, a=np.arange(40.0), y=np.arange(40) % 2)
        content = file.getvalue()
    model = tmp_path / "m"
    options = ("--target", "y", "--epochs", 1, "--out", model)
    assert run(pipe_of(content), *options) == 0
    capsys.readouterr()
    assert run("predict", model, pipe_of(content)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 40


def test_an_odd_cell_from_standard_input_has_its_line(tmp_path):
    path = mostly_numbers(tmp_path / "t.csv")
    command = [sys.executable, "-m", "mlp", "-", "--target", "y"]
    content = path.read_bytes()
    done = subprocess.run(command, input=content, check=False, capture_output=True)
    assert b"'abc' in line 18" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a, cm";"b, kg";k\n1;2;3\n', {"a, cm": "1", "b, kg": "2", "k": "3"}),
        ('"a;b",c\n"1;2",3\n', {"a;b": "1;2", "c": "3"}),
        ('"a\nb; c",d\n1,2\n', {"a\nb; c": "1", "d": "2"}),
        ("a;b;c\n1,5;2,5;3,5\n", {"a": "1,5", "b": "2,5", "c": "3,5"}),
        ("t, C;p, hPa\n1,5;2,5\n", {"t, C": "1,5", "p, hPa": "2,5"}),
        ("a|b\n1|2\n", {"a": "1", "b": "2"}),
        ("sep=;\na;b,c\n1;2\n", {"a": "1", "b,c": "2"}),
        ('1, 2, "x, y"\n3, 4, "z, u"\n', {"1": "3", "2": "4", "x, y": "z, u"}),
        ("a,b\n1,2\n\x1a", {"a": "1", "b": "2"}),
        ("a,b\n1,2\n\x1a\n", {"a": "1", "b": "2"}),
        ("a,b\n\n1,2\n   \n\n", {"a": "1", "b": "2"}),
        ("a,b\r\n1,2\r\n", {"a": "1", "b": "2"}),
        ("a\tb\n\t2\n", {"a": "", "b": "2"}),
        ("a;b;;\n1;2;;\n", {"a": "1", "b": "2", "unnamed column 3": "",
                              "unnamed column 4": ""}),
        ("a,b\n1,\n", {"a": "1", "b": ""}),
        ("a\n1\n", {"a": "1"}),
    ],
)  # fmt: skip
def test_delimiter_and_quotes_are_recognised(tmp_path, text, expected):
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    assert read_back(path) == {name: [cell] for name, cell in expected.items()}


def test_trailing_delimiters_are_columns_without_values(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;y;;\n1;2;;\n2;3;;\n")
    assert kinds(path)[1] == [
        "unnamed column 3: it has no values",
        "unnamed column 4: it has no values",
    ]


@pytest.mark.parametrize("n_cells", [2, 4])
def test_ragged_rows_are_named_by_their_line(tmp_path, capsys, n_cells):
    path = tmp_path / "t.csv"
    text = 'a,"b",y\n\n"1\n2",3,4\n5,6,\n'
    path.write_text(text + ",".join("7" * n_cells) + "\n8,9,0\n")
    message = error_of(capsys, path, "--target", "y")
    assert f"line 6 has {n_cells} cells where the header has 3" in message


def test_an_open_quotation_mark_is_named(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text('a,b,y\n1,2,3\n4,"5,6\n7,8,9\n')
    message = error_of(capsys, path, "--target", "y")
    assert "line 3 has 2 cells" in message
    assert "a quotation mark may be open" in message


def test_duplicate_names_in_long_headers_are_found_in_linear_time(tmp_path, capsys):
    class Name(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

        def strip(self):
            return self

    names = np.array([Name(f"c{j}") for j in range(5000)], dtype=object)
    assert _names(names) == list(names)
    assert Name.compared < 20 * len(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1a", "no rows"),
        (b"PAR1....", "a Parquet file; convert it to .csv"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON; convert it to .csv"),
        (b"\x28\xb5\x2f\xfd..", "compressed by zstd; convert it to .csv"),
        ("a,y\n1,2\n".encode("utf-16-le"), "UTF-16 text without a byte order mark"),
        (b"\xff\xfea", "not a table (it begins like utf-16 but is not)"),
        (b"a,y\n\xe4\x01,2\n", "not a table"),
        (b"a,y\n\xe4\x81,2\n", "text in an unknown encoding"),
        (gzip.compress(b"a,y\n1,2\n" * 99)[:-12], "a damaged compressed file"),
        (b"\x1f\x8bnonsense", "cannot read"),
        (zipped("a")[:-9], "not a table"),
        (zipped("a").replace(b"PK\x01\x02", b"PK\x01\x09"), "a damaged archive"),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert message in error_of(capsys, path, "--target", "y")


def test_a_workbook_and_an_archive_of_files_are_refused(tmp_path, capsys):
    path = tmp_path / "t.xlsx"
    for names, message in (
        (["xl/workbook.xml", "a"], "an Excel workbook; save it as .csv"),
        (["a.csv", "b.csv"], "a .zip of 2 files; unpack it first"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "a,y\n1,2\n")
        assert message in error_of(capsys, path, "--target", "y")


def test_pandas_is_needed_for_text_alone(animals, tmp_path, capsys, monkeypatch):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "pandas":
                raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    message = error_of(capsys, animals, "--target", "kind")
    assert "pip install 'fastmlp[table]'" in message
    np.savez(tmp_path / "t.npz", a=np.arange(20), c=np.array(["u", "v"] * 10))
    assert run(tmp_path / "t.npz", "--target", "c", "--epochs", 1) == 0


def test_models_of_another_version_are_refused(animals, animal_model, capsys):
    model = joblib.load(animal_model)
    del model.version
    joblib.dump(model, animal_model)
    message = error_of(capsys, "predict", animal_model, animals)
    assert "was saved by another version of the command line" in message


# ------------------------------------------------------------------------ .npz


def test_npz_with_x_and_y_needs_no_target(tmp_path, capsys):
    X = np.arange(80, dtype=np.uint8).reshape(20, 2, 2)
    path = tmp_path / "t.npz"
    np.savez(path, X=X, y=np.arange(20) % 2)
    assert run(path, "--epochs", 1) == 0
    assert "4 of numbers" in capsys.readouterr().out


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_npz_with_numbers_of_any_precision(tmp_path, capsys):
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        X = np.arange(60).reshape(20, 3).astype(dtype)
        path = tmp_path / "t.npz"
        np.savez(path, X=X, y=np.arange(20).astype(dtype) % 2)
        assert run(path, "--epochs", 1) == 0
        assert "Task: classify" in capsys.readouterr().out
        X[3, 1] = np.inf
        np.savez(path, X=X, y=X[:, 0])
        assert "column 'x1' has infinite values" in error_of(capsys, path)


def test_npz_with_its_own_test_rows_keeps_them(tmp_path, capsys):
    path = tmp_path / "t.npz"
    X, y = np.arange(30.0).reshape(15, 2), np.arange(15) % 2
    np.savez(path, x_train=X[:9], y_train=y[:9], x_test=X[9:], y_test=y[9:])
    assert run(path, "--epochs", 1, "--out", tmp_path / "m") == 0
    assert "Training on 9 rows, testing on 6" in capsys.readouterr().out
    assert run("predict", tmp_path / "m", path) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 6


def test_npz_training_rows_without_target_are_not_replaced(tmp_path, capsys):
    path = tmp_path / "t.npz"
    X, y = np.arange(30.0).reshape(15, 2), np.arange(15) % 2.0
    y[[2, 5, 11]] = np.nan
    np.savez(path, x_train=X[:9], y_train=y[:9], x_test=X[9:], y_test=y[9:])
    assert run(path, "--epochs", 1, "--out", tmp_path / "m") == 0
    assert "Training on 7 rows, testing on 5" in capsys.readouterr().out


def test_npz_with_an_array_per_column(tmp_path):
    path = tmp_path / "t.npz"
    rainy = np.array([True, False] * 3)
    np.savez(path, t=np.arange(6), rainy=rainy, city=np.array(["A", "B"] * 3))
    assert kinds(path, "t")[0] == {"rainy": "text", "city": "text"}


def test_npz_columns_take_their_feature_names(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, X=np.zeros((3, 2)), feature_names=np.array(["u", "v"]))
    assert list(read_table(path).columns) == ["u", "v"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "4 rows where X has 3"),
        ({"X": np.ones((3, 2)), "y": np.ones((3, 2))}, "only one target"),
        ({"a": np.ones(3), "b": np.ones(4)}, "differ in length"),
        ({"a": np.ones((3, 2))}, "one array per column"),
        ({"a": np.array([1, None])}, "unreadable archive"),
        ({"a": np.ones(3, complex)}, "neither numbers nor text"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "no rows"),
        ({"X": np.ones((5, 0)), "y": np.arange(5)}, "no column is left"),
        ({}, "the archive is empty"),
    ],
)
def test_unusable_archives_are_refused(tmp_path, capsys, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    assert message in error_of(capsys, tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("members", "method", "message"),
    [
        ({"a": b"no array", "y.npy": b"x"}, 0, "is not an array"),
        ({"a.npy": b"\x93NUMPY\x01\x00\x02\x00{("}, 0, "unreadable archive"),
        ({"a.npy": b""}, 0, "unreadable archive"),
        ({"a.npy": b"x" * 99}, 97, "unreadable archive"),
    ],
)
def test_archives_of_other_members_are_refused(
    tmp_path, capsys, members, method, message
):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = bytearray(file.getvalue())
    # the method of compression, in the header of the member and in the directory
    content[8] = content[content.index(b"PK\x01\x02") + 10] = method
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    assert message in error_of(capsys, path, "--target", "y")


def test_a_damaged_archive_is_refused(tmp_path, capsys):
    path = tmp_path / "t.npz"
    path.write_bytes(b"PK no zip file")
    assert "not an .npz archive" in error_of(capsys, path)


# ------------------------------------------------------------------ prediction


def predictions(text):
    return list(csv.DictReader(text.splitlines()))


def test_predictions_go_to_stdout(animals, animal_model, capsys):
    capsys.readouterr()
    assert run("predict", animal_model, animals) == 0
    rows = predictions(capsys.readouterr().out)
    assert [row["prediction"] for row in rows] == ["cat", "dog"] * 40


def test_columns_are_found_by_name(animal_model, tmp_path, capsys):
    header = ["extra", "home", "weight"]
    path = write_csv(tmp_path / "new.csv", header, [["z", "outdoors", "25"]])
    capsys.readouterr()
    assert run("predict", animal_model, path) == 0
    assert capsys.readouterr().out == "prediction\ndog\n"


def test_unseen_and_missing_values_are_predicted(animal_model, tmp_path, capsys):
    rows = [["25", "stable"], ["25", ""], ["?", "outdoors"]]
    path = write_csv(tmp_path / "new.csv", ["weight", "home"], rows)
    capsys.readouterr()
    assert run("predict", animal_model, path) == 0
    assert capsys.readouterr().out == "prediction\ndog\ndog\ndog\n"


def test_predictions_go_to_a_file(animals, animal_model, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "p.csv"
    assert run("predict", animal_model, animals, "--out", out) == 0
    assert capsys.readouterr().out == ""
    assert len(predictions(out.read_text())) == 80


def test_without_a_standard_output_a_file_is_written(animals, animal_model, tmp_path):
    out = tmp_path / "p.csv"
    script = "import sys; sys.stdout = None; import mlp.cli.main as m; sys.exit(m.main())"
    command = [sys.executable, "-c", script, "predict", animal_model, animals]
    done = subprocess.run([*command, "--out", out], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(predictions(out.read_text())) == 80


def test_proba_adds_probabilities_to_the_prediction(animals, animal_model, capsys):
    capsys.readouterr()
    assert run("predict", animal_model, animals, "--proba") == 0
    row = predictions(capsys.readouterr().out)[0]
    cat, dog = float(row["probability of cat"]), float(row["probability of dog"])
    assert cat > dog
    assert cat + dog == pytest.approx(1, abs=1e-6)  # float32 rounding


def test_numbers_are_predicted_in_the_targets_own_units(line, tmp_path, capsys):
    model = tmp_path / "m"
    arguments = ("--target", "y", "--epochs", 300, "--learning-rate", 0.01)
    assert run(line, *arguments, "--out", model) == 0
    new = write_csv(tmp_path / "new.csv", ["x"], [[0.5]])
    capsys.readouterr()
    assert run("predict", model, new) == 0
    row = predictions(capsys.readouterr().out)[0]
    assert float(row["prediction"]) == pytest.approx(101.5, abs=0.5)


def test_integer_labels_are_predicted_as_integers(tmp_path, capsys):
    path = write_csv(tmp_path / "t.csv", ["x", "y"], [[i, i % 2] for i in range(40)])
    assert run(path, "--target", "y", "--epochs", 1, "--out", tmp_path / "m") == 0
    capsys.readouterr()
    assert run("predict", tmp_path / "m", path) == 0
    labels = {row["prediction"] for row in predictions(capsys.readouterr().out)}
    assert labels <= {"0", "1"}


def test_saved_model_has_no_progress_bar(animal_model):
    model = joblib.load(animal_model)
    assert isinstance(model, TableModel)
    assert not hasattr(model.pipeline[-1], "_skl_callbacks")


def test_a_failed_save_leaves_the_old_model(animals, animal_model, monkeypatch):
    before = animal_model.read_bytes()

    def full_disk(model, file):
        file.write(b"half a model")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joblib, "dump", full_disk)
    arguments = ("--target", "kind", "--epochs", 1)
    assert run(animals, *arguments, "--out", animal_model) == 2
    assert animal_model.read_bytes() == before
    assert len(list(animal_model.parent.iterdir())) == 2


def test_reader_that_exits_early_causes_no_error(animals, animal_model):
    command = [sys.executable, "-m", "mlp", "predict", animal_model, animals]
    reading, writing = os.pipe()
    os.close(reading)
    folder = animal_model.parent
    done = subprocess.run(
        command, check=False, stdout=writing, stderr=subprocess.PIPE, cwd=folder
    )
    os.close(writing)
    assert done.stderr == b""


X_NEW = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize(
    "arrays",
    [
        {"X": X_NEW, "y": np.ones(5)},
        {"X": X_NEW, "y": np.ones((3, 2))},
        {"X": X_NEW, "y": np.array([1, None, 2])},
        {"x_train": np.ones((9, 2)), "y_train": np.ones(9), "x_test": X_NEW},
        {"x_train": np.ones((9, 7)), "y_test": np.ones(9), "X_test": X_NEW},
        {"x_train": X_NEW, "y_train": np.ones(5)},
        {"x0": X_NEW[:, 0], "x1": X_NEW[:, 1], "y": np.ones((5, 2))},
        {"X": X_NEW[:, ::-1], "feature_names": np.array(["x1", "x0"])},
    ],
)
def test_prediction_reads_only_the_input_columns(tmp_path, capsys, arrays):
    model, path = tmp_path / "m", tmp_path / "new.npz"
    np.savez(tmp_path / "t.npz", X=np.arange(40.0).reshape(20, 2), y=np.arange(20) % 2)
    assert run(tmp_path / "t.npz", "--epochs", 1, "--out", model) == 0
    np.savez(path, X=X_NEW)
    capsys.readouterr()
    assert run("predict", model, path, "--proba") == 0
    expected = capsys.readouterr().out
    np.savez(path, **arrays)
    assert run("predict", model, path, "--proba") == 0
    assert capsys.readouterr().out == expected
    assert len(expected.splitlines()) == 1 + 3


def test_an_archive_of_other_columns_is_named(tmp_path, animal_model, capsys):
    path = tmp_path / "new.npz"
    for arrays, message in (
        ({"a": np.ones(3)}, "missing columns: weight, home"),
        ({"a": np.ones((3, 2))}, "array 'a' has shape (3, 2)"),
        ({"weight": np.ones(3), "a": np.ones(7)}, "missing columns: home"),
        ({"weight": np.ones(3), "home": np.ones(7)}, "differ in length"),
    ):
        np.savez(path, **arrays)
        assert message in error_of(capsys, "predict", animal_model, path)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("a,y\n", "no rows"),
        ("a,y\n1,2\n3\n", "line 3 has 1 cells where the header has 2"),
        ("a,a,y\n1,2,3\n", "two columns are called 'a'"),
        ("a,y\n1,x\n2,x\n3,x\n", "one class only (x)"),
        ("a,y\n1,\n2,?\n", "target 'y' has no values"),
        ("a,y\n1,x\n", "one class only"),
        ("a,y\n1,x\n2,z\n", "all training rows are of one class"),
        ("a,y\n1,1.5\n", "too few rows (1)"),
        ("a,y\ninf,x\n1,z\n", "column 'a' has infinite values"),
        ("a,y\n1,1e99\n1,0.5\n", "column 'y' has infinite values or beyond"),
        ("y\nx\nz\n", "no column is left"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert message in error_of(capsys, path, "--target", "y")


def test_a_missing_file_is_named(tmp_path, capsys):
    message = error_of(capsys, tmp_path / "none.csv", "--target", "y")
    assert "no such file" in message
    assert "none.csv" in message


def test_names_too_long_for_a_file_are_refused(animals, animal_model, capsys):
    name = "a" * 300
    capsys.readouterr()
    for arguments, message in (
        ((name, "--target", "y"), "no such file"),
        (("predict", name, animals), "no such file"),
        (("predict", animal_model, animals, "--out", name), "File name too long"),
        (
            ("predict", animal_model, animals, "--out", f"{name}/b"),
            "there is no folder",
        ),
    ):
        assert message in error_of(capsys, *arguments)


def test_file_that_is_not_a_table_is_refused(tmp_path, capsys):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xd8")
    assert "not a table" in error_of(capsys, path, "--target", "y")


def test_an_unknown_target_gets_a_suggestion(animals, capsys):
    message = error_of(capsys, animals, "--target", "knd")
    assert "did you mean 'kind'?" in message
    assert "weight, home, kind" in message


def test_a_csv_needs_a_target(animals, capsys):
    assert "--target is needed" in error_of(capsys, animals)


def test_text_cannot_be_regressed_on(animals, capsys):
    message = error_of(capsys, animals, "--target", "kind", "--task", "regress")
    assert "numeric target" in message
    assert "'cat' in line 2" in message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden", "100,x"),
        ("--hidden", "10,0"),
        ("--hidden", ""),
        ("--epochs", "0"),
        ("--seed", "-1"),
        ("--test-size", "1"),
        ("--task", "cluster"),
        ("--batch-size", "1.5"),
    ],
)
def test_bad_options_are_named(animals, capsys, option, value):
    message = error_of(capsys, animals, "--target", "kind", f"{option}={value}")
    assert f"argument {option}:" in message


def test_errors_of_the_network_are_one_line(animals, capsys):
    arguments = (animals, "--target", "kind", "--activation", "warp")
    assert "warp" in error_of(capsys, *arguments)


def test_network_that_exceeds_memory_is_a_one_line_error(animals, capsys):
    arguments = (animals, "--target", "kind", "--hidden", "100000000,100000000")
    assert "not enough memory: Unable to allocate" in error_of(capsys, *arguments)


def test_an_unusable_output_is_refused_before_training(animals, tmp_path, capsys):
    arguments = (animals, "--target", "kind", "--out")
    nowhere = error_of(capsys, *arguments, tmp_path / "no" / "m")
    assert "there is no folder" in nowhere
    assert "is a folder" in error_of(capsys, *arguments, tmp_path)
    assert "overwrite an input" in error_of(capsys, *arguments, animals)


def test_an_output_beside_an_input_that_is_missing(animals, animal_model, capsys):
    capsys.readouterr()
    missing = error_of(capsys, "predict", "none", animals, "--out", animal_model)
    assert "no such file: none" in missing


def test_output_link_is_checked_by_its_target(animals, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "no" / "m")
    message = error_of(capsys, animals, "--target", "kind", "--out", link)
    assert f"there is no folder {tmp_path / 'no'}" in message


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_the_output_may_be_named_by_its_device(kind, animals, animal_model, tmp_path):
    command = [sys.executable, "-m", "mlp", "predict", animal_model, animals]
    plain = subprocess.run(command, capture_output=True, check=True).stdout
    command += ["--out", "/dev/stdout"]
    if kind == "pipe":
        assert subprocess.run(command, capture_output=True).stdout == plain
        return
    out = tmp_path / "out"
    with open(out, "wb") as file:
        file.write(b"before\n")
        file.flush()
        subprocess.run(command, stdout=file, check=True)
    assert out.read_bytes() == b"before\n" + plain


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_model_goes_through_a_pipe(animals, animal_model, tmp_path):
    fifo, copy = tmp_path / "fifo", tmp_path / "copy"
    os.mkfifo(fifo)

    def read():
        copy.write_bytes(fifo.read_bytes())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert run(animals, "--target", "kind", "--epochs", 1, "--out", fifo) == 0
    thread.join(60)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert run("predict", copy, animals) == 0


def test_missing_columns_are_named(animal_model, tmp_path, capsys):
    path = write_csv(tmp_path / "new.csv", ["weight"], [["25"]])
    message = error_of(capsys, "predict", animal_model, path)
    assert "missing columns: home" in message


def test_text_among_numbers_is_named(animal_model, tmp_path, capsys):
    rows = [["25", "indoors"], ["heavy", "indoors"]]
    path = write_csv(tmp_path / "new.csv", ["weight", "home"], rows)
    message = error_of(capsys, "predict", animal_model, path)
    assert "column 'weight' has numbers in 1 of 2 cells, and 'heavy' in line 3" in message


def test_numbers_too_large_to_predict_from_are_named(animal_model, tmp_path, capsys):
    path = write_csv(tmp_path / "new.csv", ["weight", "home"], [["1e99", "indoors"]])
    message = error_of(capsys, "predict", animal_model, path)
    assert "column 'weight' has infinite values or beyond" in message


def test_files_that_are_not_models_are_refused(animals, tmp_path, capsys):
    other = tmp_path / "other"
    joblib.dump({"a": 1}, other)
    for path in (other, animals):
        assert "is not a model" in error_of(capsys, "predict", path, animals)
    missing = error_of(capsys, "predict", tmp_path / "none", animals)
    assert "no such file" in missing


def test_probabilities_of_a_number_are_refused(line, tmp_path, capsys):
    model = tmp_path / "m"
    assert run(line, "--target", "y", "--epochs", 1, "--out", model) == 0
    capsys.readouterr()
    assert "--proba needs" in error_of(capsys, "predict", model, line, "--proba")


# ---------------------------------------------------------------- progress line


def test_terminal_shows_every_epoch(animals, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run(animals, "--target", "kind", "--epochs", 4) == 0
    shown = capsys.readouterr().err
    assert "epoch 4/4" in shown
    assert "loss" in shown
    assert shown.endswith("\n")


def test_log_file_has_no_progress_line(animals, capsys):
    assert run(animals, "--target", "kind", "--epochs", 4) == 0
    assert capsys.readouterr().err == ""
