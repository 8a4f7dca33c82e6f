"""Plans of the core: the workspace and the settings that a network is evaluated with."""

from typing import TYPE_CHECKING, Any

from mlp import _core
from mlp.network.activations import Activation, LayerActivation

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["PredictionLoss", "evaluation_plan", "plan"]

#: rows whose activations are in the workspace at once for a gradient of all samples, and
#: for a loss of predictions
GRADIENT_ROWS, LOSS_ROWS = 1024, 128


def _core_activation(f: LayerActivation) -> tuple[Any, ...]:
    """A layer's activation for `_core.Plan`: one, or kinds and the kind of each node."""
    if isinstance(f, Activation):
        return f.core
    kinds = list(dict.fromkeys(f))
    return [k.core for k in kinds], [kinds.index(node) for node in f]


def plan(
    network: "Network", *, frozen_statistics: bool = False, augment: Any = None
) -> Any:
    """A new `_core.Plan` over `params`, which a training run works on.

    Parameters
    ----------
    network : Network
        The network.
    frozen_statistics : bool, default=False
        Whether the plan is for evaluation: it leaves batch norm's running statistics
        alone, and drops no unit or input.
    augment : callable, optional
        ``X_batch -> X_batch``, called for every batch.
    """
    spec = network.spec
    made = _core.Plan(
        network.params,
        spec.layer_sizes,
        [_core_activation(f) for f in spec.layers],
        network.spans(),
        spec.groups,
        spec.normed,
        spec.skip_scales,
        spec.edges if any(spec.edges) else None,
        spec.frozen,
        spec.ties,
        spec.fit_intercept,
    )
    made.set_loss(
        **spec.loss.core(network.n_outputs),
        group_weight=spec.group_weight,
    )
    norm, dropout = spec.batch_norm, spec.dropout
    if norm is not None:
        made.set_norm(
            network.statistics,
            network.input_statistics,
            norm.momentum,
            norm.epsilon,
            norm.gradient == "diagonal",
            frozen_statistics,
        )
    rates = spec.drop_rates
    if rates is not None and not frozen_statistics:
        made.set_dropout(
            rates,
            dropout.mask == "sample",
            dropout.scaling == "train",
            dropout.decay == "all",
        )
    if spec.corruption and not frozen_statistics:
        made.set_corruption(spec.corruption)
    made.set_callbacks(spec.loss.function, augment)
    return made


def evaluation_plan(network: "Network", X: Any) -> Any:
    """A plan for the loss of X and its gradient, without dropout, which leaves the
    running statistics alone; with batch norm for all rows at once."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    network.check_rows(n)
    made = plan(network, frozen_statistics=True)
    rows = n if network.spec.batch_norm else min(n, GRADIENT_ROWS)
    made.allocate(max(1, rows), sparse=hasattr(X, "tocsr"))
    return made


class PredictionLoss:
    """Mean loss of a network's predictions on the same samples, again and again.

    The workspace is allocated once, as long as the network's specification stays.

    Parameters
    ----------
    network : Network or SiameseNetwork
    data : _core.Data or _core.PairData
        Raw samples, of the network's `prediction_dtype`.
    n_threads : int, default=1
    """

    def __init__(self, network: Any, data: Any, n_threads: int = 1) -> None:
        self._network, self._data, self._n_threads = network, data, n_threads
        self._plain: Any = None
        self._plan: Any = None

    def __call__(self) -> float:
        """The loss of the parameters as of the last `refold`, as it is reported."""
        plain = self._network.plain()
        if plain is not self._plain:
            self._plain, self._plan = plain, plain.plan(frozen_statistics=True)
            paired = hasattr(self._data, "samples")
            sparse = self._data.samples.sparse if paired else self._data.sparse
            rows = LOSS_ROWS // 2 if paired else LOSS_ROWS
            rows = max(1, min(self._data.shape[0], rows))
            self._plan.allocate(rows, self._n_threads, sparse)
        loss = self._plan.loss_and_gradient(self._data, with_gradient=False)
        return float(plain.value_scale * loss)
