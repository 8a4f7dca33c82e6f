"""Compare the reconstruction errors of autoencoders and principal components.

    python autoencoder.py [--data FILE.npz] [--code 16] [--epochs 100] [--out FILE.png]

FILE.npz contains 8-bit images: x_train and x_test of shape (n, height, width).  Without it
scikit-learn's digits are used.  All methods have the same number of code units.  Errors are
mean squared differences between test images, scaled to [0, 1], and their reconstructions,
from whole images and from images with 30 % of the pixels set to 0.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mlp import MLPAutoencoder

try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None

LOST = 0.3


def load(path):
    """Return training and test images as rows of numbers in [0, 1], and their shape."""
    if path is None:
        images = load_digits().images / 16
        train, test = train_test_split(images, test_size=0.25, random_state=0)
    else:
        with np.load(path, allow_pickle=False) as data:
            train, test = data["x_train"] / 255, data["x_test"] / 255
    shape = train.shape[1:]
    train, test = (X.reshape(len(X), -1).astype(np.float32) for X in (train, test))
    return train, test, shape


def models(n_features, options):
    """Return {name: model that reconstructs images}, all with codes of the same width."""
    linear = {
        "activation": "identity",
        "output_activation": "identity",
        "solver": "lbfgs",
        "alpha": 0.0,
        "tol": 1e-7,
        "max_iter": 300,
    }
    deep = {
        "activation": ["relu", "identity"],
        "learning_rate_init": 0.003,
        "learning_rate": "cosine",
        "max_iter": options.epochs,
        "tol": 0.0,
    }
    sizes = (4 * n_features if n_features < 100 else 512, options.code)
    seed = {"random_state": options.seed}
    return {
        "PCA": PCA(options.code),
        "linear, tied": MLPAutoencoder(options.code, tied=True, **linear, **seed),
        "deep": MLPAutoencoder(sizes, **deep, **seed),
        "deep, tied": MLPAutoencoder(sizes, tied=True, **deep, **seed),
        "deep, denoising": MLPAutoencoder(sizes, denoising=LOST, **deep, **seed),
    }


def draw(path, shape, images):
    """Draw a row of images for each name."""
    columns = len(next(iter(images.values())))
    size = (0.7 * columns + 2, 0.7 * len(images))
    fig, axes = plt.subplots(len(images), columns, figsize=size, layout="constrained")
    for row, (name, rows) in zip(axes, images.items(), strict=True):
        for ax, image in zip(row, rows, strict=True):
            ax.imshow(image.reshape(shape), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    fig.savefig(path, dpi=110)
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file with x_train and x_test")
    parser.add_argument("--code", type=int, default=16, help="number of code units")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of the deep ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("autoencoder.png"))
    options = parser.parse_args()

    warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as asked for
    train, test, shape = load(options.data)
    kept = np.random.default_rng(options.seed).uniform(size=test.shape) >= LOST
    noisy = test * kept
    print(f"{len(train)} images to train, {len(test)} to test, code of {options.code}")
    print(f"{'':16} {'from whole':>11} {'from 70 %':>11} {'seconds':>8}")
    images = {"test images": test[:10], f"{LOST:.0%} set to 0": noisy[:10]}
    for name, model in models(train.shape[1], options).items():
        start = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - start
        whole, mended = (
            model.inverse_transform(model.transform(X)) for X in (test, noisy)
        )
        errors = [np.mean((test - X) ** 2) for X in (whole, mended)]
        print(f"{name:16} {errors[0]:11.5f} {errors[1]:11.5f} {seconds:8.1f}")
        images[f"{name}, whole"], images[f"{name}, restored"] = whole[:10], mended[:10]
    if plt is not None:
        draw(options.out, shape, images)


if __name__ == "__main__":
    main()
