"""Columns that the command line reads: numbers, texts, labels, targets."""

import joblib
import numpy as np
import pytest
from command_line import (
    animal_rows,
    error_of,
    kinds,
    mostly_numbers,
    predictions,
    run,
    value_of,
    write_csv,
)

from mlp.cli.columns import Reading, read_columns
from mlp.cli.tables import read_table

# ------------------------------------------------------------- reading columns


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


def test_predictions_read_ambiguous_cells_as_the_training_cells_were(tmp_path, capsys):
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
