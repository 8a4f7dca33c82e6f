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
 *
 * Tile shape.  MR×NV accumulators + NV vectors of B + 1 broadcast must fit the registers:
 * 12×2 of 32 (AVX-512, NEON), 6×2 of 16 (AVX2), 4×2 for one lane.  A tile needs at least
 * latency×ports = 8 independent sums (4 cycles × 2 ports on Zen 5).  Rows are dealt so that
 * tiles differ by at most one row: 32 rows are 11+11+10, not 12+12+8.
 */
#ifndef MLP_GEMM_H
#define MLP_GEMM_H

#include "activation.h"
#include "few_columns.h"

#if MLP_VBYTES == 64 || MLP_VBYTES == 16
#define MR 12
#elif MLP_VBYTES == 32
#define MR 6
#else
#define MR 4
#endif

/* Tiles of rows up to which W is not packed. */
#define FEW_TILES 4

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
    int accumulate;        /* C += instead of C =                                        */
    const epilogue_t *epi; /* or NULL                                                    */
} gemm_t;

#define LOOP_M _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++)
#define LOOP_V _Pragma("GCC unroll 16") for (size_t v = 0; v < nv; v++)

/* `a_row`, `a_k`: distance of A's elements from row to row of the tile and from term to term.
 * `cols`: valid columns of the tile; the last vector is stored by mask.  `resume`: start from
 * C.  A constant m, nv and a_row or a_k = 1 are folded in by inlining. */
INLINE void tile(const size_t m, const size_t nv, size_t k_len, const real *RESTRICT a,
                 size_t a_row, size_t a_k, const real *RESTRICT b, size_t ldb,
                 real *RESTRICT c, size_t ldc, size_t cols, int resume,
                 const epilogue_t *epi, size_t row0, size_t col0)
{
    vec acc[MR][NV];
    const size_t last = cols - (nv - 1) * LANES;
    const int relu = epi && !epi->f->n_kinds && epi->f->code == ACT_RELU;

    if (resume) {
        LOOP_M LOOP_V
            acc[i][v] = v + 1 < nv ? v_load(c + i * ldc + v * LANES)
                                   : v_load_n(c + i * ldc + v * LANES, last, 0);
    } else {
        LOOP_M LOOP_V acc[i][v] = v_zero();
    }

    for (size_t k = 0; k < k_len; k++, a += a_k, b += ldb) {
        vec bv[NV];
        LOOP_V bv[v] = v_load(b + v * LANES);
        LOOP_M {
            vec av = v_set1(a[i * a_row]);
            LOOP_V acc[i][v] += av * bv[v];
        }
    }

    /* relu, the identity and their derivatives never leave the registers; every other f works
     * on the tile where it then lies, in L1 (activation.h). */
    if (epi && epi->kind == EPI_FORWARD) {
        vec bias[NV];
        if (epi->bias) {
            LOOP_V bias[v] =
                v_load_n(epi->bias + col0 + v * LANES, v + 1 < nv ? LANES : last, 0);
            LOOP_M LOOP_V acc[i][v] += bias[v];
        }
        if (relu)
            LOOP_M LOOP_V acc[i][v] = v_max(v_zero(), acc[i][v]);
    } else if (epi && epi->kind == EPI_BACKWARD && relu) {
        const real *s = epi->aux + row0 * ldc + col0;
        LOOP_M LOOP_V {
            vec y = v_load(s + i * ldc + v * LANES);
            acc[i][v] = i_real(v_bits(acc[i][v]) & V_LT(v_zero(), y));
        }
    }

    LOOP_M LOOP_V {
        if (v + 1 < nv)
            v_store(c + i * ldc + v * LANES, acc[i][v]);
        else
            v_store_n(c + i * ldc + v * LANES, acc[i][v], last);
    }
}

typedef void tile_fn(size_t k_len, const real *a, size_t stride, const real *b, size_t ldb,
                     real *c, size_t ldc, size_t cols, int resume, const epilogue_t *epi,
                     size_t row0, size_t col0);

#define TILE(m, nv)                                                                          \
    NOINLINE void tile_n_##m##_##nv(size_t k_len, const real *a, size_t stride,              \
                                    const real *b, size_t ldb, real *c, size_t ldc,          \
                                    size_t cols, int resume, const epilogue_t *epi,          \
                                    size_t row0, size_t col0)                                \
    {                                                                                        \
        tile(m, nv, k_len, a, stride, 1, b, ldb, c, ldc, cols, resume, epi, row0, col0);     \
    }                                                                                        \
    NOINLINE void tile_t_##m##_##nv(size_t k_len, const real *a, size_t stride,              \
                                    const real *b, size_t ldb, real *c, size_t ldc,          \
                                    size_t cols, int resume, const epilogue_t *epi,          \
                                    size_t row0, size_t col0)                                \
    {                                                                                        \
        tile(m, nv, k_len, a, 1, stride, b, ldb, c, ldc, cols, resume, epi, row0, col0);     \
    }
#define TILES(m) TILE(m, 1) TILE(m, 2)
#define ROW_N(m) {tile_n_##m##_1, tile_n_##m##_2}
#define ROW_T(m) {tile_t_##m##_1, tile_t_##m##_2}

TILES(1) TILES(2) TILES(3) TILES(4)
#if MR >= 6
TILES(5) TILES(6)
#endif
#if MR >= 12
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12)
#endif

static tile_fn *const tiles[2][MR][NV] = {
    {ROW_N(1), ROW_N(2), ROW_N(3), ROW_N(4),
#if MR >= 6
     ROW_N(5), ROW_N(6),
#endif
#if MR >= 12
     ROW_N(7), ROW_N(8), ROW_N(9), ROW_N(10), ROW_N(11), ROW_N(12)
#endif
    },
    {ROW_T(1), ROW_T(2), ROW_T(3), ROW_T(4),
#if MR >= 6
     ROW_T(5), ROW_T(6),
#endif
#if MR >= 12
     ROW_T(7), ROW_T(8), ROW_T(9), ROW_T(10), ROW_T(11), ROW_T(12)
#endif
    },
};

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

/* ---- a few columns left over (few_columns.h) ----------------------------------------- */

#define FEW_SWITCH(call)                                                                     \
    switch (few) {                                                                           \
    case 1: call(1); break;                                                                  \
    case 2: call(2); break;                                                                  \
    case 3: call(3); break;                                                                  \
    default: call(4); break;                                                                 \
    }

/* Rows [from, to) of the last `cols` columns of C, the sum over k_len terms from k0 on. */
static void few_columns(const gemm_t *g, real *pack, size_t col, size_t cols, size_t from,
                        size_t to, size_t k0, size_t k_len, int resume)
{
    for (size_t first = 0; first < cols; first += FEW) {
        const size_t few = min_size(FEW, cols - first), at = col + first;
        if (g->kind == NN) {
            for (size_t k = 0; k < k_len; k++)
                for (size_t q = 0; q < few; q++)
                    pack[q * KC + k] = g->b[(k0 + k) * g->ldb + at + q];
            size_t i = from;
#define NN_ROWS(q)                                                                           \
    for (; i + FEW_ROWS_NN <= to; i += FEW_ROWS_NN)                                          \
        few_columns_nn(FEW_ROWS_NN, q, k_len, g->a + i * g->lda + k0, g->lda, pack, KC,      \
                       g->c + i * g->ldc + at, g->ldc, resume);                              \
    for (; i < to; i++)                                                                      \
        few_columns_nn(1, q, k_len, g->a + i * g->lda + k0, g->lda, pack, KC,                \
                       g->c + i * g->ldc + at, g->ldc, resume)
            FEW_SWITCH(NN_ROWS)
        } else {
            size_t i = from;
#define TN_ROWS(q)                                                                           \
    for (; i + FEW_VECS_TN * LANES <= to; i += FEW_VECS_TN * LANES)                          \
        few_columns_tn(FEW_VECS_TN, q, k_len, g->a + k0 * g->lda + i, g->lda,                \
                       g->b + k0 * g->ldb + at, g->ldb, g->c + i * g->ldc + at, g->ldc,      \
                       FEW_VECS_TN * LANES, resume);                                         \
    for (; i < to; i += LANES)                                                               \
        few_columns_tn(1, q, k_len, g->a + k0 * g->lda + i, g->lda,                          \
                       g->b + k0 * g->ldb + at, g->ldb, g->c + i * g->ldc + at, g->ldc,      \
                       min_size(LANES, to - i), resume)
            FEW_SWITCH(TN_ROWS)
        }
    }
}

/* ---- the driver: a share of C's tiles ------------------------------------------------ */

/* Compute the part of C that falls to thread `tid` of `n_threads`: a run of tiles, panel by
 * panel, of nearly equal work.  `pack` holds KC·NR reals and belongs to the thread. */
static void gemm(const gemm_t *g, real *pack, size_t tid, size_t n_threads)
{
    if (g->m == 0 || g->n == 0)
        return;
    const size_t row_tiles = (g->m + MR - 1) / MR;
    const size_t rows = g->m / row_tiles, larger = g->m % row_tiles;
    /* the last panel: work is counted in lanes × tiles of rows */
    const size_t rest = g->n % NR ? g->n % NR : NR;
    const int rest_apart = goes_apart(g->kind, rest, g->k);
    const size_t rest_lanes = rest_apart ? rest : round_up(rest, LANES);
    const size_t work = (g->n - rest + rest_lanes) * row_tiles;
    const size_t begin = work * tid / n_threads, end = work * (tid + 1) / n_threads;
    const int trans = g->kind == TN;
    /* packing costs as much as half a tile of rows: with few of them W is read as it lies,
     * if its rows are not a multiple of 2 KiB apart */
    const int direct = row_tiles <= FEW_TILES && g->ldb * sizeof(real) % 2048 != 0;

    size_t k0 = 0;
    do {
        const size_t k_len = min_size(KC, g->k - k0);
        const int finished = k0 + k_len == g->k;
        for (size_t col = 0, done = 0; col < g->n; col += NR) {
            const size_t cols = min_size(NR, g->n - col);
            const size_t nv = (cols + LANES - 1) / LANES;
            const int is_rest = col + NR >= g->n, apart = is_rest && rest_apart;
            const size_t lanes = is_rest ? rest_lanes : NR;
            /* the tiles of this panel that are mine: rounding the shared bounds to tiles */
            const size_t t0 = begin <= done ? 0 : (begin - done + lanes - 1) / lanes;
            const size_t t1 =
                end <= done ? 0 : min_size(row_tiles, (end - done + lanes - 1) / lanes);
            done += lanes * row_tiles;
            if (t0 >= t1)
                continue;

            const real *b = pack;
            size_t ldb = NR;
            if (apart) {
                const size_t last = min_size(t1, row_tiles);
                few_columns(g, pack, col, cols, t0 * rows + min_size(t0, larger),
                            last * rows + min_size(last, larger), k0, k_len,
                            g->accumulate || k0 > 0);
            } else if (g->kind == TN || (g->kind == NN && direct && cols == NR)) {
                b = g->b + k0 * g->ldb + col;
                ldb = g->ldb;
            } else if (g->kind == NN) {
                pack_panel(pack, g->b + k0 * g->ldb + col, g->ldb, k_len, cols);
            } else {
                pack_panel_transposed(pack, g->b + col * g->ldb + k0, g->ldb, k_len, cols);
            }
            for (size_t t = t0; t < t1; t++) {
                const size_t row = t * rows + min_size(t, larger);
                const size_t m = rows + (t < larger);
                const real *a = trans ? g->a + k0 * g->lda + row : g->a + row * g->lda + k0;
                real *c = g->c + row * g->ldc + col;
                if (!apart)
                    tiles[trans][m - 1][nv - 1](k_len, a, g->lda, b, ldb, c, g->ldc, cols,
                                                g->accumulate || k0 > 0,
                                                finished ? g->epi : NULL, row, col);
                else if (finished && g->epi)
                    add_bias(g->epi, c, g->ldc, m, cols, col);
                if (finished && g->epi && (apart || !in_registers(g->epi->f)))
                    finish_tile(g->epi, row, col, c, g->ldc, m, nv * LANES);
            }
        }
        k0 += k_len;
    } while (k0 < g->k);
}

#endif
