"""Compare the sensitivity to each feature with permutation importance [S P65.9-P65.10].

    python sensitivities.py [--data FILE.npz]

The sensitivity is the mean of |d yhat/d h| per standard deviation of the feature.  The
permutation importance is the decrease of R^2 when the values of the feature are permuted.
The first measures the network's slope, the second its errors.  FILE.npz contains X (n,
n_features), y (n,) and feature_names, for example the California houses; without it
scikit-learn's diabetes set is used.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from mlp import MLPRegressor


def load(path):
    """Return features, target and the features' names."""
    if path is None:
        data = load_diabetes(scaled=False)
        return data.data, data.target, data.feature_names
    with np.load(path, allow_pickle=False) as data:
        return data["X"], data["y"], data["feature_names"].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FILE.npz")
    X, y, names = load(parser.parse_args().data)
    train, test = train_test_split(np.arange(len(y)), test_size=0.25, random_state=0)
    model = MLPRegressor(
        (64, 32),
        "tanh",
        standardize=True,
        early_stopping=True,
        max_iter=300,
        random_state=0,
    ).fit(X[train], y[train])
    slopes = model.feature_sensitivity(X[test]).mean * X[train].std(axis=0)
    shuffled = permutation_importance(
        model, X[test], y[test], n_repeats=10, random_state=0
    ).importances_mean
    print(
        f"R^2 on {len(test)} test samples: {model.score(X[test], y[test]):.3f}"
    )
    print(f"{'feature':<20}{'sensitivity':>12}{'permutation':>13}")
    for k in np.argsort(-slopes):
        print(f"{names[k]:<20}{slopes[k]:12.3f}{shuffled[k]:13.3f}")


if __name__ == "__main__":
    main()
