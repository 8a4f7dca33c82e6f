"""Measure which share of this machine's limits the kernels and the workloads reach.

``python bench/roofline.py [--rounds N] [--threads N] [--only PART ...] [--json FILE]``

Two limits are measured first, by loops in the compiled core: multiply-adds in registers
(the peak), and bytes read, or read and written, in buffers of several sizes. Every figure
is the best of the rounds. The peak is measured again before each product and workload, so
that a slow phase of the machine affects both. Pin the process to an idle core
(``taskset -c 0``) for figures of one thread.

products
    The three products of a layer for a batch of B rows, B x in x out: NN (forward), NT
    (backward), TN (gradient), with 2 B in out operations each. Operands are those of
    training: rows of activations padded to `row_stride`, weights as in the flat vector.
    A round takes about a millisecond, as long as the measurement of the peak, so that a
    short rise of the clock frequency helps neither alone. Operands are allocated three
    times, because their pages may conflict in the caches. FLOORS are the required shares.
rows
    Rows one by one through W (784 x 512), with one multiply-add per element of W; the limit
    is the bandwidth of reading a buffer of W's size.
functions
    Nanoseconds per element, for 16,384 elements in the second-level cache.
workloads
    The workloads of `compare.py`: the time of an epoch, including its shuffle, per step.

    *Batches*: limit = operations / peak, with 2 B in out operations for each product;
    there are three per layer, and two for the first layer. Update, loss and activations are
    not counted as work.

    *Stored entries* ('sparse'): limit = bytes / bandwidth at the size of the parameters,
    gradient and two moments. Each stored entry reads a row of W forward, and reads and
    writes one of the gradient; the gradient is cleared; the update reads four buffers and
    writes three.

    *Single samples*: limit = bytes / bandwidth, reading and writing a buffer of the size of
    the weights. Each weight is read once and written once per sample. Above the first layer
    only the rows of nonzero units count; their share is measured on the trained network
    over the first samples (the inputs are dense). The second, forward, read of those rows
    is not counted. A large first layer multiplies 24 samples at once
    (src/core/single/delayed.h), so the share can exceed 100 %: a step then takes less time
    than moving its weights once. A network as small as 'online' is limited instead by its
    chain of a few dozen dependent instructions, which no bandwidth describes.
"""

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
from peers.workloads import WORKLOADS, make_data

from mlp import Network, _core
from mlp.training.minibatch import Optimizer, Penalties, StochasticRun
from mlp.training.schedules import Schedule

DTYPES = ("float32", "float64")
PARTS = ("products", "rows", "functions", "workloads")
#: (batch, inputs, outputs) of a layer -> share of the peak that its products must reach
FLOORS = {(256, 512, 512): 0.85, (128, 784, 512): 0.85, (32, 64, 64): 0.70}
#: bytes of the buffers whose bandwidth is measured, by the level they should fit in
LEVELS = {"L1": 1 << 14, "L2": 1 << 19, "L3": 1 << 23, "memory": 1 << 28}
#: range of each function's arguments
RANGES = {"log": (0.01, 100), "log1p": (-0.9, 100), "erfc": (-3, 8)}
ELEMENTS = 1 << 14
LAYOUTS = 3
ROWS_SHAPE = (64, 784, 512)
TRAINED = ("tiny", "classic", "book", "wide", "online", "sparse")


@dataclass
class Share:
    """One line of the report: the rate that was reached and its limit."""

    part: str
    name: str
    dtype: str
    microseconds: float
    rate: float
    unit: str
    limit: float
    floor: float | None = None

    @property
    def share(self):
        """Return the fraction of the limit that was reached."""
        return self.rate / self.limit

    def __str__(self):
        verdict = ""
        if self.floor is not None:
            word = "met" if self.share >= self.floor else "MISSED"
            verdict = f"  floor {self.floor:.0%} {word}"
        return (
            f"  {self.name:32} {self.dtype} {self.microseconds:12,.3f} us "
            f"{self.rate:8,.1f} of {self.limit:7,.1f} {self.unit:7} "
            f"{self.share:5.0%}{verdict}"
        )


def seconds(function):
    """Return the duration of one call."""
    begun = perf_counter()
    function()
    return perf_counter() - begun


class Machine:
    """The highest limits measured so far; rates are in 1e9 per second."""

    def __init__(self):
        self.peaks = dict.fromkeys(DTYPES, 0.0)
        self.bandwidths = {}

    def probe_peak(self, dtype, links=400_000):
        """Measure the multiply-adds of one thread, counted as two operations each."""
        work, duration = _core.probe_multiply_add(links, dtype)
        self.peaks[dtype] = max(self.peaks[dtype], work / duration / 1e9)
        return self.peaks[dtype]

    def bandwidth(self, size, *, write, rounds):
        """Measure the bandwidth in `size` bytes; a byte read and written counts twice."""
        key = (size, write)
        if key not in self.bandwidths:
            buffer = _core.aligned_zeros(size // 4, "float32")
            passes = max(1, (1 << 26) // size)
            trials = (
                _core.probe_memory(buffer, write, passes) for _ in range(rounds + 3)
            )
            self.bandwidths[key] = max(moved / t / 1e9 for moved, t in trials)
        return self.bandwidths[key]


# ---- kernels ------------------------------------------------------------------------


def padded(rows, columns, dtype, rng):
    """Return a matrix as in the workspace, with rows at multiples of `row_stride`."""
    stride = _core.row_stride(columns, dtype)
    flat = _core.aligned_zeros(rows * stride, dtype)
    matrix = flat.reshape(rows, stride)[:, :columns]
    matrix[:] = rng.standard_normal((rows, columns))
    return matrix


def unpadded(rows, columns, dtype, rng):
    """Return a weight matrix as in the flat vector of parameters."""
    flat = _core.aligned_zeros(rows * columns, dtype)
    flat[:] = rng.standard_normal(rows * columns)
    return flat.reshape(rows, columns)


def operands(kind, batch, n_in, n_out, dtype):
    """Return (a, b, out) of a layer's product for `_core.gemm`."""
    rng = np.random.default_rng(0)
    below = padded(batch, n_in, dtype, rng)
    above = padded(batch, n_out, dtype, rng)
    weights = unpadded(n_in, n_out, dtype, rng)
    if kind == "NN":
        return below, weights, above
    if kind == "NT":
        return above, weights, below
    return below, above, weights


def best_duration(function, rounds, before=lambda: None):
    """Return the shortest duration of the rounds; `before` is called before each."""
    function()
    best = float("inf")
    for _ in range(rounds):
        before()
        best = min(best, seconds(function))
    return best


def product_duration(machine, kind, shape, dtype, rounds):
    """Return the seconds of one product in the best of the rounds."""
    a, b, out = operands(kind, *shape, dtype)
    times = max(1, round(6.5e7 / np.prod(shape)))
    call = partial(_core.gemm, kind, a, b, out, repeat=times)
    return best_duration(call, rounds, partial(machine.probe_peak, dtype)) / times


def product_shares(machine, rounds):
    """Yield the shares of the three products at the sizes that have floors."""
    for dtype in DTYPES:
        for shape, floor in FLOORS.items():
            for kind in ("NN", "NT", "TN"):
                best = min(
                    product_duration(machine, kind, shape, dtype, 4 * rounds)
                    for _ in range(LAYOUTS)
                )
                name = f"{kind} " + " x ".join(map(str, shape))
                yield Share(
                    "products", name, dtype, 1e6 * best, 2e-9 * np.prod(shape) / best,
                    "GFLOP/s", machine.peaks[dtype], floor,
                )  # fmt: skip


def row_shares(machine, rounds):
    """Yield the shares of rows one by one, as full CSR rows, which are not packed."""
    from scipy.sparse import csr_array

    n_rows, n_in, n_out = ROWS_SHAPE
    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        network = Network([n_in, n_out], output_activation="identity", dtype=dtype)
        network.params[:] = rng.standard_normal(network.params.size)
        X = csr_array(rng.standard_normal((n_rows, n_in)).astype(dtype))
        call = partial(network.forward, X)
        best = best_duration(call, 5 * rounds)
        size = n_in * n_out * np.dtype(dtype).itemsize
        limit = machine.bandwidth(size, write=False, rounds=rounds)
        yield Share(
            "rows", f"row x W ({n_in} x {n_out})", dtype, 1e6 * best / n_rows,
            n_rows * size / best / 1e9, "GB/s", limit,
        )  # fmt: skip


def function_times(rounds):
    """Yield (name, dtype, nanoseconds per element) of every elementary function."""
    rng = np.random.default_rng(0)
    for name in _core.VMATH:
        low, high = RANGES.get(name, (-8, 8))
        for dtype in DTYPES:
            x = rng.uniform(low, high, ELEMENTS).astype(dtype)
            best = best_duration(partial(_core.vmath, name, x), 20 * rounds)
            yield name, dtype, 1e9 * best / ELEMENTS


# ---- workloads ----------------------------------------------------------------------


def products_of(workload):
    """Return the multiply-adds per row: (in the first layer, in all layers)."""
    each = [a * b for a, b in pairwise(workload.sizes)]
    return each[0], sum(each)


def start_run(workload, dtype, threads):
    """Return a training run over the workload's data, with the estimators' weights."""
    X, y = make_data(workload, dtype)
    network = Network(workload.sizes, "relu", "softmax", loss="log_loss", dtype=dtype)
    rng = np.random.RandomState(0)
    for W in network.coefs:
        W[:] = rng.uniform(-1, 1, W.shape) * np.sqrt(6 / sum(W.shape))
    run = StochasticRun(
        network,
        network.data(X, y),
        Optimizer(workload.solver, Schedule("constant", workload.rate)),
        Penalties(alpha=workload.alpha),
        batch_size=workload.batch,
        samples=None,
        shuffle=True,
        rng=rng,
        n_threads=threads,
    )
    return run, X


def awake_bytes(network, X):
    """Return the bytes of weights that a sample reads; rows of zero units don't count."""
    y = np.asarray(X, dtype=network.dtype)
    total = network.coefs[0].size
    layers = list(zip(network.coefs, network.intercepts, strict=True))
    for (W, b), (above, _) in pairwise(layers):
        y = np.maximum(y @ W + b, 0)
        total += above.size * np.count_nonzero(y) / y.size
    return total * network.dtype.itemsize


def sparse_bytes(network, X, batch):
    """Return the bytes that a step with CSR inputs and Adam moves."""
    entries = X.nnz / X.shape[0] * batch
    rows = 3 * entries * network.layer_sizes[1]
    return (rows + 8 * network.params.size) * network.dtype.itemsize


def training_share(machine, name, dtype, rounds, threads):
    """Return the share of one workload's training step."""
    workload = WORKLOADS[name]
    run, X = start_run(workload, dtype, threads)
    steps = workload.n / workload.batch
    probe = partial(machine.probe_peak, dtype)
    run.epoch()
    step = best_duration(run.epoch, rounds, probe) / steps
    title = f"{name} ({workload})"
    size = run.network.params.nbytes
    if workload.density < 1:
        work, size = sparse_bytes(run.network, X, workload.batch), 4 * size
    elif workload.batch == 1:
        work = 2 * awake_bytes(run.network, X[:256])
    else:
        first, every = products_of(workload)
        work = 2 * workload.batch * (3 * every - first)
    if workload.density == 1 and workload.batch > 1:
        limit, unit = threads * machine.peaks[dtype], "GFLOP/s"
    else:
        limit, unit = machine.bandwidth(size, write=True, rounds=rounds), "GB/s"
    return Share("workloads", title, dtype, 1e6 * step, work / step / 1e9, unit, limit)


def prediction_share(machine, dtype, rounds, threads):
    """Return the share of predicting 10,000 rows."""
    workload = WORKLOADS["predict"]
    X, _ = make_data(workload, dtype)
    network = Network(workload.sizes, "relu", "softmax", loss="log_loss", dtype=dtype)
    network.params[:] = np.random.default_rng(0).normal(0, 0.05, network.params.size)
    probe = partial(machine.probe_peak, dtype)
    best = best_duration(partial(network.forward, X, threads), 3 * rounds, probe)
    work = 2 * workload.n * products_of(workload)[1]
    return Share(
        "workloads", f"predict ({workload})", dtype, 1e6 * best, work / best / 1e9,
        "GFLOP/s", threads * machine.peaks[dtype],
    )  # fmt: skip


def workload_shares(machine, rounds, threads):
    """Yield the shares of every workload in both precisions."""
    for dtype in DTYPES:
        for name in TRAINED:
            yield training_share(machine, name, dtype, rounds, threads)
        yield prediction_share(machine, dtype, rounds, threads)


# ---- report -------------------------------------------------------------------------


def print_limits(machine, rounds):
    """Measure and print the peak and the bandwidths."""
    print(f"{_core.ISA}, one thread; best of {rounds} rounds\n")
    for dtype in DTYPES:
        for _ in range(5 * rounds):
            machine.probe_peak(dtype)
        print(f"  multiply-add, {dtype}  {machine.peaks[dtype]:8,.1f} GFLOP/s")
    for level, size in LEVELS.items():
        read = machine.bandwidth(size, write=False, rounds=rounds)
        both = machine.bandwidth(size, write=True, rounds=rounds)
        where = f"{level} ({size >> 10:,} KiB)"
        print(f"  {where:21} {read:8,.1f} GB/s read {both:8,.1f} GB/s read and written")


def report(machine, options):
    """Run and print the chosen parts; return (shares, function times)."""
    parts = {
        "products": partial(product_shares, machine, options.rounds),
        "rows": partial(row_shares, machine, options.rounds),
        "workloads": partial(workload_shares, machine, options.rounds, options.threads),
    }
    shares, functions = [], []
    for part in options.only:
        print(f"\n{part}", flush=True)
        if part == "functions":
            for name, dtype, nanoseconds in function_times(options.rounds):
                print(f"  {name:32} {dtype} {nanoseconds:12.3f} ns per element")
                functions.append((name, dtype, nanoseconds))
            continue
        for share in parts[part]():
            print(share, flush=True)
            shares.append(share)
    return shares, functions


def parse(arguments):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds per figure (7)")
    parser.add_argument("--threads", type=int, default=1, help="threads per workload (1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    return options


def main(arguments=None):
    """Print everything; exit code 1 if a product is below its floor."""
    options = parse(arguments)
    machine = Machine()
    print_limits(machine, options.rounds)
    shares, functions = report(machine, options)
    judged = [s for s in shares if s.floor is not None]
    missed = [s for s in judged if s.share < s.floor]
    if judged:
        print(f"\n{len(judged) - len(missed)} floors met, {len(missed)} missed")
    if options.json:
        results = {
            "machine": platform.platform(),
            "isa": _core.ISA,
            "threads": options.threads,
            "peak_gflops": machine.peaks,
            "bandwidth_gb": [
                {"bytes": size, "write": write, "gb": rate}
                for (size, write), rate in machine.bandwidths.items()
            ],
            "shares": [asdict(s) | {"share": s.share} for s in shares],
            "functions": [
                {"name": name, "dtype": dtype, "nanoseconds": duration}
                for name, dtype, duration in functions
            ],
        }
        options.json.write_text(json.dumps(results, indent=1))
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
