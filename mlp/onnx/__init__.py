"""Export to ONNX."""

from mlp.onnx.export import to_onnx

__all__ = ["to_onnx"]
