"""Compare projection pursuit regression with a linear model, and plot its terms.

    python projection_pursuit.py [--data FILE.npz] [--n-terms 2] [--out FILE.png]

Without FILE.npz the target is the sum of a sine of one projection of ten features, half the
square of another projection at right angles to the first, and noise of standard deviation
0.1. Projection pursuit finds both directions and both functions from 450 samples: its test
error is less than a quarter of the linear model's. The plot shows a sine and a parabola.

FILE.npz contains X (n_samples, n_features), y (n_samples,) and optionally feature_names.
`--n-terms cv` chooses the number of terms by cross-validation, which takes 30 times as
long.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

from mlp import ProjectionPursuitRegressor


def sine_and_square(seed, n_samples=600, n_features=10):
    """Return X, y and the two directions, as rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    directions = np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T
    first, second = directions @ X.T
    noise = rng.normal(scale=0.1, size=n_samples)
    return X, np.sin(2 * first) + second**2 / 2 + noise, directions


def load(path):
    """Return X, y and the names of the features."""
    with np.load(path, allow_pickle=False) as data:
        X = data["X"].astype(np.float64)
        names = [f"x{j}" for j in range(X.shape[1])]
        if "feature_names" in data:
            names = data["feature_names"].tolist()
        return X, data["y"].astype(np.float64), names


def heaviest(omega, X, names):
    """Return the three components of a direction with the largest effect."""
    order = np.argsort(-np.abs(omega * X.std(axis=0)))[:3]
    return [f"{names[j]} {omega[j]:+.2g}" for j in order]


def count_or_cv(text):
    return text if text == "cv" else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file with X and y")
    parser.add_argument("--n-terms", type=count_or_cv, default=2)
    parser.add_argument("--seed", type=int, default=0, help="seed of split and starts")
    parser.add_argument("--out", type=Path, default=Path("projection_pursuit.png"))
    options = parser.parse_args()

    directions = None
    if options.data is None:
        X, y, directions = sine_and_square(options.seed)
        names = [f"x{j}" for j in range(X.shape[1])]
    else:
        X, y, names = load(options.data)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.25, random_state=options.seed
    )
    linear = LinearRegression().fit(X, y)
    start = time.perf_counter()
    model = ProjectionPursuitRegressor(options.n_terms, random_state=options.seed)
    model.fit(X, y)
    seconds = time.perf_counter() - start

    baseline = root_mean_squared_error(y_test, linear.predict(X_test))
    rmse = root_mean_squared_error(y_test, model.predict(X_test))
    print(f"{len(y)} rows to train, {len(y_test)} to test, {X.shape[1]} features")
    print(f"linear regression   test RMSE {baseline:.5g}")
    print(f"projection pursuit  test RMSE {rmse:.5g} ({rmse / baseline - 1:+.1%})")
    print(f"{model.n_terms_} terms, {model.n_iter_} sweeps, {seconds:.1f} s")
    for m, (omega, g) in enumerate(
        zip(model.directions_, model.ridge_functions_, strict=True), start=1
    ):
        parts = ", ".join(heaviest(omega, X, names))
        print(f"  g_{m}: {g.degrees_of_freedom:4.1f} degrees of freedom; {parts}")
    if directions is not None:
        cosines = np.abs(directions @ np.transpose(model.directions_)).max(axis=1)
        angles = ", ".join(
            f"{np.degrees(np.arccos(c)):.1f}" for c in cosines.clip(max=1)
        )
        print(f"errors of the directions of sine and square: {angles} degrees")

    if model.n_terms_ == 0:
        return
    axes = model.plot_terms(X, y)
    for ax, omega in zip(axes, model.directions_, strict=True):
        # A few outliers would otherwise compress the rest of the plot.
        ax.set_xlim(*np.quantile(X @ omega, [0.005, 0.995]))
        partial_residuals = ax.get_lines()[0].get_ydata()
        ax.set_ylim(*np.quantile(partial_residuals, [0.005, 0.995]))
        ax.set_xlabel("\n".join(heaviest(omega, X, names)))
        ax.locator_params(axis="x", nbins=5)
    axes[0].figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
