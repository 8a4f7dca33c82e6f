"""Callbacks after scikit-learn's protocol: a one-line progress bar, and a request."""

import sys
import time
from typing import Any

__all__ = ["GradientNorms", "ProgressLine"]


class GradientNorms:
    """Callback that asks `fit` to keep the norms of the gradient in ``gradient_norms_``.

    ``gradient_norms_`` has an array of shape ``(n_layers_ - 1,)`` for each epoch: the norm
    of the gradient in each layer's weights, offsets and batch-norm scales, of the epoch's
    last batch; of the batch's mean loss, without penalties and before any clipping.  For
    full-batch solvers it is the gradient over all samples, an array an iteration; of
    networks that judge pairs, the twin's layers come before the head's.
    ``verbose=2`` keeps them too; `mlp.plot.GradientFlowDisplay` draws them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlp import MLPClassifier
    >>> from mlp.progress import GradientNorms
    >>> model = MLPClassifier((5, 5), solver="lbfgs", max_iter=500, random_state=0)
    >>> model = model.set_callbacks(GradientNorms()).fit(*load_iris(return_X_y=True))
    >>> [norms.shape for norms in model.gradient_norms_[:2]]
    [(3,), (3,)]
    """

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing: `fit` sees that this callback is there."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


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
