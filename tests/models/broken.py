"""Artifacts that must be refused. Each is the good artifact, or its dataset, with one fault."""

import json
import shutil

import artifact
import texts

# A download that stopped: the start of the graph, which is no protobuf message any more.
TRUNCATED_BYTES = 1 << 20


def write(folder, good, gate_examples):
    folder.mkdir()
    (good_copy(good, folder / "no-model") / "model.json").unlink()
    truncate(good_copy(good, folder / "corrupt-onnx") / "model.onnx")
    change_task(good_copy(good, folder / "wrong-task") / "model.json")
    change_probe(good_copy(good, folder / "failing-probe") / "probes.json")
    write_other_labels(folder / "wrong-labels", gate_examples)


def good_copy(good, folder):
    shutil.copytree(good, folder)
    return folder


def truncate(graph):
    with open(graph, "r+b") as file:
        file.truncate(TRUNCATED_BYTES)


def change_task(file):
    artifact.write_json(file, json.loads(file.read_text()) | {"task": "TextGeneration"})


def change_probe(file):
    """The first probe wants the label of the last: what a wrong head behind a right image looks like."""
    probes = json.loads(file.read_text())
    probes[0]["label"] = probes[-1]["label"]
    artifact.write_json(file, probes)


def write_other_labels(folder, gate_examples):
    """The corpus's own spelling "sports" where the models say "sport"."""
    theirs = {label: name for name, label in texts.FOLDERS.items()}
    artifact.write_dataset(folder, [(text, theirs[label]) for text, label in gate_examples], sorted(texts.FOLDERS))
