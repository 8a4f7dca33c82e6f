"""`MLPAutoencoder`: a network that learns to reconstruct its inputs [S ex. 65.4]."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import with_callbacks
from sklearn.utils import check_array, gen_batches
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from mlp.estimators.base import BaseMLP, set_parameters
from mlp.estimators.docstrings import document
from mlp.estimators.inspection import Inspection
from mlp.estimators.parameters import RATE, dropout_of, hidden_sizes
from mlp.estimators.training_data import (
    RANGES,
    TrainingData,
    check_weights,
    lies_in,
    value_range,
)
from mlp.estimators.validation import validate_data
from mlp.network.activations import is_single
from mlp.network.losses import losses_of, resolve_loss
from mlp.network.samples import as_rows, refuse_dates
from mlp.network.spec import NetworkSpec
from mlp.network.transfer import split_off_tail
from mlp.threads import resolve_threads
from mlp.training.full_batch import FULL_BATCH_SOLVERS
from mlp.training.stopping import EarlyStopping

__all__ = ["MLPAutoencoder"]

Array = NDArray[Any]

#: numbers of sparse samples that are dense at once for the comparison with reconstructions
DENSE = 2**20


@document
class MLPAutoencoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, Inspection, BaseMLP
):
    """Multilayer perceptron that learns to reconstruct its inputs [S ex. 65.4].

    The first half of the network, the encoder, ends in the layer whose outputs are the
    code; the second half, the decoder, reconstructs the inputs from the code.  The code may
    have fewer units than there are inputs, or more.  Sparse samples are not made dense.

    A fitted autoencoder can be the `base` of an `MLPClassifier`, which then starts from the
    encoder.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_encoder_layers,), default=(100,)
        Number of units of each layer of the encoder; the last layer is the code.  The
        decoder mirrors the encoder: (100, 20) gives layers of M, 100, 20, 100 and M units.
        Values of `activation` and `dropout` with one entry per layer are for the encoder's
        layers, and are mirrored too.
    tied : bool, default=False
        Whether the decoder's weights are the transposes of the encoder's [S ex. 65.5];
        penalties then count them once.
    denoising : float, default=0.0
        Probability, in [0, 1), that an input is set to 0 in training, while the targets
        stay complete; usual values are up to 0.5 [S ex. 65.5].
    loss : str, tuple or callable, default="squared_error"
        Loss of a sample [S table 65.2]:

        {losses of inputs}

        Or a callable ``(y_true, y_out) -> (values, gradient)`` [S P65.11].
    output_activation : str, tuple or sequence, default="auto"
        Activation of the outputs.  'auto' chooses the one that `loss` needs; with other
        losses, 'logistic' for samples in [0, 1], 'tanh' for [-1, 1], and 'identity' for all
        others and with `standardize`.  A sequence has one activation per feature
        [S P65.6].
    {parameters}
    tol : float, default=1e-5
        Smallest improvement of the loss or validation score that counts as progress.  It is
        smaller than the 1e-4 of other estimators, because the squared error is averaged
        over the features.  For full-batch solvers it is the largest entry of the gradient
        at which they stop.
    augment : callable or None, default=None
        Function ``(X_batch, rng) -> X_batch`` that is called for every batch in training,
        for example to add noise; the targets are not changed.
    standardize : bool, default=False
        Whether to train on inputs and targets of mean 0 and deviation 1.  For predictions
        this is folded into the first weights and the outputs.  Sparse inputs are only
        scaled.

    Attributes
    ----------
    n_components_ : int
        Number of units of the code.
    {attributes}

    Examples
    --------
    >>> from mlp import MLPAutoencoder
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> model = MLPAutoencoder(16, tied=True, learning_rate_init=0.01, random_state=0)
    >>> model.fit(X[:1500]).transform(X[1500:]).shape
    (297, 16)
    >>> bool(model.score(X[1500:]) > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "tied": ["boolean"],
        "denoising": [RATE],
        "output_activation": [str, tuple, list],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        tied: bool = False,
        denoising: float = 0.0,
        loss: Any = "squared_error",
        output_activation: Any = "auto",
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-5,
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
        dropout: Any = 0.0,
        batch_norm: Any = None,
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
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        sample_weight_val: Any = None,
        checkpoint: Any = None,
    ) -> Self:
        """Fit the network to the samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.
        X_val, sample_weight_val : optional
            Samples for validation, which replace a held-out part of X.
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
        validation = self._validation(X_val, None, sample_weight_val)
        return self._fit(
            X, None, sample_weight, validation=validation, checkpoint=checkpoint
        )

    @available_if(lambda est: est._check_partial_fit())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train one more epoch on the given samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        self
        """
        return self._fit(X, None, sample_weight, incremental=True)

    # -- code and reconstruction --

    def transform(self, X: Any) -> Array:
        """Encode samples: return the outputs of the encoder, the code.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components_)
        """
        X = self._checked_rows(X)
        layer = len(self.network_.layer_sizes) // 2 - 1
        return self.network_.hidden_activations(
            X, layer, resolve_threads(self.n_threads)
        )

    def inverse_transform(self, X: Any) -> Array:
        """Decode codes: return the outputs of the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_)
            The codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If the number of columns is not that of the code's units.
        """
        check_is_fitted(self)
        self._adopt_parameters()
        refuse_dates(X, "X")
        codes = check_array(X, accept_sparse="csr", dtype=self.network_.dtype)
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X must have shape (n_samples, {self.n_components_}), as the code has "
                f"{self.n_components_} units, got {codes.shape}"
            )
        decoder = split_off_tail(self.network_, len(self.network_.coefs) // 2)
        return decoder.forward(codes, resolve_threads(self.n_threads))

    def reconstruction_error(self, X: Any) -> Array:
        """Return the mean squared difference of each sample and its reconstruction.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = as_rows(self._checked_rows(X), self.network_.prediction_dtype)
        return np.concatenate([error for _, _, error in self._compared(X)])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the fraction of the variance of X that its reconstruction explains.

        It is 1 − Σ‖x − x̂‖²/Σ‖x − x̄‖², with the weighted mean x̄ of these samples.

        Parameters
        ----------
        X : array-like or sparse array of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.
            Weights of the samples.

        Returns
        -------
        float
            The score, at most 1; it is 0 for a network that always returns the mean.
        """
        X = as_rows(self._checked_rows(X), self.network_.prediction_dtype)
        return self._explained(X, check_weights(sample_weight, X))

    def _explained(self, X: Any, sample_weight: Array | None) -> float:
        weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        weights = weights / weights.sum(dtype=np.float64)
        mean = weights @ X
        unexplained, variances = 0.0, np.zeros(X.shape[1])
        for rows, dense, error in self._compared(X):
            unexplained += float(weights[rows] @ error)
            variances += weights[rows] @ (dense - mean) ** 2
        # the rounding error of the variance of a constant feature
        rounding = (8 * np.finfo(X.dtype).eps * np.abs(mean)) ** 2
        variances[variances <= rounding] = 0
        if not variances.any():
            return float(unexplained <= rounding.mean())
        return 1 - unexplained / float(variances.mean())

    def _compared(self, X: Any) -> Iterator[tuple[slice, Array, Array]]:
        """Yield slices of the rows with their dense samples and errors."""
        network, n_threads = self.network_, resolve_threads(self.n_threads)
        for rows in gen_batches(X.shape[0], max(1, DENSE // X.shape[1])):
            part = X[rows]
            dense = part.toarray() if hasattr(part, "toarray") else part
            error = np.mean((dense - network.forward(part, n_threads)) ** 2, axis=1)
            yield rows, dense, error

    def _score_epoch(self, network: Any, held_out: TrainingData) -> float:
        return self._explained(held_out.X, held_out.sample_weight)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.dtype is None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- what is trained --

    def _all_layers(self, given: Any) -> Any:
        """Mirror a parameter of the encoder's layers for the decoder's."""
        return given if is_single(given) else [*given, *given[-2::-1]]

    def _check_combination(self, incremental: bool) -> None:
        sizes = self.hidden_layer_sizes
        n_layers = (len(hidden_sizes(self)) + 1) // 2
        if n_layers == 0:
            raise ValueError(
                f"hidden_layer_sizes={sizes!r} must have at least one layer, the code"
            )
        loss = resolve_loss(self.loss)
        if "inputs" not in loss.entry.targets:
            raise ValueError(
                f"loss={self.loss!r} is not a loss of reconstructed inputs; it must be "
                f"{', '.join(losses_of('inputs'))} or a callable"
            )
        rates: Any = getattr(self.dropout, "rate", self.dropout)
        given: Any
        for name, given in (("activation", self.activation), ("dropout", rates)):
            listed = np.iterable(given) and not is_single(given)
            if listed and len(given) != n_layers:
                raise ValueError(
                    f"{name}={given!r} has {len(given)} entries, but the encoder's "
                    f"hidden_layer_sizes={sizes!r} has {n_layers} layers"
                )
        scoring = getattr(self.early_stopping, "scoring", None)
        if isinstance(scoring, str) and scoring != "loss":
            raise ValueError(
                "scoring of EarlyStopping must be 'loss', a callable or None for "
                f"MLPAutoencoder, which has no y to score, got {scoring!r}"
            )
        if self.denoising and self.solver in FULL_BATCH_SOLVERS:
            raise ValueError(
                f"denoising={self.denoising!r} is random from batch to batch; "
                f"solver={self.solver!r} needs the same risk at every evaluation"
            )
        dropout = dropout_of(self)
        if dropout is not None and dropout.input:
            raise ValueError(
                f"dropout={self.dropout!r} would change the targets, which are the inputs; "
                "set denoising instead of the rate of the inputs"
            )
        if self.tied and dropout is not None and dropout.mask == "batch":
            raise ValueError(
                "dropout with mask='batch' trains a smaller network, which tied=True does "
                f"not support; use Dropout({rates!r}, mask='sample')"
            )

    def _initialize(self, targets: TrainingData) -> None:
        super()._initialize(targets)
        sizes = self.network_.layer_sizes
        self.n_components_ = sizes[len(sizes) // 2]

    def _specification(self, targets: TrainingData, dtype: Any) -> NetworkSpec:
        spec = super()._specification(targets, dtype)
        return replace(spec, tied=self.tied, corruption=self.denoising)

    def _scales_targets(self) -> bool:
        return True

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
        targets = self._samples(X, sample_weight, first)
        if first:
            targets.output_activation = output = self._output(targets.X)
        else:
            output = self.out_activation_
            if self.output_activation == "auto":
                targets.output_activation = self.network_.spec.output_activation
        self._check_range(targets.X, output)
        return targets

    def _validation_targets(self, X: Any, y: Any, sample_weight: Any) -> TrainingData:
        try:
            targets = self._samples(X, sample_weight, first=False)
            needed = resolve_loss(self._built_by("loss")).needed_output
            if needed:
                self._check_range(targets.X, needed)
            return targets
        except ValueError as error:
            raise ValueError(f"X_val: {error}") from error

    def _samples(self, X: Any, sample_weight: Any, first: bool) -> TrainingData:
        X = validate_data(
            self,
            X,
            accept_sparse=["csr", "csc"],
            dtype=self._working_dtype(),
            reset=first,
        )
        X = as_rows(X, X.dtype)
        return TrainingData(
            X,
            None,
            X.shape[1],
            self.output_activation,
            sample_weight=check_weights(sample_weight, X),
            autoencode=True,
        )

    def _output(self, X: Any) -> Any:
        """Return the activation of the outputs, chosen by the samples for 'auto'."""
        output = self.output_activation
        if self.standardize and output not in ("auto", "identity"):
            raise ValueError(
                "standardize=True trains on values of any size; "
                f"output_activation={output!r} must then be 'identity' or 'auto'"
            )
        if output != "auto":
            return output
        if needed := resolve_loss(self.loss).needed_output:
            return needed
        fitting = (name for name in ("logistic", "tanh") if lies_in(name, X))
        return "identity" if self.standardize else next(fitting, "identity")

    def _check_range(self, X: Any, output: Any) -> None:
        """Refuse values outside the range of the loss or of the chosen outputs."""
        loss = self._built_by("loss")
        chosen = self.output_activation == "auto"
        needed = resolve_loss(loss).needed_output
        if not (chosen or needed) or lies_in(output, X):
            return
        reason = f"loss={loss!r}"
        if not needed:
            reason = (
                f"output_activation='auto', which chose {output!r} in the first fit,"
            )
        low, high = RANGES[output]
        smallest, largest = value_range(X)
        raise ValueError(
            f"{reason} needs values in [{low:g}, {high:g}], but X has values in "
            f"[{smallest:g}, {largest:g}]"
        )
