"""Measure the time that imports of mlp add to those of NumPy or scikit-learn.

    python bench/import_time.py [--rounds 7]

Every import runs in a separate process in which its dependencies are already imported. The
best of the rounds is reported, since only the first one reads files that are not cached.
"""

import argparse
import subprocess
import sys

IMPORTS = [  # imported before, timed
    ("sklearn.base", "import mlp"),
    ("sklearn.base", "from mlp import MLPClassifier"),
    ("sklearn.neural_network", "from mlp import MLPClassifier"),
    ("numpy", "from mlp import Network"),
]
TIMED = """
import time, {before}
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""


def added(before: str, statement: str, rounds: int) -> float:
    code = TIMED.format(before=before, statement=statement)
    command = [sys.executable, "-c", code]
    runs = [
        float(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return 1000 * min(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for before, statement in IMPORTS:
        ms = added(before, statement, rounds)
        print(f"{statement:30} after {before:24} {ms:7.1f} ms")


if __name__ == "__main__":
    main()
