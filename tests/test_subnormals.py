"""Subnormal numbers are 0 within the core, and what they were outside of it."""

import ctypes
import platform
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from twins import either_dtype, on_every_isa, run_of

from mlp import BatchNorm, Network, _core
from mlp.network.siamese import SiameseNetwork

MACHINE = platform.machine().lower()
X86 = MACHINE in ("x86_64", "amd64")
flushes = pytest.mark.skipif(
    not X86 and (MACHINE not in ("aarch64", "arm64") or sys.platform == "win32"),
    reason="the core flushes subnormal numbers on x86-64 and AArch64",
)
exceptions = pytest.mark.parametrize(
    "exception", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit]
)
rng = np.random.default_rng(7)
X = rng.normal(size=(24, 5))
T = rng.normal(size=(24, 2))
SMALLEST = {np.float32: 1e-45, np.float64: 5e-324}


DOUBLE = np.array([1], np.uint64).view(np.float64)
SINGLE = np.full(33, 1, np.uint32).view(np.float32)


def keeps_subnormals():
    """Whether this thread's arithmetic keeps the smallest number of either precision.

    It is made from its bits and compared by them: conversions and comparisons flush too.
    """
    one = float(len(SINGLE) == 33)
    double = struct.pack("d", DOUBLE.item() * one) == DOUBLE.tobytes()
    scalar = (SINGLE[0] + np.float32(0)).tobytes() == SINGLE[:1].tobytes()
    vectors = [(a * 1).tobytes() == a.tobytes() for a in (DOUBLE, SINGLE)]
    return double and scalar and all(vectors)


def magnitudes(array):
    """The bits of ∣a∣; a subnormal number and 0 differ even where comparisons flush."""
    return np.abs(array).view(f"u{array.itemsize}")


class Recorder:
    """A loss and an augmentation that record whether subnormals exist during a call."""

    def __init__(self, exception=None):
        self.seen = []
        self.exception = exception

    def note(self):
        self.seen.append(keeps_subnormals())
        if self.exception is not None:
            raise self.exception

    def loss(self, y_true, y_out):
        self.note()
        error = y_out - y_true
        return (error**2).sum(axis=1) / 2, error

    def augment(self, batch):
        self.note()
        return batch


def network_of(sizes=(5, 7, 2), activation="tanh", dtype=np.float64, **options):
    net = Network(sizes, activation, dtype=dtype, **options)
    net.params[:] = np.random.default_rng(1).normal(size=net.params.size) / 2
    net.refold()
    return net


def plan_of(net, augment=None, *, rows=8, n_threads=1, kernel="adam"):
    plan = net.plan(augment=augment)
    plan.set_solver(_core.SOLVER_CODES[kernel], momentum=0.9, beta_2=(0.9, 0.9))
    plan.allocate(rows, n_threads)
    return plan


def predict(net, rows=X):
    net.forward(rows)


def predict_one_row(net):
    predict(net, X[:1])


def train_epoch(net):
    plan_of(net).epoch(net.data(X, T), 8, rates=0.01)


def train_single_samples(net):
    run_of(net, X, T, rng=np.random.RandomState(0)).epoch()


def take_a_step(net):
    plan = plan_of(net)
    plan.gradient(net.data(X, T), None, 0, 8)
    plan.step(0.01)


def differentiate_parameters(net):
    net.gradients(X, T)


def differentiate_samples(net):
    net.loss_gradients(X, T, "params")


def differentiate_twice(net):
    net.hessian_vector_product(X, T, np.ones(net.params.size))


def train_pairs(net):
    pairs = SiameseNetwork(net, "cosine", (), "tanh")
    data = pairs.data(X, rng.integers(24, size=(9, 2)), rng.choice([-1.0, 1.0], 9))
    plan = pairs.plan()
    plan.allocate(4)
    plan.epoch(data, 4, rates=0.01)


CALLS_OF_THE_LOSS = [
    train_epoch,
    train_single_samples,
    take_a_step,
    differentiate_parameters,
    differentiate_samples,
]
OTHER_CALLS = [predict, predict_one_row, differentiate_twice, train_pairs]


# ---- the caller's arithmetic ------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS_OF_THE_LOSS + OTHER_CALLS)
def test_the_caller_keeps_subnormals_after_every_call(call):
    assert keeps_subnormals()
    call(network_of())
    assert keeps_subnormals()


@pytest.mark.parametrize("call", CALLS_OF_THE_LOSS)
def test_a_callable_loss_keeps_subnormals(call):
    recorder = Recorder()
    call(network_of(loss=recorder.loss))
    assert recorder.seen
    assert all(recorder.seen)
    assert keeps_subnormals()


def test_an_augmentation_keeps_subnormals():
    recorder, net = Recorder(), network_of()
    plan_of(net, recorder.augment, n_threads=2).epoch(net.data(X, T), 8, rates=0.01)
    assert recorder.seen == [True] * 3
    assert keeps_subnormals()


@exceptions
@pytest.mark.parametrize("call", CALLS_OF_THE_LOSS)
def test_the_caller_keeps_subnormals_after_a_loss_that_raises(call, exception):
    recorder = Recorder(exception)
    with pytest.raises(exception):
        call(network_of(loss=recorder.loss))
    assert recorder.seen == [True]
    assert keeps_subnormals()


@exceptions
def test_the_caller_keeps_subnormals_after_an_augmentation_that_raises(exception):
    recorder, net = Recorder(exception), network_of()
    plan = plan_of(net, recorder.augment)
    with pytest.raises(exception):
        plan.epoch(net.data(X, T), 8, rates=0.01)
    assert recorder.seen == [True]
    assert keeps_subnormals()


def test_destructors_of_a_callbacks_values_keep_subnormals():
    seen = []

    class Noted(np.ndarray):
        def __del__(self):
            seen.append(keeps_subnormals())

    net = network_of()
    plan = plan_of(net, lambda batch: batch.view(Noted))
    plan.epoch(net.data(X, T), 8, rates=0.01)
    assert len(seen) >= 3
    assert all(seen)


def test_a_callback_that_predicts_keeps_subnormals_afterwards():
    seen = []

    def loss(y_true, y_out):
        predict(network_of())
        with pytest.raises(ZeroDivisionError):
            train_epoch(network_of(loss=Recorder(ZeroDivisionError).loss))
        seen.append(keeps_subnormals())
        return np.zeros(len(y_out)), y_out - y_true

    train_epoch(network_of(loss=loss))
    assert seen == [True] * 3
    assert keeps_subnormals()


@flushes
def test_the_core_flushes_again_after_a_callback():
    def loss(y_true, y_out):
        return np.zeros(len(y_out)), 0 * y_out

    net = network_of(loss=loss, dtype=np.float32)
    plan = plan_of(net, rows=24, kernel="momentum")
    plan.moment_1[:] = 1e-40
    plan.epoch(net.data(X, T), 24, rates=0.01)
    assert magnitudes(plan.moment_1).max() == 0


def test_each_thread_of_the_caller_keeps_subnormals():
    wide = network_of((5, 64, 64, 2))
    rows = rng.normal(size=(2_000, 5))

    def work(_):
        before = keeps_subnormals()
        wide.forward(rows, n_threads=2)
        train_epoch(network_of(loss=Recorder().loss))
        return before and keeps_subnormals()

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(12)))


MXCSR = 28  # offset in the fenv_t of glibc for x86-64, which has 32 bytes
DEFAULT = 0x1F80  # every exception masked
needs_mxcsr = pytest.mark.skipif(
    sys.platform != "linux" or not X86 or platform.libc_ver()[0] != "glibc",
    reason="reads MXCSR by fegetenv of glibc on x86-64",
)


def environment():
    saved = ctypes.create_string_buffer(32)
    ctypes.CDLL("libm.so.6").fegetenv(saved)
    return saved


def control():
    """MXCSR of this thread, without status flags."""
    return struct.unpack_from("I", environment(), MXCSR)[0] & 0xFFC0


@contextmanager
def control_word(word):
    libm, saved = ctypes.CDLL("libm.so.6"), environment()
    changed = ctypes.create_string_buffer(saved.raw[:32], 32)
    struct.pack_into("I", changed, MXCSR, word)
    libm.fesetenv(changed)
    try:
        yield
    finally:
        libm.fesetenv(saved)


@needs_mxcsr
@pytest.mark.parametrize("bits", [0, 0x8000, 0x0040, 0x8040, 0x6000])
def test_the_whole_control_word_of_the_caller_is_restored(bits):
    seen = []

    def loss(y_true, y_out):
        seen.append(control())
        return np.zeros(len(y_out)), y_out - y_true

    net = network_of(loss=loss)
    with control_word(DEFAULT | bits):
        train_epoch(net)
        after = control()
    assert seen == [DEFAULT | bits] * 3
    assert after == DEFAULT | bits


@needs_mxcsr
def test_the_core_flushes_after_a_callback_that_predicts_in_another_mode():
    inner = network_of()

    def loss(y_true, y_out):
        with control_word(DEFAULT | 0x8040):
            predict(inner)
        return np.zeros(len(y_out)), 0 * y_out

    net = network_of(loss=loss, dtype=np.float32)
    plan = plan_of(net, rows=24, kernel="momentum")
    plan.moment_1[:] = 1e-40
    plan.epoch(net.data(X, T), 24, rates=0.01)
    assert magnitudes(plan.moment_1).max() == 0
    assert keeps_subnormals()


# ---- training ---------------------------------------------------------------------------


@flushes
@on_every_isa
@either_dtype
@pytest.mark.parametrize("kernel", ["adam", "adamw", "momentum", "nesterov"])
def test_moments_of_dead_units_reach_0_and_stay(kernel, dtype, isa):
    # the first unit is off for every sample, after one step in which it was not
    net = network_of((5, 8, 2), "relu", dtype)
    plan = plan_of(net, rows=24, kernel=kernel)
    data = net.data(X, T)
    net.intercepts[0][0] = 100
    plan.epoch(data, 24, rates=1e-4)
    net.intercepts[0][0] = -1e4
    parts = [net.unpack(plan.moment_1)]
    if kernel.startswith("adam"):
        parts.append(net.unpack(plan.moment_2))
    dead = [W[0][:, 0] for W, _ in (p[:2] for p in parts)]
    assert all(magnitudes(m).all() for m in dead)
    # 0.9^t passes the smallest normal number after 830 and 6,720 steps
    steps = {np.float32: 900, np.float64: 7_200}[dtype]
    order = np.resize(np.arange(24), 24 * steps)
    plan.epoch(data, 24, order, rates=1e-4)
    assert all(magnitudes(m).max() == 0 for m in dead)
    plan.epoch(data, 24, order[: 24 * 50], rates=1e-4)
    assert all(magnitudes(m).max() == 0 for m in dead)
    assert magnitudes(parts[0][0][1]).any()


@on_every_isa
@pytest.mark.parametrize("epsilon", [1e-38, 1e-39, 1e-45])
@pytest.mark.parametrize("setting", ["adam", "batch norm", "huber"])
def test_a_setting_that_is_subnormal_does_not_become_0(setting, epsilon, isa):
    options, solver = {}, {}
    if setting == "adam":
        solver = {"solver": "adam", "epsilon": epsilon}
    elif setting == "batch norm":
        options = {"batch_norm": BatchNorm("hidden+input", epsilon=epsilon)}
    else:
        options = {"loss": ("huber", epsilon)}
    net = network_of(dtype=np.float32, **options)
    inputs = X.copy()
    inputs[:, 0] = 0  # without variance, and its weights have no gradient
    targets = net.forward(inputs) if setting == "huber" else T
    run_of(net, inputs, targets, batch_size=8, rng=np.random, **solver).epoch()
    assert np.isfinite(net.params).all()


# ---- subnormal inputs and weights are zeros ----------------------------------------------


def with_subnormals(array, dtype):
    """Return the array with subnormal numbers in a third of its places, and with zeros."""
    generator = np.random.default_rng(5)
    places = generator.random(array.shape) < 1 / 3
    size = SMALLEST[dtype] * 2.0 ** generator.integers(0, 20, array.shape)
    tiny = np.copysign(size, generator.normal(size=array.shape))
    array = np.asarray(array, dtype)
    return np.where(places, tiny, array).astype(dtype), np.where(places, 0, array)


def pair_of_networks(dtype, sizes=(5, 70, 40, 2), activation="relu", **options):
    nets = [network_of(sizes, activation, dtype, **options) for _ in range(2)]
    values = with_subnormals(nets[0].params, dtype)
    for net, params in zip(nets, values, strict=True):
        net.params[:] = params
        net.refold()
    return nets


def flushed(array):
    """The array with zeros for the subnormal numbers that no operation has touched."""
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, 0, array)


ACTIVATIONS = [
    "identity",
    "logistic",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
]


@flushes
@on_every_isa
@either_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_predictions_with_subnormals_are_those_with_zeros(kind, activation, dtype, isa):
    given, zeros = pair_of_networks(dtype, activation=activation)
    inputs = rng.normal(size=(1_001, 5)) * (rng.random((1_001, 1)) < 0.9)
    ours, theirs = map(kind, with_subnormals(inputs, dtype))
    expected = zeros.forward(theirs)
    assert_array_equal(given.forward(ours), expected)
    assert_array_equal(given.forward(ours, n_threads=2), expected)
    assert_array_equal(given.forward(ours[:1]), zeros.forward(theirs[:1]))


@flushes
@on_every_isa
@either_dtype
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_rows", [1, 2, 1_001])
@pytest.mark.parametrize("sparse", [False, True])
def test_predictions_from_subnormals_alone_are_0(sparse, n_rows, n_threads, dtype, isa):
    net = network_of((5, 70, 40, 2), "identity", dtype)
    net.params[net.params.size - 112 :] = 0  # the offsets
    net.refold()
    rows = np.full((n_rows, 5), SMALLEST[dtype] * 2**10, dtype)
    inputs = scipy.sparse.csr_array(rows) if sparse else rows
    assert magnitudes(rows).all()
    assert magnitudes(net.forward(inputs, n_threads=n_threads)).max() == 0


@flushes
@on_every_isa
@either_dtype
def test_derivatives_of_subnormal_weights_are_0(dtype, isa):
    net = network_of((5, 70, 2), "identity", dtype)
    net.coefs[0][:] = SMALLEST[dtype] * 2**10
    net.refold()
    for n_threads in (1, 2):
        assert magnitudes(net.jacobian(X.astype(dtype), n_threads=n_threads)).max() == 0
        for wrt in ("inputs", "params"):
            slopes = net.loss_gradients(X, T, wrt, n_threads=n_threads)
            assert wrt == "params" or magnitudes(slopes).max() == 0
            assert_array_equal(slopes, flushed(slopes))


@flushes
@on_every_isa
@either_dtype
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 300])
def test_training_with_subnormals_is_that_with_zeros(
    batch_size, solver, n_threads, dtype, isa
):
    nets = pair_of_networks(dtype)
    rows = with_subnormals(rng.normal(size=(600, 5)), dtype)
    targets = rng.normal(size=(600, 2))
    for net, inputs in zip(nets, rows, strict=True):
        run = run_of(
            net, inputs, targets, solver=solver, rate=1e-3, batch_size=batch_size,
            n_threads=n_threads, rng=np.random.RandomState(0),
        )  # fmt: skip
        run.epoch()
    given, zeros = nets
    assert_array_equal(flushed(given.params), flushed(zeros.params))


@flushes
@on_every_isa
@either_dtype
def test_derivatives_with_subnormals_are_those_with_zeros(dtype, isa):
    given, zeros = pair_of_networks(dtype, activation="tanh")
    rows = with_subnormals(rng.normal(size=(300, 5)), dtype)
    targets = rng.normal(size=(300, 2)).astype(dtype)
    for n_threads in (1, 2):
        for name in ("jacobian", "loss_gradients", "hessian_diagonal"):
            arguments = () if name == "jacobian" else (targets,)
            found, expected = (
                getattr(net, name)(inputs, *arguments, n_threads=n_threads)
                for net, inputs in zip((given, zeros), rows, strict=True)
            )
            assert_array_equal(flushed(found), flushed(expected))


@flushes
@on_every_isa
@either_dtype
def test_two_threads_give_the_bits_of_one_from_subnormals(dtype, isa):
    rows, _ = with_subnormals(rng.normal(size=(600, 5)), dtype)
    targets = rng.normal(size=(600, 2))
    trained, predicted = [], []
    for n_threads in (1, 2):
        net, _ = pair_of_networks(dtype, sizes=(5, 90, 90, 2))
        plan = plan_of(net, rows=300, n_threads=n_threads)
        assert plan.threads == n_threads
        plan.moment_1[:], _ = with_subnormals(np.zeros(net.params.size), dtype)
        for _ in range(3):
            plan.epoch(net.data(rows, targets), 300, rates=1e-3)
        net.refold()
        trained.append((net.params.tobytes(), plan.moment_1.tobytes()))
        predicted.append(net.forward(rows, n_threads).tobytes())
    assert trained[0] == trained[1]
    assert predicted[0] == predicted[1]
