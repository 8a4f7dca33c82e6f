"""Reuse layers learned from some classes for other classes [S ex. 65.11].

    python transfer_letters.py [--data FILE.npz] [--labels 10] [--seeds 5]

A network learns the first half of the classes from all their samples. The second half is
then learned from 10 labelled samples per class, in five ways:

    new last layer    on the layers learned before, which are frozen
    then all layers   the same, followed by fine-tuning all layers
    two new layers    instead of the last, on the same frozen layers
    on random layers  a new last layer on frozen random layers, without transfer
    from scratch      without transfer, for as many epochs as the first two together

Each network is tested on all other samples of the second half. The script prints the
accuracies of 5 runs and how many of them are better than the network from scratch.

Without FILE.npz the samples are scikit-learn's digits, each at a random place in an image
of 12 x 12 pixels; 0 to 4 are the first half, with each image at 8 places. From these the
network learns to recognise a stroke anywhere in the image, which it cannot learn from 10
images of each other digit: all three ways of transfer gain more than ten percentage points.
FILE.npz contains letters: features (n, n_features) and labels (n,) as X_train, y_train,
X_test and y_test; with them transfer gains less.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from mlp import MLPClassifier

HIDDEN = (256, 128)
BASE_EPOCHS = 10
EPOCHS = 60
#: of digits: pixels by which an image can be shifted, places per image of the first
#: half
ROOM, COPIES = 4, 8


def at_random_places(images, rng):
    """Return each image at a random place in a larger one, as rows of float32."""
    n, height, width = images.shape
    larger = np.zeros((n, height + ROOM, width + ROOM), np.float32)
    for image, onto, (i, j) in zip(
        images, larger, rng.integers(0, ROOM + 1, (n, 2)), strict=True
    ):
        onto[i : i + height, j : j + width] = image
    return larger.reshape(n, -1)


def load(path):
    """Return float32 features and labels from 0 on."""
    if path is None:
        images, y = load_digits(return_X_y=True)
        often = np.repeat(np.arange(len(y)), np.where(y < 5, COPIES, 1))
        images = images[often].reshape(-1, 8, 8)
        return at_random_places(images, np.random.default_rng(0)), y[often]
    with np.load(path, allow_pickle=False) as data:
        X = np.concatenate([data["X_train"], data["X_test"]])
        y = np.concatenate([data["y_train"], data["y_test"]])
    return X.astype(np.float32), y


def fit(samples, seed, epochs, rate=0.01, hidden=HIDDEN, **options):
    """Fit a network from random weights, except for layers from `base`."""
    model = MLPClassifier(
        hidden,
        learning_rate="cosine",
        learning_rate_init=rate,
        dropout=0.2,
        max_iter=epochs,
        n_iter_no_change=np.inf,
        random_state=seed,
        **{"batch_size": 32, **options},
    )
    return model.fit(*samples)


def accuracies(X, y, n_labels, seed):
    """Return the accuracy of each way on the unlabelled samples of the second half."""
    n_first = len(np.unique(y)) // 2
    first, second = np.flatnonzero(y < n_first), np.flatnonzero(y >= n_first)
    few, rest = train_test_split(
        second,
        train_size=n_labels * len(np.unique(y[second])),
        stratify=y[second],
        random_state=seed,
    )
    X = StandardScaler().fit(X[np.concatenate([first, few])]).transform(X)
    labelled, test = (X[few], y[few]), (X[rest], y[rest])
    base = fit((X[first], y[first]), seed, BASE_EPOCHS, rate=0.003, batch_size=64)
    frozen = {"base": base, "freeze": len(HIDDEN)}

    result = {}
    model = fit(labelled, seed, EPOCHS, **frozen)
    result["new last layer"] = model.score(*test)
    model.set_params(freeze=0, warm_start=True, learning_rate_init=0.003)
    result["then all layers"] = model.fit(*labelled).score(*test)
    deeper = fit(labelled, seed, EPOCHS, hidden=(*HIDDEN, 64), **frozen)
    result["two new layers"] = deeper.score(*test)
    random = fit(labelled, seed, EPOCHS, freeze=len(HIDDEN))
    result["on random layers"] = random.score(*test)
    result["from scratch"] = fit(labelled, seed, 2 * EPOCHS).score(*test)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file of letters")
    parser.add_argument("--labels", type=int, default=10, help="labels per new class")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load(options.data)
    runs = [accuracies(X, y, options.labels, seed) for seed in range(options.seeds)]
    scratch = np.array([run["from scratch"] for run in runs])
    print(
        f"{options.labels} labels per new class; "
        f"mean and standard deviation of {len(runs)} runs"
    )
    print(f"{'':17}{'accuracy':>15} {'beyond scratch':>17} {'runs better':>12}")
    for way in runs[0]:
        accuracy = np.array([run[way] for run in runs])
        gain = accuracy - scratch
        row = f"{way:17}{accuracy.mean():7.2%} ± {accuracy.std():5.2%}"
        if way != "from scratch":
            row += f" {gain.mean():+9.2%} ± {gain.std():5.2%} {np.sum(gain > 0):12}"
        print(row)


if __name__ == "__main__":
    main()
