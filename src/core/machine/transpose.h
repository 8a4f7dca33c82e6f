/* transpose.h — LANES × LANES blocks transposed in registers. */
#ifndef MLP_MACHINE_TRANSPOSE_H
#define MLP_MACHINE_TRANSPOSE_H

#include "machine/simd.h"

#if defined(__GNUC__) && !defined(__clang__) && MLP_VBYTES > 0
/* log2(LANES) rounds of perfect shuffles: row r is interleaved with row r + LANES/2.  Exchanging
 * half-blocks instead makes the NT product 6 to 90 % slower (AVX2). */
INLINE void transpose(vec r[LANES])
{
    ivec low, high;
    for (size_t i = 0; i < LANES; i++) {
        low[i] = (ireal)(i / 2 + (i % 2) * LANES);
        high[i] = (ireal)(i / 2 + LANES / 2 + (i % 2) * LANES);
    }
    _Pragma("GCC unroll 4") for (size_t step = 1; step < LANES; step *= 2) {
        vec t[LANES];
        _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + LANES / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + LANES / 2], high);
        }
        _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) r[i] = t[i];
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
