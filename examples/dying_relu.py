"""Count the ReLU units that die at large learning rates [S 65.1].

    python dying_relu.py [--epochs 30] [--seeds 3] [--out FILE.png]

A network of three hidden layers is trained on scikit-learn's digits by Adam, with learning
rates from 0.001 to 0.1. A hidden unit is dead if its activation has the derivative 0 for
every training sample, so that no gradient reaches its weights. Leaky ReLUs do not die. The
left panel shows the share of dead ReLUs in each layer, the right one the training accuracy
of ReLUs and leaky ReLUs. The script prints the means over the seeds, and the table of
layers of one network with the largest rate.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPClassifier

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

HIDDEN = (50, 50, 50)
RATES = [0.001, 0.003, 0.01, 0.03, 0.1]
UNITS = [("relu", "ReLU", "C2"), ("leaky_relu", "leaky ReLU", "C1")]


def train(activation, rate, X, y, epochs, seed):
    return MLPClassifier(
        HIDDEN,
        activation,
        learning_rate_init=rate,
        max_iter=epochs,
        n_iter_no_change=np.inf,
        random_state=seed,
    ).fit(X, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("dying_relu.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load_digits(return_X_y=True)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    print(f"{'':12}{'rate':>6}{'dead in layers 1, 2, 3':>26}{'accuracy':>10}")
    tables = []
    for activation, name, colour in UNITS:
        shares, accuracies = [], []
        for rate in RATES:
            models = [
                train(activation, rate, X, y, options.epochs, seed)
                for seed in range(options.seeds)
            ]
            dead = [[u.mean() for u in model.dead_units(X)] for model in models]
            shares.append(np.mean(dead, axis=0))
            accuracies.append(np.mean([model.score(X, y) for model in models]))
            cells = ", ".join(f"{share:.0%}" for share in shares[-1])
            print(f"{name:12}{rate:6g}{cells:>26}{accuracies[-1]:10.1%}")
        tables.append(models[0].summary(X))
        right.plot(RATES, accuracies, "o-", color=colour, label=name)
        if activation == "relu":
            for layer, of_layer in enumerate(np.transpose(shares), start=1):
                left.plot(RATES, of_layer, "o-", label=f"hidden layer {layer}")
    print(f"\nReLU, learning rate {RATES[-1]}, seed 0:\n{tables[0]}")
    for ax, title in ((left, "dead ReLUs"), (right, "training accuracy")):
        ax.set(xscale="log", xlabel="learning rate", title=title, ylim=(-0.03, 1.03))
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(frameon=False)
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
