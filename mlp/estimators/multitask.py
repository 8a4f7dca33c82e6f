"""`MultiTaskClassifier`."""

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.utils._param_validation import Interval, MissingValues
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.docstrings import document
from mlp.estimators.inspection import Inspection
from mlp.estimators.labels import (
    MISSING,
    UNHEARD_OF,
    TaskLabels,
    as_classes,
    side_by_side,
)
from mlp.estimators.training_data import Targets, check_weights
from mlp.estimators.validation import validate_data
from mlp.network.samples import as_rows
from mlp.network.spec import NetworkSpec
from mlp.threads import resolve_threads
from mlp.training.stopping import EarlyStopping

__all__ = ["MultiTaskClassifier"]

Array = NDArray[Any]

#: of all classifiers, but not of this one: its loss is the cross-entropy of each task
FIXED = ("loss", "output_activation")


@document
class MultiTaskClassifier(ClassifierMixin, Inspection, BaseMLP):
    """Several classifications of the same inputs by one network [S ex. 65.12].

    The hidden layers are shared; each task has outputs of its own, a softmax, or one
    logistic output where there are two classes.  Labels may be missing anywhere: the loss
    of a sample is the sum of the cross-entropies of the tasks whose label is known
    [S 65.157, 65.163-65.164].  With a single task it gives the same numbers as
    `MLPClassifier`.

    Parameters
    ----------
    {parameters}
    task_weight : array-like of shape (n_tasks,), default=None
        What each task's loss is multiplied by, positive; None for 1.
    missing_label : int, float, str or None, default=nan
        The label that means "not known".  None, NaN and pandas.NA always do.
    label_smoothing : float, default=0.0
        Part of every label that is given to all classes of its task alike.

    Attributes
    ----------
    classes_ : list of ndarray of shape (n_classes,)
        The labels of each task, sorted.
    {attributes}

    Notes
    -----
    Samples of which no label is known are left out: it is as if they had not been given.
    A task with a single class is predicted, and teaches nothing.

    For labels of which some are NaN, cross-validation needs a splitter such as
    ``cv=KFold(5)``: with a number it asks first what kind of labels they are, and
    scikit-learn refuses NaN.  Scorers of scikit-learn refuse several tasks: `score` is what
    cross-validation uses by default.

    Examples
    --------
    >>> from mlp import MultiTaskClassifier
    >>> X = [[0.0, 0.1], [0.2, 0.9], [0.9, 0.2], [1.0, 1.0]]
    >>> y = [["no", 1], ["no", None], [None, 3], ["yes", 2]]
    >>> model = MultiTaskClassifier(solver="lbfgs", random_state=0).fit(X, y)
    >>> model.classes_
    [array(['no', 'yes'], dtype='<U3'), array([1, 2, 3])]
    >>> model.predict(X[:1])
    array([['no', 1]], dtype=object)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in BaseMLP._parameter_constraints.items() if k not in FIXED},
        "task_weight": ["array-like", None],
        "missing_label": [MissingValues()],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    # what the network is built with, as others' parameters of these names
    loss = "log_loss"
    output_activation = "softmax"

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
        sampling: str = "shuffle",
        l1: float = 0.0,
        l1_method: str = "subgradient",
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        task_weight: Any = None,
        missing_label: Any = np.nan,
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
        y : array-like or data frame of shape (n_samples, n_tasks)
            A column of labels for each task: integers, strings, booleans; any of them
            missing, but not all of a column.
        sample_weight : array-like of shape (n_samples,), optional
        X_val, y_val, sample_weight_val : optional
            Samples to validate on, instead of a part of X.
        checkpoint : str, path-like or tuple, optional
            A file to which the run is written after every epoch; ``(path, n, "epochs")``
            or ``(path, n, "seconds")`` for less often.  If there is an unfinished run of
            the same parameters and samples in it, that run goes on, and ends with the
            same bits as one that was never interrupted; a finished one is taken as it
            is.  `mlp.load` reads the file too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input, or if training diverges; the estimator is then as it was before.
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
        """Go once over the samples, from where training stands.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like or data frame of shape (n_samples, n_tasks)
            All labels of a task may be missing here; samples without any known label are
            left out, and if that leaves none, nothing is trained.
        sample_weight : array-like of shape (n_samples,), optional
        classes : list of array-like of shape (n_classes,), optional
            For each task all labels that will ever come; needed in the first call only.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    # -- prediction --

    def predict(self, X: Any) -> Array:
        """The most probable label of each task.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_tasks)
            Of the labels' dtype; of objects if the tasks' labels are of different kinds.
        """
        codes = self._decide(self._forward(X))
        return side_by_side(
            [classes[codes[:, t]] for t, classes in enumerate(self.classes_)]
        )

    def predict_proba(self, X: Any) -> list[Array]:
        """Probabilities of each task's classes, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        list of ndarray of shape (n_samples, n_classes)
        """
        probabilities = []
        for out, classes in self._tasks(self._forward(X)):
            if len(classes) == 1:
                out = np.ones_like(out)
            elif len(classes) == 2:
                out = np.hstack([1 - out, out])
            probabilities.append(np.ascontiguousarray(out))
        return probabilities

    def predict_log_proba(self, X: Any) -> list[Array]:
        """Logarithms of `predict_proba`.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        list of ndarray of shape (n_samples, n_classes)
        """
        return [np.log(p) for p in self.predict_proba(X)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over the tasks of the accuracy on the samples whose label is known.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like or data frame of shape (n_samples, n_tasks)
            A label that `fit` has not seen counts as an error.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            Tasks without a known label, or without weight on one, are left out.

        Raises
        ------
        ValueError
            If that leaves no task.
        """
        predicted = self._decide(self._forward(X))
        check_consistent_length(predicted, y)
        weights = check_weights(sample_weight, predicted.astype(np.float64))
        accuracy = self._accuracy(self._codes(self._read(y)), predicted, weights)
        if np.isnan(accuracy):
            raise ValueError("y: no label is known, so there is nothing to score")
        return accuracy

    def _tasks(self, out: Array) -> list[tuple[Array, Array]]:
        """Each task's outputs, and its classes."""
        ends = np.cumsum(self.network_.spec.groups)[:-1]
        return list(zip(np.split(out, ends, axis=1), self.classes_, strict=True))

    def _decide(self, out: Array) -> Array:
        """Outputs to the places of the chosen labels (n_samples, n_tasks)."""
        codes = np.zeros((len(out), len(self.classes_)), np.int32)
        for t, (task, classes) in enumerate(self._tasks(out)):
            if len(classes) > 2:
                codes[:, t] = task.argmax(axis=1)
            elif len(classes) == 2:
                codes[:, t] = task[:, 0] > 0.5
        return codes

    @staticmethod
    def _accuracy(codes: Array, predicted: Array, weights: Array | None) -> float:
        """Mean over the tasks that have known labels; NaN if none has."""
        known = (codes != MISSING).astype(np.float64)
        if weights is not None:
            known *= weights[:, None]
        total = known.sum(axis=0)
        right = (known * (codes == predicted)).sum(axis=0)
        tasks = total > 0
        return float((right[tasks] / total[tasks]).mean()) if tasks.any() else np.nan

    def _score_epoch(self, network: Any, held_out: Targets) -> float:
        out = network.forward(held_out.X, resolve_threads(self.n_threads))
        return self._accuracy(
            held_out.labels, self._decide(out), held_out.sample_weight
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.target_tags.two_d_labels = True
        tags.target_tags.one_d_labels = False
        return tags

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
    ) -> Targets:
        X = validate_data(
            self,
            X,
            accept_sparse=["csr", "csc"],
            dtype=self._working_dtype(),
            reset=first,
        )
        tasks = self._read(y)
        check_consistent_length(X, tasks[0].labels)
        if incremental:
            self._take_classes(classes, len(tasks), first)
        else:
            found = [task.classes() for task in tasks]
            if first:
                self.classes_ = found
            self._check_same_classes(found, "y has")
        codes = self._codes(tasks)
        self._refuse_unheard_of(tasks, codes)
        X = as_rows(X, X.dtype)
        widths = [len(c) if len(c) > 2 else 1 for c in self.classes_]
        return Targets(
            X,
            side_by_side([task.labels for task in tasks]),
            sum(widths),
            self.output_activation,
            labels=codes,
            sample_weight=check_weights(sample_weight, X),
            groups=tuple(widths),
            smoothing=self.label_smoothing,
        ).where_known(codes != MISSING)

    def _read(self, y: Any) -> list[TaskLabels]:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the "
                "target y is None."
            )
        return TaskLabels.of(y, self.missing_label)

    def _take_classes(self, given: Any, n_tasks: int, first: bool) -> None:
        """The classes that `partial_fit` is told, the first time or again."""
        if given is None:
            if first:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit: a list of "
                    "each task's labels"
                )
            return
        n_given = len(given) if hasattr(given, "__len__") else 0
        if n_given != n_tasks:
            raise ValueError(
                f"classes must be a list of {n_tasks} arrays, the labels of each column of "
                f"y; got {given!r}"
            )
        found = [as_classes(c, f"classes[{t}]") for t, c in enumerate(given)]
        if first:
            self.classes_ = found
        self._check_same_classes(found, "classes has")

    def _check_same_classes(self, found: list[Array], who: str) -> None:
        """Training that goes on has the tasks and classes that it began with."""
        self._check_number(len(found))
        for t, (now, before) in enumerate(zip(found, self.classes_, strict=True)):
            if not np.array_equal(now, before):
                raise ValueError(
                    f"{who} the classes {now} in column {t}, the fitted network "
                    f"{before}; refit with warm_start=False"
                )

    def _check_number(self, n_tasks: int) -> None:
        if n_tasks != len(self.classes_):
            raise ValueError(
                f"y has {n_tasks} columns, the fitted network {len(self.classes_)} tasks"
            )

    def _codes(self, tasks: list[TaskLabels]) -> Array:
        """Each label's place among the classes of its task (n_samples, n_tasks)."""
        self._check_number(len(tasks))
        codes = [task.codes(c) for task, c in zip(tasks, self.classes_, strict=True)]
        return np.ascontiguousarray(np.stack(codes, axis=1))

    def _refuse_unheard_of(self, tasks: list[TaskLabels], codes: Array) -> None:
        samples, columns = np.nonzero(codes == UNHEARD_OF)
        if len(samples):
            i, t = samples[0], columns[0]
            raise ValueError(
                f"{tasks[t].name} has the label {tasks[t].labels[i]!r} in row {i}, "
                f"which is not one of its classes {self.classes_[t]}"
            )

    def _output_names(self) -> list[tuple[int, Any]]:
        """Of each output its task's column and its class."""
        return [
            (t, label)
            for t, classes in enumerate(self.classes_)
            for label in (classes if len(classes) > 2 else classes[-1:])
        ]

    # -- what the tasks count --

    def _specification(self, targets: Targets, dtype: Any) -> NetworkSpec:
        spec = super()._specification(targets, dtype)
        return replace(spec, group_weight=self._task_weights())

    def _task_weights(self) -> Array | None:
        """Factors of the tasks' losses, or None where all are 1; 0 for a single class."""
        n_tasks = len(self.classes_)
        alone = [len(c) == 1 for c in self.classes_]
        if self.task_weight is None:
            return np.where(alone, 0.0, 1.0) if any(alone) else None
        try:
            weights = np.asarray(self.task_weight, dtype=np.float64)
        except (TypeError, ValueError):
            weights = np.zeros(0)
        if weights.shape != (n_tasks,) or not (
            np.isfinite(weights).all() and (weights > 0).all()
        ):
            raise ValueError(
                f"task_weight must be {n_tasks} positive numbers, one per task, got "
                f"{self.task_weight!r}"
            )
        return np.where(alone, 0.0, weights)
