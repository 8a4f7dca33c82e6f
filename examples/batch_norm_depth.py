"""Train a deep sigmoid network with and without batch normalisation [S 65.9].

    python batch_norm_depth.py [--epochs 60] [--seeds 2] [--out FILE.png]

A network with ten hidden layers of sigmoid units is trained on scikit-learn's digits in
mini-batches of 50, with and without batch normalisation of the hidden layers; everything
else is equal. The initial weights follow the Glorot rule for sigmoids, four times the usual
one, which works better here. The left panel shows plain stochastic gradient steps, the
right one Adam.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mlp import MLPClassifier

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

SOLVERS = [
    ("stochastic gradient, rate 0.1", {"solver": "sgd", "momentum": 0.0}, 0.1),
    ("Adam, rate 0.001", {"solver": "adam"}, 0.001),
]
NORMS = [(None, "without", "C3"), ("hidden", "with batch norm", "C0")]


def curves(solver, rate, batch_norm, data, options):
    """Return loss curves (n_seeds, n_epochs) and the mean test error in per cent."""
    X, X_test, y, y_test = data
    losses, errors = [], []
    for seed in range(options.seeds):
        model = MLPClassifier(
            (50,) * 10,
            "logistic",
            init="glorot_sigmoid",
            **solver,
            learning_rate_init=rate,
            batch_size=50,
            batch_norm=batch_norm,
            max_iter=options.epochs,
            n_iter_no_change=options.epochs,
            random_state=seed,
        ).fit(X, y)
        losses.append(model.loss_curve_)
        errors.append(100 * (1 - model.score(X_test, y_test)))
    return np.array(losses), np.mean(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("batch_norm_depth.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load_digits(return_X_y=True)
    data = train_test_split(X / 16 - 0.5, y, stratify=y, random_state=0)
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for ax, (title, solver, rate) in zip(axes, SOLVERS, strict=True):
        for batch_norm, name, colour in NORMS:
            losses, error = curves(solver, rate, batch_norm, data, options)
            print(f"{title}, {name}: test error {error:.1f} %")
            lines = ax.plot(np.arange(1, options.epochs + 1), losses.T, color=colour)
            lines[0].set_label(f"{name}: {error:.1f} % test error")
        ax.axhline(np.log(10), color="0.6", ls=":", label="guessing, ln 10")
        ax.set(xlabel="epoch", title=title, ylim=(0, 3.5))
        ax.legend(frameon=False)
    axes[0].set_ylabel("training loss")
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
