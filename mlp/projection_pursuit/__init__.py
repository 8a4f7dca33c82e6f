"""Projection pursuit regression [L]."""

from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor

__all__ = ["ProjectionPursuitRegressor"]
