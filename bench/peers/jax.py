"""JAX: one jitted ``lax.scan`` over the whole epoch, with donated parameters.

The scan gathers the rows of each batch, the optimiser is written by hand, and NumPy
shuffles the order of the rows outside.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from peers.timing import fastest, repeated
from peers.workloads import make_data

LIBRARY = "jax"
STATISTICS_MOMENTUM = 0.95
EPSILON = 1e-5


def initial(row, dtype):
    """Trained parameters and (for batch norm) the running statistics, per layer."""
    rng = np.random.default_rng(0)
    parameters, statistics = [], []
    for i, (fan_in, fan_out) in enumerate(
        zip(row.sizes[:-1], row.sizes[1:], strict=True)
    ):
        W = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)
        layer = {"W": jnp.asarray(W, dtype), "b": jnp.zeros(fan_out, dtype)}
        if row.batch_norm and i < len(row.sizes) - 2:
            layer["scale"] = jnp.ones(fan_out, dtype)
            statistics.append((jnp.zeros(fan_out, dtype), jnp.ones(fan_out, dtype)))
        parameters.append(layer)
    return parameters, statistics


def hidden(row, parameters, statistics, a, key):
    """Return the activations of the last hidden layer and the new running statistics."""
    running = []
    for i, layer in enumerate(parameters[:-1]):
        z = a @ layer["W"]
        if row.batch_norm:
            mean, variance = z.mean(0), z.var(0)
            z = layer["scale"] * (z - mean) * jax.lax.rsqrt(variance + EPSILON)
            keep, new = STATISTICS_MOMENTUM, 1 - STATISTICS_MOMENTUM
            old_mean, old_variance = statistics[i]
            running.append(
                (keep * old_mean + new * mean, keep * old_variance + new * variance)
            )
        a = jax.nn.relu(z + layer["b"])
        if row.dropout:
            kept = jax.random.bernoulli(
                jax.random.fold_in(key, i), 1 - row.dropout, a.shape
            )
            a = jnp.where(kept, a / (1 - row.dropout), 0)
    return a, running


def loss(row, parameters, statistics, rows, labels, key):
    a, running = hidden(row, parameters, statistics, rows, key)
    logits = a @ parameters[-1]["W"] + parameters[-1]["b"]
    log_p = jax.nn.log_softmax(logits)
    if row.batch == 1:
        return -log_p[labels], running
    return -jnp.take_along_axis(log_p, labels[:, None], 1).mean(), running


def sgd(row, parameters, gradients):
    decay = row.alpha / row.batch

    def update(p, g):
        return p - row.rate * (g + decay * p if p.ndim > 1 and decay else g)

    return jax.tree.map(update, parameters, gradients)


def adam(row, parameters, gradients, moments):
    m, v, t = moments
    t = t + 1
    rate = row.rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, m, v
    )
    return parameters, (m, v, t)


def epoch_function(row, unroll):
    """``state, X, y, order -> state, loss``: an epoch in one compiled call."""

    def step(X, y, state, rows):
        parameters, statistics, moments, key = state
        key, mask_key = jax.random.split(key) if row.dropout else (key, key)
        inputs = X.at[rows].get(mode="promise_in_bounds")
        labels = y.at[rows].get(mode="promise_in_bounds")
        (value, statistics), gradients = jax.value_and_grad(
            partial(loss, row), has_aux=True
        )(parameters, statistics, inputs, labels, mask_key)
        if row.solver == "adam":
            parameters, moments = adam(row, parameters, gradients, moments)
        else:
            parameters = sgd(row, parameters, gradients)
        return (parameters, statistics, moments, key), value

    def epoch(state, X, y, order):
        # With B = 1 a plain vector: XLA then fuses the outer product into the update.
        order = order if row.batch == 1 else order.reshape(-1, row.batch)
        state, losses = jax.lax.scan(partial(step, X, y), state, order, unroll=unroll)
        return state, losses.mean()

    return jax.jit(epoch, donate_argnums=0)


def trainer(row, X, y, unroll=1, generator="threefry2x32"):
    """Return a callable that trains for one epoch."""
    parameters, statistics = initial(row, X.dtype)
    zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
    moments = (*zeros, jnp.zeros((), X.dtype)) if row.solver == "adam" else ()
    state = (parameters, statistics, moments, jax.random.key(0, impl=generator))
    run_epoch = epoch_function(row, unroll)
    rng = np.random.default_rng(1)

    def epoch():
        nonlocal state
        order = rng.permutation(row.n).astype(np.int32)
        state, value = run_epoch(state, X, y, order)
        value.block_until_ready()

    return epoch


def prepare(job):
    jax.config.update("jax_enable_x64", job.dtype == "f64")
    row = job.workload
    X, y = make_data(row, job.numpy_dtype)
    X, y = jnp.asarray(X), jnp.asarray(y, jnp.int32)
    if row.kind == "forward":
        return prepare_forward(job, X)
    if row.dropout:
        choices = {g: {"generator": g} for g in ("threefry2x32", "rbg", "unsafe_rbg")}
    elif row.batch == 1:
        choices = {f"unroll={u}": {"unroll": u} for u in (1, 4)}
    else:
        choices = {"scan": {}}
    variants = {name: trainer(row, X, y, **c) for name, c in choices.items()}
    name, epoch = fastest(variants, trials=3)
    return name, repeated(epoch, row.n // row.batch, job.budget, row.warm_up)


def prepare_forward(job, X):
    row = job.workload
    parameters, _ = initial(row, X.dtype)

    @jax.jit
    def forward(parameters, rows):
        a, _ = hidden(row, parameters, (), rows, None)
        return jax.nn.softmax(a @ parameters[-1]["W"] + parameters[-1]["b"])

    def call():
        forward(parameters, X).block_until_ready()

    call()
    return "jit", repeated(call, 1, job.budget)
