"""Stop-watch pieces every peer shares."""

from time import perf_counter


def seconds(function, *arguments):
    start = perf_counter()
    function(*arguments)
    return perf_counter() - start


def fastest(variants, trials=5):
    """Name and callable of the quickest variant, after one warm-up call each.

    Trials alternate, so that a busy moment of the machine meets all variants.
    """
    for function in variants.values():
        function()
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(trials if len(variants) > 1 else 0):
        for name, function in variants.items():
            best[name] = min(best[name], seconds(function))
    name = min(best, key=best.get)
    return name, variants[name]


def repeated(function, steps_per_call, budget):
    """A round that calls ``function`` for about ``budget`` seconds."""
    best = min(seconds(function) for _ in range(3))
    calls = max(1, round(budget / best))

    def run():
        start = perf_counter()
        for _ in range(calls):
            function()
        return perf_counter() - start, calls * steps_per_call

    return run
