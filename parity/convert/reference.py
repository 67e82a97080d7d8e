#!/usr/bin/env python3
"""Runs llama.cpp's convert_hf_to_gguf.py and convert_lora_to_gguf.py over generated directories and records what they wrote.

    reference.py LLAMA_CPP MODELS OUT.json

MODELS holds the directories that `cargo xtask convert-models MODELS` writes, with cases.json, which names for
each directory the pre-tokenizer that its vocabulary stands for. The script gives up on vocabularies it does not
know, so the name is given to it instead; the hash that it computed is recorded. For each directory and output
type: the length and FNV-1a hash of the file.
"""

import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

CHECKOUT, MODELS, OUT = (Path(arg).resolve() for arg in sys.argv[1:4])
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "gguf-py")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import convert_hf_to_gguf as script  # noqa: E402
import conversion.base as base  # noqa: E402

hashes = []
wanted_pre = None
real_sha256 = base.sha256
real_pre = base.TextModel.get_vocab_base_pre


def recording_sha256(data):
    digest = real_sha256(data)
    hashes.append(digest.hexdigest())
    return digest


def named_pre(self, tokenizer):
    try:
        return real_pre(self, tokenizer)
    except NotImplementedError:
        if wanted_pre is None:
            raise
        return wanted_pre


base.sha256 = recording_sha256
base.TextModel.get_vocab_base_pre = named_pre


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def main():
    global wanted_pre
    cases = json.loads((MODELS / "cases.json").read_text())
    keep = os.environ.get("KEEP")
    recorded = []
    for case in cases:
        wanted_pre = case["pre"]
        base = case.get("base")
        floats = ("f32", "f16", "bf16", "q8_0")
        for outtype in floats if base else (*floats, "auto", "vocab"):
            hashes.clear()
            with tempfile.TemporaryDirectory() as folder:
                out = Path(keep or folder) / f"{case['folder']}-{outtype}.gguf"
                sys.argv = ["convert", "--outfile", str(out)]
                sys.argv += ["--vocab-only"] if outtype == "vocab" else ["--outtype", outtype]
                sys.argv += ["--base", str(MODELS / base)] if base else []
                sys.argv.append(str(MODELS / case["folder"]))
                if base:
                    runpy.run_path(str(CHECKOUT / "convert_lora_to_gguf.py"), run_name="__main__")
                else:
                    script.main()
                data = out.read_bytes()
            recorded.append({
                "folder": case["folder"], "outtype": outtype, "n_bytes": len(data), "hash": f"{fnv1a(data):016x}",
                "pre_hash": hashes[0] if hashes else None,
            })
    OUT.write_text(json.dumps(recorded, indent=1) + "\n")


main()
