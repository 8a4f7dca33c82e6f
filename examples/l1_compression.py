"""Compress a network by an L1 penalty that makes weights exactly 0 [O].

    python l1_compression.py [--data FILE.npz] [--l1 0 0.0003 0.001] [--epochs 150]

The proximal steps of the penalty set weights to exactly 0; the larger the penalty, the more
of them.  A network with `connectivity` has only the other weights, and makes the same
predictions with a fraction of the parameters.  FILE.npz contains MNIST as x_train, y_train,
x_test, y_test; without it scikit-learn's digits are used.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mlp import MLPClassifier, Network


def load(path):
    """Return training and test pixels from 0 to 1, and their labels."""
    if path is None:
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype(np.float32)
        return train_test_split(X, y, test_size=0.5, random_state=0)
    with np.load(path, allow_pickle=False) as data:
        X_train, X_test = (
            (data[name] / 255).reshape(len(data[name]), -1).astype(np.float32)
            for name in ("x_train", "x_test")
        )
        return X_train, X_test, data["y_train"], data["y_test"]


def compressed(network):
    """Return the same network without the weights that are 0."""
    small = Network(
        network.layer_sizes,
        network.spec.activations,
        network.spec.output_activation,
        loss="log_loss",
        connectivity=[W != 0 for W in network.coefs],
        dtype=network.dtype,
    )
    for mine, W in zip(small.coefs, network.coefs, strict=True):
        # the connections that exist, in the order of their rows
        mine.data[:] = W[W != 0]
    for mine, b in zip(small.intercepts, network.intercepts, strict=True):
        mine[:] = b
    small.refold()
    return small


def error(network, X, y):
    return 100 * np.mean(network.forward(X).argmax(axis=1) != y)


def milliseconds(network, X):
    """Return the time to predict all rows, the shortest of several."""
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        network.forward(X)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FILE.npz")
    parser.add_argument("--l1", type=float, nargs="+", default=[0.0, 0.0003, 0.001])
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()
    X_train, X_test, y_train, y_test = load(options.data)
    print(
        f"{'l1':>7}{'zeros per layer':>24}{'parameters':>12}{'error':>9}{'time':>10}"
        f"{'  without zeros:':<16}{'parameters':>11}{'error':>9}{'time':>10}"
    )
    for l1 in options.l1:
        model = MLPClassifier(
            (300, 100),
            l1=l1,
            l1_method="proximal" if l1 else "subgradient",
            alpha=0.0,
            learning_rate="cosine",
            learning_rate_init=0.003,
            max_iter=options.epochs,
            n_iter_no_change=options.epochs,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network = model.fit(X_train, y_train).network_
        small = compressed(network)
        zeros = (f"{100 * (W == 0).mean():6.1f} %" for W in network.coefs)
        whole, left = (
            f"{n.params.size:>{width},}{error(n, X_test, y_test):7.2f} %"
            f"{milliseconds(n, X_test):7.2f} ms"
            for n, width in ((network, 12), (small, 27))
        )
        print(f"{l1:>7g}{' '.join(zeros):>24}{whole}{left}")
        np.testing.assert_allclose(
            small.forward(X_test), network.forward(X_test), rtol=1e-4, atol=1e-6
        )
    print("Both networks of a row make the same predictions, up to rounding.")


if __name__ == "__main__":
    main()
