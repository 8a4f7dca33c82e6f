"""Dates and durations where numbers are wanted: cast, NaT would count as −9.2e18."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from mlp import (
    ArcsineKernel,
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MultiTaskClassifier,
    Network,
    ProjectionPursuitRegressor,
    SiameseClassifier,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATES = np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-04"] * 5, "M8[D]")
DAYS = DATES - DATES[0]
FORMS = {
    "datetime64": DATES,
    "timedelta64": DAYS,
    "series of dates": pd.Series(DATES),
    "series of dates with a time zone": pd.Series(DATES).dt.tz_localize("UTC"),
    "series of durations": pd.Series(DAYS),
    "objects of pandas": np.array(pd.Series(DATES).tolist(), dtype=object),
    "objects of NumPy": np.array(list(DATES), dtype=object),
    "objects of datetime": np.array([datetime(2026, 1, 1)] * 20, dtype=object),
    "objects of date": np.array([date(2026, 1, 1)] * 20, dtype=object),
    "objects of timedelta": np.array([timedelta(1)] * 20, dtype=object),
    "numbers and NaT": np.array([1.0, np.datetime64("NaT")] * 10, dtype=object),
    "list": list(DAYS),
}
each_form = pytest.mark.parametrize("dates", FORMS.values(), ids=FORMS)
X = np.random.default_rng(0).normal(size=(20, 2))
y = X[:, 0]
WORDS = "holds dates or durations"


def as_column(dates):
    """The same dates as the only feature."""
    if isinstance(dates, pd.Series):
        return dates.to_frame("day")
    return [[d] for d in dates] if isinstance(dates, list) else dates[:, None]


@each_form
def test_dates_as_targets_of_a_regressor_are_refused(dates):
    fitted = MLPRegressor((4,), max_iter=2).fit(X, y)
    for refused in (
        lambda: fitted.fit(X, dates),
        lambda: fitted.partial_fit(X, dates),
        lambda: fitted.fit(X, y, X_val=X, y_val=dates),
        lambda: fitted.score(X, dates),
        lambda: fitted.loss_gradients(X, dates),
        lambda: ProjectionPursuitRegressor().fit(X, dates),
    ):
        with pytest.raises(ValueError, match=f"y {WORDS}.* numpy.timedelta64"):
            refused()


@each_form
def test_dates_as_features_are_refused(dates):
    dates = as_column(dates)
    fitted = MLPRegressor((4,), max_iter=2).fit(X[:, :1], y)
    for refused in (
        lambda: MLPRegressor((4,)).fit(dates, y),
        lambda: MLPClassifier((4,)).fit(dates, y > 0),
        lambda: MultiTaskClassifier((4,)).fit(dates, (y > 0)[:, None]),
        lambda: MLPAutoencoder((4,)).fit(dates),
        lambda: SiameseClassifier((4,)).fit((dates, dates), y > 0),
        lambda: ProjectionPursuitRegressor().fit(dates, y),
        lambda: fitted.fit(X[:, :1], y, X_val=dates, y_val=y),
        lambda: fitted.predict(dates),
        lambda: fitted.jacobian(dates),
    ):
        with pytest.raises(ValueError, match=WORDS):
            refused()


def test_the_column_of_dates_in_a_frame_is_named():
    frame = pd.DataFrame({"size": y, "day": DATES})
    with pytest.raises(ValueError, match=f"column 'day' of X {WORDS}"):
        MLPRegressor((4,)).fit(frame, y)


@pytest.mark.parametrize("dates", [DATES[:, None], DAYS[:, None]])
def test_a_network_refuses_dates(dates):
    network = Network([1, 1])
    for refused in (
        lambda: network.forward(dates),
        lambda: network.gradients(X[:, :1], dates),
    ):
        with pytest.raises(ValueError, match=WORDS):
            refused()


def test_days_as_the_message_advises_are_targets_with_missing_ones():
    days = DAYS / np.timedelta64(1, "D")
    assert np.isnan(days).sum() == 5
    fitted = MLPRegressor((4,), max_iter=2, standardize=True).fit(X, days)
    assert fitted.network_.output_shift == pytest.approx(np.nanmean(days))


@pytest.mark.parametrize("dates", [DATES[:, None], DAYS[:, None]])
def test_a_kernel_refuses_dates(dates):
    kernel = ArcsineKernel()
    for refused in (
        lambda: kernel(dates),
        lambda: kernel(X[:, :1], dates),
        lambda: kernel.diag(dates),
    ):
        with pytest.raises(ValueError, match=WORDS):
            refused()
