/* gemm.h — the three matrix products of a layer, tile by tile.
 *
 *   NN  forward   C (M×N) = A (M×K) · B (K×N)      z = y W            [S 65.31]
 *   NT  backward  C (M×N) = A (M×K) · B (N×K)ᵀ     W δ                [S 65.80]
 *   TN  gradient  C (M×N) = A (K×M)ᵀ · B (K×N)     ∂W = Σ y δᵀ        [S 65.81]
 *
 * All matrices are row-major with a leading dimension in elements.  C is cut into panels of
 * NR = NV·LANES columns, a panel into tiles of at most MR rows.  A tile is held in registers
 * while the whole sum over k runs, k ascending, one accumulator per element: an element's bits
 * depend on neither the tile it lies in nor the thread that computes it.  The sum is divided
 * only every KC terms, where the partial tile is stored in C.  All panels take their terms of
 * one division before the next begins, so that A's part of it stays in the second-level cache
 * (float64, NN 128×784×512: 85 % of peak panel by panel, 89 % in this order).
 *
 * Layouts.  Rows of A (NN, NT) and columns of A (TN) are read in place and broadcast, one
 * element per row of the tile; the leading dimension of workspace rows is never a multiple of
 * 2 KiB (row_stride), or they would fall into two sets of the cache.  B is packed, one panel at
 * a time, into `pack` (KC × NR, owned by the thread), zero-padded to full vectors, because W
 * is stored without padding; for NT the packing transposes LANES×LANES blocks in registers.
 * For TN, B is δ, a workspace matrix whose rows are already padded: it is read in place.
 * In the first layer A may be the samples themselves, at the addresses `rows` that the shuffled
 * order gives; the tiles prefetch them, because they follow no pattern that the hardware could
 * detect.
 *
 * Tile shape.  MR×NV accumulators + NV vectors of B + 1 broadcast must fit the registers:
 * 12×2 of 32 (AVX-512, NEON), 6×2 of 16 (AVX2), 4×2 for one lane.  A tile needs at least
 * latency×ports = 8 independent sums (4 cycles × 2 ports on Zen 5).  Rows are divided so
 * that tiles differ by at most one row: 32 rows are 11+11+10, not 12+12+8.
 */
#ifndef MLP_PRODUCTS_GEMM_H
#define MLP_PRODUCTS_GEMM_H

#include "machine/parallel.h"
#include "machine/transpose.h"
#include "products/gemm_narrow.h"

#if MLP_VBYTES == 64 || MLP_VBYTES == 16
#define MR 12
#elif MLP_VBYTES == 32
#define MR 6
#else
#define MR 4
#endif

/* With at most FEW_TILES row tiles, or a B below SMALL_B bytes, B is read unpacked. */
#define FEW_TILES 4
#define SMALL_B 524288
/* TN: rows of C that go through all panels before the next rows do.  Their columns of A are then
 * read from memory once instead of once per panel, and a thread reads only its own. */
#define ROW_BLOCK (8 * MR)

/* ---- the tile: m rows × nv vectors, the sum over k in registers ---------------------- */

#define LOOP_M _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++)
#define LOOP_V _Pragma("GCC unroll 16") for (size_t v = 0; v < nv; v++)

/* Scattered rows of A follow no pattern that the hardware could detect: their part of a TN tile
 * is prefetched this many terms ahead (with 40, 3 % slower in float64). */
#define TERMS_AHEAD 8

/* Hides a pointer's value from the compiler, which would otherwise compute the addresses of all
 * rows of C before the sums and keep them on the stack (20-64-64-2: 6.5 µs per step with that,
 * 6.2 µs this way). */
#if defined(__GNUC__)
#define OPAQUE(at) __asm__("" : "+r"(at))
#else
#define OPAQUE(at) ((void)0)
#endif
#define NEXT_ROW(at, ld) do { at += ld; OPAQUE(at); } while (0)

/* acc += terms [k, end), with the element of A given by one of four expressions */
#define TERMS(end, element)                                                                  \
    for (const size_t stop = end; k < stop; k++, b += ldb) {                                 \
        vec bv[NV];                                                                          \
        LOOP_V bv[v] = v_load(b + v * LANES);                                                \
        LOOP_M {                                                                             \
            const vec av = v_set1(element);                                                  \
            LOOP_V acc[i][v] += av * bv[v];                                                  \
        }                                                                                    \
    }

/* Rows [row0, row0 + m) of a panel; its last vector is stored with a mask.  `ahead`, if rows of
 * NN's A are scattered: those of the next tile, which are prefetched.  Constant m, nv, kind and
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
    const int relu = epi && epi->relu;
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

    /* relu, the identity and their derivatives are applied in registers; every other f works on
     * the stored tile, which is then in L1 (`finish`). */
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

/* ---- the driver: a worker's part of C's tiles ----------------------------------------- */

/* Rows of C from `first` on, divided into tiles. */
typedef struct {
    size_t first, tiles, rows, larger; /* the first `larger` tiles have rows + 1         */
} row_split_t;

INLINE size_t tiles_of(size_t rows) { return (rows + MR - 1) / MR; }

INLINE row_split_t split_rows(size_t first, size_t rows)
{
    const size_t n = tiles_of(rows);
    return (row_split_t){first, n, rows / n, rows % n};
}

INLINE size_t row_of_tile(const row_split_t *split, size_t t)
{
    return split->first + t * split->rows + min_size(t, split->larger);
}

/* A worker's part of the work, which is counted in lanes × tiles of rows. */
typedef struct {
    size_t begin, end, passed;
} part_t;

/* Which of the next n tiles, each `lanes` wide, belong to the part: bounds are rounded to
 * tiles. */
INLINE int my_tiles(part_t *part, size_t n, size_t lanes, size_t *from, size_t *to)
{
    const size_t at = part->passed, end = at + n * lanes;
    part->passed = end;
    if (part->end <= at || part->begin >= end)
        return 0;
    *from = part->begin <= at ? 0 : (part->begin - at + lanes - 1) / lanes;
    *to = part->end >= end ? n : (part->end - at + lanes - 1) / lanes;
    return *from < *to;
}

/* Prefetch the rows of the first tile; each tile prefetches those of the next. */
static void prefetch_rows(const gemm_t *g, size_t row, size_t m, const panel_t *p)
{
    for (size_t i = row; i < row + m; i++)
        for (size_t k = 0; k < p->k_len; k += LINE)
            PREFETCH(g->rows[i] + p->k0 + k, 0);
}

/* Whether B is read unpacked.  Packing costs as much as half a tile of rows (784-100-10, batch
 * 200: 284 µs per step packed, 282 unpacked; two threads 151, 149), but rows of W that are a
 * multiple of 1 or 2 KiB apart fall into few cache sets (784-256-10, batch 200, float64: 1,490
 * packed, 1,550 unpacked). */
INLINE int reads_unpacked(const gemm_t *g, const panel_t *p, size_t tiles)
{
    const size_t stride = g->ldb * sizeof(real);
    if (g->kind != NN)
        return g->kind == TN;
    return p->cols == NR && (tiles <= FEW_TILES ? stride % 2048 != 0
                                                : p->k_len * stride <= SMALL_B && stride % 1024);
}

/* Rows [from, to) of a panel of narrow columns. */
static void narrow_tiles(const gemm_t *g, const panel_t *p, real *pack, size_t from, size_t to)
{
    const epilogue_t *epi = p->epi;
    real *c = g->c + from * g->ldc + p->col;
    narrow_panel(g, p, pack, from, to);
    if (!epi)
        return;
    for (size_t i = 0; i < to - from && epi->bias; i++)
        for (size_t q = 0; q < p->cols; q++)
            c[i * g->ldc + q] += epi->bias[p->col + q];
    epi->finish(epi->f, &(region_t){c, epi->aux + from * g->ldc + p->col, g->ldc, to - from,
                                    round_up(p->cols, LANES), p->col});
}

/* Tiles [t0, t1) of a panel. */
static void panel(const gemm_t *g, panel_t *p, const row_split_t *split, size_t t0, size_t t1,
                  real *pack)
{
    const size_t nv = (p->cols + LANES - 1) / LANES;
    const int unpacked = reads_unpacked(g, p, split->tiles);
    p->b = unpacked ? g->b + p->k0 * g->ldb + p->col : pack;
    p->ldb = unpacked ? g->ldb : NR;
    if (!unpacked && g->kind == NN)
        pack_panel(pack, g->b + p->k0 * g->ldb + p->col, g->ldb, p->k_len, p->cols);
    else if (!unpacked)
        pack_panel_transposed(pack, g->b + p->col * g->ldb + p->k0, g->ldb, p->k_len, p->cols);
    for (size_t t = t0; t < t1; t++) {
        const size_t row = row_of_tile(split, t), m = row_of_tile(split, t + 1) - row;
        const size_t next = t + 1 < split->tiles ? min_size(row + m, g->m - m) : 0;
        const size_t at = row * g->ldc + p->col;
        tiles[g->rows != NULL][g->kind == TN][m - 1][nv - 1](g, p, row,
                                                             g->rows ? g->rows + next : NULL);
        if (p->epi && !p->epi->in_registers)
            p->epi->finish(p->epi->f, &(region_t){g->c + at, p->epi->aux + at, g->ldc, m,
                                                  nv * LANES, p->col});
    }
}

/* Compute the worker's part of C: a run of tiles of nearly equal work.  `pack` holds KC·NR reals
 * and belongs to the worker. */
static void gemm(const gemm_t *g, real *pack, const worker_t *w)
{
    if (g->m == 0 || g->n == 0)
        return;
    const size_t row_block = g->kind == TN ? ROW_BLOCK : g->m, rest_of_m = g->m % row_block;
    const size_t n_tiles = g->m / row_block * tiles_of(row_block) + tiles_of(rest_of_m);
    const size_t rest = g->n % NR ? g->n % NR : NR;
    const int narrow = use_narrow_kernel(g->kind, rest, g->k);
    const size_t rest_lanes = narrow ? rest : round_up(rest, LANES);
    const size_t work = (g->n - rest + rest_lanes) * n_tiles;
    size_t t0, t1, k0 = 0;
    do {
        panel_t p = {.k0 = k0, .k_len = min_size(KC, g->k - k0)};
        part_t part = {work * w->tid / w->n_threads, work * (w->tid + 1) / w->n_threads, 0};
        int prefetched = 0;
        p.resume = g->accumulate || k0 > 0;
        p.epi = k0 + p.k_len == g->k ? g->epi : NULL;
        for (size_t row = 0; row < g->m; row += row_block) {
            const row_split_t split = split_rows(row, min_size(row_block, g->m - row));
            for (p.col = 0; p.col < g->n; p.col += NR) {
                const int is_rest = p.col + NR >= g->n;
                p.cols = is_rest ? rest : NR;
                if (!my_tiles(&part, split.tiles, is_rest ? rest_lanes : NR, &t0, &t1))
                    continue;
                const size_t first = row_of_tile(&split, t0);
                if (g->rows && g->kind == NN && !prefetched++)
                    prefetch_rows(g, first, row_of_tile(&split, t0 + 1) - first, &p);
                if (is_rest && narrow)
                    narrow_tiles(g, &p, pack, first, row_of_tile(&split, t1));
                else
                    panel(g, &p, &split, t0, t1, pack);
            }
        }
        k0 += p.k_len;
    } while (k0 < g->k);
}

#endif
