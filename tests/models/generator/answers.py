"""The most probable answers of a built artifact, with ONNX Runtime's Python and without any code of the engine: the golden
probes that the engine must reproduce."""

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chat(text, system=SYSTEM):
    """SmolLM2's template for one message, written by hand: the engine's rendering is held against it by the probes."""
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


class Decoder:
    def __init__(self, folder):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", options, ["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.caches = [item for item in self.session.get_inputs() if item.name.startswith("past_key_values.")]

    def answer(self, text, most_tokens, end):
        """Greedy; the cache grows by a copy a step, unlike the engine's."""
        tokens, answer = self.tokenizer.encode(text, add_special_tokens=False).ids, []
        cache = {item.name: np.zeros((1, item.shape[1], 0, item.shape[3]), np.float32) for item in self.caches}
        total = 0
        while len(answer) < most_tokens:
            total += len(tokens)
            row, cache = self.step(tokens, total, cache)
            tokens = [int(row.argmax())]
            if tokens[0] == self.tokenizer.token_to_id(end):
                break
            answer += tokens
        return self.tokenizer.decode(answer)

    def step(self, tokens, total, cache):
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "seqlens_k": np.array([total - 1], np.int32),
            "total_sequence_length": np.array([total], np.int32),
            "num_logits": np.array([1], np.int64),
        }
        found = dict(zip(self.outputs, self.session.run(self.outputs, feeds | cache), strict=True))
        past = {name.replace("present.", "past_key_values."): value for name, value in found.items() if name != "logits"}
        return found["logits"][0, -1], past
