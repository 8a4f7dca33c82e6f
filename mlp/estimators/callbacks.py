"""What scikit-learn's callbacks hear of a fit: its beginning, every epoch, its end."""

from typing import Any

__all__ = ["Announcer"]


class Announcer:
    """Calls the callbacks of an estimator, where it has any.

    Parameters
    ----------
    estimator : BaseMLP
    max_epochs : int
    samples : dict
        ``X``, ``y`` and ``metadata`` as they were given to `fit`: a scorer that is shown
        a frame must see the frame.
    """

    def __init__(
        self, estimator: Any, max_epochs: int, samples: dict[str, Any]
    ) -> None:
        self._context = None
        if getattr(estimator, "_skl_callbacks", None):
            self._estimator = estimator
            self._task = {"estimator": estimator, **samples}
            self._context = estimator._init_callback_context(max_subtasks=max_epochs)
            self._context.call_on_fit_task_begin(**self._task)

    def epoch_ended(self) -> bool:
        """Report an epoch; True if a callback wants to stop."""
        if self._context is None:
            return False
        epoch = self._context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**self._task)
        return self._ended(epoch)

    def fit_ended(self) -> None:
        """Report the end, with the network that `fit` leaves."""
        if self._context is not None:
            self._ended(self._context)

    def _ended(self, context: Any) -> bool:
        with self._estimator._whole():
            self._estimator.network_.refold()  # a callback may predict
            stops = context.call_on_fit_task_end(
                **self._task, reconstruction_attributes=self._fitted_so_far
            )
            self._estimator._adopt_parameters()  # what a callback has assigned
            return bool(stops)

    def _fitted_so_far(self) -> dict[str, Any]:
        """What sets a copy of the estimator apart: it must not change with the original."""
        attributes = vars(self._estimator).items()
        lists = {
            k: list(v) for k, v in attributes if k.endswith("_") and type(v) is list
        }
        network = self._estimator.network_.copy()
        lists.update(coefs_=list(network.coefs), intercepts_=list(network.intercepts))
        return {**lists, "network_": network}
