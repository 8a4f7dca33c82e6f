"""Approximate a function by one hidden layer of 1 to 64 units [S 65.10].

    python universal_approximation.py [--restarts 2] [--out FILE.png]

The networks are fitted by L-BFGS to 400 exact values of a function on [-1, 1]; the best of
several random starts is used. The left panels show the fitted functions, the right one the
root mean square error, also between the samples, for three activations. With many units the
error is limited by the minimisation, not by the network.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPRegressor

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

UNITS = [("ReLU", "relu", "C2"), ("tanh", "tanh", "C0"), ("Gaussian", "gaussian", "C3")]
SIZES = (1, 2, 4, 8, 16, 32, 64)
DRAWN = (4, 8, 32)
#: factor of the values: L-BFGS stops when a step gains less than 2e-9 of loss, which is too
#: early for values around 1
SCALE = 10


def target(x):
    return np.sin(12 * x * np.abs(x)) + np.abs(x - 0.3)


def start(rng, n_in, n_out):
    """Draw weights and offsets of units with kinks at random places of the interval."""
    if n_in > 1:
        return rng.standard_normal((n_in, n_out)) / np.sqrt(n_in), np.zeros(n_out)
    W = 6 * rng.standard_normal((1, n_out))
    return W, -W[0] * rng.uniform(-1, 1, n_out)


def best_fit(activation, size, restarts):
    """Return the network with the smallest loss of several starts."""
    x = np.linspace(-1, 1, 400)[:, None]
    fits = (
        MLPRegressor(
            (size,),
            activation,
            solver="lbfgs",
            alpha=0.0,
            init=start,
            max_iter=1000,
            max_fun=2000,
            tol=1e-7,
            random_state=seed,
        ).fit(x, SCALE * target(x[:, 0]))
        for seed in range(restarts)
    )
    return min(fits, key=lambda model: model.loss_)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("universal_approximation.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)
    grid = np.linspace(-1, 1, 1999)[:, None]
    truth = target(grid[:, 0])
    fig, axes = plt.subplots(1, 4, figsize=(16, 4), layout="constrained")
    for name, activation, colour in UNITS:
        errors = []
        for size in SIZES:
            curve = best_fit(activation, size, options.restarts).predict(grid) / SCALE
            errors.append(np.sqrt(np.mean((curve - truth) ** 2)))
            if size in DRAWN:
                ax = axes[DRAWN.index(size)]
                ax.plot(grid[:, 0], curve, color=colour, lw=1.2, label=name)
        listed = (f"{n}: {e:.2g}" for n, e in zip(SIZES, errors, strict=True))
        print(f"{name:8s}", "  ".join(listed))
        axes[-1].loglog(SIZES, errors, "o-", color=colour, label=name)
    for ax, size in zip(axes, DRAWN, strict=False):
        ax.plot(grid[:, 0], truth, "k--", lw=1, label="function")
        ax.set(title=f"{size} hidden units", xlabel="x", ylim=(-1.1, 3.4))
    axes[0].legend(frameon=False, loc="upper right")
    axes[-1].set(title="root mean square error", xlabel="hidden units", xticks=SIZES)
    axes[-1].set_xticklabels(SIZES)
    axes[-1].minorticks_off()
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
