# Whether a step is faster with one thread or with all of them.

# Seconds in the kernels between two checks for signals.
cdef double SLICE = 0.05
# Seconds of a trial of one number of threads; to the first repetition; at most between two.
cdef double TRIAL = 0.004
cdef double FIRST_TRIAL = 0.05
cdef double LAST_TRIAL = 0.5

cdef struct thread_trial_t:
    size_t most               # threads, or one
    double pace[2]            # samples per second with one, with all
    double next_trial
    double trial_after
    size_t slices


cdef void start_trial(thread_trial_t *t, size_t most) noexcept:
    t.most = most
    t.pace[0] = t.pace[1] = 0
    t.slices, t.trial_after = 0, FIRST_TRIAL


cdef double choose_threads(thread_trial_t *t, size_t *n_threads) noexcept:
    """Set the number of threads for the next slice; returns its length in seconds.

    The results are the same bits with either number, so that the choice may follow the clock: on
    a machine whose cores are busy with other work, threads that wait for each other are slower
    than one alone, which only a measurement shows.  The first slice, which touches all memory
    for the first time, is not measured; then both numbers are tried, and the slower one again
    at growing intervals.
    """
    cdef int many
    cdef double seconds = SLICE
    if t.most == 1:
        n_threads[0] = 1
        return seconds
    t.slices += 1
    if t.slices <= 3:
        many, seconds = t.slices < 3, TRIAL
        t.next_trial = team_seconds() + FIRST_TRIAL
    elif team_seconds() > t.next_trial:
        many, seconds = t.pace[1] < t.pace[0], TRIAL
        t.trial_after = min(2 * t.trial_after, LAST_TRIAL)
        t.next_trial = team_seconds() + t.trial_after
    else:
        many = t.pace[1] >= t.pace[0]
    n_threads[0] = t.most if many else 1
    return seconds


cdef void record_pace(thread_trial_t *t, size_t n_threads, double samples,
                      double seconds) noexcept:
    if samples > 0 and seconds > 0 and t.slices != 1:
        t.pace[n_threads > 1] = samples / seconds
