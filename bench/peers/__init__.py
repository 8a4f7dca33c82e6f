"""The peers of the side-by-side benchmark, one module each.

A peer module has ``LIBRARY``, the distribution whose version is reported, and
``prepare(job) -> (variant, round)``: build everything, pay compilation and warm-up,
and return a callable that trains (or predicts) for about ``job.budget`` seconds and
returns ``(seconds, steps)``. ``variant`` names the choice that was fastest.
"""

# Peer name → (module in this package, options handed to its ``prepare``).
PEERS = {
    "ours": ("ours", {}),
    "jax": ("jax", {}),
    "torch": ("torch", {}),
    "torch-compile": ("torch", {"compiled": True}),
    "sklearn": ("sklearn", {}),
    "onnxruntime": ("onnxruntime", {}),
}
