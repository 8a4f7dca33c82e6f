/* simd.h — one vector type `vec` of LANES reals, for every instruction set.
 *
 * The kernels are written once, over `real` (float or double) and `vec`.  The build compiles
 * kernels.c once per (instruction set × precision) with
 *     MLP_DOUBLE   0 or 1             the precision
 *     MLP_VBYTES   0, 16, 32 or 64    bytes in a vector; 0 means one lane in plain C
 * so that every function below has one body and no suffix.  Arithmetic is written with the
 * ordinary operators (GCC and Clang vectors have them, and one lane is an ordinary number);
 * a*b+c becomes a fused multiply-add where the target has it.  Only what the operators do not
 * offer (square root, maximum that keeps NaN, partial loads and stores) has a function here.
 *
 * NaN must survive everything: v_max(a, b) and v_min(a, b) return b when either is NaN, the
 * rule of the x86 instructions, so the value that may be NaN is always the second argument.
 */
#ifndef MLP_MACHINE_SIMD_H
#define MLP_MACHINE_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if MLP_DOUBLE
typedef double real;
typedef int64_t ireal;
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define R(f32, f64) ((real)(f64))
#else
typedef float real;
typedef int32_t ireal;
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define R(f32, f64) ((real)(f32))
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#define NOINLINE static __attribute__((noinline, unused))
#define RESTRICT __restrict
#define PREFETCH(address, to_write) __builtin_prefetch(address, to_write)
#else
#define INLINE static inline
#define NOINLINE static
#define RESTRICT
#define PREFETCH(address, to_write) ((void)0)
#endif

#if MLP_VBYTES
#define LANES ((size_t)(MLP_VBYTES / sizeof(real)))
typedef real vec __attribute__((vector_size(MLP_VBYTES)));
typedef ireal ivec __attribute__((vector_size(MLP_VBYTES)));
typedef real vec_unaligned
    __attribute__((vector_size(MLP_VBYTES), aligned(sizeof(real)), may_alias));
#else
#define LANES ((size_t)1)
typedef real vec;
typedef ireal ivec;
#endif

#if MLP_VBYTES >= 32
#include <immintrin.h>
#elif MLP_VBYTES == 16 && defined(__aarch64__)
#include <arm_neon.h>
#endif

/* ---- loads, stores, constants ------------------------------------------------------- */

#if MLP_VBYTES
INLINE vec v_set1(real a) { return a - (vec){0}; }
INLINE ivec i_set1(ireal a) { return a - (ivec){0}; }
INLINE vec v_load(const real *p) { return *(const vec_unaligned *)p; }
INLINE void v_store(real *p, vec a) { *(vec_unaligned *)p = a; }
INLINE ivec v_bits(vec a) { return (ivec)a; }
INLINE vec i_real(ivec a) { return (vec)a; }
#define V_LT(a, b) ((ivec)((a) < (b)))
#define V_LE(a, b) ((ivec)((a) <= (b)))
#define V_EQ(a, b) ((ivec)((a) == (b)))
INLINE real v_lane(vec a, size_t i) { return a[i]; }
#else
INLINE vec v_set1(real a) { return a; }
INLINE ivec i_set1(ireal a) { return a; }
INLINE vec v_load(const real *p) { return *p; }
INLINE void v_store(real *p, vec a) { *p = a; }
INLINE ivec v_bits(vec a) { ivec b; memcpy(&b, &a, sizeof b); return b; }
INLINE vec i_real(ivec a) { vec b; memcpy(&b, &a, sizeof b); return b; }
#define V_LT(a, b) (-(ireal)((a) < (b)))
#define V_LE(a, b) (-(ireal)((a) <= (b)))
#define V_EQ(a, b) (-(ireal)((a) == (b)))
INLINE real v_lane(vec a, size_t i) { (void)i; return a; }
#endif

/* lanes where the mask is set from a, the others from b */
INLINE vec v_select(ivec mask, vec a, vec b)
{
    return i_real((mask & v_bits(a)) | (~mask & v_bits(b)));
}

INLINE vec v_abs(vec a)
{
    return i_real(v_bits(a) & i_set1((ireal)~((uint64_t)1 << (8 * sizeof(real) - 1))));
}

INLINE vec v_copysign(vec magnitude, vec sign)
{
    ivec top = i_set1((ireal)((uint64_t)1 << (8 * sizeof(real) - 1)));
    return i_real((v_bits(magnitude) & ~top) | (v_bits(sign) & top));
}

/* nearest integer, |a| < 2^(MANTISSA_BITS-1); the low bits of a + V_MAGIC hold it too */
#define V_MAGIC R(12582912.0f, 6755399441055744.0)
INLINE vec v_round(vec a)
{
    vec t = a + v_set1(V_MAGIC);
    return t - v_set1(V_MAGIC);
}

/* ---- what the operators do not offer ------------------------------------------------ */

#if MLP_VBYTES == 64
#define M_LANES(n) ((1u << (n)) - 1u)
#if MLP_DOUBLE
INLINE vec v_max(vec a, vec b) { return _mm512_max_pd(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_pd(a, b); }
INLINE vec v_sqrt(vec a) { return _mm512_sqrt_pd(a); }
INLINE vec v_load_n(const real *p, size_t n, real rest)
{
    return _mm512_mask_loadu_pd(v_set1(rest), (__mmask8)M_LANES(n), p);
}
INLINE void v_store_n(real *p, vec a, size_t n)
{
    _mm512_mask_storeu_pd(p, (__mmask8)M_LANES(n), a);
}
/* lanes that are not 0, as bits; the lanes of these bits, moved to the front */
INLINE unsigned v_nonzero(vec a) { return _mm512_cmp_pd_mask(a, v_set1(0), _CMP_NEQ_UQ); }
INLINE vec v_packed(vec a, unsigned bits) { return _mm512_maskz_compress_pd((__mmask8)bits, a); }
#else
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
INLINE vec v_load_n(const real *p, size_t n, real rest)
{
    return _mm512_mask_loadu_ps(v_set1(rest), (__mmask16)M_LANES(n), p);
}
INLINE void v_store_n(real *p, vec a, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)M_LANES(n), a);
}
INLINE unsigned v_nonzero(vec a) { return _mm512_cmp_ps_mask(a, v_set1(0), _CMP_NEQ_UQ); }
INLINE vec v_packed(vec a, unsigned bits) { return _mm512_maskz_compress_ps((__mmask16)bits, a); }
#endif

#elif MLP_VBYTES == 32
INLINE __m256i lane_mask(size_t n)
{
#if MLP_DOUBLE
    static const int64_t ramp[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(ramp + 4 - n));
#else
    static const int32_t ramp[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(ramp + 8 - n));
#endif
}
#if MLP_DOUBLE
INLINE vec v_max(vec a, vec b) { return _mm256_max_pd(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm256_min_pd(a, b); }
INLINE vec v_sqrt(vec a) { return _mm256_sqrt_pd(a); }
INLINE vec v_load_n(const real *p, size_t n, real rest)
{
    __m256i m = lane_mask(n);
    return v_select((ivec)m, _mm256_maskload_pd(p, m), v_set1(rest));
}
INLINE void v_store_n(real *p, vec a, size_t n) { _mm256_maskstore_pd(p, lane_mask(n), a); }
#else
INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
INLINE vec v_load_n(const real *p, size_t n, real rest)
{
    __m256i m = lane_mask(n);
    return v_select((ivec)m, _mm256_maskload_ps(p, m), v_set1(rest));
}
INLINE void v_store_n(real *p, vec a, size_t n) { _mm256_maskstore_ps(p, lane_mask(n), a); }
#endif

#else /* NEON and one lane: selections by bits, partial vectors lane by lane */
INLINE vec v_max(vec a, vec b) { return v_select(V_LT(b, a), a, b); }
INLINE vec v_min(vec a, vec b) { return v_select(V_LT(a, b), a, b); }
INLINE vec v_load_n(const real *p, size_t n, real rest)
{
    vec a = v_set1(rest);
    memcpy(&a, p, n * sizeof(real));
    return a;
}
INLINE void v_store_n(real *p, vec a, size_t n) { memcpy(p, &a, n * sizeof(real)); }
#if MLP_VBYTES && MLP_DOUBLE
INLINE vec v_sqrt(vec a) { return (vec)vsqrtq_f64((float64x2_t)a); }
#elif MLP_VBYTES
INLINE vec v_sqrt(vec a) { return (vec)vsqrtq_f32((float32x4_t)a); }
#elif MLP_DOUBLE
INLINE vec v_sqrt(vec a) { return sqrt(a); }
#else
INLINE vec v_sqrt(vec a) { return sqrtf(a); }
#endif
#endif

INLINE vec v_zero(void) { return v_set1(0); }

/* Sum and maximum of the lanes, always by the same tree: equal input gives equal bits.  The
 * maximum may lose a NaN. */
#if MLP_VBYTES == 64 && MLP_DOUBLE
INLINE real v_sum(vec a) { return _mm512_reduce_add_pd(a); }
INLINE real v_max_lane(vec a) { return _mm512_reduce_max_pd(a); }
#elif MLP_VBYTES == 64
INLINE real v_sum(vec a) { return _mm512_reduce_add_ps(a); }
INLINE real v_max_lane(vec a) { return _mm512_reduce_max_ps(a); }
#elif MLP_VBYTES == 32 && MLP_DOUBLE
INLINE real v_sum(vec a)
{
    __m128d h = _mm256_castpd256_pd128(a) + _mm256_extractf128_pd(a, 1);
    return h[0] + h[1];
}
INLINE real v_max_lane(vec a)
{
    __m128d h = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return h[0] > h[1] ? h[0] : h[1];
}
#elif MLP_VBYTES == 32
INLINE real v_sum(vec a)
{
    __m128 h = _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1);
    h += _mm_movehl_ps(h, h);
    return h[0] + h[1];
}
INLINE real v_max_lane(vec a)
{
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return h[0] > h[1] ? h[0] : h[1];
}
#else
INLINE real v_sum(vec a)
{
    real t[LANES];
    memcpy(t, &a, sizeof a);
    for (size_t w = LANES / 2; w > 0; w /= 2)
        for (size_t i = 0; i < w; i++)
            t[i] += t[i + w];
    return t[0];
}
INLINE real v_max_lane(vec a)
{
    real m = v_lane(a, 0);
    for (size_t i = 1; i < LANES; i++)
        m = v_lane(a, i) > m ? v_lane(a, i) : m;
    return m;
}
#endif

/* Reals of a cache line */
#define LINE (64 / sizeof(real))

INLINE size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
/* A divisor that is a setting, such as Adam's epsilon: flushed to 0 (subnormals.h) it would make
 * 0/0 of the update of a weight without gradient. */
#define SMALLEST_NORMAL R(1.17549435e-38f, 2.2250738585072014e-308)
INLINE real at_least_normal(double x)
{
    return (real)x < SMALLEST_NORMAL ? SMALLEST_NORMAL : (real)x;
}

INLINE size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

#endif
