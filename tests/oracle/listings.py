"""One epoch of each training listing of the chapter, sample by sample.

W and theta are lists (z = W^T y - theta), ``activation`` one spec per layer of
weights, ``order`` the samples or ``batches`` the index arrays in the order taken.
``boundary(gamma_hat, gamma, z, spec)`` is delta_L of one sample; with squared error
it is ours, without the factor 2 of the book: its (mu, rho) are our (2 mu, rho / 2).
Nothing is changed in place; the new lists are returned.
"""

from itertools import pairwise

import numpy as np

from oracle import functions


def _f(spec, z):
    return functions.activate(spec, z[None])[0]


def _df(spec, z):
    return functions.slope(spec, z[None])[0]


def boundary_squared(gamma_hat, gamma, z, spec):
    return (gamma_hat - gamma) * _df(spec, z)  # (65.82) without the 2


def boundary_softmax_squared(gamma_hat, gamma, z, spec):
    J = np.diag(gamma_hat) - np.outer(gamma_hat, gamma_hat)
    return J @ (gamma_hat - gamma)  # (65.84) without the 2


def boundary_cross_entropy(gamma_hat, gamma, z, spec):
    return gamma_hat - gamma  # (65.147)


def _forward(W, theta, activation, h):
    y, z = [h], [None]
    for Wl, tl, spec in zip(W, theta, activation, strict=True):
        z.append(Wl.T @ y[-1] - tl)
        y.append(_f(spec, z[-1]))
    return y, z


def _backward(W, activation, z, delta_L):
    delta = [None] * len(z)
    delta[-1] = delta_L
    for k in range(len(W) - 1, 0, -1):
        delta[k] = _df(activation[k - 1], z[k]) * (W[k] @ delta[k + 1])
    return delta


def _sensitivities(W, theta, activation, h, gamma, boundary):
    y, z = _forward(W, theta, activation, h)
    delta_L = boundary(y[-1], gamma, z[-1], activation[-1])
    return y, _backward(W, activation, z, delta_L)


def listing_65_82(
    W, theta, activation, X, T, batches, mu, rho=0.0, boundary=boundary_squared
):
    """Mini-batch backpropagation; one batch of all samples is gradient descent."""
    for rows in batches:
        B = len(rows)
        passes = [
            _sensitivities(W, theta, activation, X[b], T[b], boundary) for b in rows
        ]
        new_W, new_theta = [], []
        for k in range(len(W)):
            G = sum(np.outer(y[k], delta[k + 1]) for y, delta in passes)
            new_W.append((1 - 2 * mu * rho) * W[k] - mu / B * G)
            new_theta.append(
                theta[k] + mu / B * sum(delta[k + 1] for _, delta in passes)
            )
        W, theta = new_W, new_theta
    return W, theta


def listing_65_87(
    W, theta, activation, X, T, order, mu, rho=0.0, boundary=boundary_squared
):
    """Stochastic-gradient backpropagation, one sample a step."""
    for m in order:
        y, delta = _sensitivities(W, theta, activation, X[m], T[m], boundary)
        W = [
            (1 - 2 * mu * rho) * W[k] - mu * np.outer(y[k], delta[k + 1])
            for k in range(len(W))
        ]
        theta = [theta[k] + mu * delta[k + 1] for k in range(len(theta))]
    return W, theta


def listing_65_149(W, theta, activation, X, T, batches, mu, rho=0.0):
    """Mini-batch, cross-entropy behind softmax (or logistic) outputs."""
    return listing_65_82(
        W, theta, activation, X, T, batches, mu, rho, boundary_cross_entropy
    )


def listing_65_150(W, theta, activation, X, T, order, mu, rho=0.0):
    """One sample a step, cross-entropy behind softmax (or logistic) outputs."""
    return listing_65_87(
        W, theta, activation, X, T, order, mu, rho, boundary_cross_entropy
    )


def listing_65_124(
    W,
    theta,
    activation,
    X,
    T,
    batches,
    masks,
    rates,
    mu,
    rho=0.0,
    scaling="train",
    boundary=boundary_squared,
    decay="kept",
):
    """Dropout: ``masks[m][k]`` is the 0/1 vector of layer k for batch m, ``rates[k]``
    its rate. The printed listing decays all weights (``decay="all"``); with "kept" the
    parameters of dropped nodes are frozen, also against the decay."""
    n = len(W)
    for rows, drawn in zip(batches, masks, strict=True):
        B = len(rows)
        up = [1 / (1 - p) if scaling == "train" else 1.0 for p in rates]
        a = [np.asarray(mask, dtype=float) for mask in drawn]
        G = [np.zeros_like(w) for w in W]
        g = [np.zeros_like(t) for t in theta]
        for b in rows:
            y, z = [X[b] * a[0] * up[0]], [None]
            for k in range(n):
                z.append(W[k].T @ y[k] - theta[k])  # (65.122)
                y.append(_f(activation[k], z[-1]))
                if k < n - 1:
                    y[-1] = y[-1] * a[k + 1] * up[k + 1]
            delta = boundary(y[-1], T[b], z[-1], activation[-1])
            for k in range(n - 1, -1, -1):
                G[k] += np.outer(y[k], delta) / B
                g[k] += delta / B
                if k > 0:
                    delta = _df(activation[k - 1], z[k]) * (W[k] @ delta)
                    delta = delta * a[k] * up[k]
        in_play = [*a, np.ones(len(theta[-1]))]
        kept = [np.outer(i, j) for i, j in pairwise(in_play)]
        decayed = [np.ones_like(k) for k in kept] if decay == "all" else kept
        W = [
            W[k] - mu * (2 * rho * W[k] * decayed[k] + G[k] * kept[k]) for k in range(n)
        ]
        theta = [theta[k] + mu * g[k] for k in range(n)]
    return W, theta


def scaled_for_test(W, rates):
    """The last line of (65.124) for W; theta is left as it is."""
    return [(1 - p) * w for w, p in zip(W, rates, strict=True)]


def _coefficients(z, eps):
    """c[b, p, j] = dz'_b(j) / dz_p(j) of (65.221), and z'."""
    B = len(z)
    centred = z - z.mean(axis=0)
    xi = ((centred**2).mean(axis=0) + eps) ** -0.5  # (65.220)
    same = np.eye(B)[:, :, None]
    c = xi * (same - 1 / B) - xi**3 * centred[:, None] * centred[None, :] / B
    return c, xi * centred


def listing_65_187(
    W,
    theta,
    a,
    activation,
    X,
    T,
    batches,
    mu,
    rho=0.0,
    normed=None,
    statistics=None,
    gradient="exact",
    eps=1e-6,
    momentum=0.95,
    boundary=boundary_squared,
):
    """Batch normalisation. ``normed[k]`` says whether the layer behind W[k] is
    normalised (default: all, as printed), ``a[k]`` is its scale (None if not);
    ``statistics[k]`` is (running mean, running variance) (None: zeros).
    gradient='diagonal' propagates c_bb alone, as printed (65.232); 'exact' sums over
    the batch. Returns (W, theta, a, statistics)."""
    n = len(W)
    normed = [True] * n if normed is None else normed
    if statistics is None:
        statistics = [(np.zeros(len(t)), np.zeros(len(t))) for t in theta]
    statistics = list(statistics)
    for rows in batches:
        B = len(rows)
        y, v, c, hat = [X[rows]], [None], [], []
        for k in range(n):
            z = y[k] @ W[k]
            if normed[k]:
                coefficients, z_hat = _coefficients(z, eps)
                mean, var = z.mean(axis=0), z.var(axis=0, ddof=1)
                old_mean, old_var = statistics[k]
                statistics[k] = (
                    momentum * old_mean + (1 - momentum) * mean,  # (65.176a)
                    momentum * old_var + (1 - momentum) * var,  # (65.176b)
                )
                v.append(a[k] * z_hat - theta[k])  # (65.183)
            else:
                coefficients, z_hat = None, None
                v.append(z - theta[k])
            c.append(coefficients)
            hat.append(z_hat)
            y.append(np.array([_f(activation[k], row) for row in v[-1]]))
        delta = np.array(
            [boundary(y[-1][b], T[rows[b]], v[-1][b], activation[-1]) for b in range(B)]
        )
        new_W, new_theta, new_a = [None] * n, [None] * n, [None] * n
        for k in range(n - 1, -1, -1):
            down = np.zeros((B, len(W[k])))
            G = np.zeros_like(W[k])
            for b in range(B):
                if not normed[k]:
                    G += np.outer(y[k][b], delta[b]) / B
                    down[b] += W[k] @ delta[b]
                    continue
                for p in range(B):
                    G += np.outer(y[k][p], delta[b] * a[k] * c[k][b, p]) / B  # (65.222)
                    if gradient == "exact" or p == b:  # (65.227) or (65.231)
                        down[p] += W[k] @ (a[k] * c[k][b, p] * delta[b])
            new_W[k] = (1 - 2 * mu * rho) * W[k] - mu * G
            new_theta[k] = theta[k] + mu * delta.mean(axis=0)
            if normed[k]:
                new_a[k] = a[k] - mu * (delta * hat[k]).mean(axis=0)
            if k > 0:
                slopes = [_df(activation[k - 1], row) for row in v[k]]
                delta = np.array(slopes) * down
        W, theta, a = new_W, new_theta, new_a
    return W, theta, a, statistics


def listing_65_95(
    W,
    theta,
    activation,
    X,
    T,
    batches,
    mu,
    rho=0.0,
    betas=(0.9, 0.999),
    theta_betas=(0.9, 0.999),
    eps=1e-8,
    boundary=boundary_squared,
):
    """Adam (65.95)-(65.98) on mini-batches, all moments starting at zero."""
    n = len(W)
    (w1, w2), (t1, t2) = betas, theta_betas
    W_bar, S = [np.zeros_like(w) for w in W], [np.zeros_like(w) for w in W]
    t_bar, s = [np.zeros_like(t) for t in theta], [np.zeros_like(t) for t in theta]
    for m, rows in enumerate(batches):
        passes = [
            _sensitivities(W, theta, activation, X[b], T[b], boundary) for b in rows
        ]
        W, theta = list(W), list(theta)
        for k in range(n):
            G = 2 * rho * W[k]
            G = G + sum(np.outer(y[k], delta[k + 1]) for y, delta in passes) / len(rows)
            delta = sum(delta[k + 1] for _, delta in passes) / len(rows)
            W_bar[k] = w1 * W_bar[k] + (1 - w1) * G
            t_bar[k] = t1 * t_bar[k] - (1 - t1) * delta
            S[k] = w2 * S[k] + (1 - w2) * G * G
            s[k] = t2 * s[k] + (1 - t2) * delta * delta
            rate = mu * np.sqrt(1 - w2 ** (m + 1)) / (1 - w1 ** (m + 1))
            W[k] = W[k] - rate * W_bar[k] / (eps + np.sqrt(S[k]))
            rate = mu * np.sqrt(1 - t2 ** (m + 1)) / (1 - t1 ** (m + 1))
            theta[k] = theta[k] - rate * t_bar[k] / (eps + np.sqrt(s[k]))
    return W, theta
