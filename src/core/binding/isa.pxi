# Names of the kernel tables' entries, and the choice of instruction set.

SPAN_KINDS = {
    "centres": CENTRES,
    "weights": WEIGHTS,
    "widths": WIDTHS,
    "biases": BIASES,
    "scales": SCALES,
}
PAIR_CODES = {
    "cosine": PAIR_COSINE,
    "distance": PAIR_DISTANCE,
    "relation": PAIR_RELATION,
}
VMATH = ("exp", "expm1", "log", "log1p", "tanh", "logistic", "softplus", "erf", "erfc")


cdef dict codes_of(const char *const *names):
    cdef int i = 0
    table = {}
    while names[i] != NULL:
        table[names[i].decode().lower()] = i
        i += 1
    return table


#: name -> (code, whether the derivative is computed from z)
ACTIVATION_CODES = {
    name: (code, bool(mlp_activation_keeps_z[code]))
    for name, code in codes_of(mlp_activation_names).items()
}
#: name -> code
LOSS_CODES = codes_of(mlp_loss_names)
SOLVER_CODES = codes_of(mlp_solver_names)


def _compiled():
    cdef int i = 0
    names = []
    while mlp_isa_names[i] != NULL:
        names.append(mlp_isa_names[i].decode())
        i += 1
    return names


#: instruction sets compiled into this build, best first
COMPILED_ISAS = tuple(_compiled())
#: those that this processor can run
AVAILABLE_ISAS = tuple(n for n in COMPILED_ISAS if mlp_isa_runs(n.encode()))


def _choose_isa():
    wanted = os.environ.get("MLP_ISA")
    if not wanted:
        return AVAILABLE_ISAS[0]
    if wanted not in AVAILABLE_ISAS:
        raise ImportError(
            f"MLP_ISA={wanted!r} is not available: this build and processor offer "
            f"{', '.join(AVAILABLE_ISAS)}"
        )
    return wanted


#: the instruction set in use
ISA = _choose_isa()


#: how this build was made
BUILD = mlp_build().decode()


cdef const kernels_t *kernels_for(int is_double, isa=None) except NULL:
    cdef const kernels_t *k = mlp_kernels((isa or ISA).encode(), is_double)
    if k == NULL:
        raise ValueError(f"no kernels for instruction set {isa!r}")
    return k


def describe(isa=None):
    """Lanes and tile shape of an instruction set, per dtype."""
    cdef const kernels_t *k
    out = {}
    for is_double, name in ((0, "float32"), (1, "float64")):
        k = kernels_for(is_double, isa)
        out[name] = {"lanes": k.lanes, "tile": (k.tile_rows, k.tile_cols)}
    return out
