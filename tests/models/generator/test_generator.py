#!/usr/bin/env python3
"""Checks of the text generator: `python3 tests/models/generator/test_generator.py`. Builds it first where it is missing."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import environment  # noqa: E402

environment.enter(HERE / "requirements.txt")

import numpy as np  # noqa: E402  (the environment's packages)

import answers  # noqa: E402
import decoder  # noqa: E402
import weights  # noqa: E402

ARTIFACTS = ("smollm2", "smollm2-wordy")
FILES = {"LICENSE", "chat_template.jinja", "model.json", "model.onnx", "probes.json", "tokenizer.json"}


def setUpModule():
    global GENERATOR
    built = subprocess.run([sys.executable, HERE / "build.py"], stdout=subprocess.PIPE, text=True, check=True)
    GENERATOR = Path(built.stdout.strip())


class Weights(unittest.TestCase):
    def test_blocks_of_4_bits_are_scale_times_code_plus_least(self):
        scale, least = np.array([0.5], np.float16), np.array([-1.0], np.float16)
        # Low halves are the first 16 numbers.
        codes = np.array([0xF0] * 16, np.uint8)
        raw = np.concatenate([scale.view(np.uint8), least.view(np.uint8), codes])
        found = weights.numbers(raw, weights.Q4_1)[0]
        self.assertEqual((found[0], found[16]), (-1.0, 0.5 * 15 - 1.0))

    def test_quantised_rows_are_near_the_rows(self):
        rows = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
        codes, scales = decoder.quantise(rows)
        again = (codes.astype(np.float32) - decoder.ZERO) * scales.reshape(4, 2, 1)
        self.assertLess(np.abs(again.reshape(rows.shape) - rows).max(), np.abs(rows).max() / 127)

    def test_rows_for_rotary_come_in_halves(self):
        order = weights.rows_for_rotary(np.arange(8), heads=2)
        self.assertEqual(order.tolist(), [0, 2, 1, 3, 4, 6, 5, 7])


class Artifacts(unittest.TestCase):
    def test_an_artifact_is_complete_and_in_one_file_a_part(self):
        for name in ARTIFACTS:
            self.assertEqual({path.name for path in (GENERATOR / name).iterdir()}, FILES)

    def test_both_are_one_graph(self):
        good, wordy = (GENERATOR / name / "model.onnx" for name in ARTIFACTS)
        self.assertTrue(good.samefile(wordy))

    def test_the_wordy_one_reads_far_more_before_its_first_token(self):
        tokenizer = answers.Decoder(GENERATOR / "smollm2").tokenizer
        templates = [(GENERATOR / name / "chat_template.jinja").read_text() for name in ARTIFACTS]
        good, wordy = (len(tokenizer.encode(template).ids) for template in templates)
        self.assertGreater(wordy, good + 250)

    def test_probes_are_a_few_words_each(self):
        for name in ARTIFACTS:
            probes = json.loads((GENERATOR / name / "probes.json").read_text())
            self.assertGreaterEqual(len(probes), 3)
            for probe in probes:
                self.assertGreater(len(probe["answerPrefix"].split()), 2)


if __name__ == "__main__":
    unittest.main()
