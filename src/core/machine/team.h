/* team.h — a few threads that run one function together, and a barrier for them.
 *
 * A team is a run of one function in n threads, the caller being thread 0.  The other threads
 * wait between runs in the operating system, so they cost nothing beside a busy NumPy; inside
 * a run they spin at the barrier, for the phases of a training step are microseconds apart,
 * and give way to others after a while, so an overcommitted machine is slow but not stuck.
 *
 * One team runs at a time: a caller who finds it busy, or a child process after fork(), is
 * served by one thread (and gets the same bits) or by a new team.
 */
#ifndef MLP_MACHINE_TEAM_H
#define MLP_MACHINE_TEAM_H

#include <stddef.h>

typedef void team_function(void *arg, size_t tid, size_t n_threads);
struct team_barrier;

/* The largest team: nobody needs a workspace for more threads. */
#define TEAM_MAX_THREADS 256

/* Calls f(arg, tid, n) for tid < n, n ≤ n_threads, and returns when all have returned.
 * `barrier` and n are what f must wait with. */
size_t team_begin(size_t n_threads);
void team_run(team_function *f, void *arg, size_t n_threads);
void team_end(size_t n_threads);

struct team_barrier *team_barrier_of_pool(void);
void team_wait(struct team_barrier *barrier, size_t n_threads);
double team_seconds(void);

#endif
