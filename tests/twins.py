"""The oracle's networks as `mlp.Network`s, and training of both alike."""

import numpy as np
import oracle
import pytest

from mlp import BatchNorm, Dropout, Network, _core
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule

either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
on_every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS, indirect=True)


def vector(arrays):
    """Parameters or gradients of the oracle as one flat vector."""
    return np.concatenate([np.ravel(a) for a in arrays])


def existing(net, arrays):
    """As `vector`, without the weights that the network has not."""
    n = len(net.W)
    return vector(
        [*(a[e] for a, e in zip(arrays, net.edges, strict=False)), *arrays[n:]]
    )


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


def normalisation(net):
    """Keywords of batch norm; the oracle keeps its constants with each layer."""
    norm = next((n for n in [*net.norm[1:], net.norm[0]] if n is not None), None)
    if norm is None:
        return {}
    layers = "all" if net.norm[-1] is not None else "hidden"
    where = layers + ("+input" if net.norm[0] is not None else "")
    return {
        "batch_norm": BatchNorm(
            where, momentum=norm.momentum, epsilon=norm.eps, gradient=net.bn_gradient
        )
    }


def dropout_of(net, mask="batch"):
    """The oracle's rates, those of the inputs first, as `mlp.Dropout`."""
    first, *rates = net.dropout
    options = {"mask": mask, "scaling": net.scaling, "decay": net.dropout_decay}
    return Dropout(rates, input=first, **options)


def twin_of(net, dtype=np.float64, mask="batch"):
    """`mlp.Network` of the same topology, loss, parameters and running statistics."""
    *hidden, output = [layer_spec(spec) for spec in net.activation]
    keywords = {"loss": net.loss}
    if isinstance(output, tuple) and output[0] == "softmax":
        keywords["groups"], output = output[1], "softmax"
    keywords |= {"residual": net.residual, "fit_intercept": net.offsets}
    keywords |= {"dtype": dtype, **normalisation(net)}
    edges = [None if e.all() else e for e in net.edges]
    twin = Network(net.sizes, hidden, output, connectivity=edges, **keywords)
    twin.params[:] = existing(net, oracle.parameters(net))
    for ours, norm in zip(
        [twin.input_statistics, *twin.statistics], net.norm, strict=True
    ):
        if norm is not None:
            ours[:] = norm.mean, norm.var, norm.count
    twin.configure(frozen=net.frozen, dropout=dropout_of(net, mask))
    twin.refold()
    return twin


def plan_of(
    twin, rows, *, penalties=(), solver="sgd", augment=None, sparse=False, **options
):
    """A plan that trains batches of up to so many rows; `options` are the optimiser's."""
    plan = twin.plan(augment=augment)
    Penalties(**dict(penalties)).attach(plan)
    Optimizer(solver, Schedule("constant", 1.0), **options).attach(plan)
    plan.allocate(rows, sparse=sparse)
    return plan


def batches_of(order, batch_size, joins_last=False):
    """The order cut into batches; a last one of one sample may join the one before."""
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if joins_last and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def masks_of(twin, seed, batches):
    """Masks of each batch of an epoch as the oracle wants them; None without dropout."""
    if twin.spec.dropout is None:
        return None
    starts = np.cumsum([0, *map(len, batches[:-1])])
    return [
        [
            None if not p else _mask(twin, seed, start, k, n, p, len(rows))
            for k, (n, p) in enumerate(
                zip(twin.layer_sizes[:-1], twin.spec.drop_rates, strict=True)
            )
        ]
        for start, rows in zip(starts, batches, strict=True)
    ]


def _mask(twin, seed, start, layer, n, rate, rows):
    if twin.spec.dropout.mask == "batch":
        return 1.0 * _core.dropout_mask(seed, start, layer, n, rate)
    mask = _core.dropout_mask(seed, start, layer, rows * n, rate)
    return 1.0 * mask.reshape(rows, n)


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
    sampling="shuffle",
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
        sampling=sampling,
        rng=rng,
        n_threads=n_threads,
    )


def plain_task_loss(
    network, X, labels, weights=None, task_weight=(1, 1, 1), smoothing=0.0
):
    """Σ over the tasks whose label is known of −Σ t ln γ̂; mean over the samples."""
    out, total, at = network.forward(X).astype(np.float64), np.zeros(len(X)), 0
    for n, code, factor in zip(network.spec.groups, labels.T, task_weight, strict=True):
        p = out[:, at : at + n]
        p = np.hstack([1 - p, p]) if n == 1 else p
        t = np.eye(p.shape[1])[np.maximum(code, 0)]
        t = (1 - smoothing) * t + smoothing / p.shape[1]
        total += np.where(code < 0, 0, factor * -(t * np.log(p)).sum(axis=1))
        at += n
    return np.average(total, weights=weights)
