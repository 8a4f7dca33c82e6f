/* gemm.h — the three matrix products of a layer, tile by tile.
 *
 *   NN  forward   C (M×N) = A (M×K) · B (K×N)      z = y W            [S 65.31]
 *   NT  backward  C (M×N) = A (M×K) · B (N×K)ᵀ     W δ                [S 65.80]
 *   TN  gradient  C (M×N) = A (K×M)ᵀ · B (K×N)     ∂W = Σ y δᵀ        [S 65.81]
 *
 * All matrices are row-major with a leading dimension in elements.  C is cut into panels of
 * NR = NV·LANES columns, a panel into tiles of at most MR rows.  A tile is held in registers
 * while the whole sum over k runs, k ascending, one accumulator an element: an element's bits
 * depend on neither the tile it lies in nor the thread that computes it.  The sum is cut only
 * every KC terms, where the partial tile rests in C: all panels take their terms of one cut
 * before the next begins, so that A's part of it stays in the second-level cache (float64,
 * NN 128×784×512: panel by panel 85 % of the peak, so 89).
 *
 * Layouts.  Rows of A (NN, NT) and columns of A (TN) are read as they lie and broadcast, one
 * element a row of the tile; workspace rows have a leading dimension that is no multiple of
 * 2 KiB (row_stride), or they would fall into two sets of the cache.  B is packed, a panel at
 * a time, into `pack` (KC × NR, owned by the thread), zero-padded to full vectors, because W
 * is stored without padding; for NT the packing transposes LANES×LANES blocks in registers.
 * For TN B is δ, a workspace matrix whose rows are padded already: it is read in place.
 * In the first layer A may be the samples themselves, wherever the shuffled order finds them:
 * `rows` then holds their addresses, and the tiles ask early for what follows no pattern that
 * the hardware would see.
 *
 * Tile shape.  MR×NV accumulators + NV vectors of B + 1 broadcast must fit the registers:
 * 12×2 of 32 (AVX-512, NEON), 6×2 of 16 (AVX2), 4×2 for one lane.  A tile needs at least
 * latency×ports = 8 independent sums (4 cycles × 2 ports on Zen 5).  Rows are dealt so that
 * tiles differ by at most one row: 32 rows are 11+11+10, not 12+12+8.
 */
#ifndef MLP_PRODUCTS_GEMM_H
#define MLP_PRODUCTS_GEMM_H

#include "network/activation.h"
#include "products/gemm_narrow.h"

#if MLP_VBYTES == 64 || MLP_VBYTES == 16
#define MR 12
#elif MLP_VBYTES == 32
#define MR 6
#else
#define MR 4
#endif

/* Up to so many tiles of rows, or bytes of W, it is read as it lies instead of packed. */
#define FEW_TILES 4
#define LITTLE_OF_W 524288
/* TN: rows of C that meet all panels before the next ones do.  Their columns of A are then read
 * from memory once instead of once a panel, and a thread reads its own alone. */
#define TOGETHER (8 * MR)

/* What a finished tile goes through on its way to C. */
enum epilogue {
    EPI_FORWARD, /* C = f(sum + bias); `aux` receives z if f′ wants it, else is C        */
    EPI_BACKWARD /* C = sum ⊙ f′(aux)                                                   */
};

typedef struct {
    enum epilogue kind;
    const struct activation *f;
    const real *bias; /* (N,), forward only, or NULL                                    */
    real *aux;        /* (M×N) with leading dimension ldc: what f′ is computed from      */
} epilogue_t;

/* ---- the tile: m rows × nv vectors, the sum over k in registers ---------------------- */

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

#define LOOP_M _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++)
#define LOOP_V _Pragma("GCC unroll 16") for (size_t v = 0; v < nv; v++)

/* Rows of A that lie anywhere follow no pattern that the hardware would see: so many terms
 * ahead their part of a TN tile is asked for (8; 40: 3 % slower in float64). */
#define TERMS_AHEAD 8

/* A pointer that the compiler doesn't see through: it would compute the addresses of all rows
 * of C before the sums and keep them on the stack (20-64-64-2: 6.5 µs a step, so 6.2). */
#if defined(__GNUC__)
#define OPAQUE(at) __asm__("" : "+r"(at))
#else
#define OPAQUE(at) ((void)0)
#endif
#define NEXT_ROW(at, ld) do { at += ld; OPAQUE(at); } while (0)

/* acc += terms [k, end), of A read in one of four ways */
#define TERMS(end, element)                                                                  \
    for (const size_t stop = end; k < stop; k++, b += ldb) {                                 \
        vec bv[NV];                                                                          \
        LOOP_V bv[v] = v_load(b + v * LANES);                                                \
        LOOP_M {                                                                             \
            const vec av = v_set1(element);                                                  \
            LOOP_V acc[i][v] += av * bv[v];                                                  \
        }                                                                                    \
    }

/* Rows [row0, row0 + m) of a panel; its last vector is stored by mask.  `ahead`, where rows of
 * NN's A lie anywhere: those of the next tile, asked for meanwhile.  Constant m, nv, kind and
 * `scattered` are folded in by inlining. */
INLINE void tile(const size_t m, const size_t nv, const enum product kind, const int scattered,
                 const gemm_t *g, const panel_t *p, size_t row0, const real *const *ahead)
{
    vec acc[MR][NV];
    const size_t ldc = g->ldc, lda = g->lda, ldb = p->ldb, k_len = p->k_len;
    const size_t last = p->cols - (nv - 1) * LANES;
    const epilogue_t *epi = p->epi;
    const real *b = p->b;
    real *c = g->c + row0 * ldc + p->col;
    const int relu = epi && !epi->f->n_kinds && epi->f->code == ACT_RELU;
    size_t k = 0;

    if (p->resume) {
        real *at = c;
        LOOP_M {
            LOOP_V acc[i][v] = v + 1 < nv ? v_load(at + v * LANES)
                                          : v_load_n(at + v * LANES, last, 0);
            NEXT_ROW(at, ldc);
        }
    } else {
        LOOP_M LOOP_V acc[i][v] = v_zero();
    }

    if (kind == TN && scattered) {
        const real *const *rows = g->rows + p->k0;
        while (k < k_len) {
            const real *a = rows[k] + row0;
            PREFETCH(rows[min_size(k + TERMS_AHEAD, k_len - 1)] + row0 + m - 1, 0);
            OPAQUE(a); /* or each row0 + i is kept in a register of its own */
            TERMS(k + 1, a[i])
        }
    } else if (kind == TN) {
        const real *a = g->a + p->k0 * lda + row0;
        TERMS(k_len, a[k * lda + i])
    } else if (scattered) {
        const real *a[MR];
        LOOP_M a[i] = g->rows[row0 + i] + p->k0;
        while (k < k_len) {
            LOOP_M PREFETCH(ahead[i] + p->k0 + k, 0);
            TERMS(min_size(k_len, k + LINE), a[i][k])
        }
    } else {
        const real *a = g->a + row0 * lda + p->k0;
        TERMS(k_len, a[i * lda + k])
    }

    /* relu, the identity and their derivatives never leave the registers; every other f works
     * on the tile where it then lies, in L1 (activation.h). */
    if (epi && epi->kind == EPI_FORWARD) {
        vec bias[NV];
        if (epi->bias) {
            LOOP_V bias[v] =
                v_load_n(epi->bias + p->col + v * LANES, v + 1 < nv ? LANES : last, 0);
            LOOP_M LOOP_V acc[i][v] += bias[v];
        }
        if (relu)
            LOOP_M LOOP_V acc[i][v] = v_max(v_zero(), acc[i][v]);
    } else if (epi && epi->kind == EPI_BACKWARD && relu) {
        const real *s = epi->aux + row0 * ldc + p->col;
        LOOP_M {
            LOOP_V {
                vec y = v_load(s + v * LANES);
                acc[i][v] = i_real(v_bits(acc[i][v]) & V_LT(v_zero(), y));
            }
            NEXT_ROW(s, ldc);
        }
    }

    LOOP_M {
        LOOP_V {
            if (v + 1 < nv)
                v_store(c + v * LANES, acc[i][v]);
            else
                v_store_n(c + v * LANES, acc[i][v], last);
        }
        NEXT_ROW(c, ldc);
    }
}

typedef void tile_fn(const gemm_t *g, const panel_t *p, size_t row0, const real *const *ahead);

#define TILE_OF(name, m, nv, kind, scattered)                                                \
    NOINLINE void name##_##m##_##nv(const gemm_t *g, const panel_t *p, size_t row0,          \
                                    const real *const *ahead)                                \
    {                                                                                        \
        tile(m, nv, kind, scattered, g, p, row0, ahead);                                     \
    }
#define TILE(m, nv)                                                                          \
    TILE_OF(tile_n, m, nv, NN, 0)                                                            \
    TILE_OF(tile_t, m, nv, TN, 0)                                                            \
    TILE_OF(tile_rows_n, m, nv, NN, 1)                                                       \
    TILE_OF(tile_rows_t, m, nv, TN, 1)
#define TILES(m) TILE(m, 1) TILE(m, 2)
TILES(1) TILES(2) TILES(3) TILES(4)
#if MR >= 6
TILES(5) TILES(6)
#endif
#if MR >= 12
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12)
#endif

#define EACH(name, m) {name##_##m##_1, name##_##m##_2}
#if MR == 12
#define ALL(name)                                                                            \
    {EACH(name, 1), EACH(name, 2), EACH(name, 3), EACH(name, 4), EACH(name, 5),              \
     EACH(name, 6), EACH(name, 7), EACH(name, 8), EACH(name, 9), EACH(name, 10),             \
     EACH(name, 11), EACH(name, 12)}
#elif MR == 6
#define ALL(name)                                                                            \
    {EACH(name, 1), EACH(name, 2), EACH(name, 3), EACH(name, 4), EACH(name, 5), EACH(name, 6)}
#else
#define ALL(name) {EACH(name, 1), EACH(name, 2), EACH(name, 3), EACH(name, 4)}
#endif

/* [scattered][trans][rows][vectors] */
static tile_fn *const tiles[2][2][MR][NV] = {{ALL(tile_n), ALL(tile_t)},
                                             {ALL(tile_rows_n), ALL(tile_rows_t)}};

/* ---- packing ------------------------------------------------------------------------- */

/* pack (k_len×NR) ← b (k_len×cols), padded with zeros */
static void pack_panel(real *RESTRICT pack, const real *RESTRICT b, size_t ldb, size_t k_len,
                       size_t cols)
{
    if (cols == NR) {
        for (size_t k = 0; k < k_len; k++, pack += NR, b += ldb)
            for (size_t v = 0; v < NV; v++)
                v_store(pack + v * LANES, v_load(b + v * LANES));
        return;
    }
    size_t full = cols / LANES * LANES;
    for (size_t k = 0; k < k_len; k++, pack += NR, b += ldb) {
        for (size_t j = 0; j < full; j += LANES)
            v_store(pack + j, v_load(b + j));
        if (full < cols)
            v_store(pack + full, v_load_n(b + full, cols - full, 0));
    }
}

#if MLP_VBYTES && defined(__GNUC__) && !defined(__clang__)
#define V_SHUFFLE(a, b, mask) __builtin_shuffle(a, b, mask)
#endif

/* Transpose a LANES×LANES block: rows at `in`, ldi apart, to rows at `out`, ldo apart. */
INLINE void transpose_block(real *RESTRICT out, size_t ldo, const real *RESTRICT in, size_t ldi)
{
#ifdef V_SHUFFLE
    /* log2(LANES) rounds of perfect shuffles: interleaving row r with row r + LANES/2 */
    vec t[2][LANES];
    ivec lo, hi;
    for (size_t i = 0; i < LANES; i++) {
        lo[i] = (ireal)(i / 2 + (i % 2) * LANES);
        hi[i] = (ireal)(i / 2 + LANES / 2 + (i % 2) * LANES);
    }
    _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) t[0][i] = v_load(in + i * ldi);
    int from = 0;
    _Pragma("GCC unroll 4") for (size_t step = 1; step < LANES; step *= 2, from ^= 1)
        _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES / 2; i++) {
            t[!from][2 * i] = V_SHUFFLE(t[from][i], t[from][i + LANES / 2], lo);
            t[!from][2 * i + 1] = V_SHUFFLE(t[from][i], t[from][i + LANES / 2], hi);
        }
    _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) v_store(out + i * ldo, t[from][i]);
#else
    for (size_t i = 0; i < LANES; i++)
        for (size_t j = 0; j < LANES; j++)
            out[j * ldo + i] = in[i * ldi + j];
#endif
}

/* pack (k_len×NR) ← bᵀ for b (cols×k_len), padded with zeros */
static void pack_panel_transposed(real *RESTRICT pack, const real *RESTRICT b, size_t ldb,
                                  size_t k_len, size_t cols)
{
    size_t j = 0;
    for (; j + LANES <= cols; j += LANES) {
        size_t k = 0;
        for (; k + LANES <= k_len; k += LANES)
            transpose_block(pack + k * NR + j, NR, b + j * ldb + k, ldb);
        for (; k < k_len; k++)
            for (size_t i = 0; i < LANES; i++)
                pack[k * NR + j + i] = b[(j + i) * ldb + k];
    }
    if (j == cols)
        return;
    for (size_t k = 0; k < k_len; k++)
        for (size_t i = 0; i < LANES; i++)
            pack[k * NR + j + i] = j + i < cols ? b[(j + i) * ldb + k] : 0;
}

INLINE int in_registers(const activation_t *f)
{
    return !f->n_kinds && (f->code == ACT_RELU || f->code == ACT_IDENTITY);
}

/* what the tile does in registers, for columns that went apart */
static void add_bias(const epilogue_t *epi, real *c, size_t ldc, size_t m, size_t cols,
                     size_t col)
{
    for (size_t i = 0; i < m && epi->bias; i++)
        for (size_t q = 0; q < cols; q++)
            c[i * ldc + q] += epi->bias[col + q];
}

static void finish_tile(const epilogue_t *epi, size_t row, size_t col, real *c, size_t ldc,
                        size_t m, size_t n)
{
    real *aux = epi->aux + row * ldc + col;
    if (epi->kind == EPI_FORWARD)
        activation_forward(epi->f, c, aux, ldc, m, n, col);
    else
        activation_backward(epi->f, c, aux, ldc, m, n, col);
}

/* ---- a few columns left over (gemm_narrow.h) ----------------------------------------- */

#define FEW_SWITCH(call)                                                                     \
    switch (few) {                                                                           \
    case 1: call(1); break;                                                                  \
    case 2: call(2); break;                                                                  \
    case 3: call(3); break;                                                                  \
    default: call(4); break;                                                                 \
    }

/* Element (row, 0) of NN's A, or (k, 0) of TN's */
INLINE const real *row_of_a(const gemm_t *g, size_t row)
{
    return g->rows ? g->rows[row] : g->a + row * g->lda;
}

/* Rows [i, i + m) of `few` columns of NN's C */
INLINE void few_of_rows(const size_t m, const size_t few, const gemm_t *g, const panel_t *p,
                        const real *bt, size_t i, size_t col)
{
    const real *a[FEW_ROWS_NN];
    for (size_t r = 0; r < m; r++)
        a[r] = row_of_a(g, i + r) + p->k0;
    few_columns_nn(m, few, p->k_len, a, bt, KC, g->c + i * g->ldc + col, g->ldc, p->resume);
}

/* Rows [from, to) of a panel of a few columns. */
static void few_columns(const gemm_t *g, const panel_t *p, real *pack, size_t from, size_t to)
{
    for (size_t first = 0; first < p->cols; first += FEW) {
        const size_t few = min_size(FEW, p->cols - first), col = p->col + first;
        size_t i = from;
        if (g->kind == NN) {
            for (size_t k = 0; k < p->k_len; k++)
                for (size_t q = 0; q < few; q++)
                    pack[q * KC + k] = g->b[(p->k0 + k) * g->ldb + col + q];
#define NN_ROWS(q)                                                                           \
    for (; i + FEW_ROWS_NN <= to; i += FEW_ROWS_NN)                                          \
        few_of_rows(FEW_ROWS_NN, q, g, p, pack, i, col);                                     \
    for (; i < to; i++)                                                                      \
        few_of_rows(1, q, g, p, pack, i, col)
            FEW_SWITCH(NN_ROWS)
        } else {
            const real *const *rows = g->rows ? g->rows + p->k0 : NULL;
            const real *a = rows ? NULL : g->a + p->k0 * g->lda;
            const real *b = g->b + p->k0 * g->ldb + col;
#define TN_VECS(nv, q)                                                                       \
    few_columns_tn(nv, q, p->k_len, a, g->lda, rows, i, b, g->ldb,                           \
                   g->c + i * g->ldc + col, g->ldc, min_size(nv * LANES, to - i), p->resume); \
    i += nv * LANES
#define TN_ROWS(q)                                                                           \
    while (i + FEW_VECS_TN * LANES <= to) { TN_VECS(FEW_VECS_TN, q); }                       \
    if (i + 4 * LANES <= to) { TN_VECS(4, q); }                                              \
    if (i + 2 * LANES <= to) { TN_VECS(2, q); }                                              \
    while (i < to) { TN_VECS(1, q); }
            FEW_SWITCH(TN_ROWS)
        }
    }
}

/* ---- the driver: a share of C's tiles ------------------------------------------------ */

/* Rows of C from `first` on, dealt to tiles */
typedef struct {
    size_t first, tiles, rows, larger; /* the first `larger` tiles have rows + 1         */
} deal_t;

INLINE size_t tiles_of(size_t rows) { return (rows + MR - 1) / MR; }

INLINE deal_t deal_rows(size_t first, size_t rows)
{
    const size_t n = tiles_of(rows);
    return (deal_t){first, n, rows / n, rows % n};
}

INLINE size_t row_of_tile(const deal_t *deal, size_t t)
{
    return deal->first + t * deal->rows + min_size(t, deal->larger);
}

/* A thread's share of the work, which is counted in lanes × tiles of rows. */
typedef struct {
    size_t begin, end, passed;
} part_t;

/* Which of the next n tiles, `lanes` wide each, are mine: bounds are rounded to tiles. */
INLINE int mine(part_t *part, size_t n, size_t lanes, size_t *from, size_t *to)
{
    const size_t at = part->passed, end = at + n * lanes;
    part->passed = end;
    if (part->end <= at || part->begin >= end)
        return 0;
    *from = part->begin <= at ? 0 : (part->begin - at + lanes - 1) / lanes;
    *to = part->end >= end ? n : (part->end - at + lanes - 1) / lanes;
    return *from < *to;
}

/* All of these rows, before the first tile: later ones ask for the next tile's. */
static void fetch_rows(const gemm_t *g, size_t row, size_t m, size_t k0, size_t k_len)
{
    for (size_t i = row; i < row + m; i++)
        for (size_t k = 0; k < k_len; k += LINE)
            PREFETCH(g->rows[i] + k0 + k, 0);
}

/* Tiles [t0, t1) of a panel, or without tiles where its few columns go `apart`. */
static void panel(const gemm_t *g, panel_t *p, const deal_t *deal, size_t t0, size_t t1,
                  int apart, real *pack)
{
    const size_t nv = (p->cols + LANES - 1) / LANES;
    const int trans = g->kind == TN;
    /* packing costs as much as half a tile of rows (784-100-10, batch 200: 284 µs a step with
     * it, 282 without; two threads 151, 149), but rows of W that are a multiple of 1 or 2 KiB
     * apart meet in few sets (784-256-10, batch 200, float64: 1,490 with it, 1,550 without) */
    const size_t stride = g->ldb * sizeof(real);
    const int direct =
        trans || (g->kind == NN && p->cols == NR &&
                  (deal->tiles <= FEW_TILES ? stride % 2048 != 0
                                            : p->k_len * stride <= LITTLE_OF_W && stride % 1024));
    p->b = direct ? g->b + p->k0 * g->ldb + p->col : pack;
    p->ldb = direct ? g->ldb : NR;
    if (apart)
        few_columns(g, p, pack, row_of_tile(deal, t0), row_of_tile(deal, t1));
    else if (!direct && g->kind == NN)
        pack_panel(pack, g->b + p->k0 * g->ldb + p->col, g->ldb, p->k_len, p->cols);
    else if (!direct)
        pack_panel_transposed(pack, g->b + p->col * g->ldb + p->k0, g->ldb, p->k_len, p->cols);
    for (size_t t = t0; t < t1; t++) {
        const size_t row = row_of_tile(deal, t), m = row_of_tile(deal, t + 1) - row;
        const size_t next = t + 1 < deal->tiles ? min_size(row + m, g->m - m) : 0;
        real *c = g->c + row * g->ldc + p->col;
        if (!apart)
            tiles[g->rows != NULL][trans][m - 1][nv - 1](g, p, row,
                                                         g->rows ? g->rows + next : NULL);
        else if (p->epi)
            add_bias(p->epi, c, g->ldc, m, p->cols, p->col);
        if (p->epi && (apart || !in_registers(p->epi->f)))
            finish_tile(p->epi, row, p->col, c, g->ldc, m, nv * LANES);
    }
}

/* Compute the part of C that falls to thread `tid` of `n_threads`: a run of tiles of nearly
 * equal work.  `pack` holds KC·NR reals and belongs to the thread. */
static void gemm(const gemm_t *g, real *pack, size_t tid, size_t n_threads)
{
    if (g->m == 0 || g->n == 0)
        return;
    const size_t together = g->kind == TN ? TOGETHER : g->m, rest_of_m = g->m % together;
    const size_t n_tiles = g->m / together * tiles_of(together) + tiles_of(rest_of_m);
    const size_t rest = g->n % NR ? g->n % NR : NR;
    const int rest_apart = goes_apart(g->kind, rest, g->k);
    const size_t rest_lanes = rest_apart ? rest : round_up(rest, LANES);
    const size_t work = (g->n - rest + rest_lanes) * n_tiles;
    size_t t0, t1, k0 = 0;
    do {
        panel_t p = {.k0 = k0, .k_len = min_size(KC, g->k - k0)};
        part_t part = {work * tid / n_threads, work * (tid + 1) / n_threads, 0};
        int met = 0;
        p.resume = g->accumulate || k0 > 0;
        p.epi = k0 + p.k_len == g->k ? g->epi : NULL;
        for (size_t row = 0; row < g->m; row += together) {
            const deal_t deal = deal_rows(row, min_size(together, g->m - row));
            for (p.col = 0; p.col < g->n; p.col += NR) {
                const int is_rest = p.col + NR >= g->n;
                p.cols = is_rest ? rest : NR;
                if (!mine(&part, deal.tiles, is_rest ? rest_lanes : NR, &t0, &t1))
                    continue;
                if (g->rows && g->kind == NN && !met++)
                    fetch_rows(g, row_of_tile(&deal, t0),
                               row_of_tile(&deal, t0 + 1) - row_of_tile(&deal, t0), k0, p.k_len);
                panel(g, &p, &deal, t0, t1, is_rest && rest_apart, pack);
            }
        }
        k0 += p.k_len;
    } while (k0 < g->k);
}

#endif
