"""Compare sparse layers of local connections with dense layers [S ex. 65.6].

    python connectivity.py [--data FILE.npz] [--seeds 3]

Each unit of the first hidden layer is connected to one square patch of the image.  It is
compared with the same number of random connections, with a dense layer of as many units,
and with a dense layer of as many weights.  FILE.npz contains MNIST as x_train, y_train,
x_test, y_test, of which 10,000 images are used for training; without it scikit-learn's
digits are used.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mlp import MLPClassifier

UNITS_A_PATCH = 8


def load(path):
    """Return training and test images (n, side, side) from 0 to 1, and their labels."""
    if path is None:
        images, y = load_digits(return_X_y=True)
        images = images.reshape(-1, 8, 8) / 16
        return train_test_split(images, y, test_size=0.5, random_state=0)
    with np.load(path, allow_pickle=False) as data:
        return (
            data["x_train"][:10_000] / 255,
            data["x_test"] / 255,
            data["y_train"][:10_000],
            data["y_test"],
        )


def patches(side, width):
    """Return the pixels of every square patch that begins on an even row and column."""
    pixels = np.arange(side * side).reshape(side, side)
    corners = range(0, side - width + 1, 2)
    return [
        pixels[i : i + width, j : j + width].ravel() for i in corners for j in corners
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FILE.npz")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    X_train, X_test, y_train, y_test = load(options.data)
    side = X_train.shape[1]
    X_train, X_test = (
        X.reshape(len(X), -1).astype(np.float32) for X in (X_train, X_test)
    )
    near = [
        p for p in patches(side, 4 if side < 20 else 7) for _ in range(UNITS_A_PATCH)
    ]
    rng = np.random.default_rng(0)
    anywhere = [rng.choice(side * side, len(p), replace=False) for p in near]
    units, n_edges = len(near), sum(map(len, near))
    few = max(1, n_edges // (side * side))
    print(f"{'first layer':<26}{'weights':>9}{'error':>9}{'ms per epoch':>13}")
    for name, width, connectivity in (
        ("patches", units, [near, None]),
        ("as many, anywhere", units, [anywhere, None]),
        ("all, as many units", units, None),
        ("all, as many weights", few, None),
    ):
        errors, seconds = [], []
        for seed in range(options.seeds):
            model = MLPClassifier(
                (width,), connectivity=connectivity, max_iter=30, random_state=seed
            )
            begun = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X_train, y_train)
            seconds.append((time.perf_counter() - begun) / model.n_iter_)
            errors.append(1 - model.score(X_test, y_test))
        weights = model.network_.spec.weight_counts[0]
        print(
            f"{name:<26}{weights:9,}{100 * np.mean(errors):7.2f} %"
            f"{1e3 * min(seconds):11.2f}"
        )


if __name__ == "__main__":
    main()
