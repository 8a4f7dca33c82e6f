/* vmath.h — elementary functions on vectors, both precisions, every instruction set.
 *
 * No branches: the range is reduced, a polynomial evaluated, special values selected.  The
 * coefficients are Chebyshev interpolants computed in 60 digits; the last comment of each
 * says the error of the polynomial alone, relative to the function's own size.
 *
 * Largest errors in units of the last place of the true value, over the whole range and with
 * fused multiply-add (tests/test_vmath.py checks every function's bound; without
 * fused multiply-add, the one-lane variant, add one):
 *
 *              float32   float64
 *   exp           1         1       0 below the smallest subnormal, +Inf above the largest
 *   expm1         2         2       valid to the overflow of exp's last binade
 *   log           1         1       −Inf at 0, NaN below
 *   log1p         2         2
 *   tanh          2         3
 *   logistic      2         2
 *   softplus      2         2
 *   erf           2         2
 *   erfc          –         –       relative error grows as x²·ulp; used by gelu only
 *
 * NaN gives NaN, ±Inf the limit (but expm1 overflows to NaN, and is not asked to).
 */
#ifndef MLP_MACHINE_VMATH_H
#define MLP_MACHINE_VMATH_H

#include "machine/simd.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Σ c_i x^i, Horner */
#define POLYNOMIAL(c, x) polynomial(c, COUNT(c), x)
INLINE vec polynomial(const real *c, size_t n, vec x)
{
    vec p = v_set1(c[n - 1]);
#if defined(__GNUC__)
#pragma GCC unroll 24
#endif
    for (size_t i = n - 1; i-- > 0;)
        p = p * x + v_set1(c[i]);
    return p;
}

/* x = n ln2 + r, |r| ≤ ln2/2; returns e^r − 1 and leaves n */
INLINE vec reduced_expm1(vec x, vec *n)
{
#if MLP_DOUBLE
    static const real c[] = {0.5, 0.16666666666666670991, 0.041666666666666669755,
        0.0083333333333261351258, 0.0013888888888883748305, 0.00019841269874820625271,
        0.000024801587325547741216, 2.755725540020642443e-6, 2.7557273643110295328e-7,
        2.5105217004720745164e-8, 2.0914686968086877233e-9}; /* 1.4e-18 */
#else
    static const real c[] = {0.5000000013f, 0.1666666668f, 0.04166646493f, 0.008333310925f,
        0.001393365f, 0.0001989099082f}; /* 1.4e-9 */
#endif
    *n = v_round(x * v_set1(R(1.44269504f, 1.4426950408889634)));
    vec r = x - *n * v_set1(R(0.693359375f, 0.6931471803691238));
    r = r - *n * v_set1(R(-2.12194440e-4f, 1.9082149292705877e-10));
    return r + r * r * POLYNOMIAL(c, r);
}

/* 2^n for an integral n within the normal exponents */
INLINE vec power_of_two(vec n)
{
    ivec i = v_bits(n + v_set1(V_MAGIC)) - v_bits(v_set1(V_MAGIC));
    return i_real((i + i_set1(EXPONENT_BIAS)) << MANTISSA_BITS);
}

INLINE vec v_exp(vec x)
{
    /* beyond these the result is 0 or Inf for every x; NaN is kept */
    x = v_min(v_set1(R(89.0f, 710.0)), v_max(v_set1(R(-104.0f, -746.0)), x));
    vec n, e = reduced_expm1(x, &n);
    /* 2^n in two factors: the result may be subnormal or overflow, the factors not */
    vec half = v_round(n * v_set1((real)0.5));
    vec first = power_of_two(half);
    return (first + first * e) * power_of_two(n - half);
}

/* for x up to 88 (float32) or 709 (float64) */
INLINE vec v_expm1(vec x)
{
    x = v_max(v_set1(R(-40.0f, -60.0)), x);
    vec n, e = reduced_expm1(x, &n);
    vec s = power_of_two(n);
    return s * e + (s - v_set1(1));
}

/* log of 2^k(1+f), √½ ≤ 1+f < √2, from s = f/(2+f): log(1+f) = f − (f²/2 − s(f²/2 + R(s²))) */
INLINE vec v_log(vec x)
{
#if MLP_DOUBLE
    static const real c[] = {0.66666666666666666463, 0.40000000000000883236,
        0.28571428570799785031, 0.22222222392581045097, 0.18181795547521136235,
        0.15386244737621666606, 0.13268638369266823879, 0.1308803485092755383}; /* 2.1e-18 */
#else
    static const real c[] = {0.6666666655f, 0.4000012221f, 0.2855077863f,
        0.2333161447f}; /* 1.2e-9 */
#endif
    const vec smallest = v_set1(SMALLEST_NORMAL);
    const ivec subnormal = V_LT(x, smallest);
    const vec scaled =
        v_select(subnormal, x * v_set1(R(16777216.0f, 18014398509481984.0)), x);
    const ivec sqrt_half = v_bits(v_set1(R(0.70710678f, 0.7071067811865476)));
    const ivec bits = v_bits(scaled) - sqrt_half;
    /* the exponent, as an integral real, through the low bits of V_MAGIC */
    const ivec k = bits >> MANTISSA_BITS;
    vec n = i_real(k + v_bits(v_set1(V_MAGIC))) - v_set1(V_MAGIC);
    n = n - i_real(subnormal & v_bits(v_set1(R(24.0f, 54.0))));
    const ivec fraction = i_set1(((ireal)1 << MANTISSA_BITS) - 1);
    const vec f = i_real((bits & fraction) + sqrt_half) - v_set1(1);
    const vec s = f / (f + v_set1(2));
    const vec z = s * s, h = v_set1((real)0.5) * f * f;
    const vec rest =
        s * (h + z * POLYNOMIAL(c, z)) + n * v_set1(R(-2.12194440e-4f, 1.9082149292705877e-10));
    vec y = n * v_set1(R(0.693359375f, 0.6931471803691238)) - ((h - rest) - f);
    const vec inf = v_set1((real)INFINITY);
    y = v_select(V_EQ(x, inf), inf, y);
    y = v_select(V_EQ(x, v_zero()), -inf, y);
    /* negative or NaN */
    return v_select(V_LE(v_zero(), x), y, v_set1((real)NAN));
}

INLINE vec v_log1p(vec x)
{
    const vec one = v_set1(1), inf = v_set1((real)INFINITY);
    const vec u = one + x;
    /* what rounding 1 + x lost, put back to first order */
    const vec lost = v_select(V_LT(v_abs(x), one), x - (u - one), one - (u - x));
    vec y = v_log(u) + lost / u;
    y = v_select(V_EQ(u, inf), inf, y);
    return v_select(V_EQ(u, v_zero()), -inf, y);
}

INLINE vec v_tanh(vec x)
{
    /* beyond 10 (20) the quotient is 1 to the last bit */
    const vec a = v_abs(x);
    const vec e = v_expm1(v_set1(2) * v_min(v_set1(R(10.0f, 20.0)), a));
    vec y = e / (e + v_set1(2));
#if !MLP_DOUBLE
    /* near 0 the quotient is off by 2.4 ulp; tanh(x)/x − 1 = x² times this, to 3e-8 */
    static const real c[] = {-0.3333333033f, 0.1333291537f, -0.05387394885f, 0.02111095905f,
        -0.00626911972f};
    const vec t = a * a;
    y = v_select(V_LT(a, v_set1(0.6f)), a + a * (t * POLYNOMIAL(c, t)), y);
#endif
    return v_copysign(y, x);
}

INLINE vec v_logistic(vec x)
{
    /* q = e/(1+e) for e ≤ 1; what rounding 1 + e lost is put back by q' = −(1 − q) q */
    const vec one = v_set1(1), e = v_exp(-v_abs(x)), d = one + e, q = e / d;
    const vec p = q - q * (one - q) * (e - (d - one));
    return v_select(V_LT(x, v_zero()), p, one - p);
}

INLINE vec v_softplus(vec x)
{
    return v_max(v_zero(), x) + v_log1p(v_exp(-v_abs(x)));
}

/* erfc for x ≥ 0.98: e^{−x²}/x times a polynomial in (x−3)/(x+3), to where it underflows */
INLINE vec erfc_tail(vec x)
{
#if MLP_DOUBLE
    static const real c[] = {0.53700345354416985032, 0.095306226959227872619,
        -0.14658304803289069729, 0.13988054760179386016, -0.095469750306651922652,
        0.046350263330141757862, -0.014019825625221280847, 0.00091082271420886170678,
        0.0012428761368674440392, -0.0004125440854334988804, -0.000084607901432835908889,
        0.000068981955621677880386, 6.4613858889604493107e-6, -0.000011118249898185892338,
        -9.8003851501912306775e-7, 1.8999218716071354361e-6, 2.6293666267465839357e-7,
        -3.3652232765577819823e-7, -4.8691433285249121783e-8,
        4.6532917476771757176e-8}; /* 7.9e-18 */
#else
    static const real c[] = {0.5370034533f, 0.09530622526f, -0.1465830093f, 0.1398806204f,
        -0.09547091523f, 0.04634965909f, -0.01400748018f, 0.0009092980791f, 0.001188936688f,
        -0.0003844143929f}; /* 3.3e-10 */
#endif
    const vec three = v_set1(3);
    return v_exp(-x * x) / x * POLYNOMIAL(c, (x - three) / (x + three));
}

/* erf(x)/x − 1 as a polynomial in x², for |x| ≤ 1 */
INLINE vec erf_centre(vec x)
{
#if MLP_DOUBLE
    static const real c[] = {0.1283791670955125738, -0.37612638903183748056,
        0.11283791670954878666, -0.026866170645076793248, 0.0052239776248180144673,
        -0.00085483269808337899052, 0.00012055331111642710923, -0.000014925595266831181565,
        1.6461000484121368033e-6, -1.6350312701054695011e-7, 1.4659775274047435814e-8,
        -1.137284885679167367e-9, 5.9571761477489114044e-11}; /* 1.3e-19 */
#else
    static const real c[] = {0.1283791671f, -0.3761263847f, 0.112837825f, -0.02686543073f,
        0.005221031808f, -0.0008484080406f, 0.0001126595903f, -9.667044571e-6f}; /* 3.4e-11 */
#endif
    return x + x * POLYNOMIAL(c, x * x);
}

INLINE vec v_erf(vec x)
{
    const vec a = v_abs(x);
    const vec tail = v_set1(1) - erfc_tail(v_min(v_set1(R(5.0f, 7.0)), a));
    const vec y = v_select(V_LT(a, v_set1(1)), erf_centre(a), tail);
    return v_copysign(y, x);
}

INLINE vec v_erfc(vec x)
{
    const vec a = v_abs(x);
    const vec tail = erfc_tail(v_min(v_set1(R(10.5f, 28.0)), v_max(v_set1(1), a)));
    const vec signed_tail = v_select(V_LT(x, v_zero()), v_set1(2) - tail, tail);
    const vec centre = v_set1(1) - erf_centre(x);
    return v_select(V_LT(a, v_set1(1)), centre, signed_tail);
}

/* the density of the standard normal and its integral, of gelu */
INLINE vec v_normal_density(vec x)
{
    return v_set1(R(0.39894228f, 0.3989422804014327)) * v_exp(v_set1((real)-0.5) * x * x);
}

INLINE vec v_normal_cdf(vec x)
{
    return v_set1((real)0.5) * v_erfc(x * v_set1(R(-0.70710678f, -0.7071067811865476)));
}

#endif
