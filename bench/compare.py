"""Compare training steps and predictions with the peers that are installed.

``python bench/compare.py [--only NAME ...] [--peers NAME ...] [--json FILE]``

Every peer runs in a separate process, pinned to as many cores as it may use threads. All
processes of a row stay alive and run one round in turn, so that changes of the machine's
speed affect all peers alike. `peers/workloads.py` has the workloads and targets; README.md
describes the comparison.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import PEERS
from peers.workloads import FLOOR, OWN_TARGETS, TARGETS, WORKLOADS

HERE = Path(__file__).resolve().parent
# OpenBLAS's threads spin for 0.1 s after their last task; wait until they have stopped.
SETTLE = 0.25


def usable_cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_environment(threads):
    pools = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    environment = dict(os.environ)
    environment.update({f"{pool}_NUM_THREADS": str(threads) for pool in pools})
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if threads == 1:
        environment["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    return environment


class Worker:
    """A peer's process for one row; ``error`` is the reason if it could not be started."""

    def __init__(self, peer, workload, dtype, threads, budget):
        self.peer = peer
        self.rounds = []
        self.error = self.variant = self.version = None
        job = {
            "peer": peer,
            "workload": workload,
            "dtype": dtype,
            "threads": threads,
            "budget": budget,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.worker", json.dumps(job)],
            cwd=HERE,
            env=thread_environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        answer = self._answer()
        self.variant, self.version = answer.get("variant"), answer.get("version")

    def _answer(self):
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": self._exit_code()}
        self.error = answer.get("error")
        return answer

    def _exit_code(self):
        return f"the process ended with exit code {self._process.wait()}"

    def run_round(self):
        if self.error:
            return
        time.sleep(SETTLE)
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.error = self._exit_code()
            return
        answer = self._answer()
        if not self.error:
            self.rounds.append(1e6 * answer["seconds"] / answer["steps"])

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def measure_row(name, dtype, threads, options):
    """Measure the chosen peers of one row in turn; return a dict for JSON."""
    row = {"workload": name, "dtype": dtype, "threads": threads, "peers": {}}
    workers = []
    try:
        for peer in WORKLOADS[name].peers:
            if peer in options.peers:
                workers.append(Worker(peer, name, dtype, threads, options.budget))
        for _ in range(options.rounds):
            for worker in workers:
                worker.run_round()
    finally:
        for worker in workers:
            worker.close()
    for worker in workers:
        if worker.error:
            row["peers"][worker.peer] = {"error": worker.error}
            continue
        row["peers"][worker.peer] = {
            "variant": worker.variant,
            "version": worker.version,
            "rounds_us": worker.rounds,
            "best_us": min(worker.rounds),
            "median_us": statistics.median(worker.rounds),
        }
    add_ratios(row["peers"])
    return row


def add_ratios(peers):
    """Add each peer's time divided by ours: of the best rounds, and the median of all."""
    ours = peers.get("ours", {})
    if "rounds_us" not in ours:
        return
    for peer, result in peers.items():
        if peer == "ours" or "rounds_us" not in result:
            continue
        result["ratio_best"] = result["best_us"] / ours["best_us"]
        pairs = zip(result["rounds_us"], ours["rounds_us"], strict=True)
        result["ratio_median"] = statistics.median(a / b for a, b in pairs)


def number(value):
    return "-" if value is None else f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def print_row(row):
    cores = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
    title = f"{row['workload']} ({WORKLOADS[row['workload']]})"
    print(f"\n{title}, {row['dtype']}, {cores}")
    head = ("best us", "median us", "x best", "x median")
    print(f"  {'':14}" + "".join(f"{column:>12}" for column in head))
    for peer, result in row["peers"].items():
        if "error" in result:
            print(f"  {peer:14}  not available: {result['error'][:100]}")
            continue
        columns = ("best_us", "median_us", "ratio_best", "ratio_median")
        cells = "".join(f"{number(result.get(column)):>12}" for column in columns)
        print(f"  {peer:14}{cells}  {result['variant']}")
    sys.stdout.flush()


def judge(rows):
    """Return (description, target, measured or None) for each target of the rows."""
    found = {(r["workload"], r["threads"], r["dtype"]): r["peers"] for r in rows}
    stated = {(t.workload, t.threads, t.dtype, t.peer): t.ratio for t in TARGETS}
    verdicts = []
    for (workload, threads, dtype), peers in found.items():
        for peer, result in peers.items():
            if peer != "ours" and "error" not in result:
                wanted = stated.get((workload, threads, dtype, peer), FLOOR)
                what = f"{workload}, {dtype}, {threads} thr, {peer} / ours"
                verdicts.append((what, wanted, result.get("ratio_median")))
        for target in OWN_TARGETS:
            slow = found.get((*target.slow, dtype), {}).get("ours", {})
            fast = peers.get("ours", {})
            if (workload, threads) == target.fast and slow:
                ratio = None
                if "median_us" in slow and "median_us" in fast:
                    ratio = slow["median_us"] / fast["median_us"]
                (name, thr), (other, other_thr) = target.slow, target.fast
                what = f"ours, {dtype}: {name} {thr} thr / {other} {other_thr} thr"
                verdicts.append((what, target.ratio, ratio))
    return verdicts


def print_summary(verdicts):
    width = max((len(what) for what, _, _ in verdicts), default=0)
    print(f"\nTargets (median ratio)\n  {'':{width}}{'wanted':>10}{'found':>10}")
    for what, wanted, ratio in verdicts:
        word = "-" if ratio is None else "met" if ratio >= wanted else "MISSED"
        print(f"  {what:{width}}{wanted:>10g}{number(ratio):>10}  {word}")
    met = sum(ratio is not None and ratio >= wanted for _, wanted, ratio in verdicts)
    unknown = sum(ratio is None for _, _, ratio in verdicts)
    missed = len(verdicts) - met - unknown
    print(f"  {met} met, {missed} missed, {unknown} not measured")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=WORKLOADS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--dtype", nargs="+", choices=("f32", "f64"))
    parser.add_argument("--threads", nargs="+", type=int, choices=(1, 2))
    parser.add_argument("--rounds", type=int, help="rounds per peer and row (7)")
    parser.add_argument("--quick", action="store_true", help="run 3 short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 7)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.budget = 0.1 if options.quick else 0.3
    return options


def chosen_rows(options):
    cores = usable_cores()
    for name in options.only or WORKLOADS:
        workload = WORKLOADS[name]
        for dtype in options.dtype or workload.dtypes:
            for threads in options.threads or workload.threads:
                if threads not in workload.threads:
                    continue
                if threads > cores:
                    print(f"{name}: skipped, {threads} threads on {cores} core(s)")
                    continue
                yield name, dtype, threads


def main(arguments=None):
    options = parse(arguments)
    rows = []
    try:
        for name, dtype, threads in chosen_rows(options):
            rows.append(measure_row(name, dtype, threads, options))
            print_row(rows[-1])
    except KeyboardInterrupt:
        print("\ninterrupted; results so far:")
    verdicts = judge(rows)
    print_summary(verdicts)
    if options.json:
        targets = [
            {"what": what, "wanted": wanted, "found": ratio}
            for what, wanted, ratio in verdicts
        ]
        machine = {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "cores": usable_cores(),
            "python": platform.python_version(),
        }
        results = {"machine": machine, "rows": rows, "targets": targets}
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
