"""Callbacks with scikit-learn's protocol: a progress bar, and recorded gradient norms."""

import sys
import time
from typing import Any

__all__ = ["GradientNorms", "ProgressLine"]


class GradientNorms:
    """Callback that makes `fit` record gradient norms in ``gradient_norms_``.

    ``gradient_norms_`` has one array of shape ``(n_layers_ - 1,)`` per epoch: for each
    layer the norm of the gradient with respect to its weights, offsets and batch-norm
    scales.  It is the gradient of the mean loss of the epoch's last batch, without
    penalties and before clipping.  Full-batch solvers have one array per iteration, with
    the gradient over all samples.  For Siamese networks the layers of the branch come
    before those of the head. ``verbose=2`` also records the norms;
    `mlp.plot.GradientFlowDisplay` draws them.

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
        """Do nothing: `fit` looks for this callback in the estimator's list."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


class ProgressLine:
    """Callback that shows the epochs of one `fit` on a single line of stderr.

    It needs only the standard library, unlike :class:`sklearn.callback.ProgressBar`. If
    stderr is not a terminal, nothing is written, so that logs stay clean.

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

    redraw_interval = 0.05  # seconds; drawing every short epoch would take more time

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
        """Draw the final state of the line."""
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
