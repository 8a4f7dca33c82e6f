/* transpose.h — LANES × LANES blocks transposed in registers. */
#ifndef MLP_MACHINE_TRANSPOSE_H
#define MLP_MACHINE_TRANSPOSE_H

#include "machine/simd.h"

#if defined(__GNUC__) && !defined(__clang__) && MLP_VBYTES > 0
/* Half-blocks of 8, 4, 2, 1 rows change places. */
INLINE void transpose(vec r[LANES])
{
#pragma GCC unroll 4
    for (size_t h = LANES / 2; h; h /= 2) {
        ivec low, high;
        for (size_t j = 0; j < LANES; j++) {
            low[j] = (ireal)(j & h ? LANES + j - h : j);
            high[j] = (ireal)(j & h ? LANES + j : j + h);
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < LANES; i++)
            if (!(i & h)) {
                const vec a = r[i], b = r[i + h];
                r[i] = __builtin_shuffle(a, b, low);
                r[i + h] = __builtin_shuffle(a, b, high);
            }
    }
}
#else
INLINE void transpose(vec r[LANES])
{
    real *a = (real *)r;
    for (size_t i = 0; i < LANES; i++)
        for (size_t j = 0; j < i; j++) {
            const real t = a[i * LANES + j];
            a[i * LANES + j] = a[j * LANES + i];
            a[j * LANES + i] = t;
        }
}
#endif

/* From rows at `in`, ldi apart, to rows at `out`, ldo apart. */
INLINE void transpose_block(real *RESTRICT out, size_t ldo, const real *RESTRICT in, size_t ldi)
{
    vec block[LANES];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) block[i] = v_load(in + i * ldi);
    transpose(block);
    _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) v_store(out + i * ldo, block[i]);
}

#endif
