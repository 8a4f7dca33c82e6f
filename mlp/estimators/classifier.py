"""`MLPClassifier`."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d, validate_data

from mlp.estimators.base import BaseMLP, Targets, check_weights, set_parameters
from mlp.estimators.parameters import document
from mlp.network import as_rows

__all__ = ["MLPClassifier"]


@document
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classification: two classes, several, or several labels.

    A drop-in for scikit-learn's class of the same name, trained by a compiled core; for
    the same ``random_state`` it gives the same numbers.

    Parameters
    ----------
    {parameters}
    loss : str, default="log_loss"
        'log_loss' (cross-entropy, computed from logits), or 'squared_error', 'huber',
        'absolute_error' on the output's probabilities [S table 65.2].

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    {attributes}

    Examples
    --------
    >>> from mlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(max_iter=30, random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> bool(model.score(X[1500:] / 16, y[1500:]) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints
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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        output_activation: Any = None,
        huber_delta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        init: Any = "sklearn",
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        set_parameters(self, locals())

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the network to the samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind, or a 0/1 matrix where a sample may have several.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input, or if training diverges; the estimator is then as it was before.
        """
        return self._fit(X, y, sample_weight)

    @available_if(lambda est: est._check_partial_fit())
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Go once over the samples, from where training stands.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array-like of shape (n_classes,), optional
            All labels that will ever come; needed in the first call only.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    # -- prediction --

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each sample, or the labels above one half.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        return self._predict(X)

    def _predict(self, X: Any, check_input: bool = True) -> NDArray[Any]:
        out = self._forward(X, check_input)
        if self._multilabel:
            return (out > self._threshold()).astype(int)
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(out))
        if self.n_outputs_ == 1:
            return self.classes_[(out.ravel() > self._threshold()).astype(int)]
        return self.classes_[out.argmax(axis=1)]

    def _threshold(self) -> float:
        """Between the two values that an output is trained towards."""
        return 0.5

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities of the classes, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        out = self._forward(X)
        if self.n_outputs_ == 1:
            out = out.ravel()
        return np.vstack([1 - out, out]).T if out.ndim == 1 else out

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def _score_epoch(self, X: Any, y: Any, sample_weight: Any) -> float:
        prediction = self._predict(X, check_input=False)
        return float(accuracy_score(y, prediction, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # -- labels --

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> Targets:
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
            self._check_classes(y)
        X = as_rows(X, X.dtype)
        weights = check_weights(sample_weight, X)
        if self._multilabel:
            return self._multilabel_targets(X, y, weights)
        return self._label_targets(X, y, weights)

    def _check_classes(self, y: Any) -> None:
        """Labels of a later call must be known ones."""
        classes = unique_labels(y)
        if self.warm_start:
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

    def _multilabel_targets(self, X: Any, y: Any, weights: Any) -> Targets:
        return Targets(
            X,
            y,
            values=np.ascontiguousarray(y, dtype=X.dtype),
            sample_weight=weights,
            n_outputs=y.shape[1],
            output_activation=self.output_activation or "logistic",
        )

    def _label_targets(self, X: Any, y: Any, weights: Any) -> Targets:
        labels = np.searchsorted(self.classes_, y).astype(np.int32)
        binary = len(self.classes_) <= 2
        return Targets(
            X,
            y,
            labels=np.ascontiguousarray(labels[:, None]),
            sample_weight=weights,
            n_outputs=1 if binary else len(self.classes_),
            output_activation=self.output_activation
            or ("logistic" if binary else "softmax"),
            # a column: scikit-learn's errors then name the classes as its own do
            strata=labels.astype(bool)[:, None] if binary else labels,
        )
