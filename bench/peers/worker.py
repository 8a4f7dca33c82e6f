"""The process in which one peer runs one row; `compare.py` starts and steers it.

``python -m peers.worker '{"peer": ..., ...}'`` prepares, reports
``{"variant": ..., "version": ...}`` and then answers every line on standard input
with one round, ``{"seconds": ..., "steps": ...}``. Compilation and warm-up are thus
paid once, while the rounds of different peers alternate in time.
"""

import importlib
import importlib.metadata
import json
import os
import sys

from peers import PEERS
from peers.workloads import WORKLOADS, Job


def version(library):
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def main():
    request = json.loads(sys.argv[1])
    # Libraries may print to standard output; the replies keep it for themselves.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(**fields):
        print(json.dumps(fields), file=replies)

    request["workload"] = WORKLOADS[request["workload"]]
    job = Job(**request)
    # Before the libraries are imported: they size their pools by the affinity.
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: job.threads])
    module_name, options = PEERS[job.peer]
    try:
        peer = importlib.import_module(f"peers.{module_name}")
        variant, run = peer.prepare(job, **options)
        reply(variant=variant, version=version(peer.LIBRARY))
        for _ in sys.stdin:
            duration, steps = run()
            reply(seconds=duration, steps=steps)
    except Exception as error:
        message = " ".join(str(error).split())
        reply(error=f"{type(error).__name__}: {message}"[:300])


if __name__ == "__main__":
    main()
