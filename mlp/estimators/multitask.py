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
    UNKNOWN,
    TaskLabels,
    as_classes,
    stack_columns,
)
from mlp.estimators.training_data import TrainingData, check_weights
from mlp.estimators.validation import validate_data
from mlp.network.samples import as_rows
from mlp.network.spec import NetworkSpec
from mlp.threads import resolve_threads
from mlp.training.stopping import EarlyStopping

__all__ = ["MultiTaskClassifier"]

Array = NDArray[Any]

#: parameters of other estimators; here the loss is the cross-entropy of each task
FIXED = ("loss", "output_activation")


@document
class MultiTaskClassifier(ClassifierMixin, Inspection, BaseMLP):
    """Multilayer perceptron that predicts several labels of each sample [S ex. 65.12].

    Each label is the answer to one task.  The tasks share the hidden layers; each has its
    own softmax outputs, or one logistic output if it has two classes.  Labels may be
    missing anywhere: the loss of a sample is the sum of the cross-entropies of the tasks
    whose label is known [S 65.157, 65.163-65.164].  With a single task the results are
    those of `MLPClassifier`.

    Parameters
    ----------
    {parameters}
    task_weight : array-like of shape (n_tasks,), default=None
        Positive factors of the tasks' losses; None stands for 1.
    missing_label : int, float, str or None, default=nan
        Value that marks a missing label; None, NaN and pandas.NA always do.
    label_smoothing : float, default=0.0
        Proportion of every label, in [0, 1), that is distributed equally over all classes
        of its task.

    Attributes
    ----------
    classes_ : list of ndarray of shape (n_classes,)
        The classes of each task, sorted.
    {attributes}

    Notes
    -----
    Samples without a known label are left out, as if they were not in X.  A task with a
    single class is predicted, but does not contribute to the loss.

    If some labels are NaN, cross-validation needs a splitter such as ``cv=KFold(5)``: with
    a number of folds, scikit-learn determines the type of the labels and refuses NaN.
    Scorers of scikit-learn refuse several tasks; cross-validation uses `score` by default.

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
    # attributes with the values of other estimators' parameters
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
            One column of labels per task: integers, strings or booleans.  Any label may be
            missing, but not all labels of a column.
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
        y : array-like or data frame of shape (n_samples, n_tasks)
            The labels; all labels of a task may be missing here.  Samples without a known
            label are left out; without any sample nothing is trained.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.
        classes : list of array-like of shape (n_classes,), optional
            For each task all classes of this and later calls; required in the first call
            only.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    # -- prediction --

    def predict(self, X: Any) -> Array:
        """Predict the most probable label of each task.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_tasks)
            The labels in their dtype, or as objects if the tasks have labels of different
            types.
        """
        codes = self._decide(self._forward(X))
        return stack_columns(
            [classes[codes[:, t]] for t, classes in enumerate(self.classes_)]
        )

    def predict_proba(self, X: Any) -> list[Array]:
        """Predict the probabilities of each task's classes, in the order of ``classes_``.

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
        """Return the accuracy on the known labels, averaged over the tasks.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : array-like or data frame of shape (n_samples, n_tasks)
            The labels; a label that is not among the classes counts as an error.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        float
            The mean accuracy.  Tasks without a known label of positive weight are left out.

        Raises
        ------
        ValueError
            If no task is left.
        """
        predicted = self._decide(self._forward(X))
        check_consistent_length(predicted, y)
        weights = check_weights(sample_weight, predicted.astype(np.float64))
        accuracy = self._accuracy(self._codes(self._read(y)), predicted, weights)
        if np.isnan(accuracy):
            raise ValueError("y: no label is known, so there is nothing to score")
        return accuracy

    def _tasks(self, out: Array) -> list[tuple[Array, Array]]:
        """Return the outputs and the classes of each task."""
        ends = np.cumsum(self.network_.spec.groups)[:-1]
        return list(zip(np.split(out, ends, axis=1), self.classes_, strict=True))

    def _decide(self, out: Array) -> Array:
        """Convert outputs to the codes of the chosen classes (n_samples, n_tasks)."""
        codes = np.zeros((len(out), len(self.classes_)), np.int32)
        for t, (task, classes) in enumerate(self._tasks(out)):
            if len(classes) > 2:
                codes[:, t] = task.argmax(axis=1)
            elif len(classes) == 2:
                codes[:, t] = task[:, 0] > 0.5
        return codes

    @staticmethod
    def _accuracy(codes: Array, predicted: Array, weights: Array | None) -> float:
        """Return the mean over the tasks that have known labels; NaN if there is none."""
        known = (codes != MISSING).astype(np.float64)
        if weights is not None:
            known *= weights[:, None]
        total = known.sum(axis=0)
        right = (known * (codes == predicted)).sum(axis=0)
        tasks = total > 0
        return float((right[tasks] / total[tasks]).mean()) if tasks.any() else np.nan

    def _score_epoch(self, network: Any, held_out: TrainingData) -> float:
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
    ) -> TrainingData:
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
        self._refuse_unknown(tasks, codes)
        X = as_rows(X, X.dtype)
        widths = [len(c) if len(c) > 2 else 1 for c in self.classes_]
        return TrainingData(
            X,
            stack_columns([task.labels for task in tasks]),
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
        """Set or compare the classes that were passed to `partial_fit`."""
        if given is None:
            if first:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit: a list with "
                    "the classes of each task"
                )
            return
        n_given = len(given) if hasattr(given, "__len__") else 0
        if n_given != n_tasks:
            raise ValueError(
                f"classes must be a list of {n_tasks} arrays, the classes of each column "
                f"of y; got {given!r}"
            )
        found = [as_classes(c, f"classes[{t}]") for t, c in enumerate(given)]
        if first:
            self.classes_ = found
        self._check_same_classes(found, "classes has")

    def _check_same_classes(self, found: list[Array], who: str) -> None:
        """Refuse other tasks or classes than those of the fitted network."""
        self._check_number(len(found))
        for t, (now, before) in enumerate(zip(found, self.classes_, strict=True)):
            if not np.array_equal(now, before):
                raise ValueError(
                    f"{who} the classes {now} in column {t}, but the fitted network has "
                    f"{before}; refit with warm_start=False"
                )

    def _check_number(self, n_tasks: int) -> None:
        if n_tasks != len(self.classes_):
            raise ValueError(
                f"y has {n_tasks} columns, the fitted network has {len(self.classes_)} "
                "tasks"
            )

    def _codes(self, tasks: list[TaskLabels]) -> Array:
        """Return the labels' codes among their tasks' classes (n_samples, n_tasks)."""
        self._check_number(len(tasks))
        codes = [task.codes(c) for task, c in zip(tasks, self.classes_, strict=True)]
        return np.ascontiguousarray(np.stack(codes, axis=1))

    def _refuse_unknown(self, tasks: list[TaskLabels], codes: Array) -> None:
        samples, columns = np.nonzero(codes == UNKNOWN)
        if len(samples):
            i, t = samples[0], columns[0]
            raise ValueError(
                f"{tasks[t].name} has the label {tasks[t].labels[i]!r} in row {i}, "
                f"which is not one of its classes {self.classes_[t]}"
            )

    def _output_names(self) -> list[tuple[int, Any]]:
        """Return the column of the task and the class of each output."""
        return [
            (t, label)
            for t, classes in enumerate(self.classes_)
            for label in (classes if len(classes) > 2 else classes[-1:])
        ]

    # -- weights of the tasks --

    def _specification(self, targets: TrainingData, dtype: Any) -> NetworkSpec:
        spec = super()._specification(targets, dtype)
        return replace(spec, group_weight=self._task_weights())

    def _task_weights(self) -> Array | None:
        """Factors of the tasks' losses, 0 for those with one class; None if all are 1."""
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
