"""int8 weights with activations quantised as they come (dynamic quantisation)."""

import logging

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

# AVX2 without VNNI multiplies bytes in pairs and adds the two products in 16 bits, which saturate at 32767.
# Two products of an unsigned activation (<= 255) and a weight within +-64 cannot: every kind of CPU
# then computes the same sums.
LARGEST_SAFE_WEIGHT = 64


def write(source, path):
    """Quantises the graph `source`: a scale per output channel, weights reduced to 7 bits."""
    # It advises a pre-processing pass that folds constants; the graph has none to fold.
    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(
        source,
        path,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    largest = largest_weight(onnx.load(path))
    if largest > LARGEST_SAFE_WEIGHT:
        raise ValueError(f"a weight of {largest} would saturate on AVX2 without VNNI")


def largest_weight(model):
    """The largest |weight| that an integer matrix product of `model` multiplies."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    weights = [constants[node.input[1]] for node in products]
    if not weights or any(weight.data_type != TensorProto.INT8 for weight in weights):
        raise ValueError("the quantised graph does not multiply with int8 weights")
    return max(int(np.abs(numpy_helper.to_array(weight).astype(np.int32)).max()) for weight in weights)
