/* team.h — a few threads that run one function together, and a barrier for them.
 *
 * A team is a run of one function in n threads, the caller being thread 0.  Between runs the
 * other threads sleep in the operating system, where they do not compete with a busy NumPy.
 * During a run they spin at the barrier, because the phases of a training step are microseconds
 * apart, and yield the processor after a while, so that an overcommitted machine is slow but
 * not stuck.
 *
 * One team runs at a time.  A caller who finds it busy is served by one thread (and gets the
 * same bits); a child process after fork() starts a new team.
 *
 * During a run subnormal numbers are 0 in all its threads (subnormals.h).  The caller's
 * floating-point mode is restored at its end, and while a callback runs.
 */
#ifndef MLP_MACHINE_TEAM_H
#define MLP_MACHINE_TEAM_H

#include <stddef.h>

struct team_barrier;

/* One thread of a running team. */
typedef struct {
    size_t tid, n_threads;
    struct team_barrier *barrier;
} worker_t;

typedef void team_function(void *arg, const worker_t *w);

/* The largest team: no workspace is needed for more threads. */
#define TEAM_MAX_THREADS 256

/* Calls f(arg, worker) in up to n_threads threads and returns when all have returned. */
void team_run(team_function *f, void *arg, size_t n_threads);
/* Around a callback, in the thread that called team_run: the user's code runs in the mode that
 * the thread had before. */
void team_enter_callback(void);
void team_leave_callback(void);
void team_wait(struct team_barrier *barrier, size_t n_threads);
double team_seconds(void);

#endif
