"""Input that the command line refuses, in one line."""

import os
import stat
import subprocess
import sys
import threading

import joblib
import pytest
from command_line import (
    error_of,
    run,
    write_csv,
)

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
    assert (
        "column 'weight' has numbers in 1 of 2 cells, and 'heavy' in line 3" in message
    )


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
