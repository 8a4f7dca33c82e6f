"""Displays of networks and of their training, with the scikit-learn API.

Each display has a classmethod that takes a fitted estimator, or a `Network` if the plot
does not need the training, and the method `plot`, which draws the same data again.
Displays need matplotlib, ``pip install 'fastmlp[plot]'``, and import it when they draw.
"""

from mlp.plot.activations import ActivationDisplay
from mlp.plot.curves import GradientFlowDisplay, LossCurveDisplay
from mlp.plot.graph import NetworkDisplay
from mlp.plot.images import WeightImageDisplay
from mlp.plot.surface import LossSurfaceDisplay

__all__ = [
    "ActivationDisplay",
    "GradientFlowDisplay",
    "LossCurveDisplay",
    "LossSurfaceDisplay",
    "NetworkDisplay",
    "WeightImageDisplay",
]
