"""Draw the plots of the documentation.

    python plots.py [--data FILE.npz] [--out docs/images]

The script writes loss.png, weights.png, gradients.png, surface.png, network.png and
activations.png. FILE.npz contains x_train (n_samples, side, side) and y_train, like Keras's
MNIST; without it scikit-learn's digits are used. The network graph shows a network of 2, 4
and 3 units that classifies the three noisy arms of a star.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPClassifier
from mlp.progress import GradientNorms

try:
    import matplotlib.pyplot as plt
    from PIL import Image
except ImportError:
    sys.exit("this example draws with matplotlib: pip install -e '.[plot]'")

from mlp.plot import (
    ActivationDisplay,
    GradientFlowDisplay,
    LossCurveDisplay,
    LossSurfaceDisplay,
    NetworkDisplay,
    WeightImageDisplay,
)

ACTIVATIONS = [
    "logistic",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "softplus",
    "gelu",
    "silu",
]


def images(path):
    """Return X with entries from 0 to 1, and y."""
    if path is None:
        X, y = load_digits(return_X_y=True)
    else:
        with np.load(path) as file:
            X, y = file["x_train"], file["y_train"]
    X = X.reshape(len(X), -1)
    return (X / X.max()).astype("float32"), y


def star(n=300, seed=0):
    """Return points along three arms, labelled by the arms' directions."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(3, size=n)
    angle = np.pi / 2 + 2 * np.pi / 3 * arm + rng.normal(scale=0.35, size=n)
    radius = rng.uniform(0.3, 1.0, size=n)
    X = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return X, np.array(["up", "left", "right"])[arm]


def displays(X, y):
    """Yield the name and the display of each plot."""
    model = MLPClassifier(
        (36, 36, 36), "tanh", alpha=0.03, early_stopping=True, random_state=0
    )
    model.set_callbacks(GradientNorms()).fit(X, y)
    # with a penalty, so that weights of empty pixels do not keep their initial values
    smooth = MLPClassifier((36,), "tanh", l2=0.003, random_state=0).fit(X, y)
    small = MLPClassifier((4,), "tanh", solver="lbfgs", alpha=0.1, random_state=1)
    small.fit(*star())
    yield "loss", LossCurveDisplay.from_estimator(model)
    yield "weights", WeightImageDisplay.from_estimator(smooth)
    yield "gradients", GradientFlowDisplay.from_estimator(model)
    yield (
        "surface",
        LossSurfaceDisplay.from_estimator(model, X[:500], y[:500], kind="surface"),
    )
    yield "network", NetworkDisplay.from_estimator(small, feature_names=["x", "y"])
    yield "activations", ActivationDisplay.from_names(ACTIVATIONS)


def save(figure, path):
    """Save as a PNG of 256 colours, half as large as in full colour."""
    figure.savefig(path, dpi=80, facecolor="white")
    with Image.open(path) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, display in displays(*images(options.data)):
        path = options.out / f"{name}.png"
        save(display.figure_, path)
        plt.close(display.figure_)
        print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
