"""The layout of a network's parameters in one flat vector, and the trained ones."""

from itertools import pairwise
from math import prod
from typing import Any

from numpy.typing import NDArray

from mlp.network.spec import NetworkSpec

__all__ = ["FlatParameters"]

Array = NDArray[Any]


class FlatParameters:
    """The layout ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …`` of a `Network`.

    A W_l is stored row by row; where `connectivity` leaves weights out, those that exist.
    Only layers with batch norm have scales a_l.
    """

    spec: NetworkSpec
    params: Array
    coefs: list[Any]
    statistics: list[Array | None]
    input_statistics: Array | None

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units per layer, inputs first, outputs last."""
        return self.spec.layer_sizes

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.spec.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.spec.layer_sizes[-1]

    @property
    def has_rbf(self) -> bool:
        """Whether the first layer is of radial basis functions: its weights' columns are
        centres μ, its offsets widths λ > 0 [L]."""
        return self.spec.has_rbf

    @property
    def n_weights(self) -> int:
        """Number of weights: `params` begins with them, the offsets follow."""
        return sum(self.spec.weight_counts)

    def tie(self) -> None:
        """Copy tied weights from those that are trained."""
        for trained, tied in self.spec.ties:
            self.coefs[tied][:] = self.coefs[trained].T

    def spans(self) -> list[tuple[str, int, int]]:
        """The trained parts of `params`: (kind, first, number) of neighbours of one kind.

        The kinds are 'weights', 'biases', 'scales', and 'centres' and 'widths' of radial
        basis functions.  Frozen layers, tied weights and, with ``fit_intercept=False``,
        offsets are left out.
        """
        spec = self.spec
        widths, normed = spec.layer_sizes[1:], spec.normed
        frozen = spec.frozen or (False,) * len(widths)
        tied = {k for _, k in spec.ties}
        scales = [n * on for n, on in zip(widths, normed, strict=True)]
        spans: list[tuple[str, int, int]] = []
        at = 0
        for kind, counts in (
            ("weights", spec.weight_counts),
            ("biases", widths),
            ("scales", scales),
        ):
            for k, n in enumerate(counts):
                name = kind
                if k == 0 and spec.has_rbf:
                    name = {"weights": "centres", "biases": "widths"}.get(kind, kind)
                fixed = frozen[k] or (kind == "weights" and k in tied)
                fixed |= kind == "biases" and not spec.fit_intercept
                if n and not fixed:
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
        """Views of a vector with the layout of `params`, by layer: (weights, offsets,
        scales); weights of a layer with `connectivity` are CSR arrays."""
        at = 0

        def take(*shape: int) -> Array:
            nonlocal at
            at += prod(shape)
            return vector[at - prod(shape) : at].reshape(shape)

        coefs = [
            take(a, b) if edges is None else edges.matrix(take(edges.n))
            for (a, b), edges in zip(
                pairwise(self.layer_sizes), self.spec.edges, strict=True
            )
        ]
        intercepts = [take(n) for n in self.layer_sizes[1:]]
        scales = [
            take(n) if on else None
            for n, on in zip(self.layer_sizes[1:], self.spec.normed, strict=True)
        ]
        return coefs, intercepts, scales

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of what training changes: parameters and running statistics.

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
        """Become like another network of the same layout, which training has changed."""
        self.spec = other.spec
        for array, given in zip(self._changing(), other._changing(), strict=True):
            array[...] = given
        self.refold()

    def _changing(self) -> list[Array]:
        kept = [*self.statistics, self.input_statistics]
        return [self.params, *(array for array in kept if array is not None)]
