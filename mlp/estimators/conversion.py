"""Convert fitted perceptrons from scikit-learn, and to it where it has the options."""

import warnings
from copy import deepcopy
from inspect import signature
from reprlib import Repr
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from mlp.estimators.parameters import hidden_sizes, pair_of_betas
from mlp.network.activations import Activation
from mlp.network.network import Network
from mlp.training.minibatch import Optimizer
from mlp.training.optimizers import STOCHASTIC_SOLVERS
from mlp.training.schedules import SGD_SCHEDULES, Schedule
from mlp.training.stopping import EarlyStopping, Progress

if TYPE_CHECKING:
    from mlp import MLPClassifier, MLPRegressor

__all__ = ["from_sklearn", "to_sklearn"]

Array = NDArray[Any]

HIDDEN = ("identity", "logistic", "tanh", "relu")
SCHEDULES = ("constant", *SGD_SCHEDULES)
#: solvers that scikit-learn lacks -> the closest that it has
NEAREST = {"cg": "lbfgs", "gd": "lbfgs"} | {
    name: entry.nearest
    for name, entry in STOCHASTIC_SOLVERS.items()
    if entry.nearest != name
}
#: fitted attributes with the same meaning in scikit-learn and here
SHARED = ("n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "t_",
          "n_iter_", "loss_", "out_activation_", "classes_")  # fmt: skip


# -- from scikit-learn --


def from_sklearn(estimator: Any) -> "MLPClassifier | MLPRegressor":
    """Convert a fitted perceptron of scikit-learn, with its parameters and fitted state.

    The result predicts the same.  Its `partial_fit`, and `fit` with ``warm_start=True``,
    continue the training as scikit-learn's estimator would, with the moments of 'adam' and
    'sgd'.  The exception is early stopping, where scikit-learn's estimator goes on to train
    the arrays that it stores as the best parameters, and this one does not.
    ``learning_rate`` becomes 'constant' with ``solver="adam"``, where scikit-learn ignores
    it.  The result shares no data with the given estimator.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        The fitted estimator to convert.

    Returns
    -------
    MLPClassifier or MLPRegressor
        The converted estimator.  With early stopping its ``validation_loss_curve_`` is NaN
        for the epochs so far, because scikit-learn stores only their scores.

    Raises
    ------
    TypeError
        If the estimator is of another class.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> import mlp
    >>> theirs = MLPRegressor(max_iter=500).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> ours = mlp.from_sklearn(theirs)
    >>> bool(abs(ours.predict([[0.5]]) - theirs.predict([[0.5]])) < 1e-12)
    True
    """
    from mlp import MLPClassifier, MLPRegressor

    kinds: dict[Any, Any] = {
        neural_network.MLPClassifier: MLPClassifier,
        neural_network.MLPRegressor: MLPRegressor,
    }
    kind = next((kind for kind in kinds if isinstance(estimator, kind)), None)
    if kind is None:
        raise TypeError(
            "from_sklearn converts MLPClassifier and MLPRegressor of "
            f"sklearn.neural_network, not {type(estimator).__name__} of "
            f"{type(estimator).__module__}"
        )
    check_is_fitted(estimator)
    theirs = deepcopy(estimator)  # with the state of a random generator
    ours: MLPClassifier | MLPRegressor = kinds[kind]()
    names = signature(kind).parameters  # a subclass may have other parameters
    ours.set_params(**{name: getattr(theirs, name) for name in names})
    if ours.solver == "adam":
        ours.learning_rate = "constant"
    ours.network_ = network = _network(theirs, ours.loss)
    ours.coefs_, ours.intercepts_ = list(network.coefs), list(network.intercepts)
    _copy_shared(theirs, ours)
    if isinstance(ours, MLPClassifier):
        y_type = theirs._label_binarizer.y_type_
        ours._multilabel = y_type.startswith("multilabel")
    _take_history(ours, theirs)
    if hasattr(theirs, "_optimizer"):
        ours._optimizer = _optimizer(theirs, ours)
    return ours


def _network(theirs: Any, loss: Any) -> Network:
    first, *others = theirs.coefs_
    network = Network(
        [*first.shape, *(W.shape[1] for W in others)],
        theirs.activation,
        theirs.out_activation_,
        loss=loss,
        dtype=first.dtype,
    )
    network.params[:] = _flat([*theirs.coefs_, *theirs.intercepts_])
    network.refold()
    return network


def _copy_shared(source: Any, target: Any) -> None:
    for name in SHARED:
        if name in vars(source):
            setattr(target, name, deepcopy(getattr(source, name)))


def _flat(arrays: list[Array]) -> Array:
    """Concatenate arrays; weights, then offsets is the order of ``Network.params``."""
    return np.concatenate([np.ravel(array) for array in arrays])


def _take_history(ours: Any, theirs: Any) -> None:
    """Copy curves and scores, and the value that the next epoch is compared with."""
    stochastic = hasattr(theirs, "loss_curve_")
    ours.loss_curve_ = theirs.loss_curve_ if stochastic else []
    ours.best_loss_ = theirs.best_loss_ if stochastic else theirs.loss_
    ours.validation_scores_ = getattr(theirs, "validation_scores_", None)
    ours.best_validation_score_ = getattr(theirs, "best_validation_score_", None)
    ours.validation_loss_curve_ = None
    best = -float(np.inf if ours.best_loss_ is None else ours.best_loss_)
    if ours.validation_scores_ is not None:
        ours.validation_loss_curve_ = [float("nan")] * len(ours.validation_scores_)
        best = float(ours.best_validation_score_)
    stalled = getattr(theirs, "_no_improvement_count", 0)
    ours._progress = Progress(ours.tol, best, stalled)


def _optimizer(theirs: Any, ours: Any) -> Optimizer:
    """Convert scikit-learn's optimizer; parameters set since the fit are ignored."""
    given = theirs._optimizer
    kind = getattr(given, "lr_schedule", "constant")
    schedule = Schedule(
        kind,
        given.learning_rate_init,
        power_t=getattr(given, "power_t", 0.5),
        epochs=len(ours.loss_curve_),
    )
    if isinstance(given, AdamOptimizer):
        new = Optimizer(
            "adam",
            schedule,
            beta_1=(given.beta_1, given.beta_1),
            beta_2=(given.beta_2, given.beta_2),
            epsilon=given.epsilon,
            steps=given.t,
        )
        new.moment_1, new.moment_2 = _moment(ours, given.ms), _moment(ours, given.vs)
        return new
    schedule.rate = given.learning_rate
    new = Optimizer("sgd", schedule, momentum=given.momentum, nesterov=given.nesterov)
    if given.momentum:
        new.moment_1 = _moment(ours, given.velocities)
    return new


def _moment(ours: Any, arrays: list[Array]) -> Array:
    return _flat(arrays).astype(ours.network_.dtype)


# -- to scikit-learn --


def to_sklearn(self: Any) -> Any:
    """Convert to scikit-learn's estimator of the same name, with the same predictions.

    Batch norm, standardisation and the scaling of dropout are folded into its weights.  It
    has the moments of 'adam' and 'sgd' too, and continues the training as this estimator
    would, unless options are set that scikit-learn lacks: then it is meant for predictions
    only, and a warning lists these options.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        The converted estimator, with the dtype of the predictions.  It shares no data with
        this estimator.

    Raises
    ------
    ValueError
        If scikit-learn's estimator can't predict the same: if the activation is not one of
        its four, if there are several, with connections that skip layers, and with outputs
        that it does not have.
    sklearn.exceptions.NotFittedError
        If this estimator is not fitted.

    Warns
    -----
    UserWarning
        If options are set that scikit-learn lacks; the warning lists them.
    """
    check_is_fitted(self)
    self._adopt_parameters()
    plain = self.network_.folded()
    cls = getattr(
        neural_network, "MLP" + ("Classifier" if is_classifier(self) else "Regressor")
    )
    activation = _hidden_activation(plain)
    _check_output(self, plain)
    params = {
        name: deepcopy(getattr(self, name, None)) for name in signature(cls).parameters
    }
    lost = _without_counterpart(self, cls, params)
    params["activation"] = activation
    if hidden_sizes(self) != list(plain.layer_sizes[1:-1]):  # set since the fit
        params["hidden_layer_sizes"] = plain.layer_sizes[1:-1]
    if "loss" in params:
        exp = plain.output_name == "exp"
        params["loss"] = "poisson" if exp else "squared_error"
    theirs = cls(**params)
    theirs.coefs_ = [
        W.toarray() if hasattr(W, "toarray") else W.copy() for W in plain.coefs
    ]
    theirs.intercepts_ = [b.copy() for b in plain.intercepts]
    _copy_shared(self, theirs)
    if is_classifier(self):
        theirs._label_binarizer = _binarizer(self)
    if theirs.solver in ("sgd", "adam"):
        _give_history(theirs, self)
    if lost:
        warnings.warn(
            f"scikit-learn has no {', '.join(lost)}: the estimator that to_sklearn returns "
            "predicts the same, but further training would ignore these options",
            stacklevel=2,
        )
    elif "_optimizer" in vars(self) and _has_counterpart(self._optimizer, plain):
        theirs._optimizer = _their_optimizer(theirs, self._optimizer)
    return theirs


def _hidden_activation(plain: Network) -> str:
    """Return the activation of all hidden layers; raise ValueError if there are several."""
    names: set[str] = set()
    for layer in plain.spec.activations:
        nodes = (layer,) if isinstance(layer, Activation) else layer
        names.update(node.name for node in nodes)
    if not names <= set(HIDDEN) or len(names) > 1:
        given: Any = sorted(names) if len(names) > 1 else names.pop()
        raise ValueError(
            f"activation={given!r} cannot be expressed in scikit-learn, which has one of "
            f"{', '.join(HIDDEN)} for all hidden units"
        )
    if any(plain.spec.skip_scales):
        raise ValueError("residual=True cannot be expressed in scikit-learn")
    return names.pop() if names else "relu"  # of no effect without hidden layers


def _check_output(estimator: Any, plain: Network) -> None:
    """Refuse outputs that scikit-learn's estimator would not have."""
    possible: tuple[str, ...] = ("identity", "exp")
    if is_classifier(estimator):
        single = estimator._multilabel or len(estimator.classes_) <= 2
        possible = ("logistic",) if single else ("softmax",)
        loss = plain.spec.loss
        if loss.entry.signed:
            raise ValueError(f"loss={loss.spec!r} cannot be expressed in scikit-learn")
    name = plain.output_name
    if name not in possible:
        raise ValueError(
            f"output_activation={name!r} cannot be expressed in scikit-learn, whose "
            f"outputs are {' or '.join(possible)} here"
        )


def _without_counterpart(
    estimator: Any, cls: type, params: dict[str, Any]
) -> list[str]:
    """List options that scikit-learn lacks as 'name=value'; put the closest in `params`."""
    shared, ours = signature(cls).parameters, signature(type(estimator)).parameters
    said = {name: getattr(estimator, name) for name in ours}
    said["loss"] = estimator.network_.spec.loss.spec  # as it was fitted
    lost = [
        name
        for name, parameter in ours.items()
        if name not in shared
        and name != "n_threads"
        and np.any(said[name] != parameter.default)
    ]
    solver, schedule = estimator.solver, estimator.learning_rate
    if "loss" in shared and said["loss"] not in ("squared_error", "poisson"):
        lost.append("loss")
    if solver in NEAREST:
        lost.append("solver")
        params["solver"] = NEAREST[solver]
    if schedule not in SCHEDULES:
        lost.append("learning_rate")
        params["learning_rate"] = "constant"
    if isinstance(estimator.early_stopping, EarlyStopping):
        params["early_stopping"] = True
        if estimator.early_stopping != EarlyStopping():
            lost.append("early_stopping")
    for name in ("beta_1", "beta_2"):
        of_weights, of_offsets = pair_of_betas(estimator, name)
        params[name] = of_weights
        if of_weights != of_offsets:
            lost.append(name)
    shortened = Repr()
    shortened.maxother = 100  # arguments of features are shown
    return [f"{name}={shortened.repr(said[name])}" for name in lost]


def _binarizer(estimator: Any) -> LabelBinarizer:
    if not estimator._multilabel:
        return LabelBinarizer().fit(estimator.classes_)
    return LabelBinarizer().fit(np.eye(estimator.n_outputs_, dtype=int))


def _give_history(theirs: Any, ours: Any) -> None:
    curves = (
        "loss_curve_",
        "best_loss_",
        "validation_scores_",
        "best_validation_score_",
    )
    for name in curves:
        setattr(theirs, name, deepcopy(getattr(ours, name)))
    theirs._no_improvement_count = ours._progress.stalled
    theirs._best_coefs = [W.copy() for W in theirs.coefs_]
    theirs._best_intercepts = [b.copy() for b in theirs.intercepts_]


def _has_counterpart(optimizer: Optimizer, plain: Network) -> bool:
    """Whether scikit-learn has this optimizer, and it was of all parameters."""
    return (
        optimizer.solver in ("adam", "sgd")
        and optimizer.schedule.kind in SCHEDULES
        and (
            optimizer.moment_1 is None or optimizer.moment_1.shape == plain.params.shape
        )
    )


def _their_optimizer(theirs: Any, ours: Optimizer) -> Any:
    params = [*theirs.coefs_, *theirs.intercepts_]
    schedule = ours.schedule
    if ours.solver == "adam":
        adam = AdamOptimizer(
            params, schedule.initial, ours.beta_1[0], ours.beta_2[0], ours.epsilon
        )
        adam.t = ours.steps
        if ours.moment_1 is not None and ours.moment_2 is not None:
            adam.ms = _like(ours.moment_1, params)
            adam.vs = _like(ours.moment_2, params)
        return adam
    sgd = SGDOptimizer(
        params,
        schedule.initial,
        schedule.kind,
        ours.momentum,
        ours.nesterov,
        schedule.power_t,
    )
    sgd.learning_rate = schedule.rate
    if ours.moment_1 is not None:
        sgd.velocities = _like(ours.moment_1, params)
    return sgd


def _like(vector: Array, arrays: list[Array]) -> list[Array]:
    """Split the vector into copies with the shapes of these arrays."""
    ends = np.cumsum([array.size for array in arrays])[:-1]
    parts = np.split(vector, ends)
    return [p.reshape(a.shape).copy() for p, a in zip(parts, arrays, strict=True)]
