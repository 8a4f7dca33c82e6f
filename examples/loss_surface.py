"""Draw the loss surface of one sigmoid neuron and the paths of four optimisers [B].

    python loss_surface.py [--passes 60] [--rate 0.06] [--seed 1] [--out FILE.png]

There are four samples, (-3, -3) and (-2, -2) of class 1, (4, 4) and (2, -5) of class 0. The
neuron has no offset, and E(w) is the sum of squared errors. Four methods start from the
same three points:

    gradient descent     steps along the gradient of E, at a constant rate
    exact line search    the same directions, to the minimum along each (`solver="gd"`)
    mini-batches of 2    steps along the gradient of two samples' errors, at the same rate
    single samples       steps along the gradient of one sample's error, at the same rate

The three methods with a rate make the same number of passes over the samples and end at
about the same E: with fewer samples per step, steps are shorter, and there are more of
them. Exact line search needs no rate and takes one step. From the first two starts this
step leaves the plot, because E decreases along the whole line towards 0, which it does not
reach for any finite w. From the third start all methods end on a plateau, E = 1, where the
neuron is saturated and one sample is misclassified.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPRegressor, Network

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

X = np.array([[-3.0, -3], [-2, -2], [4, 4], [2, -5]])
Y = np.array([[1.0], [1], [0], [0]])
STARTS = [(1.15, -0.05), (0.75, 0.5), (1.65, -0.75)]
WAYS = [
    ("gradient descent", 4, "black"),
    ("exact line search", None, "tab:orange"),
    ("mini-batches of 2", 2, "tab:red"),
    ("single samples", 1, "white"),
]


def neuron(w):
    net = Network([2, 1], output_activation="logistic", fit_intercept=False)
    net.coefs[0][:, 0] = w
    return net


def error(w):
    """Return E(w); the network's loss is the mean of half the squares."""
    return 2 * len(X) * neuron(w).loss(X, Y)


def descend(start, batch_size, options):
    """Return the weights at the start and after every step, shape (n_steps + 1, 2)."""
    rng = np.random.default_rng(options.seed)
    net = neuron(start)
    w = net.coefs[0][:, 0]
    path = [w.copy()]
    for _ in range(options.passes):
        order = rng.permutation(len(X))
        for rows in order.reshape(-1, batch_size):
            _, gradient = net.gradients(X[rows], Y[rows])
            # gradient of the mean of half the squares; the last entry, of the offset,
            # is 0
            w -= options.rate * 2 * len(rows) * gradient[:2]
            path.append(w.copy())
    return np.array(path)


def search_lines(start, options):
    """Return the weights at the start and after every exact line search."""
    model = MLPRegressor(
        (),
        output_activation="logistic",
        init=lambda rng, n_in, n_out: (np.reshape(start, (2, 1)), np.zeros(1)),
        solver="gd",
        fit_intercept=False,
        alpha=0.0,
        max_iter=1,
        warm_start=True,
    )
    path = [np.array(start)]
    for _ in range(options.passes):
        path.append(model.fit(X, Y.ravel()).coefs_[0][:, 0].copy())
    return np.array(path)


def draw_surface(ax, w, E):
    ax.plot_surface(*np.meshgrid(w, w), E, cmap="viridis", rcount=80, ccount=80)
    ax.view_init(elev=42, azim=-112)
    ax.set(xlabel="$w_1$", ylabel="$w_2$", xticks=range(-2, 3), yticks=range(-2, 3))
    ax.set_box_aspect((1, 1, 0.65), zoom=1.05)


def draw_paths(ax, way, options):
    name, batch_size, colour = way
    ends, counts = [], []
    for start in STARTS:
        if batch_size is None:
            path = search_lines(start, options)
        else:
            path = descend(start, batch_size, options)
        ends.append(f"{error(path[-1]):.3f}")
        steps = np.count_nonzero(np.any(np.diff(path, axis=0) != 0, axis=1))
        counts.append(f"{steps}")
        ax.plot(*path.T, color=colour, lw=1.2, marker=".", ms=4)
        ax.plot(*path[0], "o", color="0.8", mec="k", ms=8)
        ax.plot(*path[-1], "*", color=colour, mec="0.4", ms=14)
    ax.set(xlabel="$w_1$", title=f"{name}: E = {', '.join(ends)}")
    print(f"{name:18} E {', '.join(ends)} after {', '.join(counts)} steps")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.06)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("loss_surface.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # line by line, on purpose
    w = np.linspace(-2.2, 2.2, 89)
    E = np.array([[error((a, b)) for a in w] for b in w])
    fig = plt.figure(figsize=(14, 8), layout="constrained")
    grid = fig.add_gridspec(2, 3, width_ratios=(1.3, 1, 1))
    draw_surface(fig.add_subplot(grid[:, 0], projection="3d"), w, E)
    for k, way in enumerate(WAYS):
        ax = fig.add_subplot(grid[k // 2, 1 + k % 2])
        filled = ax.contourf(w, w, E, levels=24, cmap="viridis", alpha=0.8)
        draw_paths(ax, way, options)
        ax.set(aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
        ax.set(xticks=range(-2, 3), yticks=range(-2, 3), ylabel="$w_2$")
    fig.colorbar(
        filled, ax=fig.axes[1:], label="E", shrink=0.8, pad=0.01, ticks=range(5)
    )
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
