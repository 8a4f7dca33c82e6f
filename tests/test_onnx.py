"""ONNX models predict what the estimators do, under onnxruntime."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError

from mlp import Dropout, MLPClassifier, MLPRegressor, Network, to_onnx
from mlp.network.activations import ACTIVATIONS
from mlp.onnx.graph import OPSET, Graph
from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HIDDEN = [name for name, entry in ACTIVATIONS.items() if entry.hidden]
TRAINABLE = [name for name in HIDDEN if ACTIVATIONS[name].trainable and name != "exp"]
#: of values around 1, in units of the largest output
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = ("float32", "float64")


def run(model, X):
    """Outputs by name."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


def assert_close(actual, expected, dtype, scale=1.0):
    assert actual.shape == expected.shape
    scale = max(scale, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def random_network(sizes, *args, seed=0, **options):
    net = Network(sizes, *args, **options)
    rng = np.random.default_rng(seed)
    for W, b in zip(net.coefs, net.intercepts, strict=True):
        W[:] = rng.normal(size=W.shape) / np.sqrt(len(W))
        b[:] = rng.normal(size=b.shape) / 2
    if net.has_rbf:
        net.intercepts[0][:] = rng.uniform(0.5, 5, net.layer_sizes[1])
    return net


def samples(n, n_features, dtype, scale=1.0, seed=1):
    X = np.random.default_rng(seed).normal(size=(n, n_features)) * scale
    return X.astype(dtype)


def quietly(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def check_network(net, scales=(1.0,), n=200):
    model = to_onnx(net)
    for scale in scales:
        X = samples(n, net.n_features, net.dtype, scale)
        assert_close(run(model, X)["output"], net.forward(X), net.dtype.name)


# -- networks --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", HIDDEN)
def test_every_hidden_activation_over_a_wide_range(name, dtype):
    # exponentials of large numbers are their own error
    scales = (0.1, 1.0) if name == "exp" else (0.01, 1.0, 30.0, 1e4)
    check_network(random_network([3, 8, 2], name, dtype=dtype), scales)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"rbf"}))
def test_every_output_activation(name, dtype):
    scales = (1.0,) if name == "exp" else (1.0, 1e3)
    check_network(random_network([4, 6, 5], "tanh", name, dtype=dtype), scales)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "spec",
    [
        ("leaky_relu", 0.3),
        ("leaky_relu", -2.0),
        ("elu", 0.5, 1.5),
        ("scaled_tanh", 2, 3),
    ],
)
def test_parameters_of_activations(spec, dtype):
    check_network(random_network([3, 8, 2], spec, dtype=dtype), (1.0, 30.0))


def test_every_activation_of_single_units_has_its_form():
    without = {name for name, entry in ACTIVATIONS.items() if entry.onnx is None}
    assert without == {"rbf", "softmax"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_export_with_an_activation_per_node(dtype):
    nodes = [name for name in HIDDEN if name != "rbf"]
    nodes = [*nodes, ("elu", 0.5, 2.0), *nodes]
    net = random_network([3, len(nodes), 4, 2], [nodes, "gelu"], dtype=dtype)
    check_network(net)
    check_network(random_network([3, 4, len(nodes)], "tanh", nodes, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [1, 1000])
def test_deep_networks_of_one_row_or_many(n, seed, dtype):
    layers = ["relu", "silu", "erf", "softplus"]
    net = random_network([9, 20, 20, 20, 7, 3], layers, dtype=dtype, seed=seed)
    net.residual = True
    net.refold()
    check_network(net, (1.0,), n)


def test_sparse_weights():
    X, W = samples(5, 4, "float64"), np.diag([1.0, 0, 2, 0])
    g = Graph("float64")
    g.output("output", g("MatMul", g.input("X", 4), csr_array(W)), 4)
    assert_close(run(g.model("test", ""), X)["output"], X @ W, "float64")


def test_export_without_hidden_layers():
    check_network(random_network([4, 3], output_activation="softmax"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_radial_functions_far_from_the_origin(dtype):
    """Distances are not computed from squares that cancel."""
    net = random_network([3, 8, 2], "rbf", dtype=dtype)
    X = samples(50, 3, dtype)
    net.coefs[0][:] += 1000
    X += 1000
    assert_close(run(to_onnx(net), X)["output"], net.forward(X), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_export_with_one_softmax_per_task(dtype):
    net = random_network(
        [4, 8, 6], output_activation="softmax", groups=[3, 1, 2], dtype=dtype
    )
    X = samples(40, 4, dtype)
    expected, out = net.forward(X), run(to_onnx(net), X)
    assert_close(out["output"], expected, dtype)
    assert_close(out["probabilities_0"], expected[:, :3], dtype)
    p = expected[:, 3:4]
    assert_close(out["probabilities_1"], np.hstack([1 - p, p]), dtype)
    assert_close(out["probabilities_2"], expected[:, 4:], dtype)


def test_residual_connections_with_dropout_scaled_in_predictions():
    X = samples(100, 5, "float64")
    est = quietly(
        MLPRegressor(
            (12, 12, 12),
            "tanh",
            residual=True,
            dropout=Dropout((0.2, 0.3, 0.5), input=0.1, scaling="test"),
            standardize=True,
            batch_norm="all+input",
            max_iter=3,
            random_state=0,
        ),
        X * [1, 10, 100, 0.1, 1] + 5,
        X @ np.arange(10).reshape(5, 2) + 7,
    )
    net = est.network_
    assert {s for s in net.folded().spec.skip_scales if s} == {0.7, 0.8}
    assert_close(run(to_onnx(net), X)["output"], est.predict(X), "float64")
    assert_close(run(to_onnx(est), X)["variable"], est.predict(X), "float64")


# -- estimators --


def problem(dtype, n_classes=3):
    X, y = make_classification(
        120, 6, n_informative=4, n_classes=n_classes, random_state=0
    )
    return X.astype(dtype), y


def check_classifier(est, X):
    out = run(to_onnx(est), X)
    assert list(out) == ["label", "probabilities"]
    dtype = est.network_.dtype.name
    # outputs of which all are near the lower end have a sum that is mostly rounding
    low = est._low()
    total = np.clip((est._forward(X) - low) / (1 - low), 0, 1).sum(axis=1)
    amplified = 1 / total[total > 0].min() if est.n_outputs_ > 1 else 1.0
    assert_close(out["probabilities"], est.predict_proba(X), dtype, amplified)
    assert out["probabilities"].dtype == dtype
    expected = est.predict(X)
    # where rounding decides, either label is right; ties of zeros go to the first
    p = np.sort(est._forward(X), axis=1)
    if est.n_outputs_ > 1 and not est._multilabel:
        gap = p[:, -1] - p[:, -2]
    else:
        gap = np.abs(p - est._middle()).min(axis=1)
    decided = (gap > 1e-5) | (gap == 0)
    assert decided.mean() > 0.9
    assert (out["label"][decided] == expected[decided]).all()
    return out


CLASSIFIERS = {
    "log_loss": {},
    "tanh": {"loss": "squared_error", "output_activation": "tanh"},
    "scaled_tanh": {"loss": "squared_error", "output_activation": "scaled_tanh"},
    "erf": {"loss": "huber", "output_activation": "erf"},
    "identity": {"loss": "squared_error", "output_activation": "identity"},
    "logistic": {"loss": "squared_error", "output_activation": "logistic"},
    "relu": {"loss": "absolute_error", "output_activation": "relu"},
    "logistic loss": {"loss": "logistic"},
    "logistic loss of identity": {"loss": "logistic", "output_activation": "identity"},
    "softmax": {"loss": "squared_error", "output_activation": "softmax"},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "one class"])
@pytest.mark.parametrize("outputs", list(CLASSIFIERS))
def test_classifiers(outputs, kind, dtype):
    X, y = problem(dtype)
    if kind == "binary":
        y = y > 0
    elif kind == "multilabel":
        y = np.stack([y > 0, y == 2, y == 1], axis=1).astype(int)
    elif kind == "one class":
        y = np.full(len(X), 7)
    est = MLPClassifier((8,), max_iter=4, random_state=0, **CLASSIFIERS[outputs])
    check_classifier(quietly(est, X, y), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", TRAINABLE)
def test_classifiers_of_every_activation(activation, dtype):
    X, y = problem(dtype)
    est = MLPClassifier((8, 5), max_iter=3, random_state=1)
    est.activation = ["rbf", "relu"] if activation == "rbf" else activation
    check_classifier(quietly(est, X, y), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", TRAINABLE)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regressors_of_every_activation(activation, n_outputs, dtype):
    X = samples(80, 4, dtype)
    y = np.sin(X[:, :n_outputs]).squeeze()
    est = MLPRegressor((8,), activation, max_iter=3, random_state=0)
    expected = quietly(est, X, y).predict(X).reshape(len(X), -1)
    assert_close(run(to_onnx(est), X)["variable"], expected, dtype)


def test_poisson_regression():
    X = samples(80, 4, "float64")
    est = MLPRegressor((8,), loss="poisson", max_iter=5, random_state=0)
    quietly(est, X, np.round(np.exp(X[:, 0])))
    assert_close(run(to_onnx(est), X)["variable"][:, 0], est.predict(X), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"batch_norm": "all+input"},
        {"standardize": True},
        {"dropout": Dropout(0.4, input=0.2, scaling="test")},
        {"dropout": Dropout(0.4, mask="sample")},
        {"residual": True, "batch_norm": "hidden"},
    ],
    ids=lambda options: " ".join(options),
)
def test_export_folds_scaling_batch_norm_and_dropout(options, dtype):
    X, y = problem(dtype)
    est = MLPClassifier((8, 8), max_iter=8, random_state=0, **options)
    check_classifier(quietly(est, X, y), X)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["no", "yes", "maybe"], np.str_),
        (["no", "yes", "maybe"], object),
        ([-5, 3, 2**40], np.int64),
        ([1.0, 2.0, -4.0], np.float64),
        ([1, 2, 250], np.uint8),
        ([1, 2, 2**50], np.uint64),
    ],
)
def test_labels_keep_their_type(labels, dtype):
    X, y = problem("float64")
    est = MLPClassifier((8,), max_iter=5, random_state=0)
    quietly(est, X, np.array(labels, dtype=dtype)[y])
    label = check_classifier(est, X)["label"]
    assert label.dtype == (object if isinstance(labels[0], str) else np.int64)


def test_names_types_and_shapes_are_those_of_skl2onnx():
    """Its export of scikit-learn's estimators, with ``zipmap=False``."""
    X, y = problem("float32")
    model = to_onnx(quietly(MLPClassifier((4,), max_iter=1), X, y))
    assert [value.name for value in model.graph.input] == ["X"]
    described = {
        v.name: (v.type.tensor_type.elem_type, len(v.type.tensor_type.shape.dim))
        for v in model.graph.output
    }
    kinds = onnx.TensorProto
    assert described == {"label": (kinds.INT64, 1), "probabilities": (kinds.FLOAT, 2)}
    for v in (*model.graph.input, *model.graph.output):
        first = v.type.tensor_type.shape.dim[0]
        assert first.dim_param == "n_samples" and not first.HasField("dim_value")


def test_parameters_changed_by_hand_are_exported():
    X, y = problem("float64")
    est = quietly(MLPClassifier((4,), max_iter=1, random_state=0), X, y)
    est.coefs_[0] = -est.coefs_[0]
    before = est.intercepts_[1].copy()
    assert_close(run(to_onnx(est), X)["probabilities"], est.predict_proba(X), "float64")
    assert (est.intercepts_[1] == before).all()


# -- projection pursuit --


@pytest.mark.parametrize("n_terms", [1, 3])
def test_projection_pursuit_inside_and_outside_the_training_range(n_terms):
    X = samples(150, 4, "float64")
    y = np.tanh(2 * X[:, 0]) + X[:, 1] ** 2 + 0.3 * X[:, 2]
    est = ProjectionPursuitRegressor(n_terms, max_iter=2, random_state=0).fit(X, y)
    model = to_onnx(est)
    for scale in (1.0, 30.0):
        X_new = samples(1000, 4, "float64", scale)
        out = run(model, X_new)["variable"]
        assert_close(out, est.predict(X_new)[:, None], "float64")
    assert run(model, X[:1])["variable"].shape == (1, 1)


def test_projection_pursuit_at_its_knots():
    X = np.linspace(-1, 1, 50)[:, None]
    est = ProjectionPursuitRegressor(1, random_state=0).fit(X, np.sin(5 * X[:, 0]))
    knots = est.ridge_functions_[0].knots[:, None]
    out = run(to_onnx(est), knots)["variable"]
    assert_close(out[:, 0], est.predict(knots), "float64")


def test_projection_pursuit_without_terms():
    X = samples(30, 2, "float64")
    est = ProjectionPursuitRegressor(random_state=0).fit(X, np.full(30, 3.5))
    assert est.n_terms_ == 0
    np.testing.assert_allclose(run(to_onnx(est), X)["variable"], 3.5)


# -- the model, the file, the refusals --


def test_export_has_name_version_and_feature_names():
    pandas = pytest.importorskip("pandas")
    X, y = problem("float64")
    table = pandas.DataFrame(X, columns=[f"x {k}" for k in range(6)])
    model = to_onnx(quietly(MLPClassifier((4,), max_iter=1), table, y))
    import mlp

    assert (model.producer_name, model.producer_version) == ("mlp", mlp.__version__)
    assert "MLPClassifier of layers 6-4-3" in model.doc_string
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    (entry,) = model.metadata_props
    assert entry.key == "feature_names"
    assert json.loads(entry.value) == list(table.columns)


def test_failed_write_leaves_the_previous_file(tmp_path, monkeypatch):
    net = random_network([2, 3, 1])
    path = tmp_path / "model.onnx"
    model = to_onnx(net, path)
    assert onnx.load(path) == model
    path.write_bytes(b"before")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        to_onnx(net, str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"before"


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[onnx\]'"):
        to_onnx(random_network([2, 1]))


def test_a_network_needs_no_scikit_learn():
    code = (
        "import sys; from mlp import Network, to_onnx; to_onnx(Network([2, 1])); "
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_export_of_unsupported_objects_raises():
    from sklearn.neural_network import MLPClassifier as Theirs

    with pytest.raises(NotFittedError):
        to_onnx(MLPClassifier())
    with pytest.raises(TypeError, match=r"not MLPClassifier; mlp\.from_sklearn"):
        to_onnx(Theirs())
    with pytest.raises(TypeError, match=r"MLPRegressor.*Network, not dict"):
        to_onnx({})
    X = samples(9, 2, "float64")
    est = quietly(MLPClassifier((2,), max_iter=1), X, np.repeat([0.5, 1, 2], 3) > 0.7)
    for classes in (np.array([0.5, 1.0]), np.array([1, 2**63], dtype=np.uint64)):
        est.classes_ = classes
        with pytest.raises(TypeError, match="whole numbers or strings"):
            to_onnx(est)


def test_subclasses_are_converted():
    class Mine(MLPRegressor):
        pass

    X = samples(20, 3, "float64")
    est = quietly(Mine((4,), max_iter=1), X, X[:, 0])
    model = to_onnx(est)
    assert model.graph.name == "Mine"
    assert_close(run(model, X)["variable"][:, 0], est.predict(X), "float64")


@pytest.mark.parametrize("loss", ["logistic", "squared_error"])
def test_onnx_when_the_loss_parameter_changed_after_the_fit_then_is_of_the_fitted(loss):
    X, y = make_classification(
        60, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0
    )
    model = MLPClassifier(4, loss=loss, output_activation="identity", max_iter=20)
    model.fit(X, y)
    expected = model.predict_proba(X)
    model.set_params(loss="huber" if loss == "logistic" else "logistic")
    assert_close(run(to_onnx(model), X)["probabilities"], expected, "float64")


def test_onnx_of_float32_when_means_are_far_then_predicts_in_float64():
    X = np.random.default_rng(0).normal(size=(200, 3))
    far, y = 1.7e9 + X, 1.7e9 + X.sum(axis=1)
    model = MLPRegressor(9, standardize=True, dtype="float32", max_iter=5)
    model.fit(far, y)
    predicted = run(to_onnx(model), far)["variable"].ravel()
    np.testing.assert_allclose(predicted, model.predict(far), rtol=1e-14)
