/* subnormals.h — the bits of a thread's floating-point control word that flush subnormal numbers.
 *
 * Numbers below 1.2e-38 (float32; 2.2e-308 in float64) are subnormal.  They occur in training:
 * the weights of a unit that is off have the gradient 0, and their moments decay by 0.9 per step
 * until they are subnormal after some 830 steps of Adam in float32, where rounding can stop the
 * decay above 0.  An operation on such a number takes about 150 cycles on Intel processors (on
 * AMD's Zen 5 no more than any other): a step of 20-64-64-2 went from 10 to 34 µs.
 *
 * While the core works, a subnormal operand counts as 0 and a subnormal result becomes 0 (of the
 * same sign): FTZ and DAZ of MXCSR on x86-64, FZ of FPCR on AArch64, nothing elsewhere.  Copies,
 * and operations on bits such as −x and ∣x∣, keep the number; every instruction set gives the same
 * bits for it as for 0.
 *
 * The control word belongs to the thread, and outside the core to the caller, whose arithmetic
 * must not change.  Only team.c therefore uses this file: it calls the kernels by address, across
 * which a compiler cannot move their arithmetic.
 */
#ifndef MLP_MACHINE_SUBNORMALS_H
#define MLP_MACHINE_SUBNORMALS_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define FLUSH_BITS 0x8040u /* FTZ, DAZ */
static inline uint64_t read_control(void) { return _mm_getcsr(); }
static inline void write_control(uint64_t word) { _mm_setcsr((unsigned)word); }
#elif defined(__aarch64__)
#define FLUSH_BITS (UINT64_C(1) << 24) /* FZ */
static inline uint64_t read_control(void)
{
    uint64_t word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}
static inline void write_control(uint64_t word) { __asm__ volatile("msr fpcr, %0" : : "r"(word)); }
#else
#define FLUSH_BITS 0u
static inline uint64_t read_control(void) { return 0; }
static inline void write_control(uint64_t word) { (void)word; }
#endif

/* A write takes longer than a read, and none is needed where the caller flushes as well. */
static inline void flush_subnormals(uint64_t word)
{
    if ((word & FLUSH_BITS) != FLUSH_BITS)
        write_control(word | FLUSH_BITS);
}

/* Back to a word that `flush_subnormals` was given. */
static inline void restore_control(uint64_t word)
{
    if ((word & FLUSH_BITS) != FLUSH_BITS)
        write_control(word);
}

#endif
