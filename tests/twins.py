"""The oracle's networks as `mlp.Network`s, and training of both alike."""

import numpy as np
import oracle
import pytest

from mlp import Network, _core
from mlp.schedules import Schedule
from mlp.training import Optimizer, Penalties, StochasticRun

either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
on_every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS, indirect=True)


def vector(arrays):
    """Parameters or gradients of the oracle as one flat vector."""
    return np.concatenate([np.ravel(a) for a in arrays])


def rounded(net, *data):
    """The oracle's network and data with entries that float32 holds."""
    single = [None if a is None else np.float64(np.float32(a)) for a in data]
    params = [np.float64(np.float32(p)) for p in oracle.parameters(net)]
    return oracle.with_parameters(net, params), *single


def layer_spec(spec):
    """The package's way to write an activation; its scaled tanh names a before b."""
    if isinstance(spec, list):
        return [layer_spec(node) for node in spec]
    if isinstance(spec, tuple) and spec[0] == "scaled_tanh":
        return (spec[0], *spec[:0:-1])
    return spec


def twin_of(net, dtype=np.float64):
    """`mlp.Network` of the same topology, loss and parameters."""
    *hidden, output = [layer_spec(spec) for spec in net.activation]
    loss, *parameter = (net.loss,) if isinstance(net.loss, str) else net.loss
    options = {"huber": "huber_delta", "quantile": "quantile"}
    keywords = {options[loss]: parameter[0]} if parameter else {}
    if isinstance(output, tuple) and output[0] == "softmax":
        keywords["groups"], output = output[1], "softmax"
    twin = Network(net.sizes, hidden, output, loss=loss, dtype=dtype, **keywords)
    twin.params[:] = vector(oracle.parameters(net))
    return twin


def run_of(
    twin,
    X,
    T,
    *,
    solver="sgd",
    rate=0.1,
    batch_size=1,
    samples=None,
    shuffle=False,
    rng=None,
    n_threads=1,
    sample_weight=None,
    penalties=(),
    **options,
):
    """A `StochasticRun`; `options` are the optimiser's, penalties a dict or pairs."""
    optimizer = Optimizer(solver, Schedule("constant", rate), **options)
    return StochasticRun(
        twin,
        twin.data(X, T, sample_weight),
        optimizer,
        Penalties(**dict(penalties)),
        batch_size=batch_size,
        samples=samples,
        shuffle=shuffle,
        rng=rng,
        n_threads=n_threads,
        sparse=hasattr(X, "indptr"),
    )
