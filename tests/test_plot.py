"""Displays: the artists hold the model's own numbers."""

import subprocess
import sys
from functools import cache

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as TheirClassifier
from small_data import make_data

import mlp
from mlp import MLPClassifier, MLPRegressor, Network
from mlp.network.activations import ACTIVATIONS
from mlp.plot import (
    ActivationDisplay,
    GradientFlowDisplay,
    LossCurveDisplay,
    LossSurfaceDisplay,
    NetworkDisplay,
    WeightImageDisplay,
)
from mlp.progress import GradientNorms

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DISPLAYS = {name: getattr(mlp.plot, name) for name in mlp.plot.__all__}
CURVES = [name for name in ACTIVATIONS if name not in ("rbf", "softmax")]
every_display = pytest.mark.parametrize("name", DISPLAYS)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@cache
def iris():
    frame = load_iris(as_frame=True)
    return frame.data, frame.target_names[frame.target]


@cache
def fitted(**options):
    X, y = iris()
    options = {"random_state": 0, "max_iter": 6, **options}
    model = MLPClassifier((5, 3), **options).set_callbacks(GradientNorms())
    return model.fit(X, y)


def drawn(name, model, **options):
    """A display of this name from the model, on whatever else it needs."""
    data = iris() if name == "LossSurfaceDisplay" else ()
    if name == "LossSurfaceDisplay":
        options = {"grid_resolution": 3, **options}
    return DISPLAYS[name].from_estimator(model, *data, **options)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- all of them ------------------------------------------------------------------------


@every_display
def test_plot_with_ax_draws_into_it(name):
    figure, (left, right) = plt.subplots(1, 2)
    display = drawn(name, fitted(), ax=right)
    assert display.figure_ is figure
    if name != "ActivationDisplay":
        assert display.ax_ is right
        assert right.get_title()
    assert not left.has_data()
    figure.canvas.draw()


@every_display
def test_plot_called_twice_draws_the_same_data(name):
    display = drawn(name, fitted())
    before = display.figure_
    assert display.plot() is display
    assert display.figure_ is not before


@every_display
def test_display_of_an_unfitted_estimator_raises(name):
    with pytest.raises(NotFittedError, match="MLPClassifier instance is not fitted"):
        drawn(name, MLPClassifier())


@every_display
def test_display_of_a_model_without_network_raises(name):
    X, y = make_data()
    model = mlp.ProjectionPursuitRegressor(1, random_state=0).fit(X, y)
    if name == "LossCurveDisplay":
        assert drawn(name, model).line_
        return
    words = (
        rf"{name} needs an estimator with a network, .*ProjectionPursuitReg.* has none"
    )
    with pytest.raises(TypeError, match=words):
        drawn(name, model)


def test_display_after_assigning_coefs_draws_the_new_weights():
    X, y = iris()
    model = MLPClassifier((3,), random_state=0, max_iter=2).fit(X, y)
    before = drawn("LossSurfaceDisplay", model).loss
    weights = [np.asfortranarray(W) * 2 for W in model.coefs_]
    model.coefs_ = list(weights)
    after = drawn("LossSurfaceDisplay", model).loss
    expected = model.network.loss(X.to_numpy(), np.searchsorted(model.classes_, y))
    assert_allclose(after[1, 1], expected, 1e-12)
    assert abs(after[1, 1] - before[1, 1]) > 1e-3
    model.coefs_ = [W / 4 for W in weights]
    graph = drawn("NetworkDisplay", model)
    assert_array_equal(graph.edges_[0].get_array(), weights[0].ravel() / 4)


def test_network_displays_accept_scikit_learns_estimators():
    X, y = iris()
    model = TheirClassifier((3,), max_iter=4).fit(X, y)
    graph = NetworkDisplay.from_estimator(model)
    assert_array_equal(graph.edges_[0].get_array(), model.coefs_[0].ravel())
    images = WeightImageDisplay.from_estimator(model)
    assert_array_equal(images.weights, model.coefs_[0])
    with pytest.raises(TypeError, match=r"sklearn\.neural.*\.MLPClassifier has none"):
        ActivationDisplay.from_estimator(model)


@every_display
def test_display_without_matplotlib_names_the_package(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(
        ImportError, match=rf"{name} needs matplotlib: .*'fastmlp\[plot\]'"
    ):
        drawn(name, fitted())


def test_matplotlib_is_imported_only_when_drawing():
    code = (
        "import sys, mlp; mlp.MLPClassifier; light = set(sys.modules);"
        "mlp.plot.LossCurveDisplay;"
        "print('mlp.plot' in light, 'matplotlib' in sys.modules, 'plot' in dir(mlp))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "False", "True"]


# ---- pairs ------------------------------------------------------------------------------


def siamese(head):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2, 4))
    y = (X[:, 0, 0] * X[:, 1, 0] > 0).astype(int)
    options = {"max_iter": 3, "random_state": 0, "standardize": True}
    model = mlp.SiameseClassifier(
        (5,), "tanh", n_embedding=2, head=head, head_layer_sizes=(3,), **options
    )
    model.set_callbacks(GradientNorms()).fit(X, y, X_val=X, y_val=y)
    return X, y, model


every_head = pytest.mark.parametrize("head", ["cosine", "distance", "relation"])


@every_head
def test_displays_of_siamese_networks_draw_the_branch(head):
    _, _, model = siamese(head)
    branch = model.network_.branch
    graph = NetworkDisplay.from_estimator(model)
    assert graph.layer_sizes == [4, 5, 2]
    assert_array_equal(graph.coefs[1], branch.coefs[1])
    assert graph.output_names == ["y0", "y1"]  # an embedding, not the labels
    assert WeightImageDisplay.from_estimator(model).weights.shape == (4, 5)
    assert ActivationDisplay.from_estimator(model).names == ["tanh", "identity"]
    assert NetworkDisplay.from_estimator(branch).layer_sizes == [4, 5, 2]
    with pytest.raises(
        TypeError, match=r"NetworkDisplay .* pass SiameseNetwork\.branch"
    ):
        NetworkDisplay.from_estimator(model.network_)
    flow = GradientFlowDisplay.from_estimator(model)
    assert flow.layer_names[:2] == ["branch 1", "branch 2"]
    assert len(flow.layer_names) == len(model.coefs_)


@every_head
def test_loss_surface_of_siamese_networks_is_over_the_branch_parameters(head):
    X, y, model = siamese(head)
    before = model.network_.params
    display = LossSurfaceDisplay.from_estimator(
        model, X, y, parameters=[(0, 2, 1), (1, 0)], span=0.5, grid_resolution=3
    )
    assert_array_equal(model.network_.params, before)
    assert_allclose(display.loss[1, 1], model.validation_loss_curve_[-1], 1e-9)
    branch = model.network_.branch
    branch.coefs[0][2, 1] += 0.5
    branch.intercepts[1][0] -= 0.5
    branch.refold()
    data = model._validation_targets(X, y, None).data()
    expected = model.network_.prediction_loss(data)
    assert_allclose(display.loss[0, 2], expected, 1e-9)
    anywhere = LossSurfaceDisplay.from_estimator(model, X, y, grid_resolution=3)
    assert len(np.unique(anywhere.loss)) == 9


# ---- loss curve -------------------------------------------------------------------------


def test_loss_curves_with_validation_mark_the_best_epoch():
    model = fitted(early_stopping=True, max_iter=30)
    display = LossCurveDisplay.from_estimator(model)
    epochs = np.arange(1, model.n_iter_ + 1)
    assert_array_equal(display.line_.get_xydata(), np.c_[epochs, model.loss_curve_])
    assert_array_equal(
        display.validation_line_.get_xydata(),
        np.c_[epochs, model.validation_loss_curve_],
    )
    best = 1 + model.validation_scores_.index(model.best_validation_score_)
    assert_array_equal(display.best_line_.get_xdata(), [best, best])
    assert legend_of(display.ax_) == [
        "training",
        "validation",
        f"best: epoch {best}, score {model.best_validation_score_:.4g}",
    ]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    assert all(t == int(t) for t in display.ax_.get_xticks())


def test_loss_curve_without_validation_marks_the_smallest_loss():
    model = fitted(solver="lbfgs")
    display = LossCurveDisplay.from_estimator(model, log=True, color="k")
    assert display.validation_line_ is None
    best = 1 + int(np.argmin(model.loss_curve_))
    assert legend_of(display.ax_) == ["training", f"best: iteration {best}"]
    assert display.ax_.get_yscale() == "log"
    assert display.line_.get_color() == "k"


def test_loss_curve_accepts_scikit_learns_estimators():
    X, y = iris()
    model = TheirClassifier((3,), max_iter=4, early_stopping=True).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    assert_array_equal(display.line_.get_ydata(), model.loss_curve_)


# ---- gradient flow ----------------------------------------------------------------------


def test_gradient_flow_draws_one_line_per_layer():
    model = fitted()
    display = GradientFlowDisplay.from_estimator(model)
    drawn_norms = [line.get_ydata() for line in display.lines_]
    assert_array_equal(np.transpose(drawn_norms), model.gradient_norms_)
    assert legend_of(display.ax_) == ["hidden 1", "hidden 2", "output"]
    assert display.ax_.get_yscale() == "log"
    assert len({tuple(line.get_color()) for line in display.lines_}) == 3


def test_gradient_flow_of_many_layers_has_a_colorbar():
    display = GradientFlowDisplay(norms=np.ones((4, 20))).plot()
    assert display.ax_.get_legend() is None
    for k, line in enumerate(display.lines_):
        assert_array_equal(line.get_color(), display.colorbar_.mappable.to_rgba(k + 1))
    ticks = display.colorbar_.get_ticks()
    assert all(tick == int(tick) for tick in ticks) and len(ticks) > 3


def test_gradient_flow_of_zero_gradients_leaves_a_gap():
    display = GradientFlowDisplay(norms=[[1.0], [0.0], [2.0]]).plot()
    assert_array_equal(
        np.ma.getmaskarray(display.lines_[0].get_ydata()), [False, True, False]
    )


def test_gradient_flow_without_recorded_norms_raises():
    X, y = iris()
    model = MLPClassifier((3,), max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match=r"set_callbacks\(mlp.progress.GradientNorms"):
        GradientFlowDisplay.from_estimator(model)


# ---- weights ----------------------------------------------------------------------------


def network_of_images(shape, n_units):
    net = Network([int(np.prod(shape)), n_units, 1])
    net.coefs[0][:] = np.random.default_rng(0).normal(size=net.coefs[0].shape)
    return net


def test_weight_images_are_arranged_in_rows():
    net = network_of_images((4, 4), 5)
    display = WeightImageDisplay.from_estimator(net)
    mosaic = display.image_.get_array()
    assert mosaic.shape == (2 * 5 - 1, 3 * 5 - 1)
    assert_array_equal(mosaic[:4, 5:9], net.coefs[0][:, 1].reshape(4, 4))
    assert_array_equal(mosaic[5:, :4], net.coefs[0][:, 3].reshape(4, 4))
    gaps = np.ma.getmaskarray(mosaic)
    assert gaps.sum() == mosaic.size - net.coefs[0].size
    low, high = display.image_.get_clim()
    assert -low == high == np.abs(net.coefs[0]).max()
    assert display.colorbar_ is not None


@pytest.mark.parametrize("units", [2, [4, 1]])
def test_weight_images_with_shape_and_units_shows_these_units(units):
    net = network_of_images((2, 6), 5)
    display = WeightImageDisplay.from_estimator(
        net, shape=(2, 6), units=units, n_columns=1, colorbar=False
    )
    mosaic, chosen = display.image_.get_array(), [4, 1] if units != 2 else [0, 1]
    assert mosaic.shape == (5, 6)
    assert_array_equal(mosaic[:2].ravel(), net.coefs[0][:, chosen[0]])
    assert_array_equal(mosaic[3:].ravel(), net.coefs[0][:, chosen[1]])
    assert display.colorbar_ is None


def test_weight_images_with_three_channels_are_in_colour():
    net = network_of_images((3, 2, 3), 2)
    display = WeightImageDisplay.from_estimator(net, shape=(3, 2, 3))
    image = display.image_.get_array()
    largest = np.abs(net.coefs[0]).max()
    assert_allclose(
        image[:, :2].ravel(), 0.5 + net.coefs[0][:, 0] / (2 * largest), rtol=1e-12
    )
    assert (image[:, 2] == 1).all() and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"units": 0}, "units must be a positive int or indices from 0 to 1, got 0"),
        ({"units": -1}, "units must be .* got -1"),
        ({"units": 1.5}, "units must be .* got 1.5"),
        ({"units": []}, r"units must be .* got \[\]"),
        ({"units": [0, 2]}, r"units must be .* got \[0, 2\]"),
        ({"n_columns": 0}, "n_columns must be None or a positive int, got 0"),
        ({"n_columns": -3}, "n_columns must be .* got -3"),
        ({"n_columns": 1.5}, "n_columns must be .* got 1.5"),
    ],
)
def test_weight_images_with_bad_units_or_columns_raises(options, words):
    with pytest.raises(ValueError, match=words):
        WeightImageDisplay.from_estimator(network_of_images((2, 2), 2), **options)


def test_weight_images_without_units_raises():
    with pytest.raises(ValueError, match=r"weights must be of shape .* got \(4, 0\)"):
        WeightImageDisplay(weights=np.zeros((4, 0)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, "12 features are not a square image"),
        ((3, 5), r"shape=\(3, 5\) must be .* of 12 features"),
        ((12,), "must be"),
        ((2, 2, 3, 1), "must be"),
        ((2, 3, 2), "must be"),
        ((-3, -4), r"shape=\(-3, -4\) must be .* of 12 features"),
    ],
)
def test_weight_images_with_bad_shape_raises(shape, words):
    with pytest.raises(ValueError, match=words):
        WeightImageDisplay.from_estimator(network_of_images((3, 4), 2), shape=shape)


# ---- loss surface -----------------------------------------------------------------------


def test_loss_surface_over_two_parameters_is_the_loss():
    X, y = make_data()
    net = Network([4, 3, 1], "tanh")
    net.params[:] = np.random.default_rng(1).normal(size=net.params.size)
    before = net.params.copy()
    display = LossSurfaceDisplay.from_estimator(
        net, X, y, parameters=[(0, 2, 1), (1, 0)], span=0.5, grid_resolution=5
    )
    assert_array_equal(net.params, before)
    assert display.center == (net.coefs[0][2, 1], net.intercepts[1][0])
    for i, b in enumerate(display.y):
        for j, w in enumerate(display.x):
            net.coefs[0][2, 1], net.intercepts[1][0] = w, b
            assert_allclose(display.loss[i, j], net.loss(X, y), 1e-12)
    assert (display.x[0], display.x[-1]) == (before[7] - 0.5, before[7] + 0.5)
    assert display.ax_.get_xlabel() == "$W_{0}[2, 1]$"
    assert display.ax_.get_ylabel() == "$b_{1}[0]$"
    assert_array_equal(display.center_.get_xydata(), [display.center])


def test_loss_surface_with_directions_is_the_loss_along_them():
    X, y = iris()
    model = fitted()
    there = np.random.default_rng(2).normal(size=(2, model.network_.params.size))
    display = LossSurfaceDisplay.from_estimator(
        model, X, y, directions=there, grid_resolution=3, log=True
    )
    copy = model.network_.copy()
    copy.params += there[0] - there[1]
    labels = np.searchsorted(model.classes_, y)
    assert_allclose(display.loss[0, 2], copy.loss(X.to_numpy(), labels), 1e-12)
    height = display.surface_.get_array()
    assert height is None or height.max() <= np.log10(display.loss.max()) + 1
    assert_array_equal(display.x, [-1, 0, 1])


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_loss_surface_center_with_folding_is_the_trained_loss(Estimator):
    X, y = make_data()
    model = Estimator((5,), batch_norm="hidden", standardize=True, max_iter=5)
    model.fit(X, y, X_val=X, y_val=y)
    display = LossSurfaceDisplay.from_estimator(model, X, y, grid_resolution=3)
    assert_allclose(display.loss[1, 1], model.validation_loss_curve_[-1], 1e-9)


def test_random_direction_has_the_length_of_each_units_weights():
    from mlp.plot.surface import _random_direction

    network = fitted().network_
    direction = _random_direction(network, np.random.RandomState(0))
    weights, offsets, _ = network.unpack(direction)
    for part, W in zip(weights, network.coefs, strict=True):
        assert_allclose(np.linalg.norm(part, axis=0), np.linalg.norm(W, axis=0), 1e-12)
    assert not np.concatenate(offsets).any()


def test_loss_surface_with_kind_surface_is_three_dimensional():
    display = drawn("LossSurfaceDisplay", fitted(), kind="surface")
    assert display.ax_.name == "3d" and display.lines_ is None
    assert display.ax_.get_zlabel() == "loss"
    x, y, z = display.center_.get_data_3d()
    assert (x[0], y[0], z[0]) == (0, 0, display.loss[1, 1])


def test_loss_surface_with_infinite_losses_has_a_finite_scale():
    loss = np.array([[1.0, np.inf], [np.nan, 2.0]])
    display = LossSurfaceDisplay(x=[0, 1], y=[0, 1], loss=loss).plot()
    assert np.isfinite(display.surface_.get_clim()).all()
    assert display.surface_.get_clim()[0] <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": [(0, 1, 1)]}, "parameters must be a pair, got 1 entries"),
        ({"parameters": [(0, 1, 1), (0, 99)]}, r"\(0, 99\) names no parameter"),
        ({"parameters": [(0, -1, 1), (0, 0)]}, r"\(0, -1, 1\) names no parameter"),
        ({"parameters": [(0, 1, 1, 1), (0, 0)]}, "names no parameter"),
        ({"parameters": [(7, 0), (0, 0)]}, "names no parameter"),
        ({"directions": np.zeros((2, 3))}, r"directions must have shape \(\d+,\)"),
        ({"directions": [1, 2], "parameters": [1, 2]}, "not both"),
        ({"kind": "wire"}, "kind must be 'contour' or 'surface', got 'wire'"),
    ],
)
def test_loss_surface_with_bad_arguments_raises(options, words):
    with pytest.raises(ValueError, match=words):
        drawn("LossSurfaceDisplay", fitted(), **options)


def test_loss_surface_with_axes_of_the_wrong_projection_raises():
    with pytest.raises(ValueError, match="needs axes with projection='3d'"):
        drawn("LossSurfaceDisplay", fitted(), kind="surface", ax=plt.figure().gca())


# ---- the graph --------------------------------------------------------------------------


def test_network_graph_shows_weights_and_offsets():
    model = fitted()
    display = NetworkDisplay.from_estimator(model, max_width=3)
    largest = max(np.abs(W).max() for W in model.coefs_)
    for lines, W in zip(display.edges_, model.coefs_, strict=True):
        assert_array_equal(lines.get_array(), W.ravel())
        assert_allclose(lines.get_linewidths(), 3 * np.abs(W.ravel()) / largest)
        assert lines.get_clim() == (-largest, largest)
    assert [len(n.get_offsets()) for n in display.nodes_] == [4, 5, 3, 3]
    for nodes, b in zip(display.nodes_[1:], model.intercepts_, strict=True):
        assert_array_equal(nodes.get_array(), b)
    i, j = 2, 4
    ends = display.edges_[0].get_segments()[i * 5 + j]
    assert_array_equal(ends[0], display.nodes_[0].get_offsets()[i])
    assert_array_equal(ends[1], display.nodes_[1].get_offsets()[j])


def test_network_graph_colours_positive_red_and_negative_blue():
    display = NetworkDisplay(coefs=[[[1.0, -1.0]]], intercepts=[[0.0, 0.0]]).plot()
    display.figure_.canvas.draw()
    (red, _, less, _), (little, _, blue, _) = display.edges_[0].get_colors()
    assert red > less and blue > little
    assert_allclose(display.nodes_[1].get_facecolors()[:, :3], 0.97, atol=0.01)
    assert_allclose(display.nodes_[0].get_facecolors()[0], to_rgba("0.85"))


def test_network_graph_colorbar_extends_when_offsets_exceed_weights():
    for offset, extend in ((0.0, "neither"), (2.0, "both")):
        display = NetworkDisplay(coefs=[[[0.5]]], intercepts=[[offset]]).plot()
        assert display.colorbar_.extend == extend


def test_network_graph_has_names_of_features_and_classes():
    model = fitted()
    display = NetworkDisplay.from_estimator(model)
    names = [text.get_text() for text in display.texts_]
    assert names == [*iris()[0].columns, *model.classes_]
    layers = [
        text.get_text() for text in display.ax_.texts if text not in display.texts_
    ]
    assert layers == ["inputs", "hidden 1", "hidden 2", "outputs"]


def test_network_graph_names_are_given_or_generated():
    X, y = make_data()
    binary = MLPClassifier((3,), max_iter=1).fit(X, y)
    display = NetworkDisplay.from_estimator(binary, feature_names=list("abcd"))
    assert [t.get_text() for t in display.texts_] == [*"abcd", "1"]
    display = NetworkDisplay.from_estimator(Network([2, 2]), output_names=["p", "q"])
    assert [t.get_text() for t in display.texts_] == ["x0", "x1", "p", "q"]
    display = NetworkDisplay.from_estimator(MLPRegressor((3,), max_iter=1).fit(X, y))
    assert display.texts_[-1].get_text() == "y"


def test_network_graph_texts_do_not_overlap():
    display = NetworkDisplay.from_estimator(fitted())
    display.figure_.canvas.draw()
    texts = [*display.ax_.texts, display.ax_.title]
    boxes = [text.get_window_extent() for text in texts]
    for k, box in enumerate(boxes):
        assert display.figure_.bbox.contains(box.x0, box.y0)
        assert display.figure_.bbox.contains(box.x1, box.y1)
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_network_graph_of_a_large_network_raises():
    with pytest.raises(
        ValueError, match=r"\[40, 2\] units are too large .* max_units=32"
    ):
        NetworkDisplay.from_estimator(Network([40, 2]))
    assert NetworkDisplay.from_estimator(Network([40, 2]), max_units=40).edges_


def test_network_graph_with_wrong_number_of_names_raises():
    with pytest.raises(ValueError, match="feature_names has 1 names for 4 units"):
        NetworkDisplay.from_estimator(fitted(), feature_names=["one"])


# ---- activations ------------------------------------------------------------------------


def test_activation_display_has_a_panel_per_function():
    display = ActivationDisplay.from_names()
    titles = [panel.get_title() for panel in display.axes_]
    assert titles == CURVES
    assert legend_of(display.axes_[0]) == ["f", "f′"]


@pytest.mark.parametrize("name", [n for n in CURVES if n not in ("sign", "step")])
def test_activation_derivative_is_the_slope(name):
    z = np.linspace(-3, 3, 60)  # 0, where some have a kink, is not among them
    h = 1e-6
    [(_, slope)] = ActivationDisplay.from_names([name], z=z).lines_
    [(above, _)] = ActivationDisplay.from_names([name], z=z + h).lines_
    [(below, _)] = ActivationDisplay.from_names([name], z=z - h).lines_
    expected = (above.get_ydata() - below.get_ydata()) / (2 * h)
    assert_allclose(slope.get_ydata(), expected, rtol=1e-6, atol=1e-8)


def test_activation_derivative_far_from_zero_is_exact():
    z = np.array([-800.0, -40.0, 1.0, 30.0, 40.0, 800.0])
    with np.errstate(over="ignore"):
        expected, logistic = np.exp(z), 1 / (1 + np.exp(-z))
    display = ActivationDisplay.from_names(["exp", "identity", "softplus"], z=z)
    assert_allclose(display.derivatives[0], expected, 1e-12)
    assert_array_equal(display.derivatives[1], 1)
    assert_allclose(display.derivatives[2], logistic, 1e-12)


def test_activation_curves_are_the_functions_values():
    display = ActivationDisplay.from_names(["tanh", ("leaky_relu", 0.3), "sign"])
    (tanh, _), (leaky, slope), (sign, flat) = display.lines_
    z = tanh.get_xdata()
    assert_allclose(tanh.get_ydata(), np.tanh(z), atol=1e-15)
    assert_allclose(leaky.get_ydata(), np.where(z < 0, 0.3 * z, z), atol=1e-15)
    assert_allclose(slope.get_ydata(), np.where(z <= 0, 0.3, 1.0), atol=1e-15)
    assert_array_equal(np.abs(sign.get_ydata()[z != 0]), 1)
    assert not flat.get_ydata().any()
    assert display.names == ["tanh", "leaky_relu(0.3)", "sign"]


def test_activation_display_of_a_model_draws_each_activation_once():
    net = Network([2, 3, 2, 2], [["relu", "tanh", "relu"], "tanh"], "logistic")
    assert ActivationDisplay.from_estimator(net).names == ["relu", "tanh", "logistic"]


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        ("rbf", "ActivationDisplay draws .* the network has only rbf and softmax"),
        (None, "the network has only softmax"),
    ],
)
def test_activation_display_of_a_model_without_curves_raises(activation, words):
    net = Network([2, 3, 2], "rbf", "softmax")
    if activation is None:
        net = Network([2, 2], output_activation="softmax")
    with pytest.raises(ValueError, match=words):
        ActivationDisplay.from_estimator(net)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["softmax"], "'softmax' is not a function of one number"),
        (["sine"], "names='sine' is not an activation"),
        ([], "at least one"),
    ],
)
def test_activation_display_of_names_without_curves_raises(names, words):
    with pytest.raises(ValueError, match=words):
        ActivationDisplay.from_names(names)


def test_activation_display_with_axes_that_cannot_be_divided_raises():
    loose = plt.figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match=r"ax must be one of plt\.subplots"):
        ActivationDisplay.from_names(["relu"], ax=loose)


# ---- layers with some of their connections ----------------------------------------------


def partly_connected():
    X, y = make_data()
    mask = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], dtype=bool)
    options = {"max_iter": 3, "random_state": 0, "connectivity": [mask, None]}
    return mask, X, y, MLPRegressor((2,), "tanh", **options).fit(X, y)


def test_displays_of_sparse_layers_omit_absent_connections():
    mask, _, _, model = partly_connected()
    graph = NetworkDisplay.from_estimator(model)
    assert_array_equal(np.array(graph.edges_[0].get_linewidths()) > 0, mask.ravel())
    image = WeightImageDisplay.from_estimator(model).image_.get_array()
    assert_array_equal(image[:, :2].ravel() != 0, mask[:, 0])


def test_loss_surface_of_an_absent_connection_raises():
    _, X, y, model = partly_connected()
    start = float(model.network_.prediction_loss(model.network_.data(X, y)))
    for options in ({}, {"parameters": [(0, 2, 1), (0, 1)]}):
        display = LossSurfaceDisplay.from_estimator(
            model, X, y, grid_resolution=3, **options
        )
        assert_allclose(display.loss[1, 1], start, 1e-12)
        assert len(np.unique(display.loss)) == 9
    assert display.center[0] == model.coefs_[0][2, 1]
    with pytest.raises(ValueError, match=r"\(0, 2, 0\) names no parameter"):
        LossSurfaceDisplay.from_estimator(model, X, y, parameters=[(0, 2, 0), (0, 1)])


def test_loss_surface_of_tied_weights_changes_both_layers():
    net = Network([3, 2, 3], "tanh", tied=True)
    net.coefs[0][:] = np.random.default_rng(3).normal(size=(3, 2))
    net.tie()
    net.refold()
    X = np.random.default_rng(4).normal(size=(9, 3))
    display = LossSurfaceDisplay.from_estimator(
        net, X, X, parameters=[(0, 1, 1), (0, 0)], grid_resolution=3
    )
    net.coefs[0][1, 1] += 1
    net.tie()
    expected = net.prediction_loss(net.data(X, X))
    assert_allclose(display.loss[1, 2], expected, 1e-12)
