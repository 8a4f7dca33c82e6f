"""Activations and losses, each a value and a derivative [S tables 65.1 and 65.2].

``ACTIVATIONS[name] = (f, df)``, called ``f(z, *params)``; ``SECOND_DERIVATIVES``
holds f'' in the same form. An activation *spec* is a name, a tuple
``(name, *params)``, or a list with one such spec per node [S P65.6].

``LOSSES[name] = (value, gradient)``, called ``value(y, t, *params)`` with outputs y
and targets t of shape (B, Q); value is (B,), gradient (B, Q). The two log losses
take logits in place of y. A NaN target contributes nothing [S 65.163].
"""

import numpy as np
from scipy.special import erf, expit, log_softmax, ndtr, xlogy

SCALED_TANH_B = 2 / 3
SCALED_TANH_A = 1 / np.tanh(2 / 3)
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def _square(z):
    return np.clip(z, -40, 40) ** 2


def _bell(z):
    return np.exp(-_square(z) / 2)


def _normal(z):
    return _bell(z) / np.sqrt(2 * np.pi)


def _sech2(z):
    e = np.exp(-2 * np.abs(z))
    return 4 * e / (1 + e) ** 2


def _softplus(z):
    return np.logaddexp(0, z)


def _dlogistic(z):
    return expit(z) * expit(-z)


def _two_sided(z, alpha):
    return np.where(z >= 0, z, alpha * z)


def _dtwo_sided(z, alpha):
    return np.where(z > 0, 1.0, alpha)


def _elu(z, alpha=1.0):
    return np.where(z >= 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _delu(z, alpha=1.0):
    return np.where(z >= 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


def _d2elu(z, alpha=1.0):
    return np.where(z >= 0, 0.0, alpha * np.exp(np.minimum(z, 0)))


def _dmish(z):
    return np.tanh(_softplus(z)) + z * _sech2(_softplus(z)) * expit(z)


def _d2mish(z):
    t, s, q = np.tanh(_softplus(z)), expit(z), _sech2(_softplus(z))
    return 2 * q * s + z * q * s * (1 - s - 2 * t * s)


def _zero(z, *params):
    return np.zeros_like(z)


ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (expit, _dlogistic),
    "tanh": (np.tanh, _sech2),
    "scaled_tanh": (
        lambda z, b=SCALED_TANH_B, a=SCALED_TANH_A: a * np.tanh(b * z),
        lambda z, b=SCALED_TANH_B, a=SCALED_TANH_A: a * b * _sech2(b * z),
    ),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (
        lambda z, alpha=0.01: _two_sided(z, alpha),
        lambda z, alpha=0.01: _dtwo_sided(z, alpha),
    ),
    "two_sided_relu": (_two_sided, _dtwo_sided),
    "elu": (_elu, _delu),
    "softplus": (_softplus, expit),
    "erf": (erf, lambda z: 2 / np.sqrt(np.pi) * _bell(np.sqrt(2) * z)),
    "gaussian": (_bell, lambda z: -z * _bell(z)),
    "exp": (np.exp, np.exp),
    "selu": (
        lambda z: SELU_SCALE * _elu(z, SELU_ALPHA),
        lambda z: SELU_SCALE * _delu(z, SELU_ALPHA),
    ),
    "gelu": (lambda z: z * ndtr(z), lambda z: ndtr(z) + z * _normal(z)),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) + z * _dlogistic(z)),
    "mish": (lambda z: z * np.tanh(_softplus(z)), _dmish),
    "sign": (lambda z: np.where(z >= 0, 1.0, -1.0), None),
    "step": (lambda z: np.where(z >= 0, 1.0, 0.0), None),
}

SECOND_DERIVATIVES = {
    "identity": _zero,
    "logistic": lambda z: _dlogistic(z) * (1 - 2 * expit(z)),
    "tanh": lambda z: -2 * np.tanh(z) * _sech2(z),
    "scaled_tanh": lambda z, b=SCALED_TANH_B, a=SCALED_TANH_A: (
        -2 * a * b**2 * np.tanh(b * z) * _sech2(b * z)
    ),
    "relu": _zero,
    "leaky_relu": _zero,
    "two_sided_relu": _zero,
    "elu": _d2elu,
    "softplus": _dlogistic,
    "erf": lambda z: -4 / np.sqrt(np.pi) * z * _bell(np.sqrt(2) * z),
    "gaussian": lambda z: (_square(z) - 1) * _bell(z),
    "exp": np.exp,
    "selu": lambda z: SELU_SCALE * _d2elu(z, SELU_ALPHA),
    "gelu": lambda z: (2 - _square(z)) * _normal(z),
    "silu": lambda z: _dlogistic(z) * (2 + z * (1 - 2 * expit(z))),
    "mish": _d2mish,
}


def _by_spec(function_of, spec, z):
    if isinstance(spec, list):
        columns = [_by_spec(function_of, s, z[:, j]) for j, s in enumerate(spec)]
        return np.stack(columns, axis=1)
    name, *params = (spec,) if isinstance(spec, str) else spec
    return function_of(name)(z, *params)


def activate(spec, z):
    if (isinstance(spec, tuple) and spec[0] == "softmax") or spec == "softmax":
        return softmax(z, *spec[1:] if isinstance(spec, tuple) else ())
    return _by_spec(lambda name: ACTIVATIONS[name][0], spec, z)


def slope(spec, z):
    return _by_spec(lambda name: ACTIVATIONS[name][1], spec, z)


def curvature(spec, z):
    return _by_spec(lambda name: SECOND_DERIVATIVES[name], spec, z)


def _slices(n_columns, groups):
    ends = np.cumsum([n_columns] if groups is None else groups)
    return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def softmax(z, groups=None):
    """One softmax per group of columns; a group of one column is a logistic."""
    y = np.empty_like(z)
    for c in _slices(z.shape[1], groups):
        one = c.stop - c.start == 1
        y[:, c] = expit(z[:, c]) if one else np.exp(log_softmax(z[:, c], axis=1))
    return y


def softmax_jvp(y, u, groups=None):
    """J u with the symmetric J = diag(y) - y y^T of each group [S 65.69]."""
    v = np.empty_like(y)
    for c in _slices(y.shape[1], groups):
        p, q = y[:, c], u[:, c]
        one = c.stop - c.start == 1
        v[:, c] = p * (1 - p) * q if one else p * (q - (p * q).sum(1, keepdims=True))
    return v


def rbf(x, mu, lam):
    """exp(-|x - mu_m|^2 / (2 lam_m)); mu holds one centre per column."""
    distance2 = ((x[:, :, None] - mu) ** 2).sum(axis=1)
    return np.exp(-distance2 / (2 * lam))


def rbf_backward(x, mu, lam, dy):
    """Gradients to x, mu and lam of a loss whose gradient to the output is dy."""
    offset = x[:, :, None] - mu
    g = (dy * rbf(x, mu, lam))[:, None, :]
    dx = -(g * offset / lam).sum(axis=2)
    dmu = (g * offset / lam).sum(axis=0)
    dlam = (g * offset**2).sum(axis=(0, 1)) / (2 * lam**2)
    return dx, dmu, dlam


def smooth_labels(t, amount, groups=None):
    """Mix each one-hot group with the uniform distribution; a lone column with 1/2."""
    out = np.empty_like(t)
    for c in _slices(t.shape[1], groups):
        out[:, c] = (1 - amount) * t[:, c] + amount / max(2, c.stop - c.start)
    return out


def _error(y, t):
    return np.where(np.isnan(t), 0.0, y - t)


def _known(t, x):
    return np.where(np.isnan(t), 0.0, x)


def _huber_value(y, t, delta=1.0):
    r = np.linalg.norm(_error(y, t), axis=1)
    return np.where(r <= delta, r**2 / (2 * delta), r - delta / 2)


def _huber_gradient(y, t, delta=1.0):
    e = _error(y, t)
    return e / np.maximum(delta, np.linalg.norm(e, axis=1, keepdims=True))


def _log_loss_logistic_value(z, t):
    return _known(t, t * _softplus(-z) + (1 - t) * _softplus(z)).sum(axis=1)


def _log_loss_logistic_gradient(z, t):
    return _known(t, expit(z) - t)


def _log_loss_softmax_value(z, t, groups=None):
    total = np.zeros(len(z))
    for c in _slices(z.shape[1], groups):
        if c.stop - c.start == 1:
            total += _log_loss_logistic_value(z[:, c], t[:, c])
        else:
            task = -(t[:, c] * log_softmax(z[:, c], axis=1)).sum(axis=1)
            total += np.where(np.isnan(t[:, c]).any(axis=1), 0.0, task)
    return total


def _log_loss_softmax_gradient(z, t, groups=None):
    g = softmax(z, groups) - t  # [S 65.144, 65.157]
    for c in _slices(z.shape[1], groups):
        g[np.isnan(t[:, c]).any(axis=1), c] = 0.0  # [S 65.164]
    return g


def _pinball(y, t, q=0.5):
    return np.maximum(-q * _error(y, t), (1 - q) * _error(y, t)).sum(axis=1)


def _dpinball(y, t, q=0.5):
    e = _error(y, t)
    return np.where(e < 0, -q, np.where(e > 0, 1 - q, 0.0))


LOSSES = {
    "squared_error": (lambda y, t: (_error(y, t) ** 2).sum(axis=1) / 2, _error),
    "log_loss_softmax": (_log_loss_softmax_value, _log_loss_softmax_gradient),
    "log_loss_logistic": (_log_loss_logistic_value, _log_loss_logistic_gradient),
    "logistic": (
        lambda y, t: _known(t, _softplus(-np.nan_to_num(t) * y)).sum(axis=1),
        lambda y, t: _known(t, -t * expit(-t * y)),
    ),
    "huber": (_huber_value, _huber_gradient),
    "absolute_error": (
        lambda y, t: np.abs(_error(y, t)).sum(axis=1),
        lambda y, t: np.sign(_error(y, t)),
    ),
    "poisson": (
        lambda y, t: _known(t, xlogy(t, t / y) - t + y).sum(axis=1),
        lambda y, t: _known(t, 1 - t / y),
    ),
    "quantile": (_pinball, _dpinball),
}
