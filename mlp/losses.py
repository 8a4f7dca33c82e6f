"""The table of losses [S table 65.2] and the outputs they go with."""

from dataclasses import dataclass
from typing import Any

from mlp._core import LOSS_CODES

__all__ = ["LOSSES", "Loss", "resolve_loss"]


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
    """

    name: str
    parameter: float = 0.0

    def core(self, output_activation: str, n_outputs: int) -> dict[str, Any]:
        """Arguments of ``Plan.set_loss``.

        The reported squared error is averaged over the outputs, as scikit-learn's; its
        gradient is that of ½‖γ̂ − γ‖².
        """
        entry = LOSSES[self.name]
        return {
            "code": entry.code,
            "from_logits": output_activation in entry.from_logits,
            "parameter": self.parameter,
            "value_scale": 1 / n_outputs if self.name == "squared_error" else 1.0,
        }


def resolve_loss(
    name: str,
    output_activation: str,
    *,
    huber_delta: float = 1.0,
    quantile: float = 0.5,
) -> Loss:
    """The loss of that name, checked against the output it is to be used with.

    Raises
    ------
    ValueError
        For an unknown name, an output the loss is not defined on, a parameter out of range.
    """
    if name not in LOSSES:
        raise ValueError(f"loss={name!r} is not a loss; there are {', '.join(LOSSES)}")
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
