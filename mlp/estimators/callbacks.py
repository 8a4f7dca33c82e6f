"""scikit-learn's callbacks, as an observer of a fit."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from mlp.training.report import Observer

__all__ = ["CallbackNotifier"]


class CallbackNotifier(Observer):
    """Calls the callbacks of an estimator, where it has any.

    Parameters
    ----------
    estimator : BaseMLP
    max_epochs : int
    samples : dict
        ``X``, ``y`` and ``metadata`` as they were given to `fit`: a scorer that is shown
        a frame must see the frame.
    shown : callable
        ``history -> context manager`` in which the estimator is up to date, and after which
        the fit goes on from what a callback has assigned.
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
        """Set the callbacks up, and report the beginning."""
        if getattr(self._estimator, "_skl_callbacks", None):
            self._context = self._estimator._init_callback_context(
                max_subtasks=self._max_epochs
            )
            self._context.call_on_fit_task_begin(**self._task)

    def epoch_ended(self, fit: Any) -> bool:
        """Report an epoch; True if a callback asks to stop."""
        if self._context is None:
            return False
        epoch = self._context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**self._task)
        return self._end(epoch, fit)

    def fit_ended(self, fit: Any) -> None:
        """Report the end, with the network that `fit` leaves."""
        if self._context is not None:
            self._end(self._context, fit)

    def _end(self, context: Any, fit: Any) -> bool:
        with self._shown(fit.history):
            self._estimator.network_.refold()  # a callback may predict
            stops = context.call_on_fit_task_end(
                **self._task, reconstruction_attributes=self._fitted_so_far
            )
            self._estimator._adopt_parameters()  # what a callback has assigned
            return bool(stops)

    def _fitted_so_far(self) -> dict[str, Any]:
        """Attributes of a copy of the estimator that must not change with the original."""
        attributes = vars(self._estimator).items()
        lists = {
            k: list(v) for k, v in attributes if k.endswith("_") and type(v) is list
        }
        network = self._estimator.network_.copy()
        lists.update(coefs_=list(network.coefs), intercepts_=list(network.intercepts))
        return {**lists, "network_": network}
