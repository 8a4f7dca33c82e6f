/* product.h — the description of a matrix product (gemm.h, gemm_narrow.h). */
#ifndef MLP_PRODUCTS_PRODUCT_H
#define MLP_PRODUCTS_PRODUCT_H

#include "mlp_core.h"
#include "machine/region.h"

/* Columns of a panel of C. */
#define NV 2
#define NR (NV * LANES)
/* Terms of a sum before the partial sum is stored in C: 4 KiB of a row of A.  A panel of B of KC
 * rows is 128 KiB, which stays in a 1 MiB L2 beside 128 such rows of A; 784 floats (the
 * commonest input) are one piece. */
#define KC (4096 / sizeof(real))

enum product { NN, NT, TN };

/* The last operations on a finished tile. */
enum epilogue {
    EPI_FORWARD, /* C = f(sum + bias); `aux` receives z if f′ needs it, else is C       */
    EPI_BACKWARD /* C = sum ⊙ f′(aux)                                                   */
};

typedef struct {
    enum epilogue kind;
    int relu;         /* f is relu, which a tile applies in registers                    */
    int in_registers; /* f is relu or the identity: nothing is left to do in memory      */
    const real *bias; /* (N,), forward only, or NULL                                     */
    real *aux;        /* (M×N) with leading dimension ldc: what f′ is computed from      */
    /* applies f or f′ to a tile in memory                                               */
    void (*finish)(const activation_t *f, const region_t *tile);
    const activation_t *f;
} epilogue_t;

typedef struct {
    enum product kind;
    size_t m, n, k;
    const real *a, *b;
    real *c;
    size_t lda, ldb, ldc;
    int accumulate;            /* C += instead of C =                                    */
    const epilogue_t *epi;     /* or NULL                                                */
    const real *const *rows;   /* of NN's or TN's A, or NULL: they lie at a, lda apart   */
} gemm_t;

/* A panel of C, and the terms of its sums that are next. */
typedef struct {
    const real *b;             /* (k_len × cols), ldb apart                              */
    size_t ldb, col, cols, k0, k_len;
    int resume;                /* start from C                                           */
    const epilogue_t *epi;     /* after the last term                                    */
} panel_t;

/* Element (row, 0) of NN's A, or (k, 0) of TN's */
INLINE const real *row_of_a(const gemm_t *g, size_t row)
{
    return g->rows ? g->rows[row] : g->a + row * g->lda;
}

#endif
