"""Show that hidden units whose weights start at zero stay identical [G].

    python zero_initialisation.py [--epochs 100] [--seed 0] [--out FILE.png]

A sigmoid network is trained on scikit-learn's digits from zeros and from random weights.
Each panel shows the weights from the 8x8 pixels to one hidden unit after training. From
zeros all units get the same gradient in every step, so they stay identical.
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

HIDDEN = 8
STARTS = [("zeros", "from zeros", "C3"), ("sklearn", "from random weights", "C0")]


def train(init, X, y, options):
    return MLPClassifier(
        (HIDDEN,),
        "logistic",
        init=init,
        learning_rate_init=0.01,
        batch_size=32,
        max_iter=options.epochs,
        n_iter_no_change=options.epochs,
        random_state=options.seed,
    ).fit(X, y)


def draw_units(panel, model, title):
    W = model.coefs_[0]
    axes = panel.subplots(1, HIDDEN)
    limit = np.abs(W).max()
    for j, ax in enumerate(axes):
        ax.imshow(W[:, j].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[], xlabel=f"unit {j + 1}")
    panel.suptitle(title)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("zero_initialisation.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load_digits(return_X_y=True)
    X = X / 16 - 0.5
    fig = plt.figure(figsize=(13, 3.5), layout="constrained")
    units, curves = fig.subfigures(1, 2, width_ratios=(2.3, 1))
    rows = units.subfigures(len(STARTS), 1)
    ax = curves.subplots()
    for row, (init, name, colour) in zip(rows, STARTS, strict=True):
        model = train(init, X, y, options)
        W = model.coefs_[0]
        apart = np.ptp(W, axis=1).max()
        accuracy = 100 * model.score(X, y)
        print(f"{name}: training accuracy {accuracy:.1f} %, units apart by {apart:.2g}")
        draw_units(row, model, f"{name}: units differ by at most {apart:.2g}")
        ax.plot(
            model.loss_curve_, color=colour, label=f"{name}: {accuracy:.1f} % correct"
        )
    ax.axhline(np.log(10), color="0.6", ls=":", label="guessing, ln 10")
    ax.set(xlabel="epoch", title="training loss", ylim=(0, None))
    ax.legend(frameon=False)
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
