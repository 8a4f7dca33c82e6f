"""Fitted estimators as ONNX models, with skl2onnx's names of outputs."""

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.network.network import Network
from mlp.onnx.graph import Graph, import_onnx, layer_outputs

__all__ = ["to_onnx"]

Array = NDArray[Any]


def to_onnx(estimator: Any, path: str | PathLike[str] | None = None) -> Any:
    """Convert a fitted estimator to an ONNX model.

    Batch norm, standardisation and dropout's scaling are folded into weights and offsets.
    The model uses opset 13 of the standard domain and computes in the precision of the
    predictions: `Network.prediction_dtype`, or float64 for `ProjectionPursuitRegressor`. It
    predicts any number of samples at once. Radial basis functions need memory for n_samples
    × n_features × n_centres numbers.

    ========================== ==========================================================
    estimator                  outputs for input ``X`` of shape (n_samples, n_features)
    ========================== ==========================================================
    MLPClassifier              ``label``: int64 or string of shape (n_samples,), int64 of
                               shape (n_samples, n_labels) for several labels;
                               ``probabilities``: (n_samples, n_classes), as
                               `predict_proba`
    MultiTaskClassifier        ``label_0``, ``probabilities_0``, ``label_1``, …: of each
                               task
    SiameseClassifier          ``label``, ``probabilities``, for inputs ``X1`` and ``X2``,
                               the two samples of each pair
    MLPRegressor,              ``variable``: (n_samples, n_outputs)
    ProjectionPursuitRegressor
    Network                    ``output``: (n_samples, n_outputs), as `forward`; with
                               softmaxes of several tasks also ``probabilities_0``,
                               ``probabilities_1``, …, per task
    ========================== ==========================================================

    Boolean and integer labels become int64.  If the estimator has feature names, they are
    stored in the metadata under ``feature_names``, as JSON.

    Parameters
    ----------
    estimator : estimator of the table, or Network
        The fitted model.
    path : path, optional
        File to write the model to. A failed write leaves a previous file unchanged.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ImportError
        If the package onnx is missing, which the extra ``fastmlp[onnx]`` installs.
    TypeError
        For other estimators, and for labels that are neither whole numbers nor strings.
    sklearn.exceptions.NotFittedError

    Examples
    --------
    >>> from mlp import MLPClassifier, to_onnx
    >>> model = MLPClassifier((4,), solver="lbfgs").fit([[0.0], [1.0]], ["no", "yes"])
    >>> [output.name for output in to_onnx(model).graph.output]
    ['label', 'probabilities']
    """
    import_onnx()
    convert = _converter(estimator)
    if not isinstance(estimator, Network):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(estimator)
    properties = {}
    if hasattr(estimator, "feature_names_in_"):
        names = [str(name) for name in estimator.feature_names_in_]
        properties["feature_names"] = json.dumps(names)
    name = type(estimator).__name__
    model = convert(estimator).model(name, _description(estimator), **properties)
    if path is not None:
        from mlp.files.container import write_atomically

        content = model.SerializeToString()
        write_atomically(Path(path), lambda file: file.write(content))
    return model


def _converter(estimator: Any) -> Callable[[Any], Graph]:
    for cls in type(estimator).__mro__:
        converter = CONVERTERS.get(f"{cls.__module__}.{cls.__name__}")
        if converter is not None:
            return converter
    advice = ""
    if type(estimator).__module__.startswith("sklearn.neural_network."):
        advice = "; mlp.from_sklearn makes one of scikit-learn's"
    known = ", ".join(name.rpartition(".")[2] for name in CONVERTERS)
    raise TypeError(f"to_onnx converts {known}, not {type(estimator).__name__}{advice}")


def _description(estimator: Any) -> str:
    network = getattr(estimator, "network_", estimator)
    sizes = getattr(network, "layer_sizes", None)
    layers = "" if sizes is None else " of layers " + "-".join(map(str, sizes))
    return f"{type(estimator).__name__}{layers}, written by mlp"


# -- one function for each estimator --


def _network(network: Network) -> Graph:
    g = Graph(network.prediction_dtype)
    *_, out = layer_outputs(g, g.input("X", network.n_features), network)
    g.output("output", out, network.n_outputs)
    groups = network.spec.groups
    if network.output_name == "softmax" and len(groups) > 1:
        for k, part in enumerate(g.split(out, groups)):
            if groups[k] == 1:
                part = _both_classes(g, part)
            g.output(f"probabilities_{k}", part, max(groups[k], 2))
    return g


def _fitted_outputs(estimator: Any) -> tuple[Graph, str]:
    """Return a graph with the outputs of an estimator's network for its input X."""
    estimator._adopt_parameters()
    network = estimator.network_
    g = Graph(network.prediction_dtype)
    *_, out = layer_outputs(g, g.input("X", network.n_features), network)
    return g, out


def _regressor(estimator: Any) -> Graph:
    g, out = _fitted_outputs(estimator)
    g.output("variable", out, estimator.network_.n_outputs)
    return g


def _classifier(estimator: Any) -> Graph:
    g, out = _fitted_outputs(estimator)
    n_outputs, middle = estimator.n_outputs_, float(estimator._middle())
    probabilities = _probabilities(g, out, estimator)
    if estimator._multilabel:
        g.output("label", _above(g, out, middle), n_outputs, dtype=np.int64)
        g.output("probabilities", probabilities, n_outputs)
        return g
    single = n_outputs == 1 and len(estimator.classes_) == 2
    _output_label(g, "label", out, estimator.classes_, middle if single else None)
    if n_outputs == 1:
        probabilities = _both_classes(g, probabilities)
    g.output("probabilities", probabilities, max(n_outputs, 2))
    return g


def _multitask(estimator: Any) -> Graph:
    g, out = _fitted_outputs(estimator)
    parts = g.split(out, estimator.network_.spec.groups)
    for t, (part, classes) in enumerate(zip(parts, estimator.classes_, strict=True)):
        n_classes = len(classes)
        middle = 0.5 if n_classes == 2 else None
        _output_label(g, f"label_{t}", part, classes, middle)
        if n_classes == 1:  # softmax over one column is 1
            part = g("Softmax", part, axis=1)
        elif n_classes == 2:
            part = _both_classes(g, part)
        g.output(f"probabilities_{t}", part, n_classes)
    return g


def _siamese(estimator: Any) -> Graph:
    estimator._adopt_parameters()
    network = estimator.network_
    g = Graph(network.prediction_dtype)
    pair = [g.input(name, network.n_features) for name in ("X1", "X2")]
    u, v = (list(layer_outputs(g, x, network.branch))[-1] for x in pair)
    if network.head is None:
        cosine = _cosine(g, u, v)
        p = g("Mul", g("Add", cosine, 1.0), 0.5)
        _output_label(g, "label", cosine, estimator.classes_, 0.0)
    else:
        if network.kind == "distance":
            joined = g("Abs", g("Sub", u, v))
        else:
            joined = g("Concat", u, v, axis=1)
        *_, p = layer_outputs(g, joined, network.head)
        _output_label(g, "label", p, estimator.classes_, 0.5)
    g.output("probabilities", _both_classes(g, p), 2)
    return g


def _cosine(g: Graph, u: str, v: str) -> str:
    """Return the cosines of the rows as a column; 0 where a row is 0."""

    def direction(rows: str) -> str:
        length = g("Sqrt", g("ReduceSum", g("Mul", rows, rows), [1], keepdims=1))
        return g("Div", rows, g("Where", g("Greater", length, 0.0), length, 1.0))

    product = g("ReduceSum", g("Mul", direction(u), direction(v)), [1], keepdims=1)
    return g("Clip", product, -1.0, 1.0)


def _projection_pursuit(estimator: Any) -> Graph:
    from mlp.onnx.ridge import projection_pursuit

    return projection_pursuit(estimator)


#: class name -> function that builds its graph; by name, so that no class is imported
CONVERTERS: dict[str, Callable[[Any], Graph]] = {
    "mlp.estimators.classifier.MLPClassifier": _classifier,
    "mlp.estimators.multitask.MultiTaskClassifier": _multitask,
    "mlp.estimators.siamese.SiameseClassifier": _siamese,
    "mlp.estimators.regressor.MLPRegressor": _regressor,
    "mlp.projection_pursuit.regressor.ProjectionPursuitRegressor": _projection_pursuit,
    "mlp.network.network.Network": _network,
}


# -- what classifiers share --


def _above(g: Graph, out: str, middle: float) -> str:
    """Return 1 where an output is above the threshold, else 0."""
    return g("Cast", g("Greater", out, middle), to=g.integer)


def _output_label(
    g: Graph, name: str, out: str, classes: Array, middle: float | None
) -> None:
    """Declare the labels, by a threshold on one output, or by the largest output."""
    if middle is not None:
        index = g("Reshape", _above(g, out, middle), [-1])
    else:
        index = g("ArgMax", out, axis=1, keepdims=0)
    labels = _labels(classes)
    g.output(name, g("Gather", labels, index), dtype=labels.dtype)


def _both_classes(g: Graph, p: str) -> str:
    """Return the columns 1 − p and p."""
    return g("Concat", g("Sub", 1.0, p), p, axis=1)


def _labels(classes: Array) -> Array:
    """Return labels as int64 or strings, the types that ONNX has."""
    kind = classes.dtype.kind
    if kind in "bi":
        return classes.astype(np.int64)
    if kind in "uf" and ((classes == np.round(classes)) & (abs(classes) < 2**63)).all():
        return classes.astype(np.int64)
    if all(isinstance(label, str) for label in classes):
        return classes.astype(object)
    raise TypeError(
        f"ONNX labels must be whole numbers or strings, got classes_={classes!r}"
    )


def _probabilities(g: Graph, out: str, estimator: Any) -> str:
    """Return outputs as in `predict_proba`, before a single one is made into two."""
    several = estimator.n_outputs_ > 1 and not estimator._multilabel
    name = estimator.out_activation_
    if name == "softmax" or (name == "logistic" and not several):
        return out
    if estimator.network_.spec.loss.entry.signed:
        p = g("Sigmoid", out)
    else:
        low = float(estimator._low())
        p = g("Clip", g("Div", g("Sub", out, low), 1 - low), 0.0, 1.0)
    if not several:
        return p
    total = g("ReduceSum", p, [1], keepdims=1)
    positive = g("Greater", total, 0.0)
    shares = g("Div", p, g("Where", positive, total, 1.0))
    return g("Where", positive, shares, 1 / estimator.n_outputs_)
