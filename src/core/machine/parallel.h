/* parallel.h — how threads divide a phase of a step, and wait for each other at its end.
 *
 * Every thread runs the same code, in step; each phase is cut by outputs — rows of a batch,
 * tiles of a product, columns of a sum — and ends at a barrier where the next phase reads what
 * others wrote.  No sum is ever cut by thread.  One thread meets no barrier.
 */
#ifndef MLP_MACHINE_PARALLEL_H
#define MLP_MACHINE_PARALLEL_H

#include "mlp_core.h"
#include "machine/simd.h"
#include "machine/team.h"

/* Thread `tid`'s share of n things in runs of `grain`. */
INLINE void share(size_t n, size_t grain, size_t tid, size_t n_threads, size_t *from, size_t *to)
{
    const size_t grains = (n + grain - 1) / grain;
    *from = min_size(n, grains * tid / n_threads * grain);
    *to = min_size(n, grains * (tid + 1) / n_threads * grain);
}

INLINE void wait_all(const plan_t *p)
{
    if (p->n_threads > 1)
        team_wait(p->barrier, p->n_threads);
}

#endif
