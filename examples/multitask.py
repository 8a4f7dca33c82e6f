"""Compare training on all known labels with dropping incomplete samples.

    python multitask.py [--data FILE.npz] [--missing 0.3] [--seeds 5]

One network predicts several binary labels per sample.  A fraction of the training labels is
removed at random.  Three networks are then trained: on all labels, on the remaining labels,
and on the samples that still have every label.  FILE.npz contains X_train, Y_train, X_test,
Y_test, with one column of Y per label; without it scikit-learn generates the samples.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from mlp import MultiTaskClassifier


def load(path):
    """Return X_train, X_test, Y_train, Y_test, with labels 0 or 1."""
    if path:
        with np.load(path) as data:
            return [data[k] for k in ("X_train", "X_test", "Y_train", "Y_test")]
    X, Y = make_multilabel_classification(
        2000, n_features=40, n_classes=8, n_labels=3, length=100, random_state=0
    )
    return train_test_split(X, Y, random_state=0)


def evaluate(X, Y, X_test, Y_test, seed):
    """Return mean accuracy and mean area under the ROC curve of the tasks, in per cent."""
    model = MultiTaskClassifier(
        100, dropout=0.5, standardize=True, max_iter=100, random_state=seed
    ).fit(X, Y)
    areas = []
    for t, proba in enumerate(model.predict_proba(X_test)):
        # from labels of a single class nothing can be learned: the area is 0.5
        positive = proba[:, 1] if proba.shape[1] == 2 else np.zeros(len(X_test))
        areas.append(roc_auc_score(Y_test[:, t], positive))
    return 100 * model.score(X_test, Y_test), 100 * np.mean(areas)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help=".npz file of samples with several labels")
    parser.add_argument(
        "--missing", type=float, default=0.3, help="fraction of labels removed"
    )
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, X_test, Y, Y_test = load(options.data)
    Y = Y.astype(float)
    results = {"all labels": [], "known labels": [], "complete samples": []}
    samples = {name: [] for name in results}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        known = np.where(rng.random(Y.shape) < options.missing, np.nan, Y)
        complete = ~np.isnan(known).any(axis=1)
        for name, rows, labels in (
            ("all labels", slice(None), Y),
            ("known labels", slice(None), known),
            ("complete samples", complete, known),
        ):
            if len(X[rows]):
                scores = evaluate(X[rows], labels[rows], X_test, Y_test, seed)
                results[name].append(scores)
            samples[name].append(len(X[rows]))

    print(
        f"{len(X)} samples, {Y.shape[1]} tasks, {options.missing:.0%} of the labels "
        f"removed; {len(X_test)} test samples, {options.seeds} seeds"
    )
    print(f"{'trained on':18}{'samples':>8}{'accuracy, %':>16}{'mean AUC, %':>16}")
    for name, scores in results.items():
        print(f"{name:18}{np.mean(samples[name]):8.0f}", end="")
        if not scores:
            print("  no complete samples")
            continue
        for mean, deviation in zip(
            np.mean(scores, axis=0), np.std(scores, axis=0), strict=True
        ):
            print(f"{mean:10.2f} ± {deviation:.2f}", end="")
        print()


if __name__ == "__main__":
    main()
