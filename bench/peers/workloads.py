"""The workloads that are measured, and the target ratios.

Both are plain data. NumPy is imported late, because a worker sets its core affinity before
any library starts threads.
"""

from dataclasses import dataclass

TRAINERS = ("ours", "jax", "torch", "sklearn")
REGULARISED = ("ours", "jax", "torch", "torch-compile")


@dataclass(frozen=True)
class Workload:
    """One row: a network, a batch size, an optimiser and the number of samples.

    ``kind`` is 'train' (a step is one mini-batch: gather, forward, loss, backward,
    update), 'forward' (a step is one call with all ``n`` rows, arrays in and arrays
    out) or 'proba' (the same with an estimator's ``predict_proba``). ``warm_up`` steps
    are made before the timed ones. ``most_steps`` limits the steps of one fit of an
    estimator, which is repeated instead.
    """

    sizes: tuple[int, ...]
    batch: int
    solver: str = "adam"
    rate: float = 1e-3
    alpha: float = 0.0
    n: int = 10_000
    kind: str = "train"
    threads: tuple[int, ...] = (1, 2)
    dtypes: tuple[str, ...] = ("f32", "f64")
    dropout: float = 0.0
    batch_norm: bool = False
    density: float = 1.0
    connected: float = 1.0
    warm_up: int = 0
    most_steps: int | None = None
    peers: tuple[str, ...] = TRAINERS

    def __str__(self):
        sizes = "-".join(map(str, self.sizes))
        if self.kind != "train":
            return f"{self.n:,} x {sizes}"
        extras = [f"B={self.batch}", self.solver]
        extras += [f"L2={self.alpha:g}"] * bool(self.alpha)
        extras += ["batch norm"] * self.batch_norm
        extras += [f"dropout {self.dropout:g}"] * bool(self.dropout)
        extras += [f"CSR {self.density:.0%}"] * (self.density < 1)
        extras += [f"{self.connected:.0%} connected"] * (self.connected < 1)
        extras += [f"after {self.warm_up:,} steps"] * (self.warm_up > 0)
        if self.most_steps:
            extras.append(f"first {self.most_steps:,} steps")
        return ", ".join([sizes, *extras])


@dataclass(frozen=True)
class Job:
    """The task of a worker process: one peer and one row."""

    peer: str
    workload: Workload
    dtype: str
    threads: int
    budget: float

    @property
    def numpy_dtype(self):
        return {"f32": "float32", "f64": "float64"}[self.dtype]


_TINY = (20, 64, 64, 2)
_WIDE = (784, 512, 512, 10)
_CLASSIC = (784, 100, 10)
_GRAPH = (784, 2_000, 2_000, 10)
_FORWARD = ("ours", "jax", "torch", "sklearn", "onnxruntime")

# Row counts are multiples of the batch size, so that all batches have the same size.
WORKLOADS = {
    "tiny": Workload(_TINY, 32, n=9_984),
    # Moments of units that are off become subnormal after some 830 steps.
    "tiny-fresh": Workload(_TINY, 32, n=9_984, most_steps=624, peers=("ours",)),
    "tiny-aged": Workload(_TINY, 32, n=9_984, warm_up=5_000),
    "classic": Workload(_CLASSIC, 200),
    "book": Workload(_WIDE, 1, "sgd", alpha=1e-4, n=2_000),
    "wide": Workload(_WIDE, 128, n=9_984),
    "online": Workload((10, 32, 2), 1, "sgd", rate=1e-2, n=50_000),
    "predict": Workload(_CLASSIC, 10_000, kind="forward", peers=_FORWARD),
    "predict-proba": Workload(
        _CLASSIC, 10_000, kind="proba", peers=("ours", "sklearn")
    ),
    "one-row": Workload(_CLASSIC, 1, n=1, kind="forward", threads=(1,), peers=_FORWARD),
    "one-row-proba": Workload(
        _CLASSIC, 1, n=1, kind="proba", threads=(1,), peers=("ours", "sklearn")
    ),
    "wide-dropout": Workload(_WIDE, 128, n=9_984, dropout=0.5, peers=REGULARISED),
    "wide-bn-dropout": Workload(
        _WIDE, 128, n=9_984, dropout=0.5, batch_norm=True, peers=REGULARISED
    ),
    "edges": Workload(_GRAPH, 200, n=4_000, connected=0.02, peers=("ours",)),
    "edges-dense": Workload(_GRAPH, 200, n=4_000, peers=("ours",)),
    "sparse": Workload((5_000, 100, 10), 200, density=0.01, peers=("ours", "sklearn")),
}


@dataclass(frozen=True)
class Target:
    """``peer``'s time must be at least ``ratio`` times ours, in the same rounds."""

    workload: str
    threads: int
    dtype: str
    peer: str
    ratio: float


def _targets(workload, threads, dtype, **ratios):
    return [
        Target(workload, threads, dtype, peer.replace("_", "-"), ratio)
        for peer, ratio in ratios.items()
    ]


# The target of a pair without an entry is `FLOOR`: no peer may be faster.
FLOOR = 1.0
TARGETS = [
    *_targets("tiny", 1, "f32", jax=2.4, torch=25, sklearn=25),
    *_targets("classic", 1, "f32", jax=1.6, torch=3.5, sklearn=3.8),
    *_targets("classic", 2, "f32", jax=2.1, torch=3.8, sklearn=6.8),
    *_targets("book", 1, "f32", jax=3.9, torch=8, sklearn=42),
    *_targets("book", 2, "f32", jax=3.9, torch=8, sklearn=42),
    *_targets("wide", 1, "f32", jax=1.24, torch=2.8, sklearn=4.0),
    *_targets("wide", 2, "f32", jax=1.56, torch=2.7, sklearn=4.5),
    *_targets("online", 1, "f32", jax=3, torch=280, sklearn=200),
    *_targets("predict", 2, "f32", torch=2.5, sklearn=2.7, onnxruntime=1.12),
    *_targets("one-row", 1, "f32", torch=3.1, onnxruntime=1.5),
    *_targets("one-row-proba", 1, "f32", sklearn=1.7),
    *_targets("tiny", 1, "f64", jax=2.1),
    *_targets("classic", 1, "f64", jax=1.8),
    *_targets("classic", 2, "f64", jax=2.0),
    *_targets("book", 1, "f64", jax=3.9),
    *_targets("book", 2, "f64", jax=3.9),
    *_targets("wide", 1, "f64", jax=1.67),
    *_targets("wide", 2, "f64", jax=1.8),
    *_targets("online", 1, "f64", jax=2.8),
    *_targets("wide-bn-dropout", 2, "f32", torch=3.7, torch_compile=3.7),
    *_targets("sparse", 1, "f32", sklearn=20),
]


@dataclass(frozen=True)
class OwnTarget:
    """Our time in row ``slow`` must be at least ``ratio`` times that in ``fast``.

    Rows are (workload, threads). They are not measured in the same rounds, so repeat the
    measurement after a narrow miss.
    """

    slow: tuple[str, int]
    fast: tuple[str, int]
    ratio: float


OWN_TARGETS = [
    OwnTarget(("wide", 1), ("wide", 2), 1.8),
    OwnTarget(("tiny", 1), ("tiny", 2), 1.0),
    OwnTarget(("online", 1), ("online", 2), 1.0),
    OwnTarget(("tiny-fresh", 1), ("tiny-aged", 1), 1 / 1.1),
    OwnTarget(("tiny-fresh", 2), ("tiny-aged", 2), 1 / 1.1),
    OwnTarget(("wide", 1), ("wide-dropout", 1), 1.6),
    OwnTarget(("wide", 2), ("wide-dropout", 2), 1.6),
    OwnTarget(("edges-dense", 1), ("edges", 1), 8.0),
    OwnTarget(("edges-dense", 2), ("edges", 2), 8.0),
]


def make_data(workload, dtype):
    """Return seeded X (dense without zeros, or CSR) and uniform random labels.

    A step's cost does not depend on the labels, except that on a solved problem units
    become 0 and their rows can be skipped; random labels avoid this.
    """
    import numpy as np

    rng = np.random.default_rng(20240)
    n, d, k = workload.n, workload.sizes[0], workload.sizes[-1]
    y = rng.integers(0, k, size=n)
    y[:k] = np.arange(k)[:n]
    if workload.density == 1:
        return rng.standard_normal((n, d), dtype=dtype), y
    import scipy.sparse as sp

    X = sp.random(n, d, workload.density, "csr", dtype, rng)
    X.data[:] = rng.standard_normal(X.nnz, dtype=dtype)
    return X, y
