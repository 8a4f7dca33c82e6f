"""Observer of a fit that calls scikit-learn's callbacks."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from mlp.training.report import Observer

__all__ = ["CallbackNotifier"]


class CallbackNotifier(Observer):
    """Calls the callbacks of an estimator, if it has any.

    Parameters
    ----------
    estimator : BaseMLP
        The estimator that is fitted.
    max_epochs : int
        Largest number of epochs of the fit.
    samples : dict
        ``X``, ``y`` and ``metadata`` as passed to `fit`: a scorer that expects a data frame
        must receive the data frame.
    shown : callable
        Function ``history -> context manager``.  The estimator is up to date inside the
        context; the fit then continues from what a callback has assigned to it.
    """

    def __init__(
        self,
        estimator: Any,
        max_epochs: int,
        samples: dict[str, Any],
        shown: Callable[[Any], AbstractContextManager[None]],
    ) -> None:
        self._estimator, self._max_epochs, self._shown = estimator, max_epochs, shown
        self._task = {"estimator": estimator, **samples}
        self._context: Any = None

    def fit_began(self, fit: Any) -> None:
        """Set up the callbacks, and report the beginning of the fit."""
        if getattr(self._estimator, "_skl_callbacks", None):
            self._context = self._estimator._init_callback_context(
                max_subtasks=self._max_epochs
            )
            self._context.call_on_fit_task_begin(**self._task)

    def epoch_ended(self, fit: Any) -> bool:
        """Report an epoch; return True if a callback asks to stop."""
        if self._context is None:
            return False
        epoch = self._context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**self._task)
        return self._end(epoch, fit)

    def fit_ended(self, fit: Any) -> None:
        """Report the end of the fit, with the final network."""
        if self._context is not None:
            self._end(self._context, fit)

    def _end(self, context: Any, fit: Any) -> bool:
        with self._shown(fit.history):
            self._estimator.network_.refold()  # a callback may predict
            stops = context.call_on_fit_task_end(
                **self._task, reconstruction_attributes=self._fitted_so_far
            )
            self._estimator._adopt_parameters()  # those that a callback has assigned
            return bool(stops)

    def _fitted_so_far(self) -> dict[str, Any]:
        """Attributes for a copy of the estimator, which must not change with this one."""
        attributes = vars(self._estimator).items()
        lists = {
            k: list(v) for k, v in attributes if k.endswith("_") and type(v) is list
        }
        network = self._estimator.network_.copy()
        lists.update(coefs_=list(network.coefs), intercepts_=list(network.intercepts))
        return {**lists, "network_": network}
