"""The command line, ``python -m mlp``."""
