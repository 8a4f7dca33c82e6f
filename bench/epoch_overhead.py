"""Measure the time per epoch outside the core.

    python bench/epoch_overhead.py [--epochs 2000] [--rounds 7]

The network and the data are so small that the core takes a few microseconds per epoch. The
overhead is the time of a fit of 1 + N epochs minus that of one epoch, divided by N, minus
the time of the same call into the core alone.  The target is 50 µs without a callback.
"""

import argparse
import time
import warnings

import numpy as np

from mlp import MLPRegressor

X = np.linspace(-1, 1, 20).reshape(10, 2)
y = X[:, 0]


class Silent:
    """A callback that does nothing."""

    def setup(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...
    def on_fit_task_end(self, estimator, context): ...
    def teardown(self, estimator, context): ...


def network(epochs: int, **options: object) -> MLPRegressor:
    return MLPRegressor(
        (4,), max_iter=epochs, tol=0, n_iter_no_change=np.inf, random_state=0, **options
    )


def fit_seconds(epochs: int, callbacks: list[object], **options: object) -> float:
    estimator = network(epochs, **options).set_callbacks(*callbacks)
    start = time.perf_counter()
    estimator.fit(X, y)
    return time.perf_counter() - start


def core_seconds(epochs: int) -> float:
    """Return the time of the epochs alone: shuffling and the core."""
    runs = []

    class Recording(MLPRegressor):
        def _start_run(self, *args: object, **options: object) -> object:
            runs.append(super()._start_run(*args, **options))
            return runs[-1]

    Recording((4,), max_iter=1, random_state=0).fit(X, y)
    start = time.perf_counter()
    for _ in range(epochs):
        runs[0].epoch()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    kinds = {
        "no callback": ([], {}),
        "early stopping": ([], {"early_stopping": True, "validation_fraction": 0.3}),
        "one callback": ([Silent()], {}),
    }
    core = min(core_seconds(args.epochs) for _ in range(args.rounds)) / args.epochs
    print(f"{'shuffling and core':20} {1e6 * core:6.1f} µs per epoch")
    for name, (callbacks, options) in kinds.items():
        long, short = (
            min(fit_seconds(n, callbacks, **options) for _ in range(args.rounds))
            for n in (1 + args.epochs, 1)
        )
        beside = (long - short) / args.epochs - core
        print(f"{name:20} {1e6 * beside:6.1f} µs more")


if __name__ == "__main__":
    main()
