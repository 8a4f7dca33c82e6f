"""Settings and fixtures of the micro-benchmarks.

    taskset -c 0 python -m pytest bench/micro
    python -m pytest bench/micro --benchmark-autosave
    python -m pytest bench/micro --benchmark-compare

Each test measures one kernel at relevant sizes on one thread, and so shows which kernel a
commit slowed down. A kernel that Python cannot call alone is measured in the smallest
network in which it takes most of the time.
"""

import numpy as np
import pytest


def pytest_collection_modifyitems(items):
    """Use short rounds, so that the whole set takes less than a minute."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(max_time=0.1, min_rounds=5, warmup=False))


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Return either precision."""
    return request.param


@pytest.fixture
def rng():
    """Return a generator with the same seed for every test."""
    return np.random.default_rng(0)
