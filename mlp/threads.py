"""The number of threads, and the configuration of the compiled core."""

import os
import re
import sys
import threading
from numbers import Integral
from typing import Any

from mlp import _core

__all__ = [
    "default_threads",
    "limit_threads",
    "resolve_threads",
    "show_config",
    "usable_cores",
]


#: upper limit of the default number of threads, if threadpoolctl has set one
_limit: int | None = None


def usable_cores() -> int:
    """Return the number of cores for this process, considering environment and limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count() or 1
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if re.fullmatch("[0-9]{1,9}", named) and int(named) > 0:
        cores = min(cores, int(named))
    return cores if _limit is None else min(cores, _limit)


def limit_threads(n: int | None) -> None:
    """Limit the default number of threads to n; None removes the limit."""
    global _limit
    _limit = n


def default_threads() -> int:
    """Return the default number of threads: the cores that this process may use.

    ``OMP_NUM_THREADS``, which joblib sets in its worker processes, and limits set by
    ``threadpoolctl.threadpool_limits`` are respected.  In threads other than the main one
    and in workers of a multiprocessing pool the default is 1, because the caller has
    already divided the cores.
    """
    if threading.current_thread() is not threading.main_thread():
        return 1
    # only multiprocessing makes processes daemonic, and it is imported then
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.current_process().daemon:
        return 1
    return usable_cores()


def resolve_threads(n_threads: int | None) -> int:
    """Return `n_threads`, at most the core's `MAX_THREADS`, or the default if it is None.

    Raises
    ------
    ValueError
        If it is neither None nor a positive integer.
    """
    if n_threads is None:
        return default_threads()
    if not isinstance(n_threads, Integral) or n_threads < 1:
        raise ValueError(f"n_threads must be None or a positive int, got {n_threads!r}")
    return min(int(n_threads), _core.MAX_THREADS)


def show_config() -> dict[str, Any]:
    """Print and return the configuration of the compiled core.

    Returns
    -------
    dict
        ``isa``: the instruction set in use (``MLP_ISA`` in the environment forces one);
        ``available``: the instruction sets of this build that the processor supports;
        ``compiled``: the instruction sets of this build;
        ``threads``: the default number of threads;
        ``float32``, ``float64``: numbers per vector, and rows and columns of a tile;
        ``build``: compiler and flags.
    """
    config = {
        "isa": _core.ISA,
        "available": list(_core.AVAILABLE_ISAS),
        "compiled": list(_core.COMPILED_ISAS),
        "threads": default_threads(),
        **_core.describe(),
        "build": _core.BUILD,
    }
    for key, value in config.items():
        print(f"{key:10} {value}")
    return config
