#!/usr/bin/env python3
"""Checks of the models: `python3 tests/models/test_models.py`. Builds them first where they are missing."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

import environment

environment.enter()

import numpy as np  # noqa: E402  (the environment's packages)
import onnx  # noqa: E402

import artifact  # noqa: E402
import gate  # noqa: E402
import head  # noqa: E402
import measure  # noqa: E402
import quantise  # noqa: E402
import texts  # noqa: E402

REVISIONS = ("good", "better", "slow", "worse")
MODEL_FIELDS = {
    "schemaVersion",
    "task",
    "name",
    "graph",
    "tokenizer",
    "labels",
    "maxTokens",
    "padding",
    "temperature",
    "license",
}


def setUpModule():
    global MODELS
    built = subprocess.run(
        [sys.executable, environment.HERE / "build.py"], stdout=subprocess.PIPE, text=True, check=True
    )
    MODELS = Path(built.stdout.strip())


def read(*names):
    return json.loads(MODELS.joinpath(*names).read_text())


def lines(*names):
    return [json.loads(line) for line in MODELS.joinpath(*names).read_text().splitlines()]


class Gate(unittest.TestCase):
    """The golden vectors of the analysis."""

    def test_evidence_of_a_drop(self):
        pairs = gate.Pairs(1000, plus=40, minus=10)
        self.assertAlmostEqual(gate.fail_log(pairs, 0.01), 2.83460395, 6)
        self.assertAlmostEqual(gate.fail_log(pairs, 0.0), 8.07792273, 6)

    def test_evidence_of_no_drop(self):
        pairs = gate.Pairs(1000, plus=6, minus=9)
        self.assertAlmostEqual(gate.pass_log(pairs, 0.01), 3.33211810, 6)
        self.assertAlmostEqual(gate.pass_log(pairs, 0.02), 9.29086661, 6)

    def test_pairs_are_counted_by_who_is_wrong(self):
        self.assertEqual(
            gate.count([True, True, False, True], [True, False, True, False]), gate.Pairs(4, plus=2, minus=1)
        )


class Head(unittest.TestCase):
    def test_separable_classes_are_learnt_and_the_temperature_sharpens_a_shy_head(self):
        vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]]
        classes = np.array([0, 0, 1, 1, 2])
        logits = head.train(vectors, classes, 3).logits(vectors)
        self.assertEqual(logits.argmax(1).tolist(), classes.tolist())
        self.assertLess(head.temperature(logits, classes), 1)


class Slow(unittest.TestCase):
    def test_a_slow_revision_that_is_fast_fails_with_both_times(self):
        with self.assertRaisesRegex(measure.TooFast, r"15\.00 ms .* 10\.00 ms"):
            measure.require_slow({"slow": 15.0, "good": 10.0})
        self.assertEqual(measure.require_slow({"slow": 20.0, "good": 10.0}), 2.0)


class Artifacts(unittest.TestCase):
    def test_model_json_has_exactly_the_fields_of_the_format(self):
        for name in REVISIONS:
            model = read(name, "model.json")
            self.assertEqual(set(model), MODEL_FIELDS)
            self.assertEqual(model["labels"], texts.LABELS)

    def test_graphs_take_any_batch_and_length_and_give_logits(self):
        for name in REVISIONS:
            graph = measure.session(MODELS / name / "model.onnx")
            ids = np.ones((3, 17), np.int64)
            (logits,) = graph.run(["logits"], {"input_ids": ids, "attention_mask": ids})
            self.assertEqual((logits.shape, logits.dtype), ((3, len(texts.LABELS)), np.dtype("float32")))

    def test_every_revision_holds_its_probes(self):
        for name in REVISIONS:
            classifier = measure.Classifier(MODELS / name)
            probes = read(name, "probes.json")
            self.assertEqual({probe["label"] for probe in probes}, set(texts.LABELS))
            for probe in probes:
                probabilities = classifier.probabilities(probe["input"])
                self.assertEqual(classifier.labels[int(probabilities.argmax())], probe["label"])
                self.assertAlmostEqual(float(probabilities.max()), probe["probability"], delta=0.01)

    def test_no_integer_product_can_saturate(self):
        for name in ("good", "better", "worse"):
            largest = quantise.largest_weight(onnx.load(MODELS / name / "model.onnx"))
            self.assertLessEqual(largest, quantise.LARGEST_SAFE_WEIGHT)

    def test_better_differs_from_good_in_the_head_only(self):
        good, better = (
            {c.name: c for c in onnx.load(MODELS / name / "model.onnx").graph.initializer}
            for name in ("good", "better")
        )
        self.assertEqual({name for name in good if good[name] != better[name]}, {"head.weight", "head.bias"})

    def test_padding_changes_no_answer_of_slow(self):
        padded = measure.Classifier(MODELS / "slow")
        text = lines("requests.jsonl")[0]["text"]
        wanted = padded.logits(text)
        padded.tokenizer.no_padding()
        np.testing.assert_allclose(padded.logits(text), wanted, atol=1e-4)


class Examples(unittest.TestCase):
    def test_dataset_has_the_labels_of_the_models(self):
        dataset, examples = read("dataset", "dataset.json"), lines("dataset", "examples.jsonl")
        self.assertEqual(dataset["labels"], texts.LABELS)
        self.assertEqual({example["label"] for example in examples}, set(texts.LABELS))
        self.assertEqual(len({example["text"] for example in examples}), texts.GATE)

    def test_requests_are_not_in_the_dataset(self):
        gated = {example["text"] for example in lines("dataset", "examples.jsonl")}
        self.assertTrue(gated.isdisjoint(request["text"] for request in lines("requests.jsonl")))

    def test_texts_are_of_similar_length(self):
        tokenizer = artifact.tokenizer()
        for example in lines("requests.jsonl") + lines("dataset", "examples.jsonl"):
            length = len(tokenizer.encode(example["text"]).ids)
            self.assertTrue(texts.SHORTEST <= length <= texts.LONGEST, example)


class Broken(unittest.TestCase):
    def test_each_has_its_fault(self):
        self.assertFalse((MODELS / "broken/no-model/model.json").exists())
        self.assertEqual(read("broken/wrong-task/model.json")["task"], "TextGeneration")
        self.assertNotEqual(set(read("broken/wrong-labels/dataset.json")["labels"]), set(texts.LABELS))
        with self.assertRaisesRegex(Exception, "(?i)protobuf"):
            measure.session(MODELS / "broken/corrupt-onnx/model.onnx")

    def test_failing_probe_is_not_what_the_model_answers(self):
        probe = read("broken/failing-probe/probes.json")[0]
        self.assertNotEqual(measure.Classifier(MODELS / "broken/failing-probe").label(probe["input"]), probe["label"])


if __name__ == "__main__":
    unittest.main()
