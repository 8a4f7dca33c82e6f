"""A network, its forward pass, its loss and its gradients, layer by layer."""

import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from oracle.functions import (
    LOSSES,
    activate,
    rbf,
    rbf_backward,
    slope,
    softmax_jvp,
)


@dataclass
class BatchNorm:
    """State of one normalised layer. The shift is the layer's ``b``; the input has
    neither scale nor shift (``a`` is None). ``count`` is per node: the statistics
    of a dropped node do not change."""

    a: np.ndarray | None
    mean: np.ndarray
    var: np.ndarray
    count: np.ndarray
    eps: float = 1e-6
    momentum: float = 0.95


def batch_norm(n, scale=1.0, eps=1e-6, momentum=0.95):
    """Fresh state for n nodes; ``scale=None`` for the input."""
    a = None if scale is None else np.full(n, float(scale))
    return BatchNorm(a, np.zeros(n), np.zeros(n), np.zeros(n), eps, momentum)


@dataclass
class Net:
    """``W[k]`` is (n_k, n_{k+1}), ``b[k] = -theta``; ``activation[k]`` is a spec, the
    last one the output's; 'rbf' may stand first, ``W[0]`` then holding the centres
    as columns and ``b[0]`` the widths. ``loss`` is a name, ``(name, *params)`` or a
    callable (t, y) -> (values, gradient). ``norm[k]`` normalises layer k (0: input),
    ``dropout[k]`` is layer k's rate, k = 0 .. L - 2. ``edges[k]`` says which of W[k]
    there are, the others are 0; ``frozen[k]`` that layer k is frozen; without
    ``offsets`` all b are 0."""

    W: list
    b: list
    activation: list
    loss: object = "squared_error"
    residual: bool = False
    norm: list = None
    bn_gradient: str = "exact"
    dropout: list = None
    scaling: str = "train"
    dropout_decay: str = "kept"
    alpha: float = 0.0
    l2: float = 0.0
    l2_bias: bool = False
    l1: float = 0.0
    l1_method: str = "subgradient"
    edges: list = None
    frozen: list = None
    offsets: bool = True
    sizes: list = field(init=False)

    def __post_init__(self):
        self.sizes = [len(self.W[0]), *(len(b) for b in self.b)]
        self.norm = self.norm or [None] * len(self.sizes)
        self.dropout = self.dropout or [0.0] * len(self.W)
        self.edges = self.edges or [np.ones(W.shape, bool) for W in self.W]
        self.frozen = self.frozen or [False] * len(self.W)
        if not self.offsets:
            self.b = [np.zeros_like(b) for b in self.b]


def make_net(rng, sizes, hidden="tanh", output="identity", norm="none", **options):
    """A random network; ``norm`` is 'none', 'hidden' or 'all', + '+input'."""
    shapes = list(pairwise(sizes))
    W = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in shapes]
    b = [rng.normal(size=n) / 2 for n in sizes[1:]]
    activation = list(hidden) if isinstance(hidden, list) else [hidden] * (len(W) - 1)
    if activation and activation[0] == "rbf":
        b[0] = rng.uniform(0.5, 2, size=sizes[1])
    layers, _, extra = norm.partition("+")
    norms = [None] * len(sizes)
    for k in range(1, len(sizes)):
        wanted = layers == "all" or (layers == "hidden" and k < len(W))
        if wanted and activation[k - 1 : k] != ["rbf"]:
            norms[k] = batch_norm(sizes[k])
            norms[k].a = rng.uniform(0.5, 1.5, size=sizes[k])
    if extra:
        norms[0] = batch_norm(sizes[0], scale=None)
    return Net(W, b, [*activation, output], norm=norms, **options)


def is_rbf(net, k):
    return k == 0 and net.activation[0] == "rbf"


def has_skip(net, k):
    n_in, n_out = net.W[k].shape
    return net.residual and 0 < k < len(net.W) - 1 and n_in == n_out


def drop_factor(net, k, train, masks):
    """Return the factor of layer k's outputs in predictions [S 65.121]."""
    if not train:
        return 1 - net.dropout[k] if net.scaling == "test" else 1.0
    if masks is None or masks[k] is None:
        return 1.0
    return masks[k] / (1 - net.dropout[k]) if net.scaling == "train" else masks[k]


def statistics(norm, z, train):
    """Mean and biased variance of the batch, or the running ones with the bias of
    their zero start removed (mean 0, variance 1 for a node never seen)."""
    if train:
        assert len(z) > 1
        return z.mean(axis=0), z.var(axis=0)
    seen = np.where(norm.count > 0, 1 - norm.momentum**norm.count, 1.0)
    return norm.mean / seen, np.where(norm.count > 0, norm.var / seen, 1.0)


def normalise(norm, z, train):
    """z' of [S 65.169] with everything its backward needs."""
    mean, var = statistics(norm, z, train)
    xi = 1 / np.sqrt(var + norm.eps)  # [S 65.220]
    return SimpleNamespace(mean=mean, var=var, xi=xi, hat=(z - mean) * xi)


def normalise_backward(norm, saved, dv, train, kind):
    """From dP/dv to (dP/dz for the weights, dP/dz handed on, dP/da)."""
    g = dv if norm.a is None else norm.a * dv
    da = None if norm.a is None else (dv * saved.hat).sum(axis=0)  # [S 65.207]
    if not train:
        return saved.xi * g, saved.xi * g, da
    hat, xi = saved.hat, saved.xi
    exact = xi * (g - g.mean(axis=0) - hat * (g * hat).mean(axis=0))  # [S P65.19]
    if kind == "exact":
        return exact, exact, da
    c_bb = xi * (1 - 1 / len(g) - hat**2 / len(g))  # [S 65.221]
    return exact, c_bb * g, da  # [S 65.222, 65.232]


def forward(net, X, train=False, masks=None):
    """Saved: x[k] what enters weights k; z, v, y[k] what leaves them before and after
    normalisation and activation; norm[k] per layer (0: input); out = y[-1]."""
    s = SimpleNamespace(x=[], z=[], v=[], y=[], norm=[None] * len(net.sizes))
    y = X
    if net.norm[0] is not None:
        s.norm[0] = normalise(net.norm[0], X, train)
        y = s.norm[0].hat
    for k, (W, b) in enumerate(zip(net.W, net.b, strict=True)):
        x = y * drop_factor(net, k, train, masks)  # [S 65.121]
        z = v = None
        if is_rbf(net, k):
            y = rbf(x, W, b)
        else:
            z = x @ W
            hat = z
            if net.norm[k + 1] is not None:
                s.norm[k + 1] = normalise(net.norm[k + 1], z, train)
                hat = net.norm[k + 1].a * s.norm[k + 1].hat
            v = hat + b  # [S 65.183]
            y = activate(net.activation[k], v) + (x if has_skip(net, k) else 0)
        for saved, value in zip((s.x, s.z, s.v, s.y), (x, z, v, y), strict=True):
            saved.append(value)
    s.out = y
    return s


def predict(net, X):
    return forward(net, X).out


def _split(spec):
    return (spec, ()) if isinstance(spec, str) else (spec[0], tuple(spec[1:]))


def _log_loss_entry(output):
    name, params = _split(output)
    assert name in ("softmax", "logistic"), "log_loss needs softmax or logistic"
    return LOSSES["log_loss_" + name], params


def sample_losses(net, v, y, T):
    """The loss of every sample from the last layer's v and y [S table 65.2]."""
    if callable(net.loss):
        return net.loss(T, y)[0]
    name, params = _split(net.loss)
    if name == "log_loss":
        (value, _), params = _log_loss_entry(net.activation[-1])
        return value(v, T, *params)
    return LOSSES[name][0](y, T, *params)


def output_gradient(net, y, T):
    """dQ/dy of every sample; None for the log losses, which start at the logits."""
    if callable(net.loss):
        return net.loss(T, y)[1]
    name, params = _split(net.loss)
    return None if name == "log_loss" else LOSSES[name][1](y, T, *params)


def boundary(net, v, y, T):
    """delta_L of every sample [S table 65.2]."""
    output = net.activation[-1]
    if net.loss == "log_loss":
        (_, gradient), params = _log_loss_entry(output)
        return gradient(v, T, *params)  # [S 65.144, 65.164]
    if net.loss == "poisson" and output == "exp":
        return LOSSES["squared_error"][1](y, T)
    g = output_gradient(net, y, T)
    if not isinstance(output, list) and _split(output)[0] == "softmax":
        return softmax_jvp(y, g, *_split(output)[1])  # [S 65.70]
    return g * slope(output, v)


def penalised(net):
    return [k for k in range(len(net.W)) if not (is_rbf(net, k) or net.frozen[k])]


def penalty(net, total_weight):
    value = 0.0
    for k in penalised(net):
        W, b = net.W[k], net.b[k]
        value += net.alpha / 2 * (W**2).sum() / total_weight
        value += net.l2 * (W**2).sum()  # [S 65.45]
        value += net.l2 * (b**2).sum() if net.l2_bias else 0.0
        value += net.l1 * np.abs(W).sum()  # [S P65.15]
    return value


def penalty_gradients(net, total_weight):
    """Gradients of ``penalty`` in W and b, two lists; with l1_method 'proximal' without
    the l1, which the update rules take apart."""
    W, b = [np.zeros_like(w) for w in net.W], [np.zeros_like(v) for v in net.b]
    l1 = net.l1 if net.l1_method == "subgradient" else 0.0
    for k in penalised(net):
        strength = net.alpha / total_weight + 2 * net.l2
        W[k] = strength * net.W[k] + l1 * np.sign(net.W[k])
        b[k] = 2 * net.l2 * net.b[k] if net.l2_bias else b[k]
    return W, b


def _weights(X, sample_weight):
    return np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)


def loss(net, X, T, sample_weight=None, train=True, masks=None):
    """Weighted mean of the samples' losses plus the penalties."""
    w = _weights(X, sample_weight)
    s = forward(net, X, train, masks)
    values = sample_losses(net, s.v[-1], s.out, T)
    return (w * values).sum() / w.sum() + penalty(net, w.sum())


def gradients(net, X, T, sample_weight=None, train=True, masks=None):
    """Gradient of ``loss``: a namespace of lists W, b, a (None where not normalised),
    the array X, and per layer k the lists delta = dP/dv and y = dP/dy of what leaves
    weights k, one row a sample, weighting and 1/B included (y[-1] is None for the
    log losses)."""
    w = _weights(X, sample_weight)
    n = len(net.W)
    s = forward(net, X, train, masks)
    g = SimpleNamespace(
        W=[None] * n, b=[None] * n, a=[None] * (n + 1), delta=[None] * n, y=[None] * n
    )
    dy = output_gradient(net, s.out, T)
    dy = None if dy is None else dy * w[:, None] / w.sum()
    for k in reversed(range(n)):
        g.y[k] = dy
        if is_rbf(net, k):
            dx, g.W[k], g.b[k] = rbf_backward(s.x[k], net.W[k], net.b[k], dy)
        else:
            if k == n - 1:
                delta = boundary(net, s.v[k], s.out, T) * w[:, None] / w.sum()
            else:
                delta = dy * slope(net.activation[k], s.v[k])  # [S 65.61]
            g.delta[k] = delta
            dz = handed_on = delta
            if net.norm[k + 1] is not None:
                dz, handed_on, g.a[k + 1] = normalise_backward(
                    net.norm[k + 1], s.norm[k + 1], delta, train, net.bn_gradient
                )
            g.W[k] = s.x[k].T @ dz  # [S 65.74]
            g.b[k] = delta.sum(axis=0) * net.offsets  # [S 65.80]
            dx = handed_on @ net.W[k].T + (dy if has_skip(net, k) else 0)
        dy = dx * drop_factor(net, k, train, masks)  # [S 65.124]
    g.X = dy
    if net.norm[0] is not None:
        g.X = normalise_backward(net.norm[0], s.norm[0], dy, train, "exact")[0]
    for k, (dW, db) in enumerate(zip(*penalty_gradients(net, w.sum()), strict=True)):
        g.W[k] = g.W[k] + dW
        g.b[k] = g.b[k] + db
    return g


def parameters(net):
    """All parameters in one list: every W, every b, every normalisation scale a."""
    scales = [norm.a for norm in net.norm if norm is not None and norm.a is not None]
    return [*net.W, *net.b, *scales]


def flat(g):
    """A gradient in the order of ``parameters``."""
    return [*g.W, *g.b, *(a for a in g.a if a is not None)]


def with_parameters(net, params):
    """A copy of the network that holds other parameters."""
    n = len(net.W)
    scales = iter(params[2 * n :])
    norms = copy.deepcopy(net.norm)
    for norm in norms:
        if norm is not None and norm.a is not None:
            norm.a = np.array(next(scales))
    values = [np.array(p) for p in params[: 2 * n]]
    return replace(net, W=values[:n], b=values[n:], norm=norms)


def update_statistics(net, saved, masks=None):
    """Running statistics after a training pass [S 65.176], in place."""
    for k, (norm, batch) in enumerate(zip(net.norm, saved.norm, strict=True)):
        if norm is None:
            continue
        mask = masks[k] if masks is not None and k < len(masks) else None
        active = np.ones(len(norm.mean), bool)
        if mask is not None and np.ndim(mask) == 1:
            active = np.asarray(mask) != 0
        size, rate = len(batch.hat), np.where(active, 1 - norm.momentum, 0.0)
        unbiased = batch.var * size / (size - 1)
        norm.mean = (1 - rate) * norm.mean + rate * batch.mean
        norm.var = (1 - rate) * norm.var + rate * unbiased
        norm.count = norm.count + active


def fold(net):
    """The same predictions from a network without normalisation."""
    W, b = [w.copy() for w in net.W], [v.copy() for v in net.b]
    for k in range(len(W)):
        offset = np.zeros(len(b[k]))
        if k == 0 and net.norm[0] is not None:
            mean, var = statistics(net.norm[0], None, train=False)
            xi = 1 / np.sqrt(var + net.norm[0].eps)
            offset = -drop_factor(net, 0, False, None) * (mean * xi) @ W[0]
            W[0] = xi[:, None] * W[0]
        norm = net.norm[k + 1]
        scale = 1.0
        if norm is not None:
            mean, var = statistics(norm, None, train=False)
            scale = norm.a / np.sqrt(var + norm.eps)
            offset = offset - mean
        W[k] = W[k] * scale
        b[k] = b[k] + scale * offset
    return replace(net, W=W, b=b, norm=[None] * len(net.sizes))
