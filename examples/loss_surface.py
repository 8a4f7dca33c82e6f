"""The loss of one sigmoid neuron over its two weights, and three ways down [B].

    python loss_surface.py [--passes 60] [--rate 0.06] [--seed 1] [--out FILE.png]

Four samples, (-3, -3) and (-2, -2) of class 1, (4, 4) and (2, -5) of class 0; no offset;
E(w) is the sum of squared errors. From the same starts go gradient descent on all samples,
mini-batches of two and single samples, with the same rate and number of passes. The
terraces, where the neuron is saturated, stop all of them: E = 1 with one sample wrong.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from mlp import Network

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install 'mlp[plot]'")

X = np.array([[-3.0, -3], [-2, -2], [4, 4], [2, -5]])
Y = np.array([[1.0], [1], [0], [0]])
STARTS = [(1.15, -0.05), (0.75, 0.5), (1.65, -0.75)]
WAYS = [
    ("gradient descent", 4, "black"),
    ("mini-batches of 2", 2, "tab:red"),
    ("single samples", 1, "white"),
]


def neuron(w):
    net = Network([2, 1], output_activation="logistic")
    net.coefs[0][:, 0] = w
    return net


def error(w):
    """E(w); the network's loss is the mean of half the squares."""
    return 2 * len(X) * neuron(w).loss(X, Y)


def descend(start, batch_size, options):
    """The weights at the start and after every step, shape (n_steps + 1, 2)."""
    rng = np.random.default_rng(options.seed)
    net = neuron(start)
    w = net.coefs[0][:, 0]
    path = [w.copy()]
    for _ in range(options.passes):
        order = rng.permutation(len(X))
        for rows in order.reshape(-1, batch_size):
            _, gradient = net.gradients(X[rows], Y[rows])
            w -= options.rate * 2 * len(X) * gradient[:2]  # the last is the offset's
            path.append(w.copy())
    return np.array(path)


def draw_surface(ax, w, E):
    ax.plot_surface(*np.meshgrid(w, w), E, cmap="viridis", rcount=80, ccount=80)
    ax.view_init(elev=42, azim=-112)
    ax.set(xlabel="$w_1$", ylabel="$w_2$", xticks=range(-2, 3), yticks=range(-2, 3))
    ax.set_box_aspect((1, 1, 0.65), zoom=1.05)


def draw_paths(ax, way, options):
    name, batch_size, colour = way
    ends = []
    for start in STARTS:
        path = descend(start, batch_size, options)
        ends.append(f"{error(path[-1]):.3f}")
        ax.plot(*path.T, color=colour, lw=1.2, marker=".", ms=4)
        ax.plot(*path[0], "o", color="0.8", mec="k", ms=8)
        ax.plot(*path[-1], "*", color=colour, mec="0.4", ms=14)
    ax.set(xlabel="$w_1$", title=f"{name}: E = {', '.join(ends)}")
    print(f"{name}: E at the ends {', '.join(ends)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.06)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("loss_surface.png"))
    options = parser.parse_args()

    w = np.linspace(-2.2, 2.2, 121)
    E = np.array([[error((a, b)) for a in w] for b in w])
    fig = plt.figure(figsize=(17, 4.6), layout="constrained")
    grid = fig.add_gridspec(1, 4, width_ratios=(1.15, 1, 1, 1))
    draw_surface(fig.add_subplot(grid[0], projection="3d"), w, E)
    for k, way in enumerate(WAYS):
        ax = fig.add_subplot(grid[k + 1])
        filled = ax.contourf(w, w, E, levels=24, cmap="viridis", alpha=0.8)
        ax.set(aspect="equal", xticks=range(-2, 3), yticks=range(-2, 3))
        draw_paths(ax, way, options)
    fig.axes[1].set_ylabel("$w_2$")
    fig.colorbar(
        filled, ax=fig.axes[1:], label="E", shrink=0.8, pad=0.01, ticks=range(5)
    )
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
