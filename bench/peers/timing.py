"""Timing functions that all peers share."""

from time import perf_counter


def seconds(function, *arguments):
    start = perf_counter()
    function(*arguments)
    return perf_counter() - start


def fastest(variants, trials=5):
    """Return name and callable of the fastest variant, after one warm-up call each.

    Trials alternate, so that changes of the machine's speed affect all variants alike.
    """
    for function in variants.values():
        function()
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(trials if len(variants) > 1 else 0):
        for name, function in variants.items():
            best[name] = min(best[name], seconds(function))
    name = min(best, key=best.get)
    return name, variants[name]


def repeated(function, steps_per_call, budget, warm_up=0):
    """Return a round that calls ``function`` for about ``budget`` seconds.

    ``warm_up`` steps are made first.
    """
    for _ in range(-(-warm_up // steps_per_call)):
        function()
    best = min(seconds(function) for _ in range(3))
    calls = max(1, round(budget / best))

    def run():
        start = perf_counter()
        for _ in range(calls):
            function()
        return perf_counter() - start, calls * steps_per_call

    return run
