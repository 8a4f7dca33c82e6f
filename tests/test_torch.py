"""PyTorch as an independent witness: the same network, batch norm and masks."""

from functools import partial

import numpy as np
import oracle
import pytest
from twins import batches_of, masks_of, plan_of, twin_of

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = [6, 12, 12, 12, 3]
STEPS, BATCH, RATE, SEED = 20, 10, 0.02, 4
ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "logistic": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "selu": F.selu,
    "elu": lambda z: F.elu(z, 0.7),
    "softplus": F.softplus,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.1),
}
LOSSES = {
    "squared_error": ("identity", lambda y, t: F.mse_loss(y, t, reduction="sum") / 2),
    "log_loss": ("softmax", lambda y, t: F.cross_entropy(y, t, reduction="sum")),
    "absolute_error": ("identity", lambda y, t: F.l1_loss(y, t, reduction="sum")),
    "poisson": ("exp", lambda y, t: F.poisson_nll_loss(y, t, reduction="sum")),
}
OPTIONS = {
    "plain": {},
    "batch norm": {"norm": "hidden"},
    "batch norm of all": {"norm": "all+input"},
    "dropout": {"dropout": [0.1, 0.5, 0.3, 0.5]},
    "residual": {"residual": True},
    "all": {"norm": "hidden+input", "dropout": [0.1, 0.3, 0.3, 0.3], "residual": True},
}
OPTIMISERS = {
    "sgd": ({}, lambda p, rate: torch.optim.SGD(p, lr=rate)),
    "momentum": (
        {"momentum": 0.9},
        lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9),
    ),
    # PyTorch adds ε after the bias correction; with ε this small it makes no difference
    "adam": (
        {"solver": "adam", "epsilon": 1e-30},
        lambda p, rate: torch.optim.Adam(p, lr=rate, eps=1e-30),
    ),
    "adamw": (
        {"solver": "adamw", "epsilon": 1e-30, "weight_decay": 0.1},
        lambda p, rate: torch.optim.AdamW(
            [{"params": p[:4]}, {"params": p[4:], "weight_decay": 0.0}],
            lr=rate,
            eps=1e-30,
            weight_decay=0.1,
        ),
    ),
}


def forward(net, params, f, X, masks):
    """The network in training, written with PyTorch's own operations."""
    n = len(net.W)
    scales = iter(params[2 * n :])
    y = X
    if net.norm[0] is not None:
        y = F.batch_norm(y, None, None, training=True, eps=net.norm[0].eps)
    for k in range(n):
        if masks is not None and masks[k] is not None:
            y = y * torch.as_tensor(masks[k], dtype=X.dtype) / (1 - net.dropout[k])
        z = y @ params[k]
        if net.norm[k + 1] is None:
            z = z + params[n + k]
        else:
            weight, bias, eps = next(scales), params[n + k], net.norm[k + 1].eps
            z = F.batch_norm(z, None, None, weight, bias, training=True, eps=eps)
        if k == n - 1:
            return z
        residual = net.residual and k > 0
        y = f(z) + y if residual else f(z)


def torch_training(net, f, loss, optimiser, X, T, batches, masks, dtype):
    params = [torch.tensor(p, dtype=dtype) for p in oracle.parameters(net)]
    for p in params:
        p.requires_grad_()
    optimiser = optimiser(params)
    X, T = (torch.tensor(a, dtype=dtype) for a in (X, T))
    for m, rows in enumerate(batches):
        optimiser.zero_grad()
        drawn = None if masks is None else masks[m]
        y = forward(net, params, f, X[rows], drawn)
        (loss(y, T[rows]) / len(rows)).backward()
        optimiser.step()
    return np.concatenate([p.detach().numpy().ravel() for p in params])


def distance(name, loss, options, optimiser, dtype, mask="batch"):
    """Relative distance of the parameters after the same 20 steps."""
    output, torch_loss = LOSSES[loss]
    rate = RATE / 100 if output == "exp" else RATE  # its first steps are large
    rng = oracle.rng_of(8)
    hidden = oracle.spec_of(name)
    net = oracle.make_net(rng, SIZES, hidden, output, loss=loss, **options)
    X, T = oracle.random_data(rng, net, STEPS * BATCH)
    twin = twin_of(net, dtype, mask)
    order = rng.permutation(STEPS * BATCH)
    batches = batches_of(order, BATCH)
    ours, theirs = OPTIMISERS[optimiser]
    plan = plan_of(twin, BATCH, **ours)
    plan.epoch(twin.data(X, T), BATCH, order, rate, SEED)
    expected = torch_training(
        net,
        ACTIVATIONS[name],
        torch_loss,
        partial(theirs, rate=rate),
        X,
        T,
        batches,
        masks_of(twin, SEED, batches),
        getattr(torch, np.dtype(dtype).name),
    )
    return oracle.relative_error([twin.params], [expected])


# a dropped parameter does not change here; in PyTorch momentum moves it
MOVES_SLEEPERS = {"momentum", "adam", "adamw"}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_twenty_steps_are_pytorchs(options, optimiser):
    mask = "batch"
    if "dropout" in options and optimiser in MOVES_SLEEPERS:
        mask = "sample"  # no unit is dropped for a whole batch
    args = "tanh", "squared_error", options, optimiser
    assert distance(*args, np.float32, mask) < 1e-5
    assert distance(*args, np.float64, mask) < 1e-11


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_activation_and_loss_trains_as_pytorchs(loss, name):
    args = name, loss, OPTIONS["all"], "sgd"
    assert distance(*args, np.float64) < 1e-9


def test_running_statistics_predict_as_pytorchs():
    net = oracle.make_net(oracle.rng_of(9), SIZES, norm="hidden")
    X, T = oracle.random_data(oracle.rng_of(10), net, 200)
    twin = twin_of(net)
    plan_of(twin, 20).epoch(twin.data(X, T), 20, None, 0.0, SEED)
    layer = torch.nn.BatchNorm1d(12, momentum=0.05, dtype=torch.float64)
    layer.running_var[:] = 0  # ours begin at 0
    z = torch.tensor(X @ net.W[0])
    for rows in np.split(np.arange(200), 10):
        layer(z[rows])
    mean, var, _ = twin.statistics[0]
    assert oracle.relative_error([mean], [layer.running_mean.numpy()]) < 1e-13
    assert oracle.relative_error([var], [layer.running_var.numpy()]) < 1e-13
