"""Displays of networks and of their training, with scikit-learn's API.

Each has a classmethod that takes a fitted estimator (a `Network` too, where nothing of the
training is needed), and `plot`, which draws the same data again.  They draw with
matplotlib, ``pip install 'fastmlp[plot]'``, imported when something is drawn.
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
