/* team.c — see team.h. */
#include "machine/team.h"

#include "machine/subnormals.h"

#if defined(_WIN32)
__declspec(dllexport)
#else
__attribute__((visibility("default")))
#endif
extern const int mlp_has_team; /* by this name threadpoolctl knows the core */
const int mlp_has_team = 1;

/* The control word that this thread had before its innermost run; a worker's before its first. */
static _Thread_local uint64_t callers_control;

/* The caller's share of a run.  A callback may start another run, hence `outer`. */
static void run_caller(team_function *f, void *arg, const worker_t *w)
{
    const uint64_t outer = callers_control, control = read_control();
    callers_control = control;
    flush_subnormals(control);
    f(arg, w);
    restore_control(control);
    callers_control = outer;
}

void team_enter_callback(void) { restore_control(callers_control); }

void team_leave_callback(void) { flush_subnormals(callers_control); }

#if defined(_WIN32)

#include <windows.h>

double team_seconds(void)
{
    LARGE_INTEGER f, t;
    QueryPerformanceFrequency(&f);
    QueryPerformanceCounter(&t);
    return (double)t.QuadPart / (double)f.QuadPart;
}
void team_run(team_function *f, void *arg, size_t n_threads)
{
    const worker_t only = {0, 1, NULL};
    (void)n_threads;
    run_caller(f, arg, &only);
}
void team_wait(struct team_barrier *barrier, size_t n) { (void)barrier; (void)n; }

#else

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* Spins before the processor is yielded: about 20 µs, several phases of a small step. */
#define SPINS 4000

struct team_barrier {
    _Alignas(64) atomic_size_t arrived;
    _Alignas(64) atomic_size_t generation;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t go, done;
    pid_t owner;         /* the process whose threads these are                          */
    size_t started;      /* worker threads alive                                         */
    size_t wanted;       /* threads in the run, the caller included                      */
    size_t running;      /* workers still in the run                                     */
    unsigned long run;   /* counts runs; a worker joins each once                        */
    int busy;
    team_function *f;
    void *arg;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .go = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static struct team_barrier barrier;

double team_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void team_wait(struct team_barrier *b, size_t n_threads)
{
    const size_t generation = atomic_load_explicit(&b->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == n_threads) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&b->generation, generation + 1, memory_order_release);
        return;
    }
    for (size_t spins = 0;
         atomic_load_explicit(&b->generation, memory_order_acquire) == generation; spins++)
        if (spins < SPINS)
            relax();
        else
            sched_yield();
}

static void *run_worker(void *arg)
{
    const size_t tid = (size_t)arg;
    unsigned long seen = 0;
    callers_control = read_control();
    flush_subnormals(callers_control); /* for good: the thread does nothing else */
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.run == seen || tid >= pool.wanted) {
            seen = pool.run;
            pthread_cond_wait(&pool.go, &pool.lock);
        }
        seen = pool.run;
        team_function *f = pool.f;
        void *a = pool.arg;
        const size_t n = pool.wanted;
        pthread_mutex_unlock(&pool.lock);
        f(a, &(worker_t){tid, n, &barrier});
        pthread_mutex_lock(&pool.lock);
        if (--pool.running == 0)
            pthread_cond_signal(&pool.done);
    }
    return NULL;
}

/* In a child after fork() the workers are gone and the lock may be held by one of them. */
static void after_fork(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.go, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.started = pool.wanted = pool.running = 0;
    pool.run = 0;
    pool.busy = 0;
    atomic_store(&barrier.arrived, 0);
}

static void register_fork(void) { pthread_atfork(NULL, NULL, after_fork); }

/* Reserve up to n_threads threads; returns how many the caller may run with. */
static size_t reserve(size_t n_threads)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (n_threads <= 1)
        return 1;
    if (n_threads > TEAM_MAX_THREADS)
        n_threads = TEAM_MAX_THREADS;
    pthread_once(&once, register_fork);
    pthread_mutex_lock(&pool.lock);
    if (pool.busy) {
        pthread_mutex_unlock(&pool.lock);
        return 1;
    }
    pool.busy = 1;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    while (pool.started + 1 < n_threads) {
        pthread_t thread;
        if (pthread_create(&thread, &attr, run_worker, (void *)(pool.started + 1)))
            break;
        pool.started++;
    }
    pthread_attr_destroy(&attr);
    if (n_threads > pool.started + 1)
        n_threads = pool.started + 1;
    if (n_threads == 1)
        pool.busy = 0;
    pthread_mutex_unlock(&pool.lock);
    return n_threads;
}

void team_run(team_function *f, void *arg, size_t n_threads)
{
    n_threads = reserve(n_threads);
    if (n_threads <= 1) {
        run_caller(f, arg, &(worker_t){0, 1, NULL});
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool.f = f;
    pool.arg = arg;
    pool.wanted = n_threads;
    pool.running = n_threads - 1;
    pool.run++;
    pthread_cond_broadcast(&pool.go);
    pthread_mutex_unlock(&pool.lock);
    run_caller(f, arg, &(worker_t){0, n_threads, &barrier});
    pthread_mutex_lock(&pool.lock);
    while (pool.running)
        pthread_cond_wait(&pool.done, &pool.lock);
    pool.busy = 0;
    pthread_mutex_unlock(&pool.lock);
}

#endif
