"""Initialise deep sigmoid networks with autoencoders, layer by layer [S 65.8].

    python greedy_pretraining.py [--epochs 40] [--coder-epochs 30] [--seeds 3]

Networks of 2, 4 and 8 hidden layers of 50 sigmoid units learn scikit-learn's digits by
stochastic gradient descent with momentum. The initial values are

    Glorot's weights    with which the gradient vanishes as the network gets deeper
    autoencoders        the first trained on the images, each other one on the codes of the
                        one before; their encoders are the hidden layers
    4 x Glorot's        the rule for sigmoid units [S 65.93c]
    batch norm          Glorot's weights, with normalised hidden layers

The script prints the mean and the minimum of the test accuracy over the seeds. Networks of
4 and 8 layers learn from the autoencoders' weights, but little or nothing from Glorot's.
The two simpler remedies, which need no pretraining, are better than the autoencoders.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mlp import MLPAutoencoder, MLPClassifier, Network

WIDTH = 50
DEPTHS = [2, 4, 8]


def stacked_encoders(X, depth, epochs, seed):
    """Return a network whose hidden layers are the encoders of stacked autoencoders."""
    net = Network([X.shape[1], *[WIDTH] * depth, 1], "logistic")
    codes = X
    for W, b in zip(net.coefs[:-1], net.intercepts[:-1], strict=True):
        coder = MLPAutoencoder(
            WIDTH,
            "logistic",
            learning_rate_init=0.003,
            max_iter=epochs,
            n_iter_no_change=epochs,
            random_state=seed,
        ).fit(codes)
        W[:], b[:] = coder.coefs_[0], coder.intercepts_[0]
        codes = coder.transform(codes)
    return net


def accuracies(depth, data, options, seed):
    """Return the test accuracy from each kind of initial values."""
    X, X_test, y, y_test = data
    encoders = stacked_encoders(X, depth, options.coder_epochs, seed)
    starts = {
        "Glorot's": {"init": "glorot"},
        "autoencoders": {"init": "glorot", "base": encoders},
        "4 x Glorot's": {"init": "glorot_sigmoid"},
        "batch norm": {"init": "glorot", "batch_norm": "hidden"},
    }
    result = {}
    for name, start in starts.items():
        model = MLPClassifier(
            (WIDTH,) * depth,
            "logistic",
            solver="sgd",
            learning_rate_init=0.1,
            batch_size=50,
            max_iter=options.epochs,
            n_iter_no_change=options.epochs,
            random_state=seed,
            **start,
        )
        result[name] = model.fit(X, y).score(X_test, y_test)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40, help="epochs per classifier")
    parser.add_argument("--coder-epochs", type=int, default=30, help="per coder")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    data = train_test_split(X, y, stratify=y, random_state=0)
    print("test accuracy, mean (minimum)")
    for depth in DEPTHS:
        runs = [accuracies(depth, data, options, seed) for seed in range(options.seeds)]
        if depth == DEPTHS[0]:
            print("hidden layers" + "".join(f"{name:>17}" for name in runs[0]))
        row = f"{depth:13}"
        for name in runs[0]:
            values = [run[name] for run in runs]
            row += f"{np.mean(values):9.1%} ({min(values):5.1%})"
        print(row)


if __name__ == "__main__":
    main()
