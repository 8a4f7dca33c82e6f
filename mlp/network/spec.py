"""The specification of a network: everything about it but its numbers.

`NetworkSpec` makes all checks.  A network's parts are `dataclasses.replace`d
specifications, files store its fields, and a warm start compares two of them.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np

from mlp.network.activations import (
    Activation,
    LayerActivation,
    layer_activations,
    layer_name,
    output_activations,
)
from mlp.network.connectivity import resolve_connectivity
from mlp.network.features import (
    BatchNorm,
    resolve_batch_norm,
    resolve_dropout,
)
from mlp.network.losses import resolve_loss

__all__ = ["CONFIGURABLE", "NetworkSpec", "frozen_layers"]

#: fields that may change between two fits of a network: `Network.configure`
CONFIGURABLE = ("dropout", "corruption", "frozen", "group_weight")


@dataclass(frozen=True)
class NetworkSpec:
    """A feedforward network without its parameters.

    The arguments are what `Network` takes, in a user's notation or already resolved; the
    attributes are resolved.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units per layer, inputs first, outputs last.
    activations : activation or sequence, default="relu"
        Activations of the hidden layers; see `Network`.
    output_activation : activation or sequence, default="identity"
        Activation of the outputs, or of each of them.
    loss : Loss, str, tuple, callable or None, default="squared_error"
        The loss; a tuple has a name and its parameter.
    groups : sequence of int, optional
        Outputs of each task; all outputs are one task by default.
    group_weight : sequence of float, optional
        Factor of each task's log_loss.
    batch_norm : None, bool, str or BatchNorm, default=None
        Normalised layers.
    dropout : None, float, sequence of float or Dropout, default=None
        Rates at which units are dropped in training.
    corruption : float, default=0.0
        Probability that an input of an autoencoder is set to 0 in training, while the
        target keeps it [S ex. 65.5].
    skip_scales : bool or sequence of float, default=False
        Factor with which each weight layer's input is added to its output, 0 where it is
        not added; True adds every hidden layer's input where the widths are equal.
    edges : sequence or callable, optional
        Connections of each weight layer, see
        `mlp.network.connectivity.resolve_connectivity`.
    tied : bool, default=False
        Whether the second half of the weight matrices are the first half's transposes.
    fit_intercept : bool, default=True
        Whether the layers have offsets.
    frozen : int, sequence of bool or None, default=None
        Weight layers whose parameters training leaves alone: a number of leading layers,
        or one truth value per layer.
    dtype : {"float64", "float32"}, default="float64"
        Precision of the parameters.

    Raises
    ------
    ValueError
        If an argument is out of range, or two don't go together; the message names them.
    """

    layer_sizes: tuple[int, ...]
    activations: Any = "relu"
    output_activation: Any = "identity"
    loss: Any = "squared_error"
    groups: Any = None
    group_weight: Any = None
    batch_norm: Any = None
    dropout: Any = None
    corruption: float = 0.0
    skip_scales: Any = False
    edges: Any = None
    tied: bool = False
    fit_intercept: bool = True
    frozen: Any = None
    dtype: Any = "float64"

    def __post_init__(self) -> None:
        resolve = self._resolve
        sizes = tuple(int(n) for n in self.layer_sizes)
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                "layer_sizes must name at least inputs and outputs, all > 0; got "
                f"{list(self.layer_sizes)}"
            )
        resolve("layer_sizes", sizes)
        resolve("activations", tuple(layer_activations(self.activations, sizes[1:-1])))
        output = output_activations(self.output_activation, sizes[-1])
        resolve("output_activation", output)
        resolve("loss", resolve_loss(self.loss, self.output_name))
        groups = (sizes[-1],) if self.groups is None else tuple(self.groups)
        if sum(groups) != sizes[-1] or min(groups) < 1:
            raise ValueError(
                f"groups={groups} must be positive and add up to {sizes[-1]} outputs"
            )
        resolve("groups", groups)
        if self.group_weight is not None:
            resolve("group_weight", self._checked_group_weight())
        dtype = np.dtype(self.dtype)
        if dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype!r}")
        resolve("dtype", dtype)
        resolve("batch_norm", resolve_batch_norm(self.batch_norm))
        resolve("dropout", resolve_dropout(self.dropout, len(sizes) - 2))
        resolve("corruption", float(self.corruption))
        resolve("skip_scales", self._checked_skip_scales())
        resolve("edges", tuple(resolve_connectivity(self.edges, sizes)))
        resolve("tied", bool(self.tied))
        resolve("fit_intercept", bool(self.fit_intercept))
        if self.frozen is not None:
            frozen = frozen_layers(self.frozen, len(sizes) - 1)
            resolve("frozen", frozen if any(frozen) else None)
        self._check_combinations()

    def _resolve(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_group_weight(self) -> tuple[float, ...]:
        if self.output_name != "softmax" or self.loss.name != "log_loss":
            raise ValueError(
                "group_weight needs output_activation='softmax' and loss='log_loss', got "
                f"{self.output_name!r} and {self.loss.name!r}"
            )
        weights = np.array(self.group_weight, dtype=np.float64)
        legal = np.isfinite(weights).all() and (weights >= 0).all()
        if weights.shape != (len(self.groups),) or not legal:
            raise ValueError(
                f"group_weight must be {len(self.groups)} finite numbers >= 0, one per "
                f"group, got {self.group_weight!r}"
            )
        return tuple(weights.tolist())

    def _checked_skip_scales(self) -> tuple[float, ...]:
        sizes, last = self.layer_sizes, len(self.layer_sizes) - 2
        legal = [0 < k < last and sizes[k] == sizes[k + 1] for k in range(last + 1)]
        given = self.skip_scales
        if not np.iterable(given):
            return tuple(float(bool(given) and on) for on in legal)
        scales = tuple(map(float, given))
        if len(scales) != len(legal) or any(
            scale and not on for scale, on in zip(scales, legal, strict=True)
        ):
            raise ValueError(
                f"skip_scales={scales} must be {len(legal)} numbers, 0 but for hidden "
                "layers as wide as the hidden layer before"
            )
        return scales

    def _check_combinations(self) -> None:
        if not 0 <= self.corruption < 1:
            raise ValueError(f"corruption={self.corruption} must lie in [0, 1)")
        norm, sizes = self.batch_norm, self.layer_sizes
        if self.has_rbf and norm is not None and norm.has_input:
            raise ValueError(
                f"batch_norm={norm.where!r} can't be folded into activation='rbf', whose "
                "units measure distances"
            )
        if self.has_rbf and self.edges[0] is not None:
            raise ValueError(
                "connectivity[0] can't leave out connections of activation='rbf', whose "
                "units measure distances"
            )
        if self.tied and (sizes != sizes[::-1] or len(sizes) % 2 == 0):
            raise ValueError(
                "tied=True needs layer sizes that read the same backwards around one "
                f"middle layer, got {sizes}"
            )
        if self.tied and (self.has_rbf or any(self.edges)):
            other = "activation='rbf'" if self.has_rbf else "connectivity"
            raise ValueError(f"tied=True does not go with {other}")
        if not self.fit_intercept and (self.has_rbf or norm):
            other = "activation='rbf', whose widths take the offsets' place"
            if not self.has_rbf:
                other = f"batch_norm={norm.where!r}, which has offsets of its own"
            raise ValueError(f"fit_intercept=False does not go with {other}")
        # tied weights of frozen layers would change with those that are trained
        frozen = self.frozen or ()
        if frozen and any(frozen[tied] and not frozen[k] for k, tied in self.ties):
            raise ValueError(
                f"freeze={frozen} would freeze a layer of the decoder whose weights "
                "follow the encoder's by tied=True; freeze that of the encoder"
            )

    def check_trainable(self) -> None:
        """Raise ValueError if an activation has no useful derivative [G]."""
        for layer in self.layers:
            for f in layer if isinstance(layer, tuple) else (layer,):
                if not f.entry.trainable:
                    raise ValueError(
                        f"activation={f.name!r} can't be trained: its derivative is "
                        "zero almost everywhere; use it for predictions only"
                    )

    def __deepcopy__(self, memo: dict[int, Any]) -> "NetworkSpec":
        """Itself, which doesn't change, but for a user's loss."""
        if self.loss.function is None:
            return self
        return replace(self, loss=deepcopy(self.loss, memo))

    # -- what follows from the fields --

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """The name of the outputs' activation; of each node's where they differ."""
        return layer_name(self.output_activation)

    @property
    def layers(self) -> list[LayerActivation]:
        """The activation of every weight layer, the outputs' last."""
        return [*self.activations, self.output_activation]

    @property
    def has_rbf(self) -> bool:
        """Whether the first layer is of radial basis functions: its weights' columns are
        centres μ, its offsets widths λ > 0 [L]."""
        first = self.activations[0] if self.activations else None
        return isinstance(first, Activation) and first.name == "rbf"

    @property
    def normed(self) -> list[bool]:
        """Whether batch norm normalises each weight layer's pre-activations."""
        n = len(self.layer_sizes) - 1
        if self.batch_norm is None:
            return [False] * n
        normed = [True] * (n - 1) + [self.batch_norm.layers == "all"]
        if self.has_rbf:
            normed[0] = False
        return normed

    @property
    def drop_rates(self) -> tuple[float, ...] | None:
        """Rate at which each weight layer's inputs are dropped; None without dropout."""
        if self.dropout is None:
            return None
        return (self.dropout.input, *self.dropout.rate)

    @property
    def keeps(self) -> list[float]:
        """Factor of each weight layer's input in predictions: 1, or the share of kept units
        with dropout's 'test' scaling."""
        if self.drop_rates is None or self.dropout.scaling == "train":
            return [1.0] * (len(self.layer_sizes) - 1)
        return [1 - p for p in self.drop_rates]

    @property
    def ties(self) -> list[tuple[int, int]]:
        """Pairs of weight layers of which the second is the first transposed."""
        last = len(self.layer_sizes) - 2
        return [(k, last - k) for k in range((last + 1) // 2)] if self.tied else []

    @property
    def weight_counts(self) -> list[int]:
        """Number of weights of each layer."""
        return [
            a * b if edges is None else edges.n
            for (a, b), edges in zip(
                pairwise(self.layer_sizes), self.edges, strict=True
            )
        ]

    @property
    def n_params(self) -> int:
        """Number of parameters: weights, offsets, scales."""
        widths = self.layer_sizes[1:]
        scales = (n for n, on in zip(widths, self.normed, strict=True) if on)
        return sum(self.weight_counts) + sum(widths) + sum(scales)

    # -- specifications made of this one --

    def folded(self, dtype: Any) -> "NetworkSpec":
        """The plain network that predicts alike [S 65.188]."""
        skips = [s * keep for s, keep in zip(self.skip_scales, self.keeps, strict=True)]
        return replace(
            self,
            batch_norm=None,
            dropout=None,
            corruption=0.0,
            skip_scales=skips,
            tied=False,
            fit_intercept=True,
            frozen=None,
            dtype=dtype,
        )

    def tail(self, n: int) -> "NetworkSpec":
        """The network of the layers after the first n."""
        norm, rates, frozen = self.batch_norm, self.drop_rates, self.frozen
        if rates is not None:
            rates = replace(self.dropout, input=rates[n], rate=rates[n + 1 :])
        if frozen is not None and all(frozen[n:]):
            frozen = None
        return replace(
            self,
            layer_sizes=self.layer_sizes[n:],
            activations=self.activations[n:],
            batch_norm=norm and replace(norm, where=norm.layers),
            dropout=rates,
            corruption=0.0,
            skip_scales=(0.0, *self.skip_scales[n + 1 :]),
            edges=self.edges[n:],
            tied=False,
            frozen=frozen and frozen[n:],
        )

    # -- comparison --

    def notation(self, name: str) -> Any:
        """A field in a user's notation, for messages."""
        value = getattr(self, name)
        if name == "layer_sizes":
            return value[1:-1]
        if name == "skip_scales":
            return any(value)
        if name == "loss":
            return value.spec
        if name in ("activations", "output_activation"):
            return _notation(value)
        return value

    def differences(self, other: "NetworkSpec") -> list[str]:
        """Fields in which the two differ, but for those that a fit may change.

        These are `CONFIGURABLE`; of dropout, the scaling must stay.  The initial scales of
        batch norm count only before the first fit.
        """
        names = [f.name for f in fields(self) if f.name not in CONFIGURABLE]
        names.sort(key=lambda name: name != "loss")  # outputs may be chosen by the loss
        different = [
            name
            for name in names
            if _compared(getattr(self, name)) != _compared(getattr(other, name))
        ]
        mine, theirs = self.dropout, other.dropout
        if mine and theirs and mine.scaling != theirs.scaling:
            different.append("dropout")
        return different


def _notation(value: Any) -> Any:
    return value.spec if isinstance(value, Activation) else [*map(_notation, value)]


def _compared(value: Any) -> Any:
    return replace(value, scale_init=1.0) if isinstance(value, BatchNorm) else value


def frozen_layers(freeze: int | Sequence[bool], n_layers: int) -> tuple[bool, ...]:
    """Whether each of `n_layers` weight layers is frozen.

    Parameters
    ----------
    freeze : int or sequence of bool
        Number of leading layers, or one truth value per layer.
    n_layers : int

    Raises
    ------
    ValueError
        If it doesn't fit the number of layers or leaves nothing to train.
    """
    frozen: tuple[bool, ...] = ()
    if isinstance(freeze, Integral) and not isinstance(freeze, bool):
        count = int(freeze)
        if 0 <= count <= n_layers:
            frozen = (True,) * count + (False,) * (n_layers - count)
    elif np.iterable(freeze):
        listed = list(freeze)
        if len(listed) == n_layers and all(f in (True, False) for f in listed):
            frozen = tuple(bool(f) for f in listed)
    if not frozen:
        raise ValueError(
            f"freeze={freeze!r} must be a number of leading layers, or one truth value "
            f"for each of the {n_layers} layers of weights"
        )
    if all(frozen):
        raise ValueError(f"freeze={freeze!r} leaves nothing to train")
    return frozen
