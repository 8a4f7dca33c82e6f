from mlp.estimators import thread_limits  # noqa: F401 (threadpoolctl gets to know the core)
