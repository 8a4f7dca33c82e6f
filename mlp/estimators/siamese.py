"""`SiameseClassifier`: whether two samples are of the same class [S P65.22–65.24]."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.building import BuildsSiameseNetwork
from mlp.estimators.docstrings import document
from mlp.estimators.pairs import PairTrainingData, check_pairs, two_labels
from mlp.estimators.parameters import (
    COUNT,
    REPLACEMENT_IN_ORDER,
    hidden_sizes,
    pair_of_betas,
)
from mlp.estimators.standardize import check_sparse, standardized
from mlp.estimators.training_data import check_weights
from mlp.estimators.validation import validate_data
from mlp.network.siamese import HEADS
from mlp.network.summary import Summary
from mlp.threads import resolve_threads
from mlp.training.optimizers import STOCHASTIC_SOLVERS
from mlp.training.pairs import PairOptimizer, PairRun
from mlp.training.stopping import EarlyStopping

__all__ = ["SiameseClassifier"]

Array = NDArray[Any]


@document
class SiameseClassifier(ClassifierMixin, BuildsSiameseNetwork, BaseMLP):
    """Siamese network, which decides if two samples are of one class [S P65.22–65.24].

    One network, the branch, maps each of the two samples to an embedding; a head compares
    the two embeddings.  After training on pairs of many classes, the network also compares
    samples of classes that are not among them.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer of the branch; ``()`` gives a branch without
        hidden layers.
    activation : str, tuple or sequence, default="relu"
        Activation of the branch's hidden layers, as for `MLPClassifier`, except 'rbf'.
    n_embedding : int, default=32
        Number of outputs of the branch.
    embedding_activation : str, tuple or sequence, default="identity"
        Activation of the embedding, except 'softmax'; a sequence has one activation per
        output of the branch.
    head : {'cosine', 'distance', 'relation'}, default="cosine"
        How the two embeddings are compared.  'cosine' is their cosine, trained to ±1 with
        the squared error; 'distance' is their absolute difference, followed by an affine
        unit and a sigmoid, trained with the cross-entropy; 'relation' is a second network
        whose input is both embeddings, trained to {0, 1} with the squared error.
        'relation' depends on the order of the two samples, the others do not.  The
        embeddings of many classes cannot all be opposite to each other, so that cosines of
        different classes are near 0, which is the threshold of `predict`; scikit-learn's
        ``TunedThresholdClassifierCV`` finds a better one.
    head_layer_sizes : int or array-like, default=(100,)
        Number of units of each hidden layer of the head, only with head='relation'.
    head_activation : str, tuple or sequence, default="relu"
        Activation of the head's hidden layers, only with head='relation'.
    solver : str, default="adam"
        Stochastic solver, which trains branch and head together on mini-batches:

        {solvers}

    batch_size : int or 'auto', default="auto"
        Number of pairs in a mini-batch; 'auto' is min(200, n_pairs).
    max_iter : int, default=200
        Largest number of epochs.
    tol : float, default=1e-4
        Smallest improvement of the loss or validation score that counts as progress.
    clip_norm : float or None, default=None
        Largest norm of a step's gradient in each of the two networks; a longer gradient is
        scaled to it.
    batch_norm : None, bool, str or BatchNorm, default=None
        Layers of the branch whose pre-activations are normalised over both samples of all
        pairs of the batch [S 65.168–65.188]: True or 'hidden', 'all', 'hidden+input' or
        'all+input'; a `BatchNorm` has further arguments.
    standardize : bool, default=False
        Whether to train on inputs of mean 0 and deviation 1.  For predictions this is
        folded into the first weights.  Sparse inputs are only scaled.
    fit_intercept : bool, default=True
        Whether the layers of the branch have offsets; with False the offsets are 0 in
        training too.  The head has offsets in both cases.
    sampling : {'shuffle', 'replacement'}, default="shuffle"
        How the batches of an epoch are drawn: 'shuffle' takes every pair once;
        'replacement' draws each pair of each batch independently [S 65.82].
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels, sorted; the second one is that of pairs of the same class.
    network_ : SiameseNetwork
        The trained networks, which predict without the estimator.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer, of the branch and then of the head, as views.
    intercepts_ : list of ndarray of shape (n_out,)
        Offsets of each layer, in the same order, as views.
    loss_ : float
        Loss of the last epoch, with the penalties of both networks.
    best_loss_ : float or None
        Smallest loss so far; None with early stopping.
    loss_curve_ : list of float
        Loss of every epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        Score and loss on the held-out pairs after every epoch, if there are any.
    best_validation_score_ : float or None
        Best score on the held-out pairs.
    t_ : int
        Number of pairs visited in training.
    n_iter_ : int
        Number of epochs of the last call to `fit`.
    n_features_in_ : int
        Number of features of a sample.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a pair of data frames.

    See Also
    --------
    sample_pairs : Draws pairs from labelled samples.

    Examples
    --------
    >>> from mlp import SiameseClassifier, sample_pairs
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.metrics import roc_auc_score
    >>> X, y = load_digits(return_X_y=True)
    >>> pairs, same = sample_pairs(y[:1200], 6000, random_state=0)
    >>> model = SiameseClassifier(head="distance", random_state=0)
    >>> model = model.fit(X[:1200][pairs] / 16, same)
    >>> pairs, same = sample_pairs(y[1200:], 1000, random_state=0)
    >>> scores = model.decision_function(X[1200:][pairs] / 16)
    >>> bool(roc_auc_score(same, scores) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "n_embedding": [COUNT],
        "embedding_activation": [str, tuple, list],
        "head": [StrOptions(set(HEADS))],
        "head_layer_sizes": ["array-like", COUNT],
        "head_activation": [str, tuple, list],
        "solver": [StrOptions(set(STOCHASTIC_SOLVERS))],
    }
    network_: Any
    _optimizer: Any
    classes_: Array

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        n_embedding: int = 32,
        embedding_activation: Any = "identity",
        head: str = "cosine",
        head_layer_sizes: Any = (100,),
        head_activation: Any = "relu",
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
        sampling: str = "shuffle",
        l1: float = 0.0,
        l1_method: str = "subgradient",
        l2: float = 0.0,
        l2_bias: bool = False,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        batch_norm: Any = None,
        standardize: bool = False,
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
        """Fit the networks to pairs.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2)
            The two samples of each pair; the arrays of a tuple, of shape (n_pairs,
            n_features), may be sparse.
        y : array-like of shape (n_pairs,)
            Two labels, the larger one for pairs of the same class, such as 0 and 1, or
            False and True.
        sample_weight : array-like of shape (n_pairs,), optional
            Weights of the pairs.
        X_val, y_val, sample_weight_val : optional
            Pairs for validation, which replace a held-out part of X; preferably of classes
            that are not in X.
        checkpoint : str, path-like or tuple, optional
            File to which the state of the fit is written, and from which it is resumed; see
            `MLPClassifier.fit`.

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

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Train one more epoch on the given pairs.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like of shape (2,), optional
            The two labels; required if y of the first call does not have both.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    # -- prediction --

    def embed(self, X: Any) -> Array:
        """Return the embeddings of single samples, the outputs of the branch.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_embedding)
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        self._adopt_parameters()
        embedding: Array = self.network_.embed(X, resolve_threads(self.n_threads))
        return embedding

    def decision_function(self, X: Any) -> Array:
        """Return the score of each pair: the similarity of its two samples.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2)

        Returns
        -------
        ndarray of shape (n_pairs,)
            The cosine of the embeddings, or the logit of the head's output; it is positive
            for pairs that are predicted to be of the same class.
        """
        check_is_fitted(self)
        pairs = check_pairs(self, X, "numeric", reset=False)
        self._adopt_parameters()
        n_threads = resolve_threads(self.n_threads)
        embedding = self.network_.embed(pairs.rows, n_threads)
        first, second = pairs.index.T
        scores: Array = self.network_.scores(
            embedding[first], embedding[second], n_threads
        )
        return scores

    def predict(self, X: Any) -> Array:
        """Predict the label of each pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2)

        Returns
        -------
        ndarray of shape (n_pairs,)
        """
        same: Array = self.decision_function(X) > 0
        labels: Array = self.classes_[same.astype(int)]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of the two labels, in the order of ``classes_``.

        With head='cosine' they are (1 ∓ c)/2 for the cosine c.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2)

        Returns
        -------
        ndarray of shape (n_pairs, 2)
        """
        scores = self.decision_function(X)
        same = (1 + scores) / 2 if self.network_.head is None else expit(scores)
        return np.column_stack([1 - same, same])

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2)

        Returns
        -------
        ndarray of shape (n_pairs, 2)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def summary(self, X: Any = None) -> Summary:
        """Return the layers of branch and head as tables of text; see `Network.summary`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2), optional
            Pairs for the column "dead": the number of units of each hidden layer whose
            activation has derivative 0 for all of them.

        Returns
        -------
        Summary
            A str, which an interactive prompt shows as ``print`` does.
        """
        if X is None:
            return super().summary()
        check_is_fitted(self)
        pairs = check_pairs(self, X, "numeric", reset=False)
        self._adopt_parameters()
        n_threads = resolve_threads(self.n_threads)
        table: Summary = self.network_.summary(pairs.rows, pairs.index, n_threads)
        return table

    def _score_epoch(self, network: Any, held_out: Any) -> float:
        return float(
            accuracy_score(
                held_out.y,
                self.predict(held_out.X),
                sample_weight=held_out.sample_weight,
            )
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_class = False
        return tags

    # -- methods that `fit` calls --

    def _check_combination(self, incremental: bool) -> None:
        hidden_sizes(self)
        self._head_sizes()
        resolve_threads(self.n_threads)
        pair_of_betas(self, "beta_1")
        pair_of_betas(self, "beta_2")
        refusals = [
            (incremental and self.early_stopping, "partial_fit does not support "
             "early_stopping=True"),
            (self.sampling == "replacement" and not self.shuffle, REPLACEMENT_IN_ORDER),
            (self.batch_norm and self.batch_size == 1,
             f"batch_norm={self.batch_norm!r} needs batch_size >= 2: two samples have no "
             "useful variance"),
            (self.early_stopping and not self._validates
             and not self.validation_fraction > 0,
             "early_stopping=True needs validation_fraction > 0, got "
             f"{self.validation_fraction!r}, or X_val, y_val"),
            (_names(self.embedding_activation) & {"softmax"},
             "embedding_activation must not be 'softmax'; use 'identity' or another "
             "elementwise activation"),
        ]  # fmt: skip
        for refused, message in refusals:
            if refused:
                raise ValueError(message)

    def _validate_targets(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> PairTrainingData:
        pairs = check_pairs(self, X, self._working_dtype(), reset=first)
        if y is None:
            raise ValueError("y must be the labels of the pairs, got None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(pairs, y)
        check_classification_targets(y)
        known = None if first else self.classes_
        self.classes_ = two_labels(y, classes, known)
        same = np.searchsorted(self.classes_, y)
        fitting = "_validates" in vars(self)
        head = self.head if fitting else self.network_.kind
        values = np.array(HEADS[head], dtype=pairs.dtype)[same]
        weights = check_weights(sample_weight, pairs)
        return PairTrainingData(
            pairs,
            y,
            1,
            self.embedding_activation,
            values=np.ascontiguousarray(values[:, None]),
            sample_weight=weights,
            strata=y,
        )

    def _check_sparse_training(self) -> None:
        """Accept sparse pairs: neither `augment` nor dropout needs dense batches here."""

    def _check_inputs(self, targets: Any) -> None:
        if targets.sparse:
            check_sparse(self.network_.branch)

    def _new_optimizer(self) -> Any:
        return PairOptimizer(super()._new_optimizer())

    def _start_run(
        self,
        network: Any,
        targets: Any,
        optimizer: Any,
        penalties: Any,
        **options: Any,
    ) -> Any:
        trained_on = targets.take(slice(None))
        trained_on.X.rows = standardized(network.branch, targets.samples()).X
        return PairRun(network, trained_on.data(), optimizer, penalties, **options)


def _names(activation: Any) -> set[str]:
    """Return the name of an activation, with or without parameters."""
    return {activation if isinstance(activation, str) else str(activation[0])}
