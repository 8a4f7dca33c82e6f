"""Types of the compiled core (src/core/binding/_core.pyx)."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

ACTIVATION_CODES: dict[str, tuple[int, bool]]
LOSS_CODES: dict[str, int]
SPAN_KINDS: dict[str, int]
SOLVER_CODES: dict[str, int]
VMATH: tuple[str, ...]
COMPILED_ISAS: tuple[str, ...]
AVAILABLE_ISAS: tuple[str, ...]
ISA: str
MAX_THREADS: int
BUILD: str

def describe(isa: str | None = None) -> dict[str, dict[str, Any]]: ...
def aligned_zeros(size: int, dtype: Any) -> Array: ...
def vmath(name: str, x: Array, isa: str | None = None) -> Array: ...
def gemm(
    kind: str,
    a: Array,
    b: Array,
    out: Array,
    n_threads: int = 1,
    isa: str | None = None,
    repeat: int = 1,
    order: Any = None,
) -> Array: ...
def probe_multiply_add(
    n: int, dtype: Any, isa: str | None = None
) -> tuple[float, float]: ...
def probe_memory(
    buffer: Array, write: bool, passes: int = 1, isa: str | None = None
) -> tuple[float, float]: ...
def dropout_mask(
    seed: int, batch: int, layer: int, n: int, drop: float
) -> NDArray[Any]: ...
def row_stride(n: int, dtype: Any, isa: str | None = None) -> int: ...

class Data:
    dtype: Any
    shape: tuple[int, int]
    sample_weight: Array | None
    sparse: bool
    largest_labels: tuple[int, ...] | None
    @property
    def arrays(self) -> tuple[Array, ...]: ...
    def __init__(
        self,
        X: Any,
        targets: Array | None = None,
        labels: Array | None = None,
        sample_weight: Array | None = None,
        smoothing: float = 0.0,
        autoencode: bool = False,
    ) -> None: ...

class Plan:
    params: Array
    grads: Array
    dtype: Any
    sizes: tuple[int, ...]
    dropout: tuple[float, ...] | None
    moment_1: Array | None
    moment_2: Array | None
    steps: int
    threads: int
    def __init__(
        self,
        params: Array,
        sizes: Sequence[int],
        activations: Sequence[Any],
        spans: Sequence[tuple[str, int, int]],
        groups: Sequence[int] | None = None,
        normed: Sequence[bool] | None = None,
        skip_scales: Sequence[float] | None = None,
        connections: Sequence[Any] | None = None,
        frozen: Sequence[bool] | None = None,
        ties: Sequence[tuple[int, int]] = (),
        offsets: bool = True,
        isa: str | None = None,
    ) -> None: ...
    def set_loss(
        self,
        code: int,
        from_logits: bool,
        parameter: float = 0.0,
        value_scale: float = 1.0,
        group_weight: Any = None,
    ) -> None: ...
    def set_norm(
        self,
        statistics: Sequence[Array | None],
        input_statistics: Array | None = None,
        momentum: float = 0.95,
        epsilon: float = 1e-5,
        diagonal: bool = False,
        frozen: bool = False,
    ) -> None: ...
    def set_dropout(
        self,
        rates: Sequence[float],
        per_sample: bool = False,
        inverted: bool = True,
        decays_all: bool = False,
    ) -> None: ...
    def set_corruption(self, rate: float) -> None: ...
    def set_callbacks(self, loss: Any = None, augment: Any = None) -> None: ...
    def set_penalties(
        self,
        alpha: float = 0.0,
        l2: float = 0.0,
        l1: float = 0.0,
        l2_bias: bool = False,
        l1_proximal: bool = False,
    ) -> None: ...
    def set_solver(
        self,
        code: int,
        *,
        momentum: float = 0.0,
        beta_1: tuple[float, float] = (0.9, 0.9),
        beta_2: tuple[float, float] = (0.999, 0.999),
        epsilon: float = 1e-8,
        decay: float = 0.0,
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        moment_1: Array | None = None,
        moment_2: Array | None = None,
        steps: int = 0,
    ) -> None: ...
    def allocate(self, rows: int, n_threads: int = 1, sparse: bool = False) -> None: ...
    def forward(
        self, data: Data, n_threads: int = 1, depth: int | None = None
    ) -> Array: ...
    def loss_and_gradient(self, data: Data, with_gradient: bool = True) -> float: ...
    def gradient(
        self,
        data: Data,
        order: Array | None = None,
        first: int = 0,
        last: int | None = None,
        *,
        seed: int = 0,
        weight_sum: float | None = None,
    ) -> float: ...
    def step(self, rate: float) -> float: ...
    def epoch(
        self,
        data: Data,
        batch_size: int,
        order: Array | None = None,
        rates: Any = 0.0,
        seed: int = 0,
        gradient_norms: Array | None = None,
    ) -> float: ...

def sensitivity(
    plan: Plan,
    derivative: str,
    data: Data,
    direction: Array | None = None,
    n_threads: int = 1,
) -> Array: ...

PAIR_CODES: dict[str, int]

class PairData:
    samples: Data
    index: Array
    shape: tuple[int, int, int]
    sample_weight: Array | None
    @property
    def arrays(self) -> tuple[Array, ...]: ...
    def __init__(
        self,
        samples: Data,
        index: Array,
        targets: Array | None = None,
        sample_weight: Array | None = None,
    ) -> None: ...

class PairPlan:
    branch: Plan
    head: Plan | None
    steps: int
    def __init__(self, branch: Plan, head: Plan | None, kind: str) -> None: ...
    def allocate(
        self, pairs: int, n_threads: int = 1, sparse: bool = False
    ) -> None: ...
    def loss_and_gradient(
        self, data: PairData, with_gradient: bool = True
    ) -> float: ...
    def epoch(
        self,
        data: PairData,
        batch_size: int,
        order: Array | None = None,
        rates: Any = 0.0,
        gradient_norms: Array | None = None,
    ) -> float: ...
