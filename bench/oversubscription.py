"""Measure how much parallel fits slow each other down when each uses several threads.

    python bench/oversubscription.py [--jobs 2] [--rounds 5]

joblib runs the same fits in processes (loky) and in threads, with n_threads=None, 1 and the
number of jobs.  The ideal is the time of one job with one thread, divided by the number of
jobs.  The settings alternate, and the best round of each is reported.  Leave the cores
idle.  The target is at most 1.2 times the ideal for every n_threads.
"""

import argparse
import time
import warnings

import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning

from mlp import MLPClassifier

FITS = 8


def fit(seed: int, n_threads: int | None) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3000, 256), dtype=np.float32)
    y = rng.integers(0, 10, 3000)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        MLPClassifier((256, 256), max_iter=30, n_threads=n_threads).fit(X, y)


def seconds(backend: str, n_jobs: int, n_threads: int | None) -> float:
    with parallel_config(backend=backend, n_jobs=n_jobs):
        start = time.perf_counter()
        Parallel()(delayed(fit)(seed, n_threads) for seed in range(FITS))
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    kinds = [("threading", 1, 1)]
    for backend in ("loky", "threading"):
        kinds += [(backend, args.jobs, n) for n in (1, None, args.jobs)]
    best = dict.fromkeys(kinds, float("inf"))
    for round_ in range(args.rounds + 1):
        for kind in kinds:
            found = seconds(*kind)
            if round_:  # the first round starts the workers
                best[kind] = min(best[kind], found)
    ideal = best[kinds[0]] / args.jobs
    print(f"ideal: {ideal:.3f} s for {FITS} fits by {args.jobs} jobs")
    for (backend, n_jobs, n_threads), found in best.items():
        if n_jobs > 1:
            print(
                f"{backend:10} {n_jobs} jobs, n_threads={n_threads!s:5}"
                f"{found:8.3f} s  {found / ideal:5.2f} x ideal"
            )


if __name__ == "__main__":
    main()
