"""Runs model artifacts as the runtime does, one text at a time on one thread, and takes the time."""

import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from environment import say
from head import softmax

ROUNDS, WARM_UP = 100, 10
SLOW_AT_LEAST = 1.6


class TooFast(Exception):
    """The slow revision is not slow enough to be told from good."""


def session(graph):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def inputs(encoding):
    return {
        "input_ids": np.array([encoding.ids], np.int64),
        "attention_mask": np.array([encoding.attention_mask], np.int64),
    }


class Classifier:
    """A model artifact, opened. Answers with a probability for each label."""

    def __init__(self, folder):
        self.model = json.loads((folder / "model.json").read_text())
        self.labels = self.model["labels"]
        self.tokenizer = Tokenizer.from_file(str(folder / self.model["tokenizer"]))
        self.tokenizer.enable_truncation(self.model["maxTokens"])
        if self.model["padding"] == "MaxLength":
            self.tokenizer.enable_padding(length=self.model["maxTokens"])
        self.session = session(folder / self.model["graph"])

    def logits(self, text):
        return self.session.run(["logits"], inputs(self.tokenizer.encode(text)))[0][0]

    def probabilities(self, text):
        return softmax(self.logits(text) / self.model["temperature"])

    def label(self, text):
        return self.labels[int(self.logits(text).argmax())]


def embeddings(graph, tokenizer, texts):
    """float32 [len(texts), 384], one text at a time: padding would change how activations are quantised."""
    encode = session(graph)
    return np.array([encode.run(None, inputs(tokenizer.encode(text)))[0][0] for text in texts])


def texts_of(folder):
    return [json.loads(line)["text"] for line in (Path(folder) / "requests.jsonl").read_text().splitlines()]


def interleaved(folder, texts, names=("good", "better", "slow", "worse")):
    """Median milliseconds a text, tokenisation to probabilities. Every round asks every revision the same
    text, so a busy moment of the machine hits all of them."""
    classifiers = {name: Classifier(Path(folder) / name) for name in names}
    taken = {name: [] for name in names}
    for number in range(WARM_UP + ROUNDS):
        text = texts[number % len(texts)]
        for name in names:
            start = time.perf_counter()
            classifiers[name].probabilities(text)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(values[WARM_UP:]) for name, values in taken.items()}


def require_slow(milliseconds):
    """The ratio slow / good, if the demo's latency analysis can be expected to see it."""
    ratio = milliseconds["slow"] / milliseconds["good"]
    if ratio < SLOW_AT_LEAST:
        raise TooFast(
            f"slow takes {milliseconds['slow']:.2f} ms and good {milliseconds['good']:.2f} ms a text here: "
            f"{ratio:.2f} times as long, and the demo needs {SLOW_AT_LEAST}. A larger PADDED_TOKENS in "
            "tests/models/revisions.py makes slow slower."
        )
    return ratio


def again(folder):
    """Measures built revisions on the machine as it is now."""
    milliseconds = interleaved(folder, texts_of(folder))
    for name, value in milliseconds.items():
        say(f"{name}: median {value:.2f} ms a text, one thread")
    say(f"slow / good: {require_slow(milliseconds):.2f}")
