"""Derivatives of a trained network: Jacobian, Hessian-vector product, diagonal."""

import numpy as np

from oracle.functions import curvature, slope, softmax_jvp
from oracle.network import (
    _split,
    flat,
    forward,
    gradients,
    has_skip,
    is_rbf,
    parameters,
    penalised,
    with_parameters,
)


def numeric_gradient(f, x, h=1e-4):
    """Fourth-order central differences of a scalar or array f, one entry of x at a
    time; the result has the shape of f, then that of x."""
    x = np.asarray(x, dtype=float)
    columns = []
    for i in range(x.size):
        e = np.zeros(x.size)
        e[i] = h
        columns.append(_slope_along(f, x, e.reshape(x.shape), h))
    return np.stack(columns, axis=-1).reshape(np.shape(columns[0]) + x.shape)


def _slope_along(f, x, step, h):
    near = f(x + step) - f(x - step)
    far = f(x + 2 * step) - f(x - 2 * step)
    return (8 * near - far) / (12 * h)


def _through_output(net, s, u):
    """u^T times the output layer's own Jacobian, row by row."""
    name, params = ("per node", ()) if _is_list(net) else _split(net.activation[-1])
    if name == "softmax":
        return softmax_jvp(s.out, u, *params)
    return u * slope(net.activation[-1], s.v[-1])


def _is_list(net):
    return isinstance(net.activation[-1], list)


def _scale(net, s, k):
    norm = net.norm[k]
    return 1.0 if norm is None else s.norm[k].xi * (1 if norm.a is None else norm.a)


def _rbf_jacobian(net, s):
    """dy/dx of the rbf layer, (B, n_out, n_in)."""
    offset = s.x[0][:, :, None] - net.W[0]
    return np.swapaxes(-s.y[0][:, None, :] * offset / net.b[0], 1, 2)


def _keep(net, k):
    return 1 - net.dropout[k] if net.scaling == "test" else 1.0


def jacobian(net, X):
    """d output / d input of the predicting network, (B, Q, M), one output at a time:
    lambda_L, then lambda_l = f' * W lambda_{l+1} [S P65.9]."""
    s = forward(net, X)
    rows = []
    for q in range(net.sizes[-1]):
        u = np.zeros_like(s.out)
        u[:, q] = 1
        lam, skipped = _through_output(net, s, u), 0
        for k in reversed(range(len(net.W))):
            if is_rbf(net, k):
                dx = np.einsum("bj,bji->bi", lam, _rbf_jacobian(net, s))
            else:
                dx = (lam * _scale(net, s, k + 1)) @ net.W[k].T + skipped
            dy = dx * _keep(net, k)
            if k > 0 and not is_rbf(net, k - 1):
                lam = dy * slope(net.activation[k - 1], s.v[k - 1])
                skipped = dy if has_skip(net, k - 1) else 0
            else:
                lam, skipped = dy, 0
        rows.append(dy * _scale(net, s, 0))
    return np.stack(rows, axis=1)


def jacobian_forward(net, X):
    """The same, one input at a time: Lambda_{l+1} = diag f' W^T Lambda_l [S P65.10]."""
    s = forward(net, X)
    columns = []
    for i in range(net.sizes[0]):
        dy = np.zeros_like(X, dtype=float)
        dy[:, i] = 1
        dy = dy * _scale(net, s, 0)
        for k in range(len(net.W)):
            dx = dy * _keep(net, k)
            if is_rbf(net, k):
                dy = np.einsum("bji,bi->bj", _rbf_jacobian(net, s), dx)
                continue
            dv = (dx @ net.W[k]) * _scale(net, s, k + 1)
            if k == len(net.W) - 1:
                dy = _through_output(net, s, dv)
            else:
                dy = dv * slope(net.activation[k], s.v[k])
                dy = dy + (dx if has_skip(net, k) else 0)
        columns.append(dy)
    return np.stack(columns, axis=2)


def hessian_vector_product(net, X, T, V, h=1e-4, **options):
    """H V by central differences of the gradient along V, a list like
    ``parameters(net)``; options as for ``gradients``."""
    params = parameters(net)

    def gradient_at(t):
        moved = [p + t * v for p, v in zip(params, V, strict=True)]
        return flat(gradients(with_parameters(net, moved), X, T, **options))

    points = [gradient_at(t) for t in (h, -h, 2 * h, -2 * h)]
    return [
        (8 * (a - b) - (c - d)) / (12 * h) for a, b, c, d in zip(*points, strict=True)
    ]


def hessian_diagonal(net, X, T, kind="exact", **options):
    """d^2 P / d w^2 of every parameter, a list like ``parameters(net)``."""
    if kind == "curvature":
        return _curvature_diagonal(net, X, T, **options)
    diagonal = []
    for j, p in enumerate(parameters(net)):
        d = np.empty_like(p)
        for i in np.ndindex(p.shape):
            V = [np.zeros_like(q) for q in parameters(net)]
            V[j][i] = 1
            d[i] = hessian_vector_product(net, X, T, V, **options)[j][i]
        diagonal.append(d)
    return diagonal


def _curvature_diagonal(net, X, T, sample_weight=None):
    """Only the f'' term: y^2 (x) mean f''(z) * dP/dy [S P65.12-65.14]. In the output
    layer, softmax and logistic give (1 - 2 y) * delta_L for that term. Exact where
    the loss is linear in what leaves the layer, or f' = 0."""
    assert all(norm is None for norm in net.norm) and not is_rbf(net, 0)
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    s, g = forward(net, X, train=True), gradients(net, X, T, sample_weight)
    dW, db = [], []
    for k in range(len(net.W)):
        spec = net.activation[k]
        last = k == len(net.W) - 1 and not isinstance(spec, list)
        if last and _split(spec)[0] in ("softmax", "logistic"):
            bend = (1 - 2 * s.out) * g.delta[k]
        else:
            bend = curvature(spec, s.v[k]) * g.y[k]
        dW.append((s.x[k] ** 2).T @ bend)
        db.append(bend.sum(axis=0))
    for k in penalised(net):
        dW[k] += net.alpha / w.sum() + 2 * net.l2
        db[k] += 2 * net.l2 if net.l2_bias else 0.0
    return [*dW, *db]
