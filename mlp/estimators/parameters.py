"""Constraints of parameters, alone and together; warnings of parameters without effect."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from inspect import signature
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from mlp.network.features import (
    BatchNorm,
    Dropout,
    resolve_batch_norm,
    resolve_dropout,
)
from mlp.network.network import Network
from mlp.threads import resolve_threads
from mlp.training.full_batch import FULL_BATCH_SOLVERS
from mlp.training.optimizers import STOCHASTIC_SOLVERS
from mlp.training.report import caller_level
from mlp.training.schedules import SCHEDULES, Decay
from mlp.training.stopping import EarlyStopping

__all__ = [
    "CONSTRAINTS",
    "NEEDS",
    "check_combination",
    "dropout_of",
    "hidden_sizes",
    "pair_of_betas",
    "warn_without_effect",
]


NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
COUNT = Interval(Integral, 1, None, closed="left")
RATE = Interval(Real, 0, 1, closed="left")

REPLACEMENT_IN_ORDER = (
    "sampling='replacement' draws every batch at random, but shuffle=False keeps the "
    "samples in their order; use shuffle=True"
)

CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", COUNT],
    "activation": [str, tuple, list],
    "solver": [StrOptions({*FULL_BATCH_SOLVERS, *STOCHASTIC_SOLVERS})],
    "alpha": [NOT_NEGATIVE],
    "batch_size": [StrOptions({"auto"}), COUNT],
    "learning_rate": [StrOptions(set(SCHEDULES)), callable, Decay],
    "learning_rate_init": [POSITIVE],
    "power_t": [NOT_NEGATIVE],
    "max_iter": [COUNT],
    "shuffle": ["boolean"],
    "sampling": [StrOptions({"shuffle", "replacement"})],
    "random_state": ["random_state"],
    "tol": [NOT_NEGATIVE],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean", EarlyStopping],
    "validation_fraction": [RATE],
    "beta_1": [RATE, tuple],
    "beta_2": [RATE, tuple],
    "epsilon": [POSITIVE],
    "n_iter_no_change": [COUNT, Options(Real, {np.inf})],
    "max_fun": [COUNT],
    "loss": [str, tuple, list, callable],
    "output_activation": [str, tuple, list, None],
    "l1": [NOT_NEGATIVE],
    "l1_method": [StrOptions({"subgradient", "proximal"})],
    "l2": [NOT_NEGATIVE],
    "l2_bias": ["boolean"],
    "weight_decay": [NOT_NEGATIVE],
    "clip_norm": [POSITIVE, None],
    "clip_value": [POSITIVE, None],
    "dropout": [RATE, "array-like", Dropout],
    "batch_norm": [
        StrOptions({"hidden", "all", "hidden+input", "all+input"}),
        "boolean",
        BatchNorm,
        None,
    ],
    "residual": ["boolean"],
    "connectivity": [None, "array-like", callable],
    "base": [None, Network, HasMethods("fit")],
    "freeze": [Interval(Integral, 0, None, closed="left"), "array-like"],
    "standardize": ["boolean"],
    "augment": [callable, None],
    "fit_intercept": ["boolean"],
    "init": [str, callable],
    "dtype": [None, str, type, np.dtype],
    "n_threads": [None, COUNT],
}


def pair_of_betas(estimator: Any, name: str) -> tuple[float, float]:
    """Return Adam's beta for weights and that for offsets."""
    value = getattr(estimator, name)
    pair: Any = value if isinstance(value, tuple) else (value, value)
    numbers = all(isinstance(b, Real) for b in pair)
    if len(pair) != 2 or not numbers or not all(0 <= b < 1 for b in pair):
        raise ValueError(
            f"{name} must lie in [0, 1), one number or a pair (weights, offsets); "
            f"got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def hidden_sizes(estimator: Any) -> list[int]:
    """Return the number of units of each hidden layer of the network."""
    sizes = estimator.hidden_layer_sizes
    sizes = list(sizes) if np.iterable(sizes) else [sizes]
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers > 0, got {sizes}.")
    if any(n <= 0 for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    widths: list[int] = estimator._all_layers([int(n) for n in sizes])
    return widths


def dropout_of(estimator: Any) -> Dropout | None:
    """Return the dropout with one rate per hidden layer of the network, or None."""
    given: Any = estimator.dropout
    if type(given) is float and given == 0:
        return None
    if not isinstance(given, Dropout):
        given = Dropout(given)
    if np.iterable(given.rate):
        given = replace(given, rate=estimator._all_layers(list(given.rate)))
    return resolve_dropout(given, len(hidden_sizes(estimator)))


def check_combination(estimator: Any, *, incremental: bool) -> None:
    """Refuse parameters that contradict each other.

    Raises
    ------
    ValueError
        The message names both parameters.
    """
    e = estimator
    widths = hidden_sizes(e)
    dropout = dropout_of(e)
    resolve_threads(e.n_threads)
    pair_of_betas(e, "beta_1")
    pair_of_betas(e, "beta_2")
    full_batch = e.solver in FULL_BATCH_SOLVERS
    pairs = pairwise(widths)
    refusals = [
        (incremental and e.early_stopping, "partial_fit does not support "
         "early_stopping=True"),
        (incremental and getattr(e, "class_weight", None) == "balanced",
         "partial_fit does not support class_weight='balanced', as the frequencies of the "
         "classes are not known from one batch; pass a dict of weights, for example from "
         "sklearn.utils.class_weight.compute_class_weight"),
        (full_batch and dropout, f"dropout is random from batch to batch; solver="
         f"{e.solver!r} needs the same risk at every evaluation"),
        (full_batch and e.augment, f"augment changes every batch; solver={e.solver!r} "
         "needs the same risk at every evaluation"),
        (full_batch and (e.clip_norm or e.clip_value), "clip_norm and clip_value change "
         f"the gradient; solver={e.solver!r} needs that of the risk"),
        (e.solver == "cg" and e.l1 and e.l1_method == "proximal",
         "solver='cg' does not support l1_method='proximal'; use 'lbfgs', 'gd' or a "
         "stochastic solver"),
        (e.batch_norm and not full_batch and e.batch_size == 1,
         f"batch_norm={e.batch_norm!r} needs batch_size >= 2: a batch of 1 has no "
         "variance"),
        (e.sampling == "replacement" and not e.shuffle, REPLACEMENT_IN_ORDER),
        (e.early_stopping and not e._validates and not e.validation_fraction > 0,
         f"early_stopping=True needs validation_fraction > 0, got "
         f"{e.validation_fraction!r}, or X_val, y_val"),
        (getattr(e, "residual", False) and not any(a == b for a, b in pairs),
         "residual=True needs two consecutive hidden layers of equal width, which "
         f"hidden_layer_sizes={e.hidden_layer_sizes!r} does not have"),
        (e.base is not None and e.standardize, "standardize=True would scale the inputs "
         "again, but the first layer of base has its own scale; use standardize=False"),
        (full_batch and e._validates, "X_val and y_val are evaluated after each epoch, "
         f"which solver={e.solver!r} does not have; use a stochastic solver"),
    ]  # fmt: skip
    for refused, message in refusals:
        if refused:
            raise ValueError(message)


# -- parameters without effect --


def _drops(estimator: Any) -> bool:
    given = estimator.dropout
    nothing = not isinstance(given, Dropout) and not np.any(given)
    return nothing or dropout_of(estimator) is not None


def _decays_weights(estimator: Any) -> bool:
    entry = STOCHASTIC_SOLVERS.get(estimator.solver)
    return entry is not None and entry.decays_weights


def _decays_dropped(estimator: Any) -> bool:
    e, dropout = estimator, dropout_of(estimator)
    if dropout is None or dropout.decay == "kept":
        return True
    penalised = e.alpha or e.l2 or e.l1 or (_decays_weights(e) and e.weight_decay)
    return bool(penalised) and dropout.mask == "batch"


def _normalises(estimator: Any) -> bool:
    norm = resolve_batch_norm(estimator.batch_norm)
    return norm is None or norm.where != "hidden" or bool(hidden_sizes(estimator))


def _is_stochastic(estimator: Any) -> bool:
    return estimator.solver in STOCHASTIC_SOLVERS


def _stops_early(estimator: Any) -> bool:
    has_arguments = isinstance(estimator.early_stopping, EarlyStopping)
    return not has_arguments or _is_stochastic(estimator)


def _changes_the_rate(estimator: Any) -> bool:
    has_arguments = isinstance(estimator.learning_rate, Decay)
    return not has_arguments or _is_stochastic(estimator)


def _has_relation(estimator: Any) -> bool:
    return bool(estimator.head == "relation")


def _chooses_terms(estimator: Any) -> bool:
    return bool(estimator.n_terms == "cv")


STOCHASTIC = f"solver={' or '.join(map(repr, STOCHASTIC_SOLVERS))}"

#: parameters that scikit-learn lacks, or arguments of their objects: (name of the
#: parameter, name of the argument or "", function that tells whether it has an effect, what
#: it needs to have one); parameters that always have one, or raise an error, are left out
NEEDS: tuple[tuple[str, str, Callable[[Any], bool], str], ...] = (
    ("l1_method", "", lambda e: e.l1 > 0, "l1 above 0"),
    ("l2_bias", "", lambda e: e.l2 > 0, "l2 above 0"),
    (
        "weight_decay",
        "",
        _decays_weights,
        "solver="
        + " or ".join(
            repr(k) for k, v in STOCHASTIC_SOLVERS.items() if v.decays_weights
        )
        + "; l2 penalises the weights with every solver",
    ),
    ("dropout", "", _drops, "a rate above 0 and hidden layers"),
    ("dropout", "decay", _decays_dropped, "mask='batch' and a penalty (alpha, l2, l1)"),
    ("sampling", "", _is_stochastic, STOCHASTIC),
    ("batch_norm", "", _normalises, "hidden layers"),
    ("early_stopping", "", _stops_early, STOCHASTIC),
    ("learning_rate", "", _changes_the_rate, STOCHASTIC),
    ("head_layer_sizes", "", _has_relation, "head='relation'"),
    ("head_activation", "", _has_relation, "head='relation'"),
    ("max_terms", "", _chooses_terms, "n_terms='cv'"),
    ("cv", "", _chooses_terms, "n_terms='cv'"),
)


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {name: p.default for name, p in signature(kind).parameters.items()}


def warn_without_effect(estimator: Any) -> None:
    """Warn of each parameter of `NEEDS` that is not its default but has no effect.

    The warning points at the line that calls `fit`.
    """
    defaults, given = _defaults(estimator.__class__), vars(estimator)
    for name, argument, has_effect, needed in NEEDS:
        if name not in given or name not in defaults:
            continue
        value, default = given[name], defaults[name]
        if value is default or np.array_equal(value, default) or has_effect(estimator):
            continue
        warnings.warn(
            f"{argument and argument + ' of '}{name}={value!r} has no effect: it needs "
            f"{needed}",
            stacklevel=caller_level(),
        )
