"""How much of the gradient reaches the first layers of a deep network [S 65.8; B; L].

    python gradient_norms.py [--depth 20] [--seeds 5] [--out FILE.png]

Networks of 20 hidden layers on scikit-learn's digits, before any training: the root mean
square of the gradient in each layer's weights, for sigmoid, tanh and ReLU units. Left:
weights by Glorot's rule, for ReLU He's. Middle: normal weights of variance 1/n and unit
offsets [S 65.88-65.89]. Right: Glorot and He again, with batch normalisation.
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from mlp import Network
from mlp.initializers import draw

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install 'mlp[plot]'")

WIDTH = 64
UNITS = [("sigmoid", "logistic", "C3"), ("tanh", "tanh", "C0"), ("ReLU", "relu", "C2")]
FITTING = {"logistic": "glorot", "tanh": "glorot", "relu": "he"}
NORMAL = dict.fromkeys(FITTING, "normal")
PANELS = [
    ("Glorot's weights, He's for ReLU", FITTING, None),
    ("normal weights and offsets", NORMAL, None),
    ("Glorot's and He's, batch norm", FITTING, "hidden"),
]


def gradient_norms(activation, init, batch_norm, depth, X, Y, seed):
    """Root mean square of the gradient in the weights of each layer, inputs first."""
    rng = np.random.RandomState(seed)
    sizes = [X.shape[1], *[WIDTH] * depth, Y.shape[1]]
    net = Network(sizes, activation, "softmax", loss="log_loss", batch_norm=batch_norm)
    for W, b, (n_in, n_out) in zip(
        net.coefs, net.intercepts, pairwise(sizes), strict=True
    ):
        W[:], b[:] = draw(init, rng, n_in, n_out, activation)
    _, gradient = net.gradients(X, Y)
    return [np.sqrt(np.mean(G**2)) for G in net.unpack(gradient)[0]]


def draw_panel(ax, panel, X, Y, options):
    title, inits, batch_norm = panel
    layers = np.arange(1, options.depth + 2)
    for name, activation, colour in UNITS:
        norms = np.array(
            [
                gradient_norms(
                    activation, inits[activation], batch_norm, options.depth, X, Y, seed
                )
                for seed in range(options.seeds)
            ]
        )
        middle = np.exp(np.log(norms).mean(axis=0))
        ax.fill_between(
            layers, norms.min(axis=0), norms.max(axis=0), color=colour, alpha=0.2, lw=0
        )
        ax.plot(layers, middle, ".-", color=colour, label=name)
        ratio = middle[0] / middle[-1]
        print(f"{title}, {name}: first layer's gradient / last layer's {ratio:.1e}")
    ax.set(yscale="log", xlabel="layer of weights (1: from the inputs)", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y", color="0.9")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("gradient_norms.png"))
    options = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X, Y = (X - X.mean(axis=0)) / X.std(), np.eye(10)[y]
    fig, axes = plt.subplots(
        1, len(PANELS), figsize=(14, 4.2), sharey=True, layout="constrained"
    )
    for ax, panel in zip(axes, PANELS, strict=True):
        draw_panel(ax, panel, X, Y, options)
    axes[0].set_ylabel("root mean square of the gradient")
    axes[0].legend(frameon=False)
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
