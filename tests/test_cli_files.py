"""Files of the command line: text tables, pipes, .npz, models."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import zipfile

import joblib
import numpy as np
import pytest
from command_line import (
    error_of,
    kinds,
    mostly_numbers,
    predictions,
    run,
)

from mlp.cli.tables import read_table
from mlp.cli.text_tables import _names

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
