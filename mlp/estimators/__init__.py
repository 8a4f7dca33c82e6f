from mlp.estimators import thread_limits  # noqa: F401 (registers the core with threadpoolctl)
