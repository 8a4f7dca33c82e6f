"""scikit-learn's validation of samples, but without dates, which it takes as numbers."""

from typing import Any

from sklearn.utils import validation

from mlp.network.samples import refuse_dates

__all__ = ["validate_data"]


def validate_data(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """Call scikit-learn's function of this name, but refuse dates and durations in X.

    Raises
    ------
    ValueError
        If X contains dates or durations, or scikit-learn's function raises it.
    """
    refuse_dates(X, "X")
    return validation.validate_data(estimator, X, *y, **options)
