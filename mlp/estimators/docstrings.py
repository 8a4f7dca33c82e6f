"""Descriptions of the parameters and attributes that the estimators share.

The lists of losses and activations are made from their tables.
"""

import re
from collections.abc import Iterable
from inspect import cleandoc, signature
from textwrap import fill
from typing import TypeVar

from mlp.network import activations, losses
from mlp.training import optimizers

__all__ = ["document"]

Class = TypeVar("Class", bound=type)

#: width of the lines of lists
WIDTH = 88

#: subjects of parameters -> their names
GROUPS = {
    "network": (
        "hidden_layer_sizes", "activation", "output_activation", "n_embedding",
        "embedding_activation", "head", "head_layer_sizes", "head_activation", "tied",
        "batch_norm", "residual", "connectivity", "fit_intercept", "dtype",
    ),
    "loss": ("loss", "class_weight", "task_weight", "missing_label", "label_smoothing"),
    "initial parameters": ("init", "base", "freeze", "random_state", "warm_start"),
    "solver": (
        "solver", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
        "clip_norm", "clip_value", "max_fun",
    ),
    "step size": ("learning_rate", "learning_rate_init", "power_t"),
    "batches": ("batch_size", "shuffle", "sampling", "standardize", "augment"),
    "regularisation": (
        "alpha", "l2", "l2_bias", "l1", "l1_method", "weight_decay", "dropout", "denoising",
    ),
    "end of training": (
        "max_iter", "tol", "n_iter_no_change", "early_stopping", "validation_fraction",
    ),
    "work": ("n_threads", "verbose"),
}  # fmt: skip

PARAMETERS = """
hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
    Number of units of each hidden layer; ``()`` gives a network without hidden layers.
activation : str, tuple or sequence, default="relu"
    Activation f(z) of the hidden layers [S table 65.1]:

    {activations}

    A tuple gives a name with its parameter, as in ``("leaky_relu", 0.1)``.  A sequence
    names one activation per layer, a sequence of sequences one per node [S P65.6].
solver : str, default="adam"
    Optimizer.  Stochastic solvers train on mini-batches:

    {solvers}

    Full-batch solvers use all samples in every step: 'lbfgs', 'cg' (conjugate gradients)
    and 'gd' (steepest descent with exact line search [B]).
alpha : float, default=0.0001
    Strength of the L2 penalty (alpha/2)‖W‖², which is divided by the number (or the total
    weight) of the batch's samples.
batch_size : int or 'auto', default="auto"
    Number of samples in a mini-batch; 'auto' is min(200, n_samples).  Full-batch solvers
    ignore it.  With batch_size=1 and plain 'sgd' the core has a faster path, whose time is
    that of reading and writing the weights.
learning_rate : str, schedule or callable, default="constant"
    Schedule of the step size.  Two schedules of scikit-learn change it between epochs and
    are ignored unless ``solver="sgd"``: 'invscaling' (learning_rate_init/(t+1)**power_t
    after t samples) and 'adaptive' (divided by 5 whenever progress stops).  'step' also
    changes it between epochs (by default halved every 10 epochs, see `mlp.StepDecay`).
    'inverse_time' (learning_rate_init/(k+1)**power_t after k steps [B], see
    `mlp.InverseTimeDecay`) and 'cosine' (to 0 over max_iter epochs, see `mlp.CosineDecay`)
    change it with every mini-batch, and so does a callable, which returns the step size for
    the number of steps done.  `partial_fit` continues the count of steps.
learning_rate_init : float, default=0.001
    Initial step size μ of the stochastic solvers.
power_t : float, default=0.5
    Exponent of learning_rate='invscaling' and 'inverse_time'; with 1 the latter is
    γ_k = μ/(k+1) [B].
max_iter : int, default=200
    Largest number of epochs, or of iterations of a full-batch solver.
shuffle : bool, default=True
    Whether the stochastic solvers take the samples in a new order in each epoch.
sampling : {'shuffle', 'replacement'}, default="shuffle"
    How the stochastic solvers draw the batches of an epoch: 'shuffle' takes every sample
    once; 'replacement' draws each sample of each batch independently [S 65.82], so that an
    epoch has the same number of steps.
random_state : int, RandomState instance or None, default=None
    Seed or generator of initial parameters, validation split, orders of samples and dropout
    masks.  An int gives the same bits in every run, with any number of threads.  As in
    scikit-learn, an int seeds every call of `partial_fit` again; pass a RandomState for new
    orders.
tol : float, default=1e-4
    Smallest improvement of the loss or validation score that counts as progress.  For
    full-batch solvers it is the largest entry of the gradient at which they stop; 'lbfgs'
    also stops, as in scikit-learn, when a step lowers the loss by less than 2.2e-9 of the
    loss (or of 1, if that is larger), a limit that shrinks as the square of a tol below
    1e-4.
verbose : bool or int, default=False
    Whether to print the loss of every epoch; 2 also prints loss and score on the validation
    samples, learning rate, norm of the gradient and samples per second.
warm_start : bool, default=False
    Whether `fit` starts from the parameters of the previous fit.
momentum : float, default=0.9
    Momentum of solver='sgd'; 0 gives plain gradient descent.
nesterovs_momentum : bool, default=True
    Whether the momentum of solver='sgd' is Nesterov's.
early_stopping : bool or EarlyStopping, default=False
    Whether to hold out part of the samples, stop when the score on them no longer improves,
    and keep the parameters of the best score [S 65.94].  The split is stratified for single
    labels where that is possible; a warning says if it is not.  `mlp.EarlyStopping` sets
    another score, or keeps the last parameters.
validation_fraction : float, default=0.1
    Proportion of the samples that early_stopping holds out, unless X_val is given.
beta_1, beta_2 : float or pair of float, default=0.9, 0.999
    Decay rates, in [0, 1), of the moving averages of solver='adam' and 'adamw'; a pair has
    one rate for weights and one for offsets [S 65.95].
epsilon : float, default=1e-8
    Value that solver='adam' and 'adamw' add to the root of the second moving average.
n_iter_no_change : int, default=10
    Number of epochs without progress after which training stops.
max_fun : int, default=15000
    Largest number of evaluations of the loss by a full-batch solver.
output_activation : str, tuple, sequence or None, default=None
    Activation of the outputs; None chooses the one that fits the loss and the targets.  A
    sequence such as ``["tanh", "relu"]`` has one activation per output node [S P65.6], only
    with losses of numerical targets.
l1 : float, default=0.0
    Strength of the L1 penalty l1·‖W‖₁ [S P65.15].
l1_method : {'subgradient', 'proximal'}, default="subgradient"
    How the solver applies the L1 penalty: 'subgradient' adds l1·sign(W) to the gradient,
    which makes no weight exactly 0; 'proximal' takes each step without the penalty and then
    moves every weight towards 0 by up to μ·l1, which gives exact zeros [O].  'proximal' is
    not available with solver='cg'.
l2 : float, default=0.0
    Strength ρ of the L2 penalty l2·‖W‖², which does not depend on the batch size [S 65.45].
l2_bias : bool, default=False
    Whether the penalty of `l2` includes the offsets.
weight_decay : float, default=0.01
    Decoupled weight decay, only with solvers that have it, such as 'adamw'.
clip_norm : float or None, default=None
    Largest norm of a step's gradient; a longer gradient is scaled to it.
clip_value : float or None, default=None
    Largest absolute entry of a step's gradient, applied after `clip_norm`.
dropout : float, sequence of float or Dropout, default=0.0
    Probability that a hidden unit is dropped in training, one for all hidden layers or one
    per layer [S 65.120–65.124]; a `Dropout` has further arguments, among them the rate of
    the inputs and whether a mask is drawn per batch or per sample.
batch_norm : None, bool, str or BatchNorm, default=None
    Layers whose pre-activations are normalised over the batch [S 65.168–65.188]: True or
    'hidden', 'all', and 'hidden+input' or 'all+input', which normalise the inputs too; a
    `BatchNorm` has further arguments.  For predictions it is folded into weights and
    offsets.
residual : bool, default=False
    Whether each hidden layer's input is added to its output, where two consecutive hidden
    layers have equal widths.
connectivity : sequence, callable or None, default=None
    Connections of each layer: a sequence with one entry per layer of weights, each None for
    all connections, a boolean or sparse array of shape (n_in, n_out), or a list of the
    input units of each output unit; or a callable ``(layer, n_in, n_out) -> entry``.  Other
    weights do not exist: the cost is proportional to the connections [S ex. 65.6].
base : estimator, Network or None, default=None
    Fitted estimator or network whose leading layers are copied, as many as agree with this
    one's in width and activation [S ex. 65.11].
freeze : int or sequence of bool, default=0
    Number of leading layers of weights that are frozen, or a truth value for each layer.
    Leading frozen layers are applied to the samples once, as in prediction; with `augment`,
    or if a residual connection leads out of them, they are applied in every step, as in
    training.  To fine-tune them afterwards, call ``set_params(freeze=0, warm_start=True)``.
standardize : bool, default=False
    Whether to train on inputs (and, with identity outputs, targets) of mean 0 and deviation
    1.  For predictions this is folded into the first weights and the outputs.  Sparse
    inputs are only scaled.  It is computed in float64, also with ``dtype="float32"``.
augment : callable or None, default=None
    Function ``(X_batch, rng) -> X_batch`` that is called for every batch in training.
fit_intercept : bool, default=True
    Whether the layers have offsets.  With False the offsets are 0 in training too, as in
    [B]; the initial weights are the same in both cases, and `standardize` still subtracts
    the means.
init : str or callable, default="sklearn"
    Distribution of the initial parameters: 'sklearn', 'normal', 'uniform', 'glorot',
    'glorot_sigmoid', 'he', 'zeros' [S 65.88–65.93c], or a callable
    ``(rng, n_in, n_out) -> (W, b)``.
dtype : {None, "float32", "float64"}, default=None
    Precision of training and predictions; None keeps that of X.
n_threads : int or None, default=None
    Largest number of threads, at most 256; None stands for the cores that this process may
    use.  The results have the same bits for any number.
"""

ATTRIBUTES = """
network_ : Network
    The trained network, which predicts without the estimator.
coefs_ : list of ndarray or csr_array of shape (n_in, n_out)
    Weights of each layer, as views into ``network_.params``; CSR where `connectivity`
    leaves some out.  They may be assigned to; see ``network_.refold`` for changes in place.
intercepts_ : list of ndarray of shape (n_out,)
    Offsets of each layer, also as views.
loss_ : float
    Loss of the last epoch, penalties included.
best_loss_ : float or None
    Smallest loss so far; None with early stopping.
loss_curve_ : list of float
    Loss of every epoch, or of every iteration of a full-batch solver.
validation_scores_ : list of float or None
    Score on the held-out samples after every epoch, with early stopping.
best_validation_score_ : float or None
    Best score on the held-out samples.
validation_loss_curve_ : list of float or None
    Loss on the held-out samples after every epoch, if there are any.
gradient_norms_ : list of ndarray of shape (n_layers_ - 1,)
    Norm of each layer's gradient in the last batch of every epoch; recorded with
    ``verbose=2`` or the callback `mlp.progress.GradientNorms`.
t_ : int
    Number of samples visited in training.
n_iter_ : int
    Number of epochs (iterations) of the last call to `fit`.
n_layers_ : int
    Number of layers, inputs and outputs included.
n_outputs_ : int
    Number of the network's outputs.
out_activation_ : str or tuple of str
    Activation of the outputs; a tuple with one per output if they differ.
n_features_in_ : int
    Number of features seen by `fit`.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Names of the features seen by `fit`, if X had names.
"""


def document(cls: Class) -> Class:
    """Complete a class's docstring with the shared descriptions, and return the class.

    They are a list of its parameters by groups, the descriptions of the constructor's
    parameters that the docstring does not describe itself, and those of the attributes.
    Parameters are in the order of the constructor.
    """
    order = {name: at for at, name in enumerate(signature(cls).parameters)}

    def place(entry: str) -> int:
        return order.get(re.split("[ ,]", entry)[0], len(order))

    text = cleandoc(cls.__doc__ or "")  # Python 3.13 has done so already
    own = set(re.findall(r"^(\w+) : ", text, re.MULTILINE))
    shared = [
        entry
        for entry in _entries(cleandoc(PARAMETERS))
        if place(entry) < len(order) and re.split("[ ,]", entry)[0] not in own
    ]
    text = text.replace("{parameters}", "\n".join(shared))
    text = text.replace("{attributes}", cleandoc(ATTRIBUTES))
    text = text.replace(
        "    {activations}",
        _items(map(activations.describe, activations.hidden_activations())),
    )
    text = text.replace(
        "    {solvers}", _items(map(optimizers.describe, optimizers.STOCHASTIC_SOLVERS))
    )
    text = re.sub(
        r" +{losses of (\w+)}",
        lambda of: _items(map(losses.describe, losses.losses_of(of[1]))),
        text,
    )
    before, title, rest = text.partition("Parameters\n----------\n")
    described, following, after = rest.partition("\n\nAttributes\n")
    described = "\n".join(sorted(_entries(described), key=place))
    cls.__doc__ = before + _groups(order) + title + described + following + after
    return cls


def _groups(names: Iterable[str]) -> str:
    """List the parameters by what they are about."""
    lines = []
    for group, members in GROUPS.items():
        present = [name for name in members if name in set(names)]
        if present:
            line = f"- {group}: " + ", ".join(f"`{name}`" for name in present)
            lines.append(fill(line, WIDTH, subsequent_indent="  "))
    return "Parameters by what they are about:\n\n" + "\n".join(lines) + "\n\n"


def _items(lines: Iterable[str]) -> str:
    """Format a list within the description of a parameter."""
    return "\n".join(
        fill(line, WIDTH, initial_indent="    - ", subsequent_indent="      ")
        for line in lines
    )


def _entries(section: str) -> list[str]:
    """Split a section into its descriptions, which begin at the left margin."""
    return re.split(r"\n(?=\w)", section)
