"""How a network's parameters lie in one flat vector, and which of them are trained."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

from numpy.typing import NDArray

from mlp.network.activations import Activation
from mlp.network.connectivity import Edges

__all__ = ["FlatParameters"]

Array = NDArray[Any]


class FlatParameters:
    """The layout ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …`` of a `Network`.

    A W_l lies row by row; where `connectivity` leaves some weights out, only those that
    exist.  Scales a_l are there where batch norm is.
    """

    layer_sizes: tuple[int, ...]
    activations: Sequence[Any]
    edges: list[Edges | None]
    normed: list[bool]
    tied: bool
    fit_intercept: bool
    frozen: tuple[bool, ...] | None
    params: Array
    coefs: list[Any]
    statistics: list[Array | None]
    input_statistics: Array | None

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.layer_sizes[-1]

    @property
    def has_rbf(self) -> bool:
        """Whether the first layer is of radial basis functions: its weights' columns are
        centres μ, its offsets widths λ > 0 [L]."""
        first = self.activations[0] if self.activations else None
        return isinstance(first, Activation) and first.name == "rbf"

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
    def n_weights(self) -> int:
        """Number of weights: `params` begins with them, the offsets follow."""
        return sum(self.weight_counts)

    @property
    def ties(self) -> list[tuple[int, int]]:
        """Pairs of weight layers of which the second is the first transposed."""
        last = len(self.layer_sizes) - 2
        return [(k, last - k) for k in range((last + 1) // 2)] if self.tied else []

    def tie(self) -> None:
        """Copy tied weights from those that are trained."""
        for trained, tied in self.ties:
            self.coefs[tied][:] = self.coefs[trained].T

    def spans(self) -> list[tuple[str, int, int]]:
        """What is trained of `params`: (kind, first, number) of neighbours of one kind.

        The kinds are 'weights', 'biases', 'scales', and 'centres' and 'widths' of radial
        basis functions.  Frozen layers, tied weights and, with ``fit_intercept=False``,
        offsets are left out.
        """
        layers = len(self.layer_sizes) - 1
        frozen = self.frozen or (False,) * layers
        tied = {k for _, k in self.ties}
        widths = self.layer_sizes[1:]
        scales = [n * on for n, on in zip(widths, self.normed, strict=True)]
        spans: list[tuple[str, int, int]] = []
        at = 0
        for kind, counts in (
            ("weights", self.weight_counts),
            ("biases", widths),
            ("scales", scales),
        ):
            for k, n in enumerate(counts):
                name = kind
                if k == 0 and self.has_rbf:
                    name = {"weights": "centres", "biases": "widths"}.get(kind, kind)
                still = frozen[k] or (kind == "weights" and k in tied)
                still |= kind == "biases" and not self.fit_intercept
                if n and not still:
                    last = spans[-1] if spans else ("", 0, 0)
                    if last[0] == name and last[1] + last[2] == at:
                        spans[-1] = (name, last[1], last[2] + n)
                    else:
                        spans.append((name, at, n))
                at += n
        return spans

    def unpack(
        self, vector: Array
    ) -> tuple[list[Any], list[Array], list[Array | None]]:
        """Views of a vector laid out as `params`: (weights, offsets, scales) by layer;
        weights of a layer with `connectivity` as CSR arrays."""
        at = 0

        def take(*shape: int) -> Array:
            nonlocal at
            at += prod(shape)
            return vector[at - prod(shape) : at].reshape(shape)

        coefs = [
            take(a, b) if edges is None else edges.matrix(take(edges.n))
            for (a, b), edges in zip(
                pairwise(self.layer_sizes), self.edges, strict=True
            )
        ]
        intercepts = [take(n) for n in self.layer_sizes[1:]]
        scales = [
            take(n) if on else None
            for n, on in zip(self.layer_sizes[1:], self.normed, strict=True)
        ]
        return coefs, intercepts, scales

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of all that training changes: parameters and running statistics.

        Parameters
        ----------
        into : list of ndarray, optional
            An earlier snapshot, to be overwritten.
        """
        if into is None:
            return [array.copy() for array in self._changing()]
        for copy, array in zip(into, self._changing(), strict=True):
            copy[...] = array
        return into

    def refold(self) -> None:
        """Prepare predictions from the present parameters; see `Network.refold`."""
        raise NotImplementedError

    def restore(self, snapshot: list[Array]) -> None:
        """Go back to a `snapshot`."""
        for array, saved in zip(self._changing(), snapshot, strict=True):
            array[...] = saved
        self.refold()

    def assign(self, other: "FlatParameters") -> None:
        """Copy all that training changes from another network of the same layout."""
        for array, given in zip(self._changing(), other._changing(), strict=True):
            array[...] = given
        self.refold()

    def _changing(self) -> list[Array]:
        kept = [*self.statistics, self.input_statistics]
        return [self.params, *(array for array in kept if array is not None)]
