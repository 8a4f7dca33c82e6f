"""Random networks, data and comparisons for whoever tests against the oracle."""

import numpy as np

from oracle.functions import ACTIVATIONS, LOSSES, softmax
from oracle.network import loss as loss_of
from oracle.network import make_net, parameters, with_parameters
from oracle.sensitivities import numeric_gradient

PARAMS = {"two_sided_relu": (-0.3,), "leaky_relu": (0.1,), "elu": (0.7,)}
TRAINABLE = [name for name, (_, df) in ACTIVATIONS.items() if df is not None]


def rng_of(*seed):
    return np.random.default_rng(seed)


def spec_of(name):
    return (name, *PARAMS[name]) if name in PARAMS else name


def relative_error(actual, expected):
    """|actual - expected| / |expected| over two lists of arrays."""
    a, b = (np.concatenate([np.ravel(x) for x in v]) for v in (actual, expected))
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)


def numeric_gradients(net, *data, h=1e-5, **options):
    """Central differences of ``loss``, a list like ``parameters(net)``."""
    params, numeric = parameters(net), []
    for j, p in enumerate(params):

        def loss_at(q, j=j):
            moved = with_parameters(net, [*params[:j], q, *params[j + 1 :]])
            return loss_of(moved, *data, **options)

        numeric.append(numeric_gradient(loss_at, p, h))
    return numeric


def random_data(rng, net, n=7, missing=False):
    """X and targets that suit the network's loss; a third of them NaN if asked."""
    X = rng.normal(size=(n, net.sizes[0]))
    T = rng.normal(size=(n, net.sizes[-1]))
    name = net.loss[0] if isinstance(net.loss, tuple) else net.loss
    output, groups = net.activation[-1], None
    if isinstance(output, tuple) and output[0] == "softmax":
        groups = output[1]
    if name == "log_loss":
        T = rng.random(T.shape) if output == "logistic" else softmax(T, groups)
    elif name == "logistic":
        T = np.sign(T)
    elif name == "poisson":
        T = rng.poisson(2, size=T.shape).astype(float)
    if missing and output == "softmax":
        T[rng.random(n) < 0.3] = np.nan
    elif missing:
        T[rng.random(T.shape) < 0.3] = np.nan
    return X, T


def custom_loss(t, y):
    return np.cosh(y - t).sum(axis=1), np.sinh(y - t)


OUTPUTS = [
    ("identity", "squared_error"),
    ("tanh", "squared_error"),
    ("softmax", "squared_error"),
    (("softmax", (2, 1)), "squared_error"),
    ("softmax", "log_loss"),
    (("softmax", (2, 1)), "log_loss"),
    ("logistic", "log_loss"),
    ("tanh", "logistic"),
    ("identity", ("huber", 0.5)),
    ("identity", "absolute_error"),
    ("exp", "poisson"),
    ("softplus", "poisson"),
    ("identity", ("quantile", 0.3)),
    ("identity", custom_loss),
]
# a new loss of the table: with outputs by themselves, and with outputs that are coupled
NAMED = {loss[0] if isinstance(loss, tuple) else loss for _, loss in OUTPUTS}
OUTPUTS += [
    (output, loss)
    for loss in LOSSES
    if loss not in NAMED and not loss.startswith("log_loss_")
    for output in ("identity", "softmax")
]


def random_case(seed):
    """(net, X, T, sample_weight or None, masks or None), all options at random."""
    rng = rng_of(15, seed)
    output, loss = OUTPUTS[seed % len(OUTPUTS)]
    hidden = [spec_of(str(n)) for n in rng.choice(TRAINABLE, 3) if n != "exp"]
    hidden += ["tanh"] * (3 - len(hidden))
    if seed % 7 == 3:
        hidden[1] = ["tanh", "logistic", "gelu", ("elu", 0.5)]
    norm = str(rng.choice(["none", "hidden", "all", "hidden+input", "none+input"]))
    rates = [float(rng.choice([0.0, 0.3])) for _ in range(4)]
    if seed % 5 == 1:
        hidden[0], rates[0] = "rbf", 0.0
    net = make_net(rng, [3, 4, 4, 4, 3], hidden, output, norm, loss=loss, dropout=rates)
    net.residual = bool(rng.random() < 0.5)
    net.scaling = str(rng.choice(["train", "test"]))
    net.alpha, net.l2, net.l1 = rng.choice([0, 0.1], size=3)
    net.l2_bias = bool(rng.random() < 0.5)
    missing = isinstance(loss, str) and rng.random() < 0.5
    X, T = random_data(rng, net, missing=missing)
    shape = (4,) if seed % 2 else (7, 4)
    masks = [(rng.random((*shape[:-1], n)) < 0.7) * 1.0 for n in net.sizes[:-1]]
    for mask in masks:
        mask[..., 0] = 1  # a layer without kept units would leave batch norm no variance
    masks = [m if p else None for m, p in zip(masks, rates, strict=True)]
    w = rng.uniform(0.5, 2, size=len(X)) if rng.random() < 0.5 else None
    return net, X, T, w, masks if rng.random() < 0.7 else None
