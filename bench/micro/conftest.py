"""Settings and builders of the micro-benchmarks.

    taskset -c 0 python -m pytest bench/micro
    python -m pytest bench/micro --benchmark-autosave
    python -m pytest bench/micro --benchmark-compare

Each test is one kernel at sizes where it matters, on one thread, so that a slower commit
names what got slower. A kernel that Python can't reach alone is measured in the smallest
network in which it is what takes the time.
"""

import numpy as np
import pytest


def pytest_collection_modifyitems(items):
    """Short rounds for all: the whole set takes less than a minute."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(max_time=0.1, min_rounds=5, warmup=False))


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Either precision."""
    return request.param


@pytest.fixture
def rng():
    """The same numbers in every test."""
    return np.random.default_rng(0)
