"""One function per update rule, and an epoch of any of them.

Every rule is ``rule(params, grads, state, lr=..., kept=None, ...) -> new params``
over lists of arrays; ``state`` is a dict, empty at the start, that
has the rule's moments.
Where ``kept`` is False a parameter and its moments stay as they are [S 65.6], or, given
``shrink``, the gradients of the penalties, a plain step of these is all that is taken
[S 65.124].  With ``l1``, one number per parameter, every step ends in a soft threshold
that stands for the gradient of l1‖W‖₁.
"""

from itertools import pairwise

import numpy as np

from oracle.network import (
    flat,
    forward,
    gradients,
    is_rbf,
    loss,
    parameters,
    penalised,
    penalty_gradients,
    update_statistics,
    with_parameters,
)


def _frozen(new, old, kept):
    if kept is None:
        return new
    return [np.where(a, n, o) for a, n, o in zip(kept, new, old, strict=True)]


def _zeros(params):
    return [np.zeros_like(p) for p in params]


def soft(u, threshold):
    return np.sign(u) * np.maximum(np.abs(u) - threshold, 0)


def _ended(new, params, lr, kept, shrink, l1):
    """New parameters of those in play, and what becomes of the others."""
    if shrink is None:
        return _frozen(new, params, kept)
    l1 = l1 or [0.0] * len(params)
    alone = [
        soft(p - lr * g, lr * t) for p, g, t in zip(params, shrink, l1, strict=True)
    ]
    return _frozen(new, alone, kept)


def sgd(params, grads, state, *, lr, kept=None, shrink=None, l1=None):
    new = [p - lr * g for p, g in zip(params, grads, strict=True)]
    if l1:
        new = [soft(p, lr * t) for p, t in zip(new, l1, strict=True)]
    return _ended(new, params, lr, kept, shrink, l1)


def momentum(params, grads, state, *, lr, beta=0.9, kept=None, shrink=None, l1=None):
    old = state.setdefault("velocity", _zeros(params))
    v = [beta * u - lr * g for u, g in zip(old, grads, strict=True)]
    new = [p + u for p, u in zip(params, v, strict=True)]
    if l1:  # inertial proximal gradient
        new = [soft(p, lr * t) for p, t in zip(new, l1, strict=True)]
        v = [after - before for after, before in zip(new, params, strict=True)]
    state["velocity"] = _frozen(v, old, kept)
    return _ended(new, params, lr, kept, shrink, l1)


def nesterov(params, grads, state, *, lr, beta=0.9, kept=None, shrink=None, l1=None):
    """As scikit-learn: the parameters are where the gradient is taken, y = x + beta v;
    with ``l1`` FISTA with a constant beta, and no velocity where x is 0."""
    old = state.setdefault("velocity", _zeros(params))
    l1 = l1 or [0.0] * len(params)
    new, v = [], []
    for y, g, u, t in zip(params, grads, old, l1, strict=True):
        x = soft(y - lr * g, lr * t)
        v.append(np.where((x == 0) & (t > 0), 0.0, x - (y - beta * u)))
        new.append(x + beta * v[-1])
    state["velocity"] = _frozen(v, old, kept)
    return _ended(new, params, lr, kept, shrink, l1)


def adam(
    params,
    grads,
    state,
    *,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    kept=None,
    shrink=None,
    l1=None,
):
    """[S 65.95-65.98]; ``betas`` is a pair or a list with one pair per parameter; the
    soft threshold is that of each parameter's own step size."""
    pairs = betas if isinstance(betas, list) else [betas] * len(params)
    t = state["t"] = state.get("t", 0) + 1
    m, s = state.get("m", _zeros(params)), state.get("s", _zeros(params))
    new, new_m, new_s = [], [], []
    for p, g, mi, si, (b1, b2) in zip(params, grads, m, s, pairs, strict=True):
        new_m.append(b1 * mi + (1 - b1) * g)  # [S 65.96]
        new_s.append(b2 * si + (1 - b2) * g * g)  # [S 65.97]
        step = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        new.append(p - step * new_m[-1] / (eps + np.sqrt(new_s[-1])))  # [S 65.98]
        if l1:
            own = step / (eps + np.sqrt(new_s[-1]))
            new[-1] = soft(new[-1], own * l1[len(new) - 1])
    state["m"], state["s"] = _frozen(new_m, m, kept), _frozen(new_s, s, kept)
    return _ended(new, params, lr, kept, shrink, l1)


def adamw(params, grads, state, *, lr, decay, kept=None, shrink=None, **options):
    """Adam after w <- (1 - lr * decay) w; ``decay`` is one number per parameter."""
    shrunk = [(1 - lr * d) * p for p, d in zip(params, decay, strict=True)]
    if shrink is None:
        shrunk = _frozen(shrunk, params, kept)
    return adam(shrunk, grads, state, lr=lr, kept=kept, shrink=shrink, **options)


def clip(grads, norm=None, value=None):
    """By global norm first, then entry by entry."""
    if norm is not None:
        total = np.sqrt(sum((g**2).sum() for g in grads))
        grads = [g * min(1.0, norm / total) if total > 0 else g for g in grads]
    if value is not None:
        grads = [np.clip(g, -value, value) for g in grads]
    return grads


def per_parameter(net, weights, others):
    """A list as long as ``parameters(net)``: one value for W, another for b and a.
    An rbf layer's centres count among the others."""
    n = len(net.W)
    first = [others if is_rbf(net, k) else weights for k in range(n)]
    return first + [others] * (len(parameters(net)) - n)


def kept(net, masks):
    """Return which parameters a batch-shared mask keeps [S 65.6 (a), (b)], of those
    that exist and are not frozen. A mask per sample (two-dimensional) drops no
    unit from the whole batch."""
    nodes = [np.ones(n, bool) for n in net.sizes]
    for k, mask in enumerate(masks or []):
        if mask is not None and np.ndim(mask) == 1:
            nodes[k] = np.asarray(mask) != 0
    trained = [not still for still in net.frozen]
    W = [
        np.outer(a, b) & edges & free
        for (a, b), edges, free in zip(pairwise(nodes), net.edges, trained, strict=True)
    ]
    b = [node & free for node, free in zip(nodes[1:], trained, strict=True)]
    scaled = [
        bk
        for bk, norm in zip(b, net.norm[1:], strict=True)
        if norm is not None and norm.a is not None
    ]
    return [*W, *(bk & net.offsets for bk in b), *scaled]


def _penalties(net, total_weight):
    """Return the arguments of the rules for penalties that are not in the gradient."""
    told = {}
    rest = [np.zeros_like(p) for p in parameters(net)[2 * len(net.W) :]]
    if net.dropout_decay == "all":
        W, b = penalty_gradients(net, total_weight)
        told["shrink"] = [*W, *b, *rest]
    if net.l1 and net.l1_method == "proximal":
        there = penalised(net)
        W = [net.l1 * (k in there) for k in range(len(net.W))]
        told["l1"] = W + [0.0] * (len(net.b) + len(rest))
    return told


def train_epoch(
    net,
    X,
    T,
    batches,
    update,
    state,
    sample_weight=None,
    masks=None,
    clip_norm=None,
    clip_value=None,
):
    """One epoch over the given index arrays; ``update`` is a rule with its options
    bound, or a list with a rule per step; ``masks[m]`` the masks of batch m. Returns
    (network, mean loss); the loss of a batch is taken before its step and counts as
    often as it has samples."""
    total = 0.0
    for m, rows in enumerate(batches):
        drawn = None if masks is None else masks[m]
        w = None if sample_weight is None else sample_weight[rows]
        total += len(rows) * loss(net, X[rows], T[rows], w, masks=drawn)
        g = flat(gradients(net, X[rows], T[rows], w, masks=drawn))
        active = kept(net, drawn)
        g = [gi * ai for gi, ai in zip(g, active, strict=True)]
        g = clip(g, clip_norm, clip_value)
        saved = forward(net, X[rows], train=True, masks=drawn)
        penalties = _penalties(net, len(rows) if w is None else w.sum())
        rule = update[m] if isinstance(update, list) else update
        new = rule(parameters(net), g, state, kept=active, **penalties)
        new = _frozen(new, parameters(net), kept(net, None))
        net = with_parameters(net, new)
        update_statistics(net, saved, drawn)
    return net, total / sum(len(rows) for rows in batches)
