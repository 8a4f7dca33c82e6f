"""PyTorch: an eager loop with the fastest optimiser variant, or ``torch.compile``."""

from itertools import islice

import torch
import torch.nn.functional as F

from peers.timing import fastest, repeated
from peers.workloads import make_data

LIBRARY = "torch"


def network(row, dtype):
    layers = []
    for fan_in, fan_out in zip(row.sizes[:-2], row.sizes[1:-1], strict=True):
        # The shift of batch norm replaces the bias.
        layers.append(torch.nn.Linear(fan_in, fan_out, bias=not row.batch_norm))
        if row.batch_norm:
            layers.append(torch.nn.BatchNorm1d(fan_out))
        layers.append(torch.nn.ReLU())
        if row.dropout:
            layers.append(torch.nn.Dropout(row.dropout))
    layers.append(torch.nn.Linear(*row.sizes[-2:]))
    return torch.nn.Sequential(*layers).to(dtype)


def optimiser(row, model, **implementation):
    """Adam or SGD; the L2 penalty is on weights only, as in the other peers."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0},
    ]
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[row.solver]
    # The estimators' penalty is alpha / 2B, with B the rows of the batch.
    decay = row.alpha / row.batch
    return kind(groups, lr=row.rate, weight_decay=decay, **implementation)


def batches(n, batch):
    while True:
        yield from torch.randperm(n).split(batch)


def trainer(row, X, y, compiled, implementation):
    """A callable that trains for a given number of steps."""
    model = network(row, X.dtype).train()
    update = optimiser(row, model, **implementation)
    order = batches(row.n, row.batch)

    def loss_of(rows, labels):
        return F.cross_entropy(model(rows), labels)

    if compiled:
        loss_of = torch.compile(loss_of)

    def train(steps):
        for rows in islice(order, steps):
            update.zero_grad(set_to_none=True)
            loss = loss_of(X.index_select(0, rows), y.index_select(0, rows))
            loss.backward()
            update.step()

    return train


def prepare(job, compiled=False):
    torch.set_num_threads(job.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    row = job.workload
    X, y = (torch.from_numpy(a) for a in make_data(row, job.numpy_dtype))
    if row.kind == "forward":
        return prepare_forward(job, X)
    implementations = {
        "fused": {"fused": True},
        "foreach": {"foreach": True},
        "default": {},
    }
    if compiled:  # each costs a compilation; fused wins wherever the step is long
        implementations = {"fused": {"fused": True}}
    trainers = {
        name: trainer(row, X, y, compiled, implementation)
        for name, implementation in implementations.items()
    }
    steps = max(5, min(200, 2_000 // row.batch))
    calls = {
        name: (lambda train=train: train(steps)) for name, train in trainers.items()
    }
    name, call = fastest(calls)
    return name, repeated(call, steps, job.budget, row.warm_up)


def prepare_forward(job, X):
    model = network(job.workload, X.dtype).eval()

    def forward():
        with torch.inference_mode():
            return torch.softmax(model(X), 1)

    forward()
    return "eager", repeated(forward, 1, job.budget)
