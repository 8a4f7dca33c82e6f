"""Networks by themselves: parameters, outputs, loss, gradients.  NumPy alone is needed."""

from mlp.network.network import Network

__all__ = ["Network"]
