"""The same classifier as a Python service, written to be fast: a plain ASGI application on uvicorn with uvloop and httptools, no
framework, the same ONNX file, tokenizer library and number of threads as the engine, and the same answer. One process, no batching.
"""

import argparse
import asyncio
import json
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from tokenizers import Tokenizer

PACKAGES = ("onnxruntime", "uvicorn", "uvloop", "httptools", "tokenizers", "numpy")


class Classifier:
    """A model folder of tests/models, opened. Padding of `MaxLength` is not needed here."""

    def __init__(self, folder, threads):
        model = json.loads((folder / "model.json").read_text())
        self.labels, self.temperature = model["labels"], model["temperature"]
        self.tokenizer = Tokenizer.from_file(str(folder / model["tokenizer"]))
        self.tokenizer.enable_truncation(model["maxTokens"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # As in the engine: a spinning thread takes the core from the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / model["graph"]), options, providers=["CPUExecutionProvider"]
        )

    def answer(self, text):
        """The bytes of the answer to one text."""
        encoding = self.tokenizer.encode(text)
        inputs = {
            "input_ids": np.array([encoding.ids], np.int64),
            "attention_mask": np.array([encoding.attention_mask], np.int64),
        }
        logits = self.session.run(["logits"], inputs)[0][0] / self.temperature
        exponents = np.exp(logits - logits.max())
        scores = (exponents / exponents.sum()).tolist()
        best = max(range(len(scores)), key=scores.__getitem__)
        answer = {"label": self.labels[best], "score": scores[best], "scores": dict(zip(self.labels, scores))}
        return json.dumps(answer).encode()


def application(classifier, mode):
    worker = ThreadPoolExecutor(1)

    async def classify(body):
        text = json.loads(body)["text"]
        if mode == "inline":
            return classifier.answer(text)
        return await asyncio.get_running_loop().run_in_executor(worker, classifier.answer, text)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        answer = b"{}"
        if scope["path"] == "/v1/classify":
            answer = await classify(await read(receive))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


async def read(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", action="store_true", help="print the versions in use and end")
    parser.add_argument("--model", type=Path, help="model folder")
    parser.add_argument("--threads", type=int, default=1, help="threads of one run of the model")
    parser.add_argument("--mode", choices=("inline", "thread"), default="thread", help="where the model runs")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args()


def main():
    asked = arguments()
    if asked.versions:
        packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        print(f"Python {platform.python_version()}, {packages}")
        return
    app = application(Classifier(asked.model, asked.threads), asked.mode)
    uvicorn.run(
        app,
        host=asked.host,
        port=asked.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
