"""Options of a network that have arguments of their own: batch normalisation, dropout.

Objects of these classes don't change once a network holds them.  Their `get_params` and
`set_params` are scikit-learn's, which is not imported: a grid search reaches
``dropout__mask``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Self

__all__ = ["BatchNorm", "Dropout", "resolve_batch_norm", "resolve_dropout"]

#: layers that are normalised, and whether the inputs are
PLACES = ("hidden", "all", "hidden+input", "all+input")


class Feature:
    """Parameters by name, for frozen dataclasses.

    They are kept as they are given, unconverted, as scikit-learn's `clone` asks.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: no argument has parameters of its own.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, in place, as a grid search asks for.

        Networks are made with copies, which this does not change.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, or a value that the constructor refuses; nothing is
            changed then.
        """
        checked = type(self)(**{**self.get_params(), **params})
        for name in params:
            object.__setattr__(self, name, getattr(checked, name))
        return self

    def __repr__(self) -> str:
        """The first argument, and those that differ from their defaults."""
        first, *others = fields(self)  # type: ignore[arg-type]
        shown = [repr(getattr(self, first.name))]
        for field in others:
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class BatchNorm(Feature):
    """Batch normalisation of pre-activations [S 65.168].

    Predictions use running statistics, folded into weights and offsets.

    Parameters
    ----------
    where : {"hidden", "all", "hidden+input", "all+input"}, default="hidden"
        Normalised layers: the hidden layers or all; '+input' normalises the inputs too.
    momentum : float, default=0.95
        λ of the running statistics, from 0 up to but not including 1 [S 65.176].
    epsilon : float, default=1e-5
        Number > 0 that is added to the variances.
    scale_init : float, default=1.0
        Initial value of the scales a.
    gradient : {"exact", "diagonal"}, default="exact"
        'diagonal' propagates what the listing does [S 65.229], which is not the gradient.

    Raises
    ------
    ValueError
        If an argument is not one of these.

    Examples
    --------
    >>> from mlp import BatchNorm
    >>> BatchNorm("all", momentum=0.9)
    BatchNorm('all', momentum=0.9)
    """

    where: str = "hidden"
    momentum: float = 0.95
    epsilon: float = 1e-5
    scale_init: float = 1.0
    gradient: str = "exact"

    def __post_init__(self) -> None:
        if self.where not in PLACES:
            raise ValueError(
                "batch_norm must be None, 'hidden', 'all', 'hidden+input', 'all+input' "
                f"or a BatchNorm with one of these, got {self.where!r}"
            )
        if not (isinstance(self.momentum, Real) and 0 <= self.momentum < 1):
            raise ValueError(
                f"momentum of BatchNorm must lie in [0, 1), got {self.momentum!r}"
            )
        if not (isinstance(self.epsilon, Real) and self.epsilon > 0):
            raise ValueError(
                f"epsilon of BatchNorm must be positive, got {self.epsilon!r}"
            )
        if not isinstance(self.scale_init, Real):
            raise ValueError(
                f"scale_init of BatchNorm must be a number, got {self.scale_init!r}"
            )
        if self.gradient not in ("exact", "diagonal"):
            raise ValueError(
                "gradient of BatchNorm must be 'exact' or 'diagonal', got "
                f"{self.gradient!r}"
            )

    @property
    def has_input(self) -> bool:
        """Whether the inputs are normalised too."""
        return self.where.endswith("+input")

    @property
    def layers(self) -> str:
        """The normalised layers of weights: 'hidden' or 'all'."""
        return self.where.split("+")[0]


@dataclass(frozen=True, repr=False)
class Dropout(Feature):
    """Units that are dropped at random in training [S 65.147].

    Parameters
    ----------
    rate : float or sequence of float, default=0.5
        Probability that a hidden unit is dropped, from 0 up to but not including 1; a
        sequence has one for each hidden layer.
    input : float, default=0.0
        Probability that an input is dropped.
    mask : {"batch", "sample"}, default="batch"
        'batch' draws one mask for all samples of a mini-batch and trains the smaller
        network of the kept units; 'sample' draws a mask for each sample.
    scaling : {"train", "test"}, default="train"
        'train' divides the kept units by 1 − rate in training; 'test' multiplies the
        weights by 1 − rate in predictions.
    decay : {"kept", "all"}, default="kept"
        Weights that penalties act on in a step with mask='batch': those of kept units, or
        all.

    Raises
    ------
    ValueError
        If an argument is not one of these.

    Examples
    --------
    >>> from mlp import Dropout
    >>> Dropout((0.2, 0.5), mask="sample")
    Dropout((0.2, 0.5), mask='sample')
    """

    rate: float | Sequence[float] = 0.5
    input: float = 0.0
    mask: str = "batch"
    scaling: str = "train"
    decay: str = "kept"

    def __post_init__(self) -> None:
        rates = self.rate if isinstance(self.rate, Iterable) else [self.rate]
        if not all(map(_is_rate, rates)):
            raise ValueError(
                f"dropout={self.rate!r} must be one rate in [0, 1), or one per hidden "
                "layer"
            )
        if not _is_rate(self.input):
            raise ValueError(
                f"input of Dropout must be a rate in [0, 1), got {self.input!r}"
            )
        for name, legal in (
            ("mask", ("batch", "sample")),
            ("scaling", ("train", "test")),
            ("decay", ("kept", "all")),
        ):
            if getattr(self, name) not in legal:
                raise ValueError(
                    f"{name} of Dropout must be {legal[0]!r} or {legal[1]!r}, got "
                    f"{getattr(self, name)!r}"
                )


def _is_rate(p: Any) -> bool:
    return (type(p) is float or isinstance(p, Real)) and 0 <= float(p) < 1


def resolve_batch_norm(given: Any) -> BatchNorm | None:
    """A user's `batch_norm` as an object of its own, or None.

    Parameters
    ----------
    given : None, bool, str or BatchNorm
        True stands for 'hidden'.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if given is None or given is False:
        return None
    if given is True:
        return BatchNorm()
    b = given if isinstance(given, BatchNorm) else BatchNorm(given)
    return BatchNorm(
        b.where, float(b.momentum), float(b.epsilon), float(b.scale_init), b.gradient
    )


def resolve_dropout(given: Any, n_hidden: int) -> Dropout | None:
    """A user's `dropout` with a rate for each hidden layer, or None if all are 0.

    Parameters
    ----------
    given : None, float, sequence of float or Dropout
    n_hidden : int
        Number of hidden layers.

    Raises
    ------
    ValueError
        If it is none of these, or a sequence of another length.
    """
    if given is None:
        return None
    d = given if isinstance(given, Dropout) else Dropout(given)
    listed = isinstance(d.rate, Iterable)
    rates = tuple(d.rate if isinstance(d.rate, Iterable) else [d.rate] * n_hidden)
    if listed and len(rates) != n_hidden:
        raise ValueError(
            f"dropout={d.rate!r} names {len(rates)} layers, hidden_layer_sizes has "
            f"{n_hidden}"
        )
    if not any(rates) and not d.input:
        return None
    rates = tuple(map(float, rates))
    return Dropout(rates, float(d.input), d.mask, d.scaling, d.decay)
