/* dispatch.c — see dispatch.h.  The build defines MLP_HAVE_… for each variant it compiled. */
#include "dispatch.h"

#include <string.h>

#define DECLARE(isa) extern const kernels_t mlp_##isa##_float32, mlp_##isa##_float64;
DECLARE(scalar)
#ifdef MLP_HAVE_AVX512
DECLARE(avx512)
#endif
#ifdef MLP_HAVE_AVX2
DECLARE(avx2)
#endif
#ifdef MLP_HAVE_NEON
DECLARE(neon)
#endif

const char *const mlp_isa_names[] = {
#ifdef MLP_HAVE_AVX512
    "avx512",
#endif
#ifdef MLP_HAVE_AVX2
    "avx2",
#endif
#ifdef MLP_HAVE_NEON
    "neon",
#endif
    "scalar", NULL};

int mlp_isa_runs(const char *name)
{
#ifdef MLP_HAVE_AVX512
    __builtin_cpu_init();
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
#endif
#ifdef MLP_HAVE_AVX2
    __builtin_cpu_init();
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#ifdef MLP_HAVE_NEON
    if (!strcmp(name, "neon")) /* part of AArch64 */
        return 1;
#endif
    return !strcmp(name, "scalar");
}

const kernels_t *mlp_kernels(const char *name, int is_double)
{
#define CHOOSE(isa)                                                                          \
    if (!strcmp(name, #isa))                                                                 \
        return is_double ? &mlp_##isa##_float64 : &mlp_##isa##_float32;
#ifdef MLP_HAVE_AVX512
    CHOOSE(avx512)
#endif
#ifdef MLP_HAVE_AVX2
    CHOOSE(avx2)
#endif
#ifdef MLP_HAVE_NEON
    CHOOSE(neon)
#endif
    CHOOSE(scalar)
    return NULL;
}

const char *mlp_build(void)
{
#ifdef __VERSION__
    return "compiler " __VERSION__ "; " MLP_FLAGS;
#else
    return MLP_FLAGS;
#endif
}

const char *const mlp_activation_names[] = {
#define X(name, keeps_z) #name,
    ACTIVATION_LIST(X)
#undef X
    NULL};

const int mlp_activation_keeps_z[] = {
#define X(name, keeps_z) keeps_z,
    ACTIVATION_LIST(X)
#undef X
};

const char *const mlp_loss_names[] = {
#define X(name) #name,
    LOSS_LIST(X)
#undef X
    NULL};

/* the codes begin at 1: 0 is SOLVER_NONE */
const char *const mlp_solver_names[] = {"NONE",
#define X(name, n_moments) #name,
    SOLVER_LIST(X)
#undef X
    NULL};

const int mlp_solver_moments[] = {0,
#define X(name, n_moments) n_moments,
    SOLVER_LIST(X)
#undef X
};
