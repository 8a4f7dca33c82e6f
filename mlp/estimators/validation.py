"""scikit-learn's validation of samples, which lets dates pass as numbers."""

from typing import Any

from sklearn.utils import validation

from mlp.network.samples import refuse_dates

__all__ = ["validate_data"]


def validate_data(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """scikit-learn's function of this name, without dates and durations in X.

    Raises
    ------
    ValueError
        If X holds any, and whatever scikit-learn raises.
    """
    refuse_dates(X, "X")
    return validation.validate_data(estimator, X, *y, **options)
