"""Transfer: what a network learned of some classes helps with others [S ex. 65.11].

    python transfer_letters.py [--data FILE.npz] [--labels 20] [--seeds 10]

A network learns the first half of the classes from all their samples.  The second half is
then to be learned from 20 labelled samples a class, by the same network:

    new last layer    on the layers learned before, which stand still
    then all layers   and then fine-tuned as a whole
    two new layers    instead of the last, on the same layers standing still
    on random layers  a new last layer on random ones: what of it is not transfer
    from scratch      without transfer, for as many epochs as the first two together

and is tested on all other samples of the second half.  FILE.npz holds letters: features
(n, n_features) and labels (n,) as X_train, y_train, X_test and y_test.  Without it
scikit-learn's digits are used, 0 to 4 for the first half.  They show where it fails: a
thousand images of five classes that are easily told apart teach the layers to drop what
the others need, and standing still they do worse than random ones.
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
BASE_EPOCHS = 20
EPOCHS = 100


def load(path):
    """Features, float32, and labels from 0 on."""
    if path is None:
        X, y = load_digits(return_X_y=True)
    else:
        with np.load(path, allow_pickle=False) as data:
            X = np.concatenate([data["X_train"], data["X_test"]])
            y = np.concatenate([data["y_train"], data["y_test"]])
    return X.astype(np.float32), y


def fit(samples, seed, epochs, rate=0.01, hidden=HIDDEN, **transfer):
    """A network, all its layers but for `transfer` from random weights."""
    model = MLPClassifier(
        hidden,
        learning_rate="cosine",
        learning_rate_init=rate,
        batch_size=32,
        dropout=0.2,
        max_iter=epochs,
        n_iter_no_change=np.inf,
        random_state=seed,
        **transfer,
    )
    return model.fit(*samples)


def accuracies(X, y, n_labels, seed):
    """Accuracy of each way on samples of the second half without labels."""
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
    base = fit((X[first], y[first]), seed, BASE_EPOCHS, rate=0.003)
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
    parser.add_argument("--labels", type=int, default=20, help="of each new class")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load(options.data)
    runs = [accuracies(X, y, options.labels, seed) for seed in range(options.seeds)]
    scratch = np.array([run["from scratch"] for run in runs])
    print(
        f"{options.labels} labels a new class, mean and deviation of {len(runs)} runs"
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
