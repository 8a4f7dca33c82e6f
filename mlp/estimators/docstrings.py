"""The parameters and attributes that estimators share, documented once.

The lists of losses and of activations are made from their tables.
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

#: of the lines of the lists
WIDTH = 88

#: what parameters are about -> their names
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
    Units of each hidden layer; ``()`` for none.
activation : str, tuple or sequence, default="relu"
    Activation f(z) of the hidden layers [S table 65.1]:

    {activations}

    A parameter comes with the name, as in ``("leaky_relu", 0.1)``.  A sequence names one
    activation per layer, a sequence of sequences one per node [S P65.6].
solver : str, default="adam"
    Solver of the fit.  By mini-batches:

    {solvers}

    By all samples at once: 'lbfgs', 'cg' (conjugate gradients) and 'gd' (steepest descent
    with exact line search [B]).
alpha : float, default=0.0001
    L2 penalty (alpha/2)‖W‖² divided by the number (or weight) of the batch's samples.
batch_size : int or 'auto', default="auto"
    Samples in a mini-batch; 'auto' is min(200, n_samples).  With 1 and plain 'sgd' the
    core takes a path of its own, bound by memory alone.
learning_rate : str, schedule or callable, default="constant"
    Schedule of the step size.  It changes between epochs by 'invscaling'
    (learning_rate_init/(t+1)**power_t after t samples) and 'adaptive' (a fifth whenever
    progress stops), which are ignored unless ``solver="sgd"``, as in scikit-learn, and by
    'step' (`mlp.StepDecay`: by default a half every 10 epochs); from one mini-batch to the
    next by 'inverse_time' (learning_rate_init/(k+1)**power_t after k steps [B], see
    `mlp.InverseTimeDecay`), 'cosine' (to zero over max_iter epochs, see `mlp.CosineDecay`)
    and a callable, which is asked with the number of steps done.  `partial_fit` continues
    the count of steps.
learning_rate_init : float, default=0.001
    Step size μ.
power_t : float, default=0.5
    Exponent of 'invscaling' and 'inverse_time'; with 1 the latter is γ_k = μ/(k+1) [B].
max_iter : int, default=200
    Most epochs, or iterations of a full-batch solver.
shuffle : bool, default=True
    Whether each epoch takes the samples in a new order.
sampling : {'shuffle', 'replacement'}, default="shuffle"
    How the batches of an epoch are drawn: 'shuffle' takes every sample once; 'replacement'
    draws each sample of each batch independently [S 65.82], as many as there are, so that
    an epoch has as many steps.
random_state : int, RandomState instance or None, default=None
    Seeds initial parameters, the validation split, the orders and the masks; an int gives
    the same bits every time, whatever the number of threads.  As in scikit-learn, an int
    seeds every call of `partial_fit` anew; give a RandomState for new orders.
tol : float, default=1e-4
    Progress smaller than this counts as none; for full-batch solvers, the largest entry
    of the gradient at which they stop ('lbfgs' also stops, as scikit-learn's does, when a
    step gains less than 2.2e-9 of the loss, or of 1 if that is more; this limit shrinks as
    the square of a tol below 1e-4).
verbose : bool or int, default=False
    Whether to print the loss of every epoch; with 2, also loss and score on the
    validation samples, learning rate, norm of the gradient and samples per second.
warm_start : bool, default=False
    Whether `fit` goes on from the parameters of the previous call.
momentum : float, default=0.9
    Of 'sgd'; 0 is plain gradient descent.
nesterovs_momentum : bool, default=True
    Nesterov's form of it.
early_stopping : bool or EarlyStopping, default=False
    Whether to hold out part of the samples, stop when the score on them no longer improves,
    and keep the parameters of the best score [S 65.94].  The split is stratified for single
    labels where that is possible; if it is not, a warning says so.  `mlp.EarlyStopping`
    chooses the score, or keeps the last parameters.
validation_fraction : float, default=0.1
    The part held out.
beta_1, beta_2 : float or pair of float, default=0.9, 0.999
    Adam's decay rates, in [0, 1); a pair gives weights and offsets their own [S 65.95].
epsilon : float, default=1e-8
    Added to the root of Adam's second average.
n_iter_no_change : int, default=10
    Epochs without progress before training stops.
max_fun : int, default=15000
    Most evaluations of the loss by a full-batch solver.
output_activation : str, tuple, sequence or None, default=None
    Activation of the outputs; None takes what suits the loss and the targets.  A sequence
    such as ``["tanh", "relu"]`` gives each output node its own [S P65.6]; it goes with
    losses of the outputs' values, not with classes.
l1 : float, default=0.0
    L1 penalty l1·‖W‖₁ [S P65.15].
l1_method : {'subgradient', 'proximal'}, default="subgradient"
    How the solver takes the L1 penalty: 'subgradient' adds l1·sign(W) to the gradient and
    makes no weight exactly 0; 'proximal' takes each step without it and then moves every
    weight towards 0 by up to μ·l1, which gives exact zeros [O].  Not with solver='cg'.
l2 : float, default=0.0
    L2 penalty l2·‖W‖² whatever the batch size: ρ of [S 65.45].
l2_bias : bool, default=False
    Whether `l2` takes the offsets in.
weight_decay : float, default=0.01
    Decay of the weights apart from the gradient; only with the solvers that have it.
clip_norm : float or None, default=None
    Largest norm of a step's gradient; longer ones are shortened to it.
clip_value : float or None, default=None
    Largest entry of a step's gradient, after `clip_norm`.
dropout : float, sequence of float or Dropout, default=0.0
    Probability that a hidden unit is dropped in training, one for all hidden layers or one
    per layer [S 65.120–65.124]; a `Dropout` has further arguments, among them the rate of
    the inputs and whether a mask is drawn per batch or per sample.
batch_norm : None, bool, str or BatchNorm, default=None
    Pre-activations that are normalised over the batch [S 65.168–65.188]: True or 'hidden',
    'all', and 'hidden+input' or 'all+input', which normalise the inputs too; a `BatchNorm`
    has further arguments.  Predictions have it folded into weights and offsets.
residual : bool, default=False
    Add each hidden layer's input to its output where two in a row have equal widths.
connectivity : sequence, callable or None, default=None
    Which connections the layers have: one entry per layer of weights, each None for all,
    a boolean or sparse array of shape (n_in, n_out), or a list of the input units of each
    output unit; or a callable ``(layer, n_in, n_out) -> entry``.  Other weights don't
    exist: the cost is that of the connections there are [S ex. 65.6].
base : estimator, Network or None, default=None
    A fitted estimator or a network whose leading layers are taken over, as many as agree
    in width and activation with this one's [S ex. 65.11].
freeze : int or sequence of bool, default=0
    Number of leading layers of weights that training leaves alone, or a truth value for
    each layer.  Leading ones are applied to the samples once, as in prediction; with
    `augment`, or where a residual connection leads out of them, in every step as in
    training.  Fine-tune them afterwards by ``set_params(freeze=0, warm_start=True)``.
standardize : bool, default=False
    Train on inputs (and, with identity outputs, targets) of mean 0 and deviation 1; folded
    into the first weights and the output for predictions.  Sparse inputs are only scaled.
    With ``dtype="float32"`` too all of this is computed in float64.
augment : callable or None, default=None
    ``(X_batch, rng) -> X_batch``, called for every batch in training.
fit_intercept : bool, default=True
    Whether the layers have offsets.  With False they are 0 and stay 0, as in [B]; weights
    start at the values that they have beside offsets.  With `standardize` the means are
    subtracted still.
init : str or callable, default="sklearn"
    'sklearn', 'normal', 'uniform', 'glorot', 'glorot_sigmoid', 'he', 'zeros'
    [S 65.88–65.93c], or a callable ``(rng, n_in, n_out) -> (W, b)``.
dtype : {None, "float32", "float64"}, default=None
    Precision of training and prediction; None keeps that of X.
n_threads : int or None, default=None
    Threads to use at most, 256 if it is more; None means the cores this process may use.
    The results are the same bits for any number.
"""

ATTRIBUTES = """
network_ : Network
    The trained network by itself.
coefs_ : list of ndarray or csr_array of shape (n_in, n_out)
    Weights, a layer each: views into ``network_.params``; CSR where `connectivity` leaves
    some out.  They may be assigned to; see ``network_.refold`` for changes in place.
intercepts_ : list of ndarray of shape (n_out,)
    Offsets, a layer each: views too.
loss_ : float
    Loss of the last epoch, penalties included.
best_loss_ : float or None
    Smallest loss so far; None with early stopping.
loss_curve_ : list of float
    Loss of every epoch (iteration, for full-batch solvers).
validation_scores_ : list of float or None
    Score on the held-out samples after every epoch, with early stopping.
best_validation_score_ : float or None
    The best of them.
validation_loss_curve_ : list of float or None
    Loss on the validation samples after every epoch, where there are any.
gradient_norms_ : list of ndarray of shape (n_layers_ - 1,)
    Norm of each layer's gradient in the last batch of every epoch; with ``verbose=2``
    or the callback `mlp.progress.GradientNorms`.
t_ : int
    Samples seen in training.
n_iter_ : int
    Epochs (iterations) of the last call to `fit`.
n_layers_ : int
    Layers, inputs and outputs included.
n_outputs_ : int
    Outputs of the network.
out_activation_ : str or tuple of str
    Activation of the outputs; of each of them where they differ.
n_features_in_ : int
    Features seen by `fit`.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Their names, if X had any.
"""


def document(cls: Class) -> Class:
    """Put the shared descriptions into the class's docstring: the parameters by groups,
    descriptions of those that its constructor has and it does not describe itself, in the
    constructor's order, and of all attributes."""
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
    """The parameters by what they are about."""
    lines = []
    for group, members in GROUPS.items():
        present = [name for name in members if name in set(names)]
        if present:
            line = f"- {group}: " + ", ".join(f"`{name}`" for name in present)
            lines.append(fill(line, WIDTH, subsequent_indent="  "))
    return "Parameters by what they are about:\n\n" + "\n".join(lines) + "\n\n"


def _items(lines: Iterable[str]) -> str:
    """A list of the description of a parameter."""
    return "\n".join(
        fill(line, WIDTH, initial_indent="    - ", subsequent_indent="      ")
        for line in lines
    )


def _entries(section: str) -> list[str]:
    """The descriptions in a section: names at the margin, text below them indented."""
    return re.split(r"\n(?=\w)", section)
