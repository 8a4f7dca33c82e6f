"""Products, elementary functions and masks, which the core exposes directly."""

import numpy as np
import pytest
from builders import padded

from mlp import _core

#: batch, inputs, outputs of a layer
SHAPES = {
    "256x512x512": (256, 512, 512),
    "128x784x512": (128, 784, 512),
    "200x784x100": (200, 784, 100),
    "128x512x10": (128, 512, 10),
    "32x64x64": (32, 64, 64),
}
RANGES = {"log": (0.01, 100), "log1p": (-0.9, 100), "erfc": (-3, 8)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["NN", "NT", "TN"])
def test_product(benchmark, rng, kind, shape, dtype):
    batch, n_in, n_out = SHAPES[shape]
    below, above = (padded(batch, n, dtype, rng) for n in (n_in, n_out))
    weights = rng.standard_normal((n_in, n_out)).astype(dtype)
    a, b, out = {
        "NN": (below, weights, above),
        "NT": (above, weights, below),
        "TN": (below, above, weights),
    }[kind]
    times = max(1, 10**8 // (batch * n_in * n_out))  # a call takes microseconds
    benchmark.extra_info["products"] = times
    benchmark(_core.gemm, kind, a, b, out, repeat=times)


@pytest.mark.parametrize("name", _core.VMATH)
def test_function(benchmark, rng, name, dtype):
    x = rng.uniform(*RANGES.get(name, (-8, 8)), 1 << 14).astype(dtype)
    benchmark(_core.vmath, name, x)


def test_dropout_mask(benchmark):
    kept = benchmark(_core.dropout_mask, 1, 0, 1, 1 << 16, 0.5)
    assert 0.49 < np.mean(kept) < 0.51
