"""onnxruntime: the forward pass of a Gemm-Relu-Gemm-Softmax graph."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from peers.timing import repeated
from peers.workloads import make_data

LIBRARY = "onnxruntime"


def graph(row, dtype):
    rng = np.random.default_rng(0)
    element = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[dtype]
    nodes, constants, value = [], [], "x"
    for i, shape in enumerate(zip(row.sizes[:-1], row.sizes[1:], strict=True)):
        W = (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(dtype)
        b = np.zeros(shape[1], dtype)
        constants += [
            numpy_helper.from_array(W, f"W{i}"),
            numpy_helper.from_array(b, f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"W{i}", f"b{i}"], [f"z{i}"]))
        last = i == len(row.sizes) - 2
        value = "p" if last else f"a{i}"
        nodes.append(
            helper.make_node("Softmax" if last else "Relu", [f"z{i}"], [value])
        )
    inputs = helper.make_tensor_value_info("x", element, [None, row.sizes[0]])
    outputs = helper.make_tensor_value_info("p", element, [None, row.sizes[-1]])
    body = helper.make_graph(nodes, "forward", [inputs], [outputs], constants)
    # Opset and file version that are old enough for any recent onnxruntime.
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(body, opset_imports=opset, ir_version=8)


def prepare(job):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph(job.workload, job.numpy_dtype).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    X, _ = make_data(job.workload, job.numpy_dtype)
    feed = {"x": X}
    session.run(None, feed)
    return "Gemm graph", repeated(lambda: session.run(None, feed), 1, job.budget)
