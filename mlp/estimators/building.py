"""The network of an estimator: made from its parameters, or compared with them."""

from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import RandomState

from mlp.estimators.parameters import dropout_of, hidden_sizes
from mlp.estimators.standardize import check_sparse, measure, moments
from mlp.estimators.training_data import TrainingData
from mlp.network.initializers import draw
from mlp.network.network import Network
from mlp.network.siamese import SiameseNetwork, head_spec
from mlp.network.spec import CONFIGURABLE, NetworkSpec
from mlp.network.transfer import copy_layers

__all__ = ["BuildsNetwork", "BuildsSiameseNetwork"]

#: fields of a network's specification whose parameters have other names
PARAMETERS = {
    "layer_sizes": "hidden_layer_sizes",
    "activations": "activation",
    "skip_scales": "residual",
}

#: fields of the specifications of branch and head -> names of their parameters
PARAMETERS_OF = (
    {
        "layer_sizes": "hidden_layer_sizes",
        "activations": "activation",
        "output_activation": "embedding_activation",
    },
    {"layer_sizes": "head_layer_sizes", "activations": "head_activation"},
)


class BuildsNetwork:
    """Mixin of `BaseMLP` that makes a network from the parameters."""

    network_: Network
    _random_generator: RandomState

    if TYPE_CHECKING:  # the parameters, and the methods of `BaseMLP`

        def __getattr__(self, name: str) -> Any: ...

    def _working_dtype(self) -> Any:
        """Return the dtypes that X may have after validation: that of the network, or X's
        own if it will be standardised."""
        if self.dtype is None:
            return (np.float64, np.float32)
        dtype: Any
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise ValueError(
                f"dtype must be None, float32 or float64, got {self.dtype!r}"
            )
        return (np.float64, np.float32) if self.standardize else dtype.type

    def _initialize(self, targets: TrainingData) -> None:
        """Make a new network, drawn as by scikit-learn with the same random_state."""
        network = Network.of(self._specification(targets, targets.X.dtype))
        network.spec.check_trainable()
        name = self.activation if isinstance(self.activation, str) else ""
        rng = self._random_generator
        for k, (n_in, n_out) in enumerate(pairwise(network.layer_sizes)):
            W, edges = network.coefs[k], network.spec.edges[k]
            weights, offsets = draw(self.init, rng, n_in, n_out, name, edges)
            (W if edges is None else W.data)[:] = weights
            network.intercepts[k][:] = offsets if self.fit_intercept else 0.0
        if network.has_rbf:
            self._place_centres(network, targets)
        self.network_ = network
        if self.base is not None:
            copy_layers(network, self._base_network())
        network.tie()
        if self.standardize:
            targets.check_any_known()
            measure(network, targets, self._scales_targets())
        self._use(self.network_)
        self.n_layers_ = len(network.layer_sizes)
        self.n_outputs_ = targets.n_outputs
        self.out_activation_ = network.output_name
        self._begin_records()

    def _base_network(self) -> Network:
        """Return the network of `base`."""
        base: Any = getattr(self.base, "estimator", self.base)  # FrozenEstimator
        network = base
        if "network_" in getattr(base, "__dict__", {}):
            network = base.network  # with arrays assigned to coefs_
        network = getattr(network, "branch", network)  # of a SiameseClassifier
        if not isinstance(network, Network):
            raise ValueError(
                f"base={self.base!r} must be a fitted estimator or a Network; as clone() "
                "makes unfitted copies of estimators, pass base.network_ to cloned ones"
            )
        return network

    def _place_centres(self, network: Network, targets: TrainingData) -> None:
        """Set centres of radial basis functions to random samples, and the widths to the
        samples' total variance."""
        targets.check_any_known()
        X, n_centres = targets.X, network.layer_sizes[1]
        dropout = network.spec.dropout
        if self.standardize or (dropout is not None and dropout.input):
            raise ValueError(
                "activation='rbf' measures distances of unchanged inputs; it does not "
                "support standardize=True or dropout of the inputs"
            )
        if targets.sparse:
            check_sparse(network)
        weights = targets.sample_weight
        share = None if weights is None else weights / weights.sum(dtype=np.float64)
        there = len(X) if weights is None else int(np.count_nonzero(weights))
        chosen = self._random_generator.choice(
            len(X), n_centres, replace=there < n_centres, p=share
        )
        network.coefs[0][:] = X[chosen].T
        _, deviation = moments(X, weights)
        spread = float((deviation**2).sum())
        network.intercepts[0][:] = spread if spread > 0 else 1.0

    def _specification(self, targets: TrainingData, dtype: Any) -> NetworkSpec:
        """Return the specification of the parameters for these samples; `dtype` is the
        default for the parameter of that name."""
        return NetworkSpec(
            (targets.X.shape[1], *hidden_sizes(self), targets.n_outputs),
            self._all_layers(self.activation),
            targets.output_activation,
            self.loss,
            targets.groups,
            batch_norm=self.batch_norm,
            dropout=dropout_of(self),
            skip_scales=getattr(self, "residual", False),
            edges=self.connectivity,
            fit_intercept=self.fit_intercept,
            frozen=self.freeze,
            dtype=dtype if self.dtype is None else self.dtype,
        )

    def _configure_network(self, targets: TrainingData) -> None:
        """Configure the fitted network for training as the parameters describe it.

        Raises
        ------
        ValueError
            If the parameters describe another network.
        """
        network = self.network_
        if targets.n_outputs != network.n_outputs:
            raise ValueError(
                f"y has {targets.n_outputs} outputs, the fitted network has "
                f"{network.n_outputs} outputs"
            )
        spec = self._specification(targets, network.dtype)
        self._check_unchanged(network.spec, spec)
        if self.standardize != (network.input_scale is not None):
            raise self._differs("standardize", not self.standardize)
        changes = {
            name: value
            for name in CONFIGURABLE
            if (value := getattr(spec, name)) != getattr(network.spec, name)
        }
        if changes:
            network.configure(**changes)
        network.tie()

    def _check_unchanged(
        self, fitted: NetworkSpec, asked: NetworkSpec, names: Any = PARAMETERS
    ) -> None:
        """Refuse a specification that differs from that of the fitted network.

        Parameters
        ----------
        fitted, asked : NetworkSpec
            Specifications of the fitted network, and of the parameters.
        names : dict
            Names of parameters that differ from those of the specification's fields.
        """
        for name in fitted.differences(asked):
            if name == "edges":
                raise ValueError(
                    "connectivity differs from that of the fitted network; refit with "
                    "warm_start=False (a callable must return the same in every call)"
                )
            raise self._differs(names.get(name, name), fitted.notation(name))

    def _differs(self, name: str, before: Any) -> ValueError:
        return ValueError(
            f"{name}={getattr(self, name)!r} differs from the fitted network's "
            f"{before!r}; refit with warm_start=False"
        )


class BuildsSiameseNetwork(BuildsNetwork):
    """Mixin of `SiameseClassifier` that makes its networks from the parameters."""

    network_: Any

    def _head_sizes(self) -> list[int]:
        sizes = self.head_layer_sizes
        sizes = list(sizes) if np.iterable(sizes) else [sizes]
        whole = [isinstance(n, Integral) and not isinstance(n, bool) for n in sizes]
        if not all(whole) or any(n <= 0 for n in sizes):
            raise ValueError(f"head_layer_sizes must be integers > 0, got {sizes}")
        return [int(n) for n in sizes] if self.head == "relation" else []

    def _specifications(self, targets: Any, dtype: Any) -> list[NetworkSpec]:
        """Return the specifications of the branch and, if there is one, of the head."""
        branch = NetworkSpec(
            (targets.X.shape[2], *hidden_sizes(self), self.n_embedding),
            self.activation,
            self.embedding_activation,
            batch_norm=self.batch_norm,
            fit_intercept=self.fit_intercept,
            dtype=dtype if self.dtype is None else self.dtype,
        )
        head = head_spec(branch, self.head, self._head_sizes(), self.head_activation)
        return [branch] if head is None else [branch, head]

    def _initialize(self, targets: Any) -> None:
        """Make new networks and draw their parameters, first those of the branch."""
        spec, *_ = self._specifications(targets, targets.X.dtype)
        network = SiameseNetwork(
            Network.of(spec), self.head, self._head_sizes(), self.head_activation
        )
        for part, activation in zip(
            network.networks, (self.activation, self.head_activation), strict=False
        ):
            part.spec.check_trainable()
            name = activation if isinstance(activation, str) else ""
            for W, b, (n_in, n_out) in zip(
                part.coefs, part.intercepts, pairwise(part.layer_sizes), strict=True
            ):
                W[:], drawn = draw(self.init, self._random_generator, n_in, n_out, name)
                b[:] = drawn if part.spec.fit_intercept else 0.0
        self.network_ = network
        if self.standardize:
            measure(network.branch, targets.samples(), False)
        network.refold()
        self._use(self.network_)
        self._begin_records()

    def _configure_network(self, targets: Any) -> None:
        """Refuse parameters that describe other networks than the fitted ones."""
        network = self.network_
        if self.head != network.kind:
            raise self._differs("head", network.kind)
        if self.n_embedding != network.branch.n_outputs:
            raise self._differs("n_embedding", network.branch.n_outputs)
        asked = self._specifications(targets, network.dtype)
        fitted = [part.spec for part in network.networks]
        for names, before, now in zip(PARAMETERS_OF, fitted, asked, strict=False):
            self._check_unchanged(before, now, names)
        if self.standardize != (network.input_scale is not None):
            raise self._differs("standardize", not self.standardize)
