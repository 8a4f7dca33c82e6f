"""Networks of growing width become the Gaussian process of the arcsine kernel.

    python arcsine_gp.py [--width 10000] [--seed 0] [--out FILE.png]

Left: outputs of random erf networks. Middle: samples of the Gaussian process with
their covariance. Right: this process and one with an RBF kernel, conditioned on noisy
data; away from the data the arcsine kernel levels off, the RBF kernel forgets.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import erf
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from mlp import ArcsineKernel

WEIGHT_VARIANCE, BIAS_VARIANCE = 4.0, 4.0


def random_network(grid, width, rng):
    """Return the outputs of one random network with one hidden layer of erf units."""
    W = rng.normal(size=width) * np.sqrt(WEIGHT_VARIANCE)
    theta = rng.normal(size=width) * np.sqrt(BIAS_VARIANCE)
    w = rng.normal(size=width) / np.sqrt(width)
    return erf(np.outer(grid, W) - theta) @ w


def conditioned(kernel, X, y):
    """Return a Gaussian process with hyperparameters of largest likelihood."""
    model = GaussianProcessRegressor(
        kernel + WhiteKernel(0.01), n_restarts_optimizer=3, random_state=0
    )
    return model.fit(X, y)


def draw_prior(axes, grid, width, rng):
    networks = np.array([random_network(grid, width, rng) for _ in range(200)])
    kernel = ArcsineKernel(WEIGHT_VARIANCE, BIAS_VARIANCE, output_bias_variance=0.0)
    X = grid[:, None]
    deviation = np.sqrt(kernel.diag(X))
    prior = GaussianProcessRegressor(kernel, optimizer=None)
    samples = prior.sample_y(X, 8, random_state=1).T
    for ax, curves, title in (
        (axes[0], networks[:8], f"8 random networks of width {width}"),
        (axes[1], samples, "8 samples of the arcsine Gaussian process"),
    ):
        ax.plot(grid, curves.T, lw=1)
        ax.fill_between(grid, -2 * deviation, 2 * deviation, color="0.9", zorder=0)
        ax.set_title(title)
        ax.set_ylim(-3, 3)
    axes[0].plot(grid, 2 * networks.std(axis=0), "k:", label="2 sd of 200 networks")
    axes[0].legend(loc="upper right", frameon=False)


def draw_posterior(ax, rng):
    X = np.sort(rng.uniform(-3, 3, size=(30, 1)), axis=0)
    y = np.tanh(3 * X[:, 0]) + 0.1 * rng.normal(size=30)
    grid = np.linspace(-8, 8, 400)
    # Thirty points tell little about the offsets: theirs stay as they are.
    arcsine = ArcsineKernel(
        bias_variance_bounds="fixed",
        output_bias_variance=0.0,
        output_bias_variance_bounds="fixed",
    )
    for name, kernel, colour in (
        ("arcsine", arcsine, "C0"),
        ("RBF", ConstantKernel(1.0) * RBF(1.0), "C1"),
    ):
        model = conditioned(kernel, X, y)
        mean, deviation = model.predict(grid[:, None], return_std=True)
        rmse = np.sqrt(np.mean((mean - np.tanh(3 * grid)) ** 2))
        likelihood = model.log_marginal_likelihood_value_
        print(f"{name:8s} log likelihood {likelihood:6.2f}, RMSE {rmse:.3f} on [-8, 8]")
        print(f"         {model.kernel_}")
        ax.plot(grid, mean, color=colour, label=f"{name}, mean and 2 sd")
        ax.fill_between(
            grid, mean - 2 * deviation, mean + 2 * deviation, color=colour, alpha=0.15
        )
    ax.plot(grid, np.tanh(3 * grid), "k--", lw=1, label="truth")
    ax.plot(X[:, 0], y, "k.", ms=4)
    ax.set_title("Conditioned on 30 noisy points")
    ax.legend(loc="upper left", frameon=False)
    ax.set_ylim(-3, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("arcsine_gp.png"))
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    draw_prior(axes[:2], np.linspace(-4, 4, 200), options.width, rng)
    draw_posterior(axes[2], rng)
    for ax in axes:
        ax.set_xlabel("h")
    axes[0].set_ylabel("g(h)")
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
