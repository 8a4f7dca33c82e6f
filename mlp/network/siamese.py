"""A twin network with what judges its two embeddings [S P65.22–65.24].

Nothing here knows scikit-learn; `SiameseClassifier` is the estimator on top of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core
from mlp.network.network import Network
from mlp.network.samples import as_rows
from mlp.network.summary import Summary

__all__ = ["HEADS", "SiameseNetwork", "cosines"]

Array = NDArray[Any]

#: what judges two embeddings u and v -> what it is trained towards for different and same
HEADS = {"cosine": (-1.0, 1.0), "distance": (0.0, 1.0), "relation": (0.0, 1.0)}
#: pairs whose activations are in the workspace at once: for a gradient, for a loss alone
GRADIENT_PAIRS, VALIDATION_PAIRS = 512, 64


class SiameseNetwork:
    """One network for both samples of a pair, and a head that compares what it makes of
    them [S P65.22–65.24].

    Parameters
    ----------
    twin : Network
        Its outputs are the embedding: not a softmax, and no radial basis functions.
    head : {"cosine", "distance", "relation"}, default="cosine"
        'cosine': uᵀv/‖u‖‖v‖, trained by squared error to ±1; 'distance': |u − v| through
        an affine unit, by cross-entropy; 'relation': (u, v) through a second network, by
        squared error to {0, 1}.
    head_layer_sizes : sequence of int, default=()
        Hidden layers of the relation's network.
    activation : activation, default="relu"
        Theirs.

    Attributes
    ----------
    kind : str
        The `head` given.
    head : Network or None
        The network that judges; a cosine has none.
    """

    #: what a `Network` may have and this one has not
    frozen: tuple[bool, ...] | None = None
    tied = False
    output_scale = None

    def __init__(
        self,
        twin: Network,
        head: str = "cosine",
        head_layer_sizes: Sequence[int] = (),
        activation: Any = "relu",
    ) -> None:
        if head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, got {head!r}")
        if twin.output_name == "softmax" or twin.has_rbf:
            raise ValueError("a twin with softmax outputs or 'rbf' units isn't offered")
        self.twin, self.kind = twin, head
        self.head: Network | None = None
        if head == "distance":
            self.head = Network(
                (twin.n_outputs, 1),
                output_activation="logistic",
                loss="log_loss",
                dtype=twin.dtype,
            )
        elif head == "relation":
            self.head = Network(
                (2 * twin.n_outputs, *head_layer_sizes, 1),
                activation,
                "logistic",
                dtype=twin.dtype,
            )
        self.refold()

    # -- parameters; the names are `Network`'s, by which training and estimators go --

    @property
    def networks(self) -> list[Network]:
        """The twin, and the head where there is one."""
        return [self.twin] if self.head is None else [self.twin, self.head]

    @property
    def params(self) -> Array:
        """A copy of all parameters, the twin's and then the head's."""
        return np.concatenate([network.params for network in self.networks])

    @property
    def coefs(self) -> list[Array]:
        """The weights of the twin, then of the head: views."""
        return [W for network in self.networks for W in network.coefs]

    @property
    def intercepts(self) -> list[Array]:
        """The offsets of the twin, then of the head: views."""
        return [b for network in self.networks for b in network.intercepts]

    @property
    def dtype(self) -> Any:
        """float32 or float64."""
        return self.twin.dtype

    @property
    def prediction_dtype(self) -> Any:
        """The twin's."""
        return self.twin.prediction_dtype

    @property
    def input_scale(self) -> Any:
        """The twin's."""
        return self.twin.input_scale

    @property
    def n_features(self) -> int:
        """Number of inputs of each sample."""
        return self.twin.n_features

    @property
    def batch_norm(self) -> str | None:
        """The twin's."""
        return self.twin.batch_norm

    def copy(self) -> "SiameseNetwork":
        """The same networks on copies of their parameters and statistics."""
        other: SiameseNetwork = SiameseNetwork.__new__(SiameseNetwork)
        other.__setstate__(
            {
                "twin": self.twin.copy(),
                "head": None if self.head is None else self.head.copy(),
                "kind": self.kind,
            }
        )
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_logit"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share_logit()

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of all that training changes, or `into` an earlier one."""
        if into is None:
            return [a for network in self.networks for a in network.snapshot()]
        self._for_each(into, "snapshot")
        return into

    def restore(self, snapshot: list[Array]) -> None:
        """Go back to a `snapshot`."""
        self._for_each(snapshot, "restore")

    def _for_each(self, snapshot: list[Array], method: str) -> None:
        at = len(snapshot) - (self.head is not None)  # a head has its parameters alone
        getattr(self.twin, method)(snapshot[:at])
        if self.head is not None:
            getattr(self.head, method)(snapshot[at:])

    def tie(self) -> None:
        """Nothing is tied in a pair's networks."""

    def refold(self) -> None:
        """Prepare predictions from the present parameters and statistics."""
        for network in self.networks:
            network.refold()
        self._share_logit()

    def _share_logit(self) -> None:
        """The head without its logistic output, on the same parameters."""
        self._logit: Network | None = None
        if self.head is not None:
            self._logit = Network(
                self.head.layer_sizes,
                self.head.activations,
                dtype=self.dtype,
                params=self.head.params,
            )

    def summary(
        self, samples: Any = None, index: Any = None, n_threads: int = 1
    ) -> Summary:
        """The layers of the twin, and of the head where there is one, as tables; with
        samples and their pairs, as `data` takes them, also the numbers of dead units: see
        `Network.summary`."""
        inputs: list[Any] = [None, None]
        if samples is not None:
            embedding = self.embed(samples, n_threads)
            inputs = [samples, self._joined(*(embedding[rows] for rows in index.T))]
        names = [f"twin, judged by the {self.kind}", "head"]
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
            Targets: 1 for same, and for different as in `HEADS`.
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

    def training_plan(self, *, frozen_statistics: bool = False) -> Any:
        """A new `_core.PairPlan` over the parameters."""
        plans = [
            network.training_plan(frozen_statistics=frozen_statistics)
            for network in self.networks
        ]
        return _core.PairPlan(plans[0], plans[1] if len(plans) > 1 else None, self.kind)

    # -- what it does --

    def embed(self, X: Any, n_threads: int = 1) -> Array:
        """Embeddings of samples: the twin's outputs, of shape (n_samples, n_embedding)."""
        return self.twin.forward(X, n_threads)

    def scores(self, U: Array, V: Array, n_threads: int = 1) -> Array:
        """How alike two embeddings are: their cosine, or the logit of a head's output.

        Parameters
        ----------
        U, V : ndarray of shape (n_pairs, n_embedding)
        n_threads : int, default=1

        Returns
        -------
        ndarray of shape (n_pairs,)
            Above 0 for same.
        """
        if self._logit is None:
            return cosines(U, V)
        return self._logit.forward(self._joined(U, V), n_threads)[:, 0]

    def _joined(self, U: Array, V: Array) -> Array:
        """Inputs of the head."""
        return np.abs(U - V) if self.kind == "distance" else np.hstack([U, V])

    def loss_and_gradient(self, data: Any) -> tuple[float, Array]:
        """The mean loss over pairs and its gradient, laid out as `params`; statistics of
        batch norm are those of all pairs, and the running ones stand still."""
        plan = self.training_plan(frozen_statistics=True)
        n = data.shape[0]
        pairs = n if self.batch_norm else min(n, GRADIENT_PAIRS)
        plan.allocate(max(1, pairs), 1, data.samples.sparse)
        loss = plan.loss_and_gradient(data)
        grads = [p.grads for p in (plan.branch, plan.head) if p is not None]
        return float(loss), np.concatenate(grads)

    def prediction_loss(self, data: Any, n_threads: int = 1) -> float:
        """Mean loss of the predictions, which nothing of the batch is in."""
        plain = self
        if not self.twin.is_plain():
            plain = self.copy()
            plain.twin = self.twin.folded()
            if plain.head is not None:
                plain.head = plain.head.folded(plain.twin.dtype)
        plan = plain.training_plan(frozen_statistics=True)
        pairs = max(1, min(data.shape[0], VALIDATION_PAIRS))
        plan.allocate(pairs, n_threads, data.samples.sparse)
        return float(plan.loss_and_gradient(data, with_gradient=False))


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
