#!/usr/bin/env python3
"""Read a finished model file back and measure it with the training code.

    check.py ../stories-1m.gguf --heldout ../heldout.txt

Prints the perplexity on the held-out text and some samples. It shares only the
forward pass with the training run: weights and vocabulary come from the file.
"""

import argparse
import struct

import numpy as np

import train

FORMATS = {train.U32: "<I", train.I32: "<i", train.F32: "<f", train.BOOL: "<?"}
DTYPES = {train.TENSOR_F32: np.float32, train.TENSOR_F16: np.float16}


class Reader:
    """A cursor over the bytes of a GGUF file."""

    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def number(self, fmt):
        (value,) = struct.unpack_from(fmt, self.raw, self.at)
        self.at += struct.calcsize(fmt)
        return value

    def string(self):
        size = self.number("<Q")
        self.at += size
        return self.raw[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == train.STRING:
            return self.string()
        if kind == train.ARRAY:
            item, size = self.number("<I"), self.number("<Q")
            return [self.value(item) for _ in range(size)]
        return self.number(FORMATS[kind])


def read_gguf(path):
    """Metadata {key: value} and tensors {name: f32 array} of a file of `train`."""
    with open(path, "rb") as file:
        reader = Reader(file.read())
    if reader.number("<I") != 0x46554747 or reader.number("<I") != 3:
        raise SystemExit(f"{path}: not a GGUF v3 file")
    n_tensors, n_keys = reader.number("<Q"), reader.number("<Q")
    metadata = {}
    for _ in range(n_keys):
        key = reader.string()
        metadata[key] = reader.value(reader.number("<I"))
    infos = []
    for _ in range(n_tensors):
        name = reader.string()
        shape = [reader.number("<Q") for _ in range(reader.number("<I"))]
        infos.append((name, shape[::-1], DTYPES[reader.number("<I")], reader.number("<Q")))
    start = reader.at + -reader.at % train.ALIGNMENT
    tensors = {
        name: np.frombuffer(reader.raw, dtype, int(np.prod(shape)), start + offset).reshape(shape).astype(np.float32)
        for name, shape, dtype, offset in infos
    }
    return metadata, tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--heldout", required=True)
    args = parser.parse_args()
    metadata, tensors = read_gguf(args.model)
    p = {"embd": tensors["token_embd.weight"], "norm": tensors["output_norm.weight"]}
    for name, key in train.LAYER_TENSORS:
        p[key] = np.stack([tensors[f"blk.{i}.{name}.weight"] for i in range(train.N_LAYER)])
    vocab = train.Vocab([tuple(pair.split(" ")) for pair in metadata["tokenizer.ggml.merges"]])
    assert vocab.tokens == metadata["tokenizer.ggml.tokens"]
    with open(args.heldout) as file:
        train.report(p, vocab, [train.BOS, *vocab.encode(file.read())], print)


if __name__ == "__main__":
    main()
