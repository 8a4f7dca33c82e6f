"""`MLPClassifier`."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
)

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.class_weights import class_factors
from mlp.estimators.conversion import to_sklearn
from mlp.estimators.docstrings import document
from mlp.estimators.inspection import Inspection
from mlp.estimators.labels import indicators
from mlp.estimators.training_data import TrainingData, check_weights
from mlp.estimators.validation import validate_data
from mlp.network.activations import is_single
from mlp.network.losses import Loss, resolve_loss
from mlp.network.samples import as_rows
from mlp.threads import resolve_threads
from mlp.training.stopping import EarlyStopping

__all__ = ["MLPClassifier"]

#: outputs around 0, trained towards −1 and 1
SIGNED_OUTPUTS = ("tanh", "scaled_tanh", "erf", "sign")


@document
class MLPClassifier(ClassifierMixin, Inspection, BaseMLP):
    """Multilayer perceptron for binary, multiclass and multilabel classification.

    It replaces scikit-learn's class of the same name, with the same parameters and, for the
    same ``random_state``, the same results.  A compiled core trains the network.

    Parameters
    ----------
    {parameters}
    loss : str, tuple or callable, default="log_loss"
        Loss of a sample [S table 65.2]:

        {losses of labels}

        Or a callable ``(y_true, y_out) -> (values, gradient)`` [S P65.11].
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes, which are multiplied by the sample weights: a dict by label,
        where labels without a key have the weight 1; or 'balanced', for weights that are
        inversely proportional to the frequencies of the classes (not in `partial_fit`).
        For a label matrix it is a list with one dict ``{0: …, 1: …}`` per column, whose
        weights are multiplied, as in scikit-learn.
    label_smoothing : float, default=0.0
        Proportion of every label, in [0, 1), that is distributed equally over all classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    {attributes}

    Examples
    --------
    >>> from mlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(solver="lbfgs", random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> bool(model.score(X[1500:] / 16, y[1500:]) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | EarlyStopping = False,
        validation_fraction: float = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        output_activation: Any = None,
        sampling: str = "shuffle",
        l1: float = 0.0,
        l1_method: str = "subgradient",
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: Any = 0.0,
        batch_norm: Any = None,
        residual: bool = False,
        connectivity: Any = None,
        base: Any = None,
        freeze: Any = 0,
        standardize: bool = False,
        augment: Any = None,
        fit_intercept: bool = True,
        init: Any = "sklearn",
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        checkpoint: Any = None,
    ) -> Self:
        """Fit the network to the samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any type; or, if samples may have several labels, a label matrix with
            one column per label, which is 0 where the sample does not have the label and
            one other value, such as 1, where it has.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.
        X_val, y_val, sample_weight_val : optional
            Samples for validation, which replace a held-out part of X.
        checkpoint : str, path-like or tuple, optional
            Path of a file to which the state of the fit is written after every epoch, or
            ``(path, n, "epochs")`` or ``(path, n, "seconds")`` to write it less often.  If
            the file has an unfinished fit of the same parameters and samples, that fit is
            resumed and ends with the same bits as without an interruption; the result of a
            finished one is loaded.  `mlp.load` reads the file too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is invalid or training diverges; the estimator is then unchanged.
        """
        validation = self._validation(X_val, y_val, sample_weight_val)
        return self._fit(
            X, y, sample_weight, validation=validation, checkpoint=checkpoint
        )

    @available_if(lambda est: est._check_partial_fit())
    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Train one more epoch on the given samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.
        classes : array-like of shape (n_classes,), optional
            All classes of this and later calls; required in the first call only.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    # -- prediction --

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable label of each sample, or all with a probability > 1/2.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        return self._labels_of(self._forward(X))

    def _labels_of(self, out: NDArray[Any]) -> NDArray[Any]:
        """Return the labels that outputs of shape (n_samples, n_outputs) choose."""
        if self._multilabel:
            return (out > self._middle()).astype(int)
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(out))
        if self.n_outputs_ == 1:
            chosen = (out.ravel() > self._middle()).astype(int)
        else:
            chosen = out.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels

    def _low(self) -> float:
        """Target of an output for the other class: 0, or −1 where outputs or loss have both
        signs [S P65.18]."""
        signed = self._is_signed(self.out_activation_, self.network_.spec.loss)
        return -1.0 if signed else 0.0

    def _middle(self) -> float:
        return (1 + self._low()) / 2

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probabilities of the classes, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        out = self._forward(X)
        several = self.n_outputs_ > 1 and not self._multilabel
        if self.out_activation_ not in ("softmax", "logistic") or (
            several and self.out_activation_ == "logistic"
        ):
            out = self._probabilities(out)
        if self.n_outputs_ == 1:
            out = out.ravel()
            return np.vstack([1 - out, out]).T
        return out

    def _probabilities(self, out: NDArray[Any]) -> NDArray[Any]:
        """Convert other outputs to probabilities, in [0, 1] and with a sum of 1."""
        if self.network_.spec.loss.entry.signed:
            # Q = ln(1 + e^{−γγ̂}) is −ln of a logistic function
            out = expit(out)
        else:
            low = self._low()
            out = np.clip((out - low) / (1 - low), 0, 1)
        if self.n_outputs_ == 1 or self._multilabel:
            return out
        total = out.sum(axis=1, keepdims=True)
        return np.where(
            total > 0, out / np.where(total > 0, total, 1), 1 / out.shape[1]
        )

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of `predict_proba`.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        logarithms: NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for a label matrix, the fraction of rows without an error.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            As for `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if self._multilabel and type_of_target(y) == "multilabel-indicator":
            y = indicators(y)
        return float(super().score(X, y, sample_weight))

    def _score_epoch(self, network: Any, held_out: TrainingData) -> float:
        out = network.forward(held_out.X, resolve_threads(self.n_threads))
        prediction = self._labels_of(out)
        return float(
            accuracy_score(held_out.y, prediction, sample_weight=held_out.sample_weight)
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    to_sklearn = to_sklearn

    # -- labels --

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> TrainingData:
        if incremental and _check_partial_fit_first_call(self, classes):
            self._multilabel = type_of_target(y).startswith("multilabel")
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=self._working_dtype(),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = y.toarray() if hasattr(y, "toarray") else y
        if not (self.warm_start or incremental) or "classes_" not in vars(self):
            binarizer = LabelBinarizer().fit(y)
            self.classes_ = binarizer.classes_
            self._multilabel = binarizer.y_type_.startswith("multilabel")
        else:
            self._check_kind(y)
            self._check_classes(y, incremental)
        if self._multilabel:
            y = indicators(y)
        X = as_rows(X, X.dtype)
        weights = check_weights(self._class_weighted(sample_weight, y, X), X)
        make = self._multilabel_targets if self._multilabel else self._label_targets
        return make(X, y, weights, resolve_loss(self._built_by("loss")))

    def _class_weighted(self, sample_weight: Any, y: Any, X: Any) -> Any:
        """Multiply the sample weights by those of the classes."""
        if self.class_weight is None:
            return sample_weight
        factors = class_factors(self.class_weight, self.classes_, y)
        if not factors.any():
            raise ValueError(
                f"class_weight={self.class_weight!r} gives every sample the weight 0"
            )
        if sample_weight is None:
            return factors
        return _check_sample_weight(sample_weight, X) * factors

    def _check_kind(self, y: Any) -> None:
        """Refuse a label matrix where the fit had one label per sample, and vice versa."""
        if (y.ndim == 2) != self._multilabel:
            kinds = ["one label per sample", "a label matrix"]
            raise ValueError(
                f"y of shape {y.shape} has {kinds[y.ndim - 1]}; the network was fitted to "
                f"{kinds[2 - y.ndim]}"
            )

    def _check_classes(self, y: Any, incremental: bool) -> None:
        """Refuse labels that are not among the classes of the previous calls."""
        classes = unique_labels(y)
        if self.warm_start and not incremental:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in "
                    f"the previous call to fit. Previously got {self.classes_}, `y` has "
                    f"{classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _output(self, default: str, loss: Loss) -> Any:
        given = self._built_by("output_activation")
        if given is not None and not is_single(given):
            raise ValueError(
                f"output_activation={given!r} names one activation per node; the classes "
                "of an MLPClassifier need one for all outputs, such as 'softmax'"
            )
        if given is not None:
            return given
        return "tanh" if loss.entry.signed else default

    @staticmethod
    def _is_signed(output: Any, loss: Loss) -> bool:
        name = output if isinstance(output, str) else output[0]
        return name in SIGNED_OUTPUTS or loss.entry.signed

    @staticmethod
    def _set_values(targets: TrainingData, chosen: NDArray[Any], signed: bool) -> None:
        """Set the target values to 0 and 1, or −1 and 1 where outputs have both signs."""
        targets.values = np.ascontiguousarray(chosen.astype(targets.X.dtype))
        if signed:
            targets.values = 2 * targets.values - 1
            targets.middle = 0.0

    def _multilabel_targets(
        self, X: Any, y: Any, weights: Any, loss: Loss
    ) -> TrainingData:
        output = self._output("logistic", loss)
        targets = TrainingData(
            X,
            y,
            y.shape[1],
            output,
            sample_weight=weights,
            smoothing=self.label_smoothing,
        )
        self._set_values(targets, y, self._is_signed(output, loss))
        return targets

    def _label_targets(self, X: Any, y: Any, weights: Any, loss: Loss) -> TrainingData:
        labels = np.searchsorted(self.classes_, y).astype(np.int32)
        n_classes = len(self.classes_)
        binary = n_classes <= 2 and self._built_by("output_activation") != "softmax"
        output = self._output("logistic" if binary else "softmax", loss)
        targets = TrainingData(
            X,
            y,
            1 if binary else n_classes,
            output,
            sample_weight=weights,
            # a column is always stratified: scikit-learn refuses other splits, too
            strata=labels.astype(bool)[:, None] if n_classes <= 2 else y,
            smoothing=self.label_smoothing,
        )
        if self._is_signed(output, loss):
            chosen = labels[:, None] == (1 if binary else np.arange(n_classes))
            self._set_values(targets, chosen, signed=True)
        else:
            targets.labels = np.ascontiguousarray(labels[:, None])
        return targets
