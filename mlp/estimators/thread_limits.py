"""Make ``threadpoolctl.threadpool_limits`` limit the core's threads too."""

from threadpoolctl import LibController, register

from mlp import __version__
from mlp.threads import limit_threads, usable_cores

__all__ = ["TeamController"]


class TeamController(LibController):
    """Limits the threads of the core, which threadpoolctl finds by its shared library.

    The limit holds for the whole process and applies to ``n_threads=None``; a number given
    as ``n_threads`` is not limited.
    """

    user_api = internal_api = "mlp"
    filename_prefixes = ("_core.",)
    check_symbols = ("mlp_has_team",)

    def get_num_threads(self) -> int:
        """Return the current limit."""
        return usable_cores()

    def set_num_threads(self, num_threads: int) -> None:
        """Set the limit; the number of usable cores, or more, removes it."""
        limit_threads(None)
        if num_threads < usable_cores():
            limit_threads(num_threads)

    def get_version(self) -> str:
        """Return the version of the package."""
        return __version__


register(TeamController)
