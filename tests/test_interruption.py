"""Ctrl-C amid training: noticed at once, and the model remains usable."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from sklearn.base import clone
from small_data import (
    assert_same_bits,
)

INTERRUPTED_FIT = """
    import json, pickle, signal, sys, time, warnings
    import numpy as np
    from mlp import MLPClassifier, MLPRegressor

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    rng = np.random.default_rng(0)
    X = rng.standard_normal(({n_samples}, 16), dtype=np.float32)
    y = {y}
    network = {network}
    print("ready", flush=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.fit(X, y)
    ended = time.clock_gettime(time.CLOCK_MONOTONIC)
    report = {{
        "ended": ended,
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
        "n_iter_": network.n_iter_,
        "finite": bool(np.isfinite(network.predict(X[:100])).all()),
    }}
    pickle.dump((network, X[:400], y[:400]), open(sys.argv[1], "wb"))
    print(json.dumps(report), flush=True)
"""


def interrupt(tmp_path, after, **fields):
    """Fit in a child, send SIGINT; return seconds to the end, report, and pickle."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED_FIT).format(**fields))
    command = [sys.executable, str(script), str(tmp_path / "out.pickle")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(after)
        assert child.poll() is None  # still training
        sent = time.clock_gettime(time.CLOCK_MONOTONIC)
        os.kill(child.pid, signal.SIGINT)
        report = json.loads(child.communicate(timeout=120)[0])
    with (tmp_path / "out.pickle").open("rb") as file:
        return report["ended"] - sent, report, pickle.load(file)


needs_signals = pytest.mark.skipif(os.name == "nt", reason="SIGINT of POSIX")


@needs_signals
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 200])
def test_ctrl_c_amid_an_epoch_leaves_a_usable_model(solver, batch_size, tmp_path):
    seconds, report, (network, X, y) = interrupt(
        tmp_path,
        after=0.7,
        # One epoch of some ten seconds
        n_samples=200_000 if batch_size == 1 else 1_000_000,
        y="X[:, 0]",
        network=f"MLPRegressor((768, 768), solver={solver!r}, "
        f"batch_size={batch_size}, learning_rate_init=1e-6, max_iter=1)",
    )
    assert report["warnings"] == [["UserWarning", "Training interrupted by user."]]
    assert report["n_iter_"] == 0
    assert report["finite"]
    assert seconds < 0.3  # 0.1 to notice, the rest to a busy machine
    assert network.partial_fit(X, y).n_iter_ == 1


@needs_signals
def test_ctrl_c_keeps_the_best_weights_of_early_stopping(tmp_path):
    _, report, (network, X, y) = interrupt(
        tmp_path,
        after=0.5,
        n_samples=400,
        y="(X[:, 0] * X[:, 1] > 0)",
        network="MLPClassifier(20, early_stopping=True, max_iter=10**6, "
        "n_iter_no_change=10**6, random_state=0)",
    )
    assert ["UserWarning", "Training interrupted by user."] in report["warnings"]
    replay = clone(network).set_params(max_iter=len(network.validation_scores_))
    assert_same_bits(network, replay.fit(X, y))
