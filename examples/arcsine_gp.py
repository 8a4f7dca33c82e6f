"""Networks of growing width become the Gaussian process of the arcsine kernel.

    python arcsine_gp.py [--seed 0] [--out FILE.png]

The random networks have one hidden layer of erf units [S 65.191-65.197]. The panels show

    the outputs of 4,000 networks at h = 0, for widths 1, 4 and 256: their distribution
        approaches a Gaussian, and their excess kurtosis approaches 0
    the distance between the arcsine kernel and the kernel of one network's features, the
        mean of products of its hidden units, for widths from 10 to 10,000: it decreases as
        one over the square root of the width
    networks whose output weights alone are trained on 30 noisy points, by ridge regression,
        for widths 3, 30 and 3,000: their predictions approach those of the Gaussian process
    the Gaussian process and one with an RBF kernel, both with fitted hyperparameters: far
        from the data the arcsine kernel levels off, and the RBF kernel returns to the mean
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kurtosis, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge

from mlp import ArcsineKernel, Network

try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

WEIGHT_VARIANCE, BIAS_VARIANCE, NOISE = 4.0, 0.25, 0.01


def random_network(width, rng):
    """Return a network of erf units, with output weights of variance 1/width, no offset."""
    net = Network([1, width, 1], "erf")
    net.coefs[0][:] = rng.normal(scale=np.sqrt(WEIGHT_VARIANCE), size=(1, width))
    net.intercepts[0][:] = rng.normal(scale=np.sqrt(BIAS_VARIANCE), size=width)
    net.coefs[1][:] = rng.normal(scale=1 / np.sqrt(width), size=(width, 1))
    return net


def arcsine_kernel():
    """Return the covariance of such networks of infinite width."""
    return ArcsineKernel(
        WEIGHT_VARIANCE,
        BIAS_VARIANCE,
        output_bias_variance=0.0,
        output_bias_variance_bounds="fixed",
    )


def draw_outputs(ax, rng, n_networks=4000):
    h = np.zeros((1, 1))
    deviation = np.sqrt(arcsine_kernel().diag(h)[0])
    bins = np.linspace(-2, 2, 41)
    for width, colour in ((1, "C3"), (4, "C1"), (256, "C0")):
        outputs = np.array(
            [random_network(width, rng).forward(h)[0, 0] for _ in range(n_networks)]
        )
        print(
            f"width {width:5}: output at h = 0 of standard deviation "
            f"{outputs.std():.3f}, excess kurtosis {kurtosis(outputs):5.2f}"
        )
        ax.hist(
            outputs, bins, density=True, histtype="step", color=colour, label=f"{width}"
        )
    print(f"infinite    : standard deviation {deviation:.3f}, excess kurtosis  0.00")
    ax.plot(bins, norm.pdf(bins, scale=deviation), "k:", label="infinite")
    ax.set(title=f"outputs of {n_networks:,} networks at h = 0", xlabel="g(0)")
    ax.legend(title="width", frameon=False)


def draw_kernels(ax, rng, n_networks=20):
    widths = np.array([10, 30, 100, 300, 1000, 3000, 10000])
    grid = np.linspace(-4, 4, 41)[:, None]
    exact = arcsine_kernel()(grid)
    means = []
    for width in widths:
        errors = []
        for _ in range(n_networks):
            features = random_network(width, rng).hidden_activations(grid)
            errors.append(
                np.sqrt(np.mean((features @ features.T / width - exact) ** 2))
            )
        means.append(np.mean(errors))
        print(f"width {width:5}: kernel within {means[-1]:.4f} of the arcsine kernel")
    ax.loglog(widths, means, "o-", label=f"mean of {n_networks} networks")
    ax.loglog(widths, means[0] * np.sqrt(widths[0] / widths), "k:", label="slope −1/2")
    ax.set(title="distance from the arcsine kernel (RMS)", xlabel="width")
    ax.legend(frameon=False)


def draw_trained(ax, X, y, grid, rng):
    """Draw networks whose output weights alone are trained, and their limit."""
    limit = GaussianProcessRegressor(arcsine_kernel(), alpha=NOISE, optimizer=None)
    mean, deviation = limit.fit(X, y).predict(grid, return_std=True)
    ax.fill_between(
        grid[:, 0], mean - 2 * deviation, mean + 2 * deviation, color="0.9", zorder=0
    )
    for width, colour in ((3, "C3"), (30, "C1"), (3000, "C0")):
        net = random_network(width, rng)
        # the prior variance 1/width of each output weight
        ridge = Ridge(alpha=NOISE * width, fit_intercept=False)
        net.coefs[1][:, 0] = ridge.fit(net.hidden_activations(X), y).coef_
        predicted = net.forward(grid)[:, 0]
        distance = np.sqrt(np.mean((predicted - mean) ** 2))
        print(
            f"width {width:5}: predictions within {distance:.4f} of the process's mean"
        )
        ax.plot(grid[:, 0], predicted, color=colour, lw=1, label=f"width {width:,}")
    ax.plot(grid[:, 0], mean, "k:", label="Gaussian process, mean and 2 sd")
    ax.set(title="output weights trained on 30 points", ylim=(-3, 3), xlabel="h")


def draw_processes(ax, X, y, grid, truth):
    # Thirty points do not determine the variances of the offsets, so these are fixed.
    arcsine = ArcsineKernel(
        bias_variance_bounds="fixed",
        output_bias_variance=0.0,
        output_bias_variance_bounds="fixed",
    )
    for name, kernel, colour in (
        ("arcsine", arcsine, "C0"),
        ("RBF", ConstantKernel(1.0) * RBF(1.0), "C1"),
    ):
        model = GaussianProcessRegressor(kernel + WhiteKernel(NOISE)).fit(X, y)
        mean, deviation = model.predict(grid, return_std=True)
        rmse = np.sqrt(np.mean((mean - truth) ** 2))
        likelihood = model.log_marginal_likelihood_value_
        print(f"{name:8} log likelihood {likelihood:6.2f}, RMSE {rmse:.3f} on [-8, 8]")
        ax.plot(grid[:, 0], mean, color=colour, label=f"{name}, mean and 2 sd")
        low, high = mean - 2 * deviation, mean + 2 * deviation
        ax.fill_between(grid[:, 0], low, high, color=colour, alpha=0.15)
    ax.set(title="hyperparameters fitted too", ylim=(-3, 3), xlabel="h")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("arcsine_gp.png"))
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    X = np.sort(rng.uniform(-3, 3, size=(30, 1)), axis=0)
    y = np.tanh(3 * X[:, 0]) + np.sqrt(NOISE) * rng.normal(size=30)
    grid = np.linspace(-8, 8, 400)[:, None]
    truth = np.tanh(3 * grid[:, 0])

    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    draw_outputs(axes[0, 0], rng)
    draw_kernels(axes[0, 1], rng)
    draw_trained(axes[1, 0], X, y, grid, rng)
    draw_processes(axes[1, 1], X, y, grid, truth)
    for ax in axes[1]:
        ax.plot(grid, truth, "k--", lw=1, label="truth")
        ax.plot(X[:, 0], y, "k.", ms=4)
        ax.legend(loc="upper left", frameon=False)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
