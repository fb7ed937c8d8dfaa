"""A linear classifier on sentence embeddings: softmax regression, its temperature, and its place in the graph."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import encoder

STEPS = 400
STEP_SIZE = 4.0  # stable: the gradient's Lipschitz constant is at most 1 with embeddings of unit length and a bias
MOMENTUM = 0.9
DECAY = 1e-3
TEMPERATURES = np.exp(np.linspace(np.log(0.1), np.log(10), 401))


@dataclass(frozen=True)
class Head:
    weight: np.ndarray  # float32 [384, L]
    bias: np.ndarray  # float32 [L]

    def logits(self, embeddings):
        return embeddings @ self.weight + self.bias


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def train(embeddings, classes, class_count):
    """Nesterov's gradient descent on the mean cross-entropy, from zero: no chance in it."""
    inputs = np.hstack([embeddings.astype(np.float64), np.ones((len(embeddings), 1))])
    wanted = np.eye(class_count)[classes]
    weight = np.zeros((inputs.shape[1], class_count))
    speed = np.zeros_like(weight)
    for _ in range(STEPS):
        ahead = weight + MOMENTUM * speed
        gradient = inputs.T @ (softmax(inputs @ ahead) - wanted) / len(inputs) + DECAY * ahead
        speed = MOMENTUM * speed - STEP_SIZE * gradient
        weight += speed
    return Head(weight[:-1].astype(np.float32), weight[-1].astype(np.float32))


def temperature(logits, classes):
    """The temperature of the least cross-entropy, to three digits."""

    def loss(value):
        return -np.log(softmax(logits / value)[np.arange(len(classes)), classes] + 1e-12).mean()

    return float(f"{min(TEMPERATURES, key=loss):.3g}")


def attach(source, head, path):
    """Writes the encoder graph `source` with the head on it: output `logits`."""
    model = onnx.load(source)
    weight = numpy_helper.from_array(head.weight, "head.weight")
    bias = numpy_helper.from_array(head.bias, "head.bias")
    model.graph.initializer.extend([weight, bias])
    model.graph.node.append(
        helper.make_node("Gemm", [encoder.EMBEDDING, "head.weight", "head.bias"], ["logits"], name="head")
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", len(head.bias)]))
    onnx.checker.check_model(model)
    onnx.save(model, path)
