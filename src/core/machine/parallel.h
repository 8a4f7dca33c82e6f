/* parallel.h — how the threads of a team divide a phase of a step, and wait for each other.
 *
 * Every thread runs the same code in step.  Each phase is divided by its outputs (rows of a
 * batch, tiles of a product, columns of a sum) and ends at a barrier if the next phase reads
 * what other threads wrote.  A sum is never divided between threads.  A single thread meets no
 * barrier.
 */
#ifndef MLP_MACHINE_PARALLEL_H
#define MLP_MACHINE_PARALLEL_H

#include "machine/simd.h"
#include "machine/team.h"

/* The worker's range of n items, in runs of `grain`. */
INLINE void split_range(const worker_t *w, size_t n, size_t grain, size_t *from, size_t *to)
{
    const size_t grains = (n + grain - 1) / grain;
    *from = min_size(n, grains * w->tid / w->n_threads * grain);
    *to = min_size(n, grains * (w->tid + 1) / w->n_threads * grain);
}

INLINE void barrier_wait(const worker_t *w)
{
    if (w->n_threads > 1)
        team_wait(w->barrier, w->n_threads);
}

/* Work that one thread does without the others. */
static const worker_t alone = {0, 1, NULL};

#endif
