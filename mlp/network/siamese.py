"""A network for pairs of samples: their embeddings by one network, compared by a head
[S P65.22–65.24].

`SiameseClassifier` is the estimator on top of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.network.network import Network
from mlp.network.plans import PredictionLoss
from mlp.network.samples import as_rows
from mlp.network.spec import NetworkSpec
from mlp.network.summary import Summary

__all__ = ["HEADS", "SiameseNetwork", "cosines", "head_spec"]

Array = NDArray[Any]

#: head that compares two embeddings -> its targets for different and same pairs
HEADS = {"cosine": (-1.0, 1.0), "distance": (0.0, 1.0), "relation": (0.0, 1.0)}
#: pairs whose activations are in the workspace at once for a gradient
GRADIENT_PAIRS = 512


def head_spec(
    branch: NetworkSpec, head: str, layer_sizes: Sequence[int], activation: Any
) -> NetworkSpec | None:
    """The specification of the head's network; None for a cosine.

    Parameters
    ----------
    branch : NetworkSpec
        The network of the embeddings.
    head : {"cosine", "distance", "relation"}
        See `SiameseNetwork`.
    layer_sizes : sequence of int
        Hidden layers of a relation's network.
    activation : activation
        Activation of these layers.

    Raises
    ------
    ValueError
        For another head, or embeddings that it isn't offered for.
    """
    if head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, got {head!r}")
    if branch.output_name == "softmax" or branch.has_rbf:
        raise ValueError(
            "the branch of a SiameseNetwork can't have softmax outputs or 'rbf' units"
        )
    n = branch.layer_sizes[-1]
    if head == "distance":
        return NetworkSpec(
            (n, 1),
            output_activation="logistic",
            loss="log_loss",
            dtype=branch.dtype,
        )
    if head == "relation":
        sizes = (2 * n, *layer_sizes, 1)
        return NetworkSpec(sizes, activation, "logistic", dtype=branch.dtype)
    return None


class SiameseNetwork:
    """One network for both samples of a pair, and a head that compares their embeddings
    [S P65.22–65.24].

    Parameters
    ----------
    branch : Network
        The network that maps each sample of a pair to its embedding.  Softmax outputs and
        radial basis functions are refused.
    head : {"cosine", "distance", "relation"}, default="cosine"
        'cosine': uᵀv/‖u‖‖v‖, trained by squared error to ±1; 'distance': |u − v| through
        an affine unit, by cross-entropy; 'relation': (u, v) through a second network, by
        squared error to {0, 1}.
    head_layer_sizes : sequence of int, default=()
        Hidden layers of the relation's network.
    activation : activation, default="relu"
        Activation of these layers.

    Attributes
    ----------
    kind : str
        The `head` given.
    head : Network or None
        The network that compares embeddings; None for a cosine.
    """

    #: pairs' targets are not standardised
    output_scale = None
    #: factor of the loss where it is reported
    value_scale = 1.0

    def __init__(
        self,
        branch: Network,
        head: str = "cosine",
        head_layer_sizes: Sequence[int] = (),
        activation: Any = "relu",
    ) -> None:
        spec = head_spec(branch.spec, head, head_layer_sizes, activation)
        self.branch, self.kind = branch, head
        self.head: Network | None = None if spec is None else Network.of(spec)
        self._plain: SiameseNetwork | None = None
        self.refold()

    # -- parameters, by the names of `Network`, which training and estimators use --

    @property
    def networks(self) -> list[Network]:
        """The branch, and the head if there is one."""
        return [self.branch] if self.head is None else [self.branch, self.head]

    @property
    def params(self) -> Array:
        """A copy of all parameters, the branch's and then the head's."""
        return np.concatenate([network.params for network in self.networks])

    @property
    def coefs(self) -> list[Array]:
        """Views of the weights of the branch, then of the head."""
        return [W for network in self.networks for W in network.coefs]

    @property
    def intercepts(self) -> list[Array]:
        """Views of the offsets of the branch, then of the head."""
        return [b for network in self.networks for b in network.intercepts]

    @property
    def spec(self) -> NetworkSpec:
        """The specification of the branch; the head has its own."""
        return self.branch.spec

    @property
    def dtype(self) -> Any:
        """Precision of the parameters: float32 or float64."""
        return self.branch.dtype

    @property
    def prediction_dtype(self) -> Any:
        """Precision of the embeddings."""
        return self.branch.prediction_dtype

    @property
    def input_scale(self) -> Any:
        """Deviations by which inputs are standardised, or None."""
        return self.branch.input_scale

    @property
    def n_features(self) -> int:
        """Number of inputs of each sample."""
        return self.branch.n_features

    def copy(self) -> "SiameseNetwork":
        """The same networks on copies of their parameters and statistics."""
        other: SiameseNetwork = SiameseNetwork.__new__(SiameseNetwork)
        other.__setstate__(
            {
                "branch": self.branch.copy(),
                "head": None if self.head is None else self.head.copy(),
                "kind": self.kind,
            }
        )
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {"branch": self.branch, "head": self.head, "kind": self.kind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plain = None
        self._share_logit()

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of what training changes; `into` is an earlier snapshot to overwrite."""
        if into is None:
            return [a for network in self.networks for a in network.snapshot()]
        self._for_each(into, "snapshot")
        return into

    def restore(self, snapshot: list[Array]) -> None:
        """Go back to a `snapshot`."""
        self._for_each(snapshot, "restore")

    def assign(self, other: "SiameseNetwork") -> None:
        """Copy all that training changes from another network of the same layout."""
        for network, given in zip(self.networks, other.networks, strict=True):
            network.assign(given)

    def _for_each(self, snapshot: list[Array], method: str) -> None:
        at = len(snapshot) - (self.head is not None)  # a head has no statistics
        getattr(self.branch, method)(snapshot[:at])
        if self.head is not None:
            getattr(self.head, method)(snapshot[at:])

    def tie(self) -> None:
        """Do nothing: neither network has tied weights."""

    def refold(self) -> None:
        """Prepare predictions from the present parameters and statistics."""
        for network in self.networks:
            network.refold()
        self._share_logit()

    def _share_logit(self) -> None:
        """The head without its logistic output, on the same parameters."""
        self._logit: Network | None = None
        if self.head is not None:
            affine = replace(
                self.head.spec, output_activation="identity", loss="squared_error"
            )
            self._logit = Network.of(affine, self.head.params)

    def summary(
        self, samples: Any = None, index: Any = None, n_threads: int = 1
    ) -> Summary:
        """The layers of the branch, and of the head if there is one, as tables of text.

        With samples and their pairs, as in `data`, the tables have the numbers of dead
        units; see `Network.summary`.
        """
        inputs: list[Any] = [None, None]
        if samples is not None:
            embedding = self.embed(samples, n_threads)
            inputs = [samples, self._joined(*(embedding[rows] for rows in index.T))]
        names = [f"branch, compared by the {self.kind}", "head"]
        tables = zip(names, self.networks, inputs, strict=False)
        return Summary(
            "\n\n".join(
                f"{name}\n{net.summary(X, n_threads)}" for name, net, X in tables
            )
        )

    # -- the core --

    def data(
        self,
        samples: Any,
        index: ArrayLike,
        t: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Any:
        """`_core.PairData` of pairs of samples.

        Parameters
        ----------
        samples : array-like or sparse array of shape (n_samples, n_features)
        index : array-like of shape (n_pairs, 2)
            The rows of `samples` that are pairs.
        t : array-like of shape (n_pairs,), optional
            Targets as in `HEADS`.
        sample_weight : array-like of shape (n_pairs,), optional
        """

        def column(values: ArrayLike | None, *shape: int) -> Array | None:
            if values is None:
                return None
            array = np.ascontiguousarray(values, dtype=self.dtype)
            return array.reshape(-1, *shape)

        return _core.PairData(
            _core.Data(as_rows(samples, self.dtype)),
            np.ascontiguousarray(index, dtype=np.int64),
            column(t, 1),
            column(sample_weight),
        )

    def check_rows(self, n: int) -> None:
        """Raise ValueError if batch norm has no variance of n pairs [S 65.168]."""
        norm = self.spec.batch_norm
        if norm is not None and n == 1:
            raise ValueError(f"batch_norm={norm.where!r} needs at least 2 pairs, got 1")

    def plan(self, *, frozen_statistics: bool = False) -> Any:
        """A new `_core.PairPlan` over the parameters."""
        plans = [
            network.plan(frozen_statistics=frozen_statistics)
            for network in self.networks
        ]
        return _core.PairPlan(plans[0], plans[1] if len(plans) > 1 else None, self.kind)

    # -- embeddings, scores, loss --

    def embed(self, X: Any, n_threads: int = 1) -> Array:
        """Return the outputs of the branch, embeddings (n_samples, n_embedding)."""
        return self.branch.forward(X, n_threads)

    def scores(self, U: Array, V: Array, n_threads: int = 1) -> Array:
        """Similarity of two embeddings: their cosine, or the logit of the head's output.

        Parameters
        ----------
        U, V : ndarray of shape (n_pairs, n_embedding)
        n_threads : int, default=1

        Returns
        -------
        ndarray of shape (n_pairs,)
            Scores above 0 stand for same.
        """
        if self._logit is None:
            return cosines(U, V)
        return self._logit.forward(self._joined(U, V), n_threads)[:, 0]

    def _joined(self, U: Array, V: Array) -> Array:
        """Inputs of the head."""
        return np.abs(U - V) if self.kind == "distance" else np.hstack([U, V])

    def loss_and_gradient(self, data: Any) -> tuple[float, Array]:
        """The mean loss over pairs and its gradient, laid out as `params`.

        Batch norm uses the statistics of all pairs and leaves the running ones alone.
        """
        plan = self.plan(frozen_statistics=True)
        n = data.shape[0]
        pairs = n if self.spec.batch_norm else min(n, GRADIENT_PAIRS)
        plan.allocate(max(1, pairs), 1, data.samples.sparse)
        loss = plan.loss_and_gradient(data)
        grads = [p.grads for p in (plan.branch, plan.head) if p is not None]
        return float(loss), np.concatenate(grads)

    def prediction_loss(self, data: Any, n_threads: int = 1) -> float:
        """Mean loss of the predictions, with batch norm's running statistics."""
        return PredictionLoss(self, data, n_threads)()

    def plain(self) -> "SiameseNetwork":
        """Plain networks that predict, as of the last `refold`; the same object unless the
        head's precision differs from the folded branch's."""
        branch = self.branch.plain()
        if branch is self.branch:
            return self
        made = self._plain
        if made is None or made.branch is not branch or made.dtype != self.dtype:
            made = self._plain = SiameseNetwork.__new__(SiameseNetwork)
            head = self.head
            if head is not None and head.dtype != branch.dtype:
                head = head.folded(branch.dtype)
            made.__setstate__({"branch": branch, "head": head, "kind": self.kind})
        return made


def cosines(U: Array, V: Array) -> Array:
    """uᵀv/‖u‖‖v‖ row by row; 0 where one of them is 0.

    Parameters
    ----------
    U, V : ndarray of shape (n_pairs, n_features)

    Returns
    -------
    ndarray of shape (n_pairs,)
    """

    def directions(A: Array) -> Array:
        largest = np.abs(A).max(
            axis=1, keepdims=True, initial=0
        )  # squares might overflow
        A = A / np.where(largest > 0, largest, 1)
        lengths = np.linalg.norm(A, axis=1, keepdims=True)
        return A / np.where(lengths > 0, lengths, 1)

    products: Array = np.einsum("ij,ij->i", directions(U), directions(V))
    return np.clip(products, -1, 1)
