"""`python -m mlp`: see `mlp.cli`."""

import sys

from mlp.cli import main

if __name__ == "__main__":
    sys.exit(main())
