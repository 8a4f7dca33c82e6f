"""The command line: demonstration, training, prediction, progress."""

import os
import re
import signal
import subprocess
import sys

import joblib
import numpy as np
import pytest
from command_line import (
    animal_rows,
    error_of,
    predictions,
    run,
    value_of,
    write_csv,
)

from mlp.cli import main as cli
from mlp.cli.model import TableModel
from mlp.progress import ProgressLine

# --------------------------------------------------------------- demonstration


def test_demonstration_trains_and_times_the_digits(tmp_path):
    command = [sys.executable, "-m", "mlp", "--epochs", "30"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert value_of("Test accuracy", done.stdout) > 90
    assert "30 epochs" in done.stdout
    for part in (
        "Training time",
        "scikit-learn's time",
        "Speed-up",
        "Confusion matrix",
    ):
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


# ------------------------------------------------------------------ prediction


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
    script = (
        "import sys; sys.stdout = None; import mlp.cli.main as m; sys.exit(m.main())"
    )
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
