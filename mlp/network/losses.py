"""The table of losses [S table 65.2] and how a user may name one.

``docs/extending.rst`` shows what a new loss takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._core import LOSS_CODES

__all__ = ["LOSSES", "Loss", "check_callable", "describe", "losses_of", "resolve_loss"]


@dataclass(frozen=True)
class Parameter:
    """The parameter of a loss: a number between `low` and `high`, both exclusive."""

    name: str
    default: float
    low: float = 0.0
    high: float = inf

    @property
    def range(self) -> str:
        """The legal values in words."""
        if self.high == inf:
            return f"greater than {self.low:g}, and finite"
        return f"between {self.low:g} and {self.high:g}, both exclusive"


@dataclass(frozen=True)
class Entry:
    """Everything there is to say about one loss.

    Attributes
    ----------
    doc : str
        Its line in docstrings.
    links : tuple of str
        Output activations that the loss is defined on; it is then computed from z_L.  A
        loss without them is computed from the outputs, of any activation.
    parameter : Parameter or None
    targets : tuple of str
        The targets that it is meant for: "labels" of classifiers, "values" of regressors,
        "inputs" of autoencoders.
    signed : bool
        Labels become the targets ±1; the logistic function of an output is a probability.
    averaged : bool
        The reported value is averaged over the outputs, as in scikit-learn.
    """

    doc: str
    links: tuple[str, ...] = ()
    parameter: Parameter | None = None
    targets: tuple[str, ...] = ("labels", "values", "inputs")
    signed: bool = False
    averaged: bool = False


#: name, which is also a key of ``LOSS_CODES`` -> Entry
LOSSES: dict[str, Entry] = {
    "squared_error": Entry(
        "half the squared error; its reported value is averaged over the outputs",
        averaged=True,
    ),
    "log_loss": Entry(
        "cross-entropy of labels, or of values in [0, 1], computed from logits",
        links=("softmax", "logistic"),
        targets=("labels", "inputs"),
    ),
    "logistic": Entry(
        "ln(1 + exp(−yγ)) of an output y whose target γ is −1 or 1 [S P65.18]",
        targets=("labels",),
        signed=True,
    ),
    "huber": Entry(
        "quadratic where the norm of the error vector is below delta, linear beyond "
        "[S P65.17]",
        parameter=Parameter("delta", 1.0),
    ),
    "absolute_error": Entry("sum of the absolute errors of the outputs [O]"),
    "poisson": Entry(
        "half the Poisson deviance of counts; the outputs are exponentials",
        links=("exp",),
        targets=("values", "inputs"),
    ),
    "quantile": Entry(
        "pinball loss, whose minimum is the quantile of that level, 0.5 for the median",
        parameter=Parameter("level", 0.5, high=1.0),
        targets=("values",),
    ),
}

#: a user's own function: from the outputs, of any activation
OWN = Entry("")


@dataclass(frozen=True)
class Loss:
    """A loss with its parameter.

    Attributes
    ----------
    name : str
        A key of `LOSSES`, or "callable".
    parameter : float
        0 where the loss has none.
    function : callable or None
        A user's own loss.
    """

    name: str
    parameter: float = 0.0
    function: Callable[..., Any] | None = None

    @property
    def entry(self) -> Entry:
        """The loss's entry in the table."""
        return LOSSES.get(self.name, OWN)

    @property
    def spec(self) -> Any:
        """The shortest specification that resolves to this loss."""
        if self.function is not None:
            return None if self.function is not_given else self.function
        return (self.name, self.parameter) if self.entry.parameter else self.name

    @property
    def needed_output(self) -> str | None:
        """The activation of single outputs that the loss needs, or None."""
        return self.entry.links[-1] if self.entry.links else None

    def value_scale(self, n_outputs: int) -> float:
        """Factor of the loss where it is reported: as in scikit-learn, the squared error
        is averaged over the outputs."""
        return 1 / n_outputs if self.entry.averaged else 1.0

    def core(self, n_outputs: int) -> dict[str, Any]:
        """Arguments of ``Plan.set_loss``.

        The factor of the reported value is not one of the gradient: of the squared error
        that is the gradient of ½‖γ̂ − γ‖².
        """
        return {
            "code": LOSS_CODES[self.name],
            "from_logits": bool(self.entry.links),
            "parameter": self.parameter,
            "value_scale": self.value_scale(n_outputs),
        }


def resolve_loss(
    spec: Any, output_activation: str | tuple[str, ...] | None = None
) -> Loss:
    """The loss that `spec` names, checked against the output it is to be used with.

    Parameters
    ----------
    spec : str, tuple of str and float, callable, Loss or None
        ``"huber"``, or with its parameter ``("huber", 0.5)``; None for a network that only
        predicts.
    output_activation : str, or tuple of str where the nodes differ, optional
        Not checked if not given.

    Raises
    ------
    ValueError
        For an unknown name, a parameter out of range or for a loss that has none, an
        output that the loss is not defined on.
    """
    loss = spec if isinstance(spec, Loss) else _resolved(spec)
    links = loss.entry.links
    if output_activation is not None and links and output_activation not in links:
        raise ValueError(
            f"loss={loss.spec!r} needs output_activation in {links}, "
            f"got {output_activation!r}"
        )
    return loss


def _resolved(spec: Any) -> Loss:
    if spec is None or callable(spec):
        return Loss("callable", function=not_given if spec is None else spec)
    name, *given = spec if isinstance(spec, list | tuple) and spec else [spec]
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(
            f"loss={spec!r} is not a loss; there are {', '.join(LOSSES)}, or give a "
            "callable"
        )
    parameter = LOSSES[name].parameter
    if parameter is None:
        if given:
            raise ValueError(f"loss={spec!r}: {name} takes no parameter")
        return Loss(name)
    value: Any = parameter.default
    if given:
        value = given[0] if len(given) == 1 else None
    if not isinstance(value, Real) or not parameter.low < float(value) < parameter.high:
        raise ValueError(
            f"loss={spec!r}: {parameter.name} must be one number {parameter.range}"
        )
    return Loss(name, float(value))


def losses_of(targets: str) -> list[str]:
    """The losses meant for "labels", "values" or "inputs"."""
    return [name for name, entry in LOSSES.items() if targets in entry.targets]


def describe(name: str) -> str:
    """The line of a loss in docstrings."""
    entry, given = LOSSES[name], LOSSES[name].parameter
    line = f"'{name}': {entry.doc}"
    if given is not None:
        line += f'; ``("{name}", {given.name})``, by default {given.default}'
    return line


def not_given(y_true: NDArray[Any], y_out: NDArray[Any]) -> Any:
    """The loss of a network that was made or loaded with ``loss=None``.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(
        "the loss was not given: with loss=None a network only predicts; give its "
        "function, for a file mlp.load(path, loss=...)"
    )


def check_callable(
    function: Callable[..., Any], y_true: NDArray[Any], y_out: NDArray[Any]
) -> None:
    """Compare a user's gradient with central differences at these outputs.

    Parameters
    ----------
    function : callable ``(y_true, y_out) -> (values, gradient)``
    y_true, y_out : ndarray of shape (n_samples, n_outputs)

    Raises
    ------
    ValueError
        If shapes are wrong or the gradient is not that of the values; if missing targets
        (NaN) get through to either.
    """
    y_true, y_out = y_true.astype(np.float64), y_out.astype(np.float64)
    returned = function(y_true, y_out)
    try:
        values, gradient = (np.asarray(a, dtype=np.float64) for a in returned)
    except (TypeError, ValueError) as wrong:
        raise ValueError(
            f"loss must return two arrays, values and gradient, not {returned!r}"
        ) from wrong
    if values.shape != y_out.shape[:1] or gradient.shape != y_out.shape:
        raise ValueError(
            f"loss returned values of shape {values.shape} and a gradient of shape "
            f"{gradient.shape}; they must be {y_out.shape[:1]} and {y_out.shape}"
        )
    missing = np.isnan(y_true)
    if not np.isfinite(values[missing.any(axis=1)]).all() or gradient[missing].any():
        raise ValueError(
            "loss: y has missing targets (NaN in y_true); the function must leave them out "
            "of its values and give them a gradient of 0"
        )
    step = 1e-5 * np.maximum(1, np.abs(y_out))
    for k in range(y_out.shape[1]):
        move = np.zeros_like(y_out)
        move[:, k] = step[:, k]
        above, below = (
            np.asarray(function(y_true, y_out + sign * move)[0]) for sign in (1, -1)
        )
        slope = (above - below) / (2 * step[:, k])
        error = np.abs(slope - gradient[:, k])
        # a sample at a kink may differ; a wrong gradient differs nearly everywhere
        if np.median(error / np.maximum(1e-3, np.abs(slope))) > 1e-3:
            raise ValueError(
                "loss: the gradient is not the derivative of the values: for output "
                f"{k} it gives {gradient[:3, k]}, central differences {slope[:3]}"
            )
