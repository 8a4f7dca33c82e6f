"""The table of losses [S table 65.2] and the outputs they go with.

``docs/extending.rst`` says what adding one takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._core import LOSS_CODES

__all__ = ["LOSSES", "Loss", "check_callable", "resolve_loss"]


@dataclass(frozen=True)
class Entry:
    """One loss: its kernel's code, the outputs it is computed from the logits of, the
    outputs it is restricted to (None: any), and its parameter, if it has one."""

    code: int
    from_logits: tuple[str, ...] = ()
    outputs: tuple[str, ...] | None = None
    parameter: str | None = None


#: name -> Entry
LOSSES: dict[str, Entry] = {
    "squared_error": Entry(LOSS_CODES["squared_error"]),
    "log_loss": Entry(
        LOSS_CODES["log_loss"], ("softmax", "logistic"), ("softmax", "logistic")
    ),
    "logistic": Entry(LOSS_CODES["logistic"]),
    "huber": Entry(LOSS_CODES["huber"], parameter="huber_delta"),
    "absolute_error": Entry(LOSS_CODES["absolute_error"]),
    "poisson": Entry(LOSS_CODES["poisson"], ("exp",), ("exp",)),
    "quantile": Entry(LOSS_CODES["quantile"], parameter="quantile"),
}


@dataclass(frozen=True)
class Loss:
    """A loss with its parameter.

    Attributes
    ----------
    name : str
        A key of `LOSSES`.
    parameter : float
        Huber's Δ > 0, the quantile in (0, 1); else 0.
    function : callable or None
        A user's own loss.
    """

    name: str
    parameter: float = 0.0
    function: Callable[..., Any] | None = None

    def argument(self) -> dict[str, Any]:
        """The keyword that gives the parameter to `Network`."""
        name = LOSSES[self.name].parameter if self.name in LOSSES else None
        return {name: self.parameter} if name else {}

    @property
    def specification(self) -> Any:
        """What `resolve_loss` makes this loss from."""
        if self.function is not_given:
            return None
        return self.function or self.name

    def value_scale(self, n_outputs: int) -> float:
        """Factor of the loss where it is reported: as in scikit-learn, the squared error
        is averaged over the outputs."""
        return 1 / n_outputs if self.name == "squared_error" else 1.0

    def core(
        self, output_activation: str | tuple[str, ...], n_outputs: int
    ) -> dict[str, Any]:
        """Arguments of ``Plan.set_loss``.

        The reported squared error is averaged over the outputs, as scikit-learn's; its
        gradient is that of ½‖γ̂ − γ‖².
        """
        if self.function is not None:
            return {"code": LOSS_CODES["callable"], "from_logits": False}
        entry = LOSSES[self.name]
        return {
            "code": entry.code,
            "from_logits": output_activation in entry.from_logits,
            "parameter": self.parameter,
            "value_scale": self.value_scale(n_outputs),
        }


def resolve_loss(
    name: Any,
    output_activation: str | tuple[str, ...],
    *,
    huber_delta: float = 1.0,
    quantile: float = 0.5,
) -> Loss:
    """The loss of that name, checked against the output it is to be used with.

    Parameters
    ----------
    name : str, callable or None
        None: whoever only predicts needs none.
    output_activation : str, or tuple of str where the nodes differ
    huber_delta, quantile : float

    Raises
    ------
    ValueError
        For an unknown name, an output the loss is not defined on, a parameter out of range.
    """
    if name is None:
        name = not_given
    if callable(name):
        return Loss("callable", function=name)
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(
            f"loss={name!r} is not a loss; there are {', '.join(LOSSES)}, or give a "
            "callable"
        )
    entry = LOSSES[name]
    if entry.outputs and output_activation not in entry.outputs:
        raise ValueError(
            f"loss={name!r} needs output_activation in {entry.outputs}, "
            f"got {output_activation!r}"
        )
    if name == "huber":
        if not huber_delta > 0:
            raise ValueError(f"huber_delta must be positive, got {huber_delta}")
        return Loss(name, float(huber_delta))
    if name == "quantile":
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        return Loss(name, float(quantile))
    return Loss(name)


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
