"""A one-line progress bar, following scikit-learn's callback protocol."""

import sys
import time
from typing import Any

__all__ = ["ProgressLine"]


class ProgressLine:
    """Callback that shows the epochs of one `fit` on a single line of stderr.

    Needs nothing beyond the standard library, unlike
    :class:`sklearn.callback.ProgressBar`. Where stderr is not a terminal nothing is
    written, so that logs stay clean.

    Parameters
    ----------
    width : int, default=30
        Number of characters between the brackets of the bar.

    Examples
    --------
    >>> from mlp import MLPClassifier
    >>> from mlp.progress import ProgressLine
    >>> model = MLPClassifier().set_callbacks(ProgressLine())
    """

    redraw_interval = 0.05  # seconds; drawing each of 10,000 short epochs costs more

    def __init__(self, width: int = 30) -> None:
        self.width = width

    def setup(self, estimator: Any, context: Any) -> None:
        """Start a new line when `fit` begins."""
        self._shown = sys.stderr.isatty()
        self._done = 0
        self._total = context.max_subtasks
        self._start = time.perf_counter()
        self._last_draw = float("-inf")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing: an epoch counts when it ends."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Count an epoch, and redraw the line if it is time to."""
        if context.task_name != "epoch":  # the end of fit itself
            return
        self._done += 1
        now = time.perf_counter()
        if self._shown and now - self._last_draw >= self.redraw_interval:
            self._last_draw = now
            self._draw(estimator)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Leave the last state of the line standing."""
        if self._shown:
            self._draw(estimator)
            sys.stderr.write("\n")

    def _draw(self, estimator: Any) -> None:
        count, bar = f"epoch {self._done}", ""
        if self._total:
            filled = self.width * min(self._done, self._total) // self._total
            bar = f"[{'#' * filled}{'.' * (self.width - filled)}] "
            count += f"/{self._total}"
        losses = getattr(estimator, "loss_curve_", None)
        loss = f"  loss {losses[-1]:.4g}" if losses else ""
        elapsed = time.perf_counter() - self._start
        # Erase to the end of the line: the new text may be shorter than the old.
        sys.stderr.write(f"\r{bar}{count}{loss}  {elapsed:.1f} s\x1b[K")
        sys.stderr.flush()
