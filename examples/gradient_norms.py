"""Show vanishing and exploding gradients in deep networks, and remedies [S 65.8; B; L].

    python gradient_norms.py [--depth 20] [--seeds 3] [--out FILE.png]

The first four panels show the root mean square of the gradient with respect to each layer's
weights, in untrained networks of 20 hidden layers of 64 sigmoid, tanh or ReLU units on
scikit-learn's digits. The initial weights are

    Glorot's, He's for ReLU
    normal, of variance 1/n [S 65.88-65.92], with offsets of variance 1
    normal, of variance 1, without scaling by the number n of inputs of a unit: gradients
        explode. Those of tanh units grow from layer to layer towards the inputs; those of
        ReLUs are huge in all layers because the activations grow towards the outputs
    Glorot's and He's again, with batch normalisation

The last panel shows gradient clipping [L]. ReLU networks of 5 and 10 layers with initial
weights of variance 1 are trained by stochastic gradient descent for 10 epochs. Without
clipping each depth needs a different, very small learning rate, and training diverges with
larger ones. With `clip_norm=1` training does not diverge at any rate, and 0.1 works for
both depths.
"""

import argparse
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPClassifier, Network
from mlp.network.initializers import draw

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

WIDTH = 64
EPOCHS = 10
RATES = 10.0 ** np.arange(-10, 1)
DEPTHS = [(5, "C1", 0.04), (10, "C4", -0.01)]


def unscaled(rng, n_in, n_out):
    """Draw normal weights of variance 1."""
    return rng.standard_normal((n_in, n_out)), np.zeros(n_out)


UNITS = [("sigmoid", "logistic", "C3"), ("tanh", "tanh", "C0"), ("ReLU", "relu", "C2")]
FITTING = {"logistic": "glorot", "tanh": "glorot", "relu": "he"}
NORMAL = dict.fromkeys(FITTING, "normal")
UNSCALED = dict.fromkeys(FITTING, unscaled)
PANELS = [
    ("Glorot's weights, He's for ReLU", FITTING, None),
    ("variance 1/n, offsets of variance 1", NORMAL, None),
    ("variance 1", UNSCALED, None),
    ("Glorot's and He's, batch norm", FITTING, "hidden"),
]


def gradient_norms(activation, init, batch_norm, depth, X, Y, seed):
    """Return the root mean square gradient of the weights of each layer, inputs first."""
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
    print(f"{title}:")
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
        print(f"  {name:8} first layer {middle[0]:8.1e}, last layer {middle[-1]:8.1e}")
    ax.set(yscale="log", xlabel="layer of weights (1: from the inputs)", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y", color="0.9")


def accuracy(depth, rate, clip_norm, X, y):
    """Return the training accuracy from unscaled weights, or NaN if training diverged."""
    model = MLPClassifier(
        (WIDTH,) * depth,
        init=unscaled,
        solver="sgd",
        momentum=0.0,
        learning_rate_init=rate,
        clip_norm=clip_norm,
        batch_size=50,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        random_state=0,
    )
    try:
        return model.fit(X, y).score(X, y)
    except ValueError:  # parameters that are not finite any more
        return np.nan


def draw_clipping(ax, X, y):
    for depth, colour, lowest in DEPTHS:
        for clip_norm, name, style in (
            (None, "no clipping", "--"),
            (1.0, "clip_norm=1", "-"),
        ):
            reached = np.array(
                [accuracy(depth, rate, clip_norm, X, y) for rate in RATES]
            )
            diverged = np.isnan(reached)
            label = f"{depth} layers, {name}"
            ax.plot(RATES, reached, f".{style}", color=colour, label=label)
            ax.plot(
                RATES[diverged],
                np.full(diverged.sum(), lowest),
                "x",
                color=colour,
                ms=8,
            )
            best = np.nanargmax(reached)
            print(
                f"  {label:24} best accuracy {reached[best]:6.1%} at rate "
                f"{RATES[best]:.0e}; diverged at {diverged.sum()} of {len(RATES)} rates"
            )
    ax.plot([], [], "xk", ms=8, label="diverged")
    ax.set(xscale="log", xlabel="learning rate", ylim=(-0.05, 1.05))
    ax.set(title=f"accuracy after {EPOCHS} epochs, ReLU, variance 1")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("gradient_norms.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    X, y = load_digits(return_X_y=True)
    X, Y = (X - X.mean(axis=0)) / X.std(), np.eye(10)[y]
    fig = plt.figure(figsize=(14, 8), layout="constrained")
    grid = fig.add_gridspec(2, 3)
    axes = None
    for place, panel in zip(
        (grid[0, 0], grid[0, 1], grid[0, 2], grid[1, 0]), PANELS, strict=True
    ):
        axes = fig.add_subplot(place, sharey=axes)
        draw_panel(axes, panel, X, Y, options)
        axes.set_ylabel("root mean square of the gradient")
    fig.axes[0].legend(frameon=False)
    print(f"training from variance 1, {EPOCHS} epochs:")
    draw_clipping(fig.add_subplot(grid[1, 1:]), X.astype(np.float32), y)
    fig.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
