"""Lets ``threadpoolctl.threadpool_limits`` rule over the core's threads too."""

from threadpoolctl import LibController, register

from mlp import __version__
from mlp.threads import limit_threads, usable_cores

__all__ = ["TeamController"]


class TeamController(LibController):
    """How threadpoolctl finds the core among the shared libraries, and limits it.

    The limit holds for the whole process, and is what ``n_threads=None`` stands for at
    most; a number given as ``n_threads`` is taken as it is.
    """

    user_api = internal_api = "mlp"
    filename_prefixes = ("_core.",)
    check_symbols = ("mlp_has_team",)

    def get_num_threads(self) -> int:
        """The present limit."""
        return usable_cores()

    def set_num_threads(self, num_threads: int) -> None:
        """Set the limit; what all cores could do anyway is none."""
        limit_threads(None)
        if num_threads < usable_cores():
            limit_threads(num_threads)

    def get_version(self) -> str:
        """The version of the package."""
        return __version__


register(TeamController)
