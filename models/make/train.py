#!/usr/bin/env python3
"""Train the demo model: vocabulary, transformer and GGUF file, from two seeds.

Needs `numpy`, `regex` and `jax` (the plain CPU wheel) from PyPI, nothing else:
no corpus, no pretrained weights, no other download.

    train.py --out ../stories-1m.gguf --heldout ../heldout.txt

Four parts, in this order: the byte-level BPE vocabulary, the data stream, the
model with its optimizer, and the GGUF writer.
"""

import argparse
import collections
import os
import random
import struct
import time

# One thread: the sums are then done in one order, and the result repeats.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("NPROC", "1")

import jax
import jax.numpy as jnp
import numpy as np
import regex

import stories

# --- shape of the model ------------------------------------------------------

N_VOCAB = 1024
N_EMBD = 128
N_LAYER = 5
N_HEAD = 4
N_HEAD_KV = 2
N_FF = 352
N_CTX = 512
HEAD_DIM = N_EMBD // N_HEAD
ROPE_BASE = 10000.0
RMS_EPS = 1e-5

# --- vocabulary --------------------------------------------------------------

CONTROL = ["<s>", "</s>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
BOS, EOS, PAD, SYSTEM, USER, ASSISTANT, END = range(len(CONTROL))
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# How GPT-2 cuts text into words before merging; `tokenizer.ggml.pre` is "gpt-2".
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_letters():
    """GPT-2's map of the 256 bytes to printable letters."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


class Vocab:
    """A byte-level BPE vocabulary: control tokens, then bytes, then merges."""

    def __init__(self, merges):
        self.letters = byte_letters()
        self.merges = merges
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.tokens = CONTROL + [self.letters[b] for b in range(256)] + [a + b for a, b in merges]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.bytes = {letter: byte for byte, letter in self.letters.items()}
        self.cache = {}

    @classmethod
    def train(cls, text, size):
        """Merge the commonest pair again and again; ties go to the smaller pair."""
        letters = byte_letters()
        counts = collections.Counter(WORDS.findall(text))
        words = [([letters[b] for b in word.encode()], n) for word, n in sorted(counts.items())]
        merges = []
        while len(CONTROL) + 256 + len(merges) < size:
            pairs = collections.Counter()
            for parts, n in words:
                for pair in zip(parts, parts[1:]):
                    pairs[pair] += n
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            merges.append(best)
            for parts, _ in words:
                merge(parts, best)
        return cls(merges)

    def word(self, word):
        ids = self.cache.get(word)
        if ids is None:
            parts = [self.letters[b] for b in word.encode()]
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
                if best not in self.ranks:
                    break
                merge(parts, best)
            ids = self.cache[word] = [self.ids[part] for part in parts]
        return ids

    def encode(self, text):
        return [i for word in WORDS.findall(text) for i in self.word(word)]

    def decode(self, ids):
        text = bytearray()
        for i in ids:
            text += self.tokens[i].encode() if i < len(CONTROL) else bytes(self.bytes[c] for c in self.tokens[i])
        return text.decode("utf-8", "replace")

    def encode_chat(self, turns, answer=False):
        """What the chat template gives, as ids; `answer` opens the next turn."""
        ids = []
        for role, content in turns:
            ids += [ROLES[role], *self.encode("\n" + content), END, *self.encode("\n")]
        return ids + [ASSISTANT, *self.encode("\n")] if answer else ids


def merge(parts, pair):
    """Join every occurrence of `pair` in `parts`, left to right, in place."""
    i = 0
    while i + 1 < len(parts):
        if parts[i] == pair[0] and parts[i + 1] == pair[1]:
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        i += 1


# --- data --------------------------------------------------------------------


def document(vocab, rng):
    """A story, a row of stories or a conversation, from BOS to its end."""
    kind = rng.random()
    if kind < 0.40:
        return [BOS, *vocab.encode_chat(stories.chat(rng))]
    if kind < 0.88:
        return [BOS, *vocab.encode(stories.story(rng)[0]), EOS]
    rows = [stories.story(rng)[0] for _ in range(rng.randrange(2, 5))]
    return [BOS, *vocab.encode("\n\n".join(rows)), EOS]


def training_rows(vocab, seed, n_rows, n_ctx):
    """Rows of `n_ctx` inputs and their targets.

    Each row starts where a document starts and is filled up with further ones, so
    that every name that has to be remembered was seen in the same row.
    """
    rng = random.Random(seed)
    rows = np.empty((n_rows, n_ctx + 1), np.int32)
    for row in rows:
        tokens = []
        while len(tokens) <= n_ctx:
            tokens += document(vocab, rng)
        row[:] = tokens[: n_ctx + 1]
    return rows[:, :-1], rows[:, 1:]


def target_weights(vocab):
    """Names count four times: keeping them apart is the hard part of a story."""
    weights = np.ones(N_VOCAB, np.float32)
    for name in stories.GIRLS + stories.BOYS:
        for text in (name, " " + name):
            ids = vocab.encode(text)
            if len(ids) == 1:
                weights[ids[0]] = 4.0
    return jnp.asarray(weights)


# --- model -------------------------------------------------------------------


def init_params(seed):
    rng = np.random.default_rng(seed)

    def normal(*shape, std):
        return jnp.asarray(rng.normal(0.0, std, shape).astype(np.float32))

    kv = N_HEAD_KV * HEAD_DIM
    deep = (2 * N_LAYER) ** -0.5  # what writes to the residual stream starts small
    return {
        "embd": normal(N_VOCAB, N_EMBD, std=0.02),
        "norm": jnp.ones(N_EMBD),
        "attn_norm": jnp.ones((N_LAYER, N_EMBD)),
        "ffn_norm": jnp.ones((N_LAYER, N_EMBD)),
        "q": normal(N_LAYER, N_EMBD, N_EMBD, std=N_EMBD**-0.5),
        "k": normal(N_LAYER, kv, N_EMBD, std=N_EMBD**-0.5),
        "v": normal(N_LAYER, kv, N_EMBD, std=N_EMBD**-0.5),
        "o": normal(N_LAYER, N_EMBD, N_EMBD, std=deep * N_EMBD**-0.5),
        "gate": normal(N_LAYER, N_FF, N_EMBD, std=N_EMBD**-0.5),
        "up": normal(N_LAYER, N_FF, N_EMBD, std=N_EMBD**-0.5),
        "down": normal(N_LAYER, N_EMBD, N_FF, std=deep * N_FF**-0.5),
    }


MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


def rms_norm(x, weight):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + RMS_EPS) * weight


def rope(x):
    """Rotate the pairs (2i, 2i+1) of each head: llama's layout in GGUF files."""
    n_ctx = x.shape[1]
    freq = ROPE_BASE ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angle = np.outer(np.arange(n_ctx), freq)
    cos = np.cos(angle).astype(np.float32)[None, :, None, :]
    sin = np.sin(angle).astype(np.float32)[None, :, None, :]
    pairs = x.reshape(*x.shape[:-1], HEAD_DIM // 2, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)


def forward(p, tokens):
    """Logits [batch, n_ctx, n_vocab] of tokens [batch, n_ctx]."""
    batch, n_ctx = tokens.shape
    causal = np.tril(np.ones((n_ctx, n_ctx), bool))
    group = N_HEAD // N_HEAD_KV
    x = p["embd"][tokens]
    for i in range(N_LAYER):
        h = rms_norm(x, p["attn_norm"][i])
        q = rope((h @ p["q"][i].T).reshape(batch, n_ctx, N_HEAD, HEAD_DIM))
        k = rope((h @ p["k"][i].T).reshape(batch, n_ctx, N_HEAD_KV, HEAD_DIM))
        v = (h @ p["v"][i].T).reshape(batch, n_ctx, N_HEAD_KV, HEAD_DIM)
        q = q.reshape(batch, n_ctx, N_HEAD_KV, group, HEAD_DIM).transpose(0, 2, 3, 1, 4)
        q = q.reshape(batch, N_HEAD_KV, group * n_ctx, HEAD_DIM)
        k = k.transpose(0, 2, 3, 1)
        v = v.transpose(0, 2, 1, 3)
        scores = (q @ k).reshape(batch, N_HEAD_KV, group, n_ctx, n_ctx) * HEAD_DIM**-0.5
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e9), -1)
        mixed = (weights.reshape(batch, N_HEAD_KV, group * n_ctx, n_ctx) @ v)
        mixed = mixed.reshape(batch, N_HEAD, n_ctx, HEAD_DIM).transpose(0, 2, 1, 3)
        x = x + mixed.reshape(batch, n_ctx, N_EMBD) @ p["o"][i].T
        h = rms_norm(x, p["ffn_norm"][i])
        x = x + (jax.nn.silu(h @ p["gate"][i].T) * (h @ p["up"][i].T)) @ p["down"][i].T
    return rms_norm(x, p["norm"]) @ p["embd"].T


def losses(p, inputs, targets):
    """Cross entropy of each target, in nats."""
    logits = forward(p, inputs)
    picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - picked


# --- optimizer: Muon for the matrices of the layers, Adam for the rest --------


def orthogonal(g):
    """Newton-Schulz: about the nearest orthogonal matrix, for a stack of matrices."""
    tall = g.shape[-2] > g.shape[-1]
    x = jnp.swapaxes(g, -1, -2) if tall else g
    x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(5):
        a = x @ jnp.swapaxes(x, -1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return jnp.swapaxes(x, -1, -2) if tall else x


def update(p, m, s, grads, step, rate):
    """One step; `m` and `s` are the first and second moments, `rate` in 0..1."""
    new_p, new_m, new_s = {}, {}, {}
    for name, g in grads.items():
        if name in MATRICES:
            mean = 0.95 * m[name] + g
            rows, cols = g.shape[-2:]
            move = orthogonal(g + 0.95 * mean) * max(1.0, rows / cols) ** 0.5
            lr, decay, square = 0.02 * rate, 0.05, s[name]
        else:
            mean = 0.9 * m[name] + 0.1 * g
            square = 0.95 * s[name] + 0.05 * g * g
            move = (mean / (1 - 0.9**step)) / (jnp.sqrt(square / (1 - 0.95**step)) + 1e-10)
            lr, decay = 0.004 * rate, 0.0
        new_p[name] = p[name] * (1 - lr * decay) - lr * move
        new_m[name], new_s[name] = mean, square
    return new_p, new_m, new_s


@jax.jit
def train_step(p, m, s, inputs, targets, weights, step, rate):
    """The loss that comes back is the plain mean; the gradient is of the weighted one."""
    weights = weights[targets]

    def objective(p):
        each = losses(p, inputs, targets)
        return (each * weights).sum() / weights.sum(), each.mean()

    (_, loss), grads = jax.value_and_grad(objective, has_aux=True)(p)
    p, m, s = update(p, m, s, grads, step, rate)
    return p, m, s, loss


def learning_rate(step, n_steps):
    """Warm up for 30 steps, hold, then fall to nothing over the last 60 %."""
    return min(1.0, (step + 1) / 30, (n_steps - step) / (0.6 * n_steps))


# --- checking ----------------------------------------------------------------

eval_losses = jax.jit(losses)


def perplexity(p, ids, n_ctx):
    """Perplexity over the later half of each chunk of `n_ctx`, BOS put first.

    These are the same positions that llama-perplexity counts; like it, `ids`
    starts with a BOS of its own.
    """
    total, count = 0.0, 0
    first = n_ctx // 2
    chunks = len(ids) // n_ctx
    for i in range(chunks):
        chunk = np.array(ids[i * n_ctx : (i + 1) * n_ctx], np.int32)
        targets = np.append(chunk[1:], 0)
        chunk[0] = BOS
        loss = np.asarray(eval_losses(p, chunk[None], targets[None]))[0]
        total += float(loss[first : n_ctx - 1].sum(dtype=np.float64))
        count += n_ctx - 1 - first
    return float(np.exp(total / count)), chunks


last_logits = jax.jit(lambda p, tokens, at: forward(p, tokens)[0, at])


def generate(p, vocab, ids, temperature, seed, n_predict=300):
    rng = np.random.default_rng(seed)
    ids, start = list(ids), len(ids)
    while len(ids) < min(N_CTX, start + n_predict):
        padded = np.full((1, N_CTX), PAD, np.int32)
        padded[0, : len(ids)] = ids
        logits = np.asarray(last_logits(p, padded, len(ids) - 1), np.float64)
        if temperature == 0:
            pick = int(logits.argmax())
        else:
            weights = np.exp((logits - logits.max()) / temperature)
            pick = int(rng.choice(N_VOCAB, p=weights / weights.sum()))
        if pick in (EOS, END):
            break
        ids.append(pick)
    return vocab.decode(ids[start:])


# --- GGUF --------------------------------------------------------------------

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TENSOR_F32, TENSOR_F16 = 0, 1
ALIGNMENT = 32


# The tensors of a layer, in the order of the file: name there, name here.
LAYER_TENSORS = (
    ("attn_norm", "attn_norm"), ("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v"), ("attn_output", "o"),
    ("ffn_norm", "ffn_norm"), ("ffn_gate", "gate"), ("ffn_up", "up"), ("ffn_down", "down"),
)


def gguf_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def gguf_bytes(metadata, tensors):
    """A GGUF v3 file: metadata {key: (type, value)}, tensors {name: array}."""
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, (kind, value) in metadata.items():
        head += gguf_string(key)
        if isinstance(kind, tuple):
            head += struct.pack("<IIQ", ARRAY, kind[1], len(value))
            for item in value:
                head += gguf_value(kind[1], item)
        else:
            head += struct.pack("<I", kind) + gguf_value(kind, value)
    data = bytearray()
    for name, array in tensors.items():
        data += bytes(-len(data) % ALIGNMENT)
        head += gguf_string(name) + struct.pack("<I", array.ndim)
        for size in reversed(array.shape):
            head += struct.pack("<Q", size)
        head += struct.pack("<IQ", TENSOR_F16 if array.dtype == np.float16 else TENSOR_F32, len(data))
        data += array.tobytes()
    head += bytes(-len(head) % ALIGNMENT)
    return bytes(head + data) + bytes(-len(data) % ALIGNMENT)


def model_file(p, vocab):
    """The whole model as GGUF: matrices in F16, norms in F32."""
    kinds = [3] * len(CONTROL) + [1] * (N_VOCAB - len(CONTROL))  # control, normal
    metadata = {
        "general.architecture": (STRING, "llama"),
        "general.type": (STRING, "model"),
        "general.name": (STRING, "Quipu Stories 1M"),
        "general.description": (STRING, "A very small model that tells little stories, trained on text from a seeded grammar."),
        "general.license": (STRING, "mit OR apache-2.0"),
        "general.size_label": (STRING, "1M"),
        "general.file_type": (U32, 1),
        "llama.context_length": (U32, N_CTX),
        "llama.embedding_length": (U32, N_EMBD),
        "llama.block_count": (U32, N_LAYER),
        "llama.feed_forward_length": (U32, N_FF),
        "llama.attention.head_count": (U32, N_HEAD),
        "llama.attention.head_count_kv": (U32, N_HEAD_KV),
        "llama.attention.layer_norm_rms_epsilon": (F32, RMS_EPS),
        "llama.rope.dimension_count": (U32, HEAD_DIM),
        "llama.rope.freq_base": (F32, ROPE_BASE),
        "llama.vocab_size": (U32, N_VOCAB),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "gpt-2"),
        "tokenizer.ggml.tokens": ((ARRAY, STRING), vocab.tokens),
        "tokenizer.ggml.token_type": ((ARRAY, I32), kinds),
        "tokenizer.ggml.merges": ((ARRAY, STRING), [f"{a} {b}" for a, b in vocab.merges]),
        "tokenizer.ggml.bos_token_id": (U32, BOS),
        "tokenizer.ggml.eos_token_id": (U32, EOS),
        "tokenizer.ggml.eot_token_id": (U32, END),
        "tokenizer.ggml.padding_token_id": (U32, PAD),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        "tokenizer.ggml.add_eos_token": (BOOL, False),
        "tokenizer.chat_template": (STRING, CHAT_TEMPLATE),
    }
    p = {name: np.asarray(value) for name, value in p.items()}
    tensors = {"token_embd.weight": p["embd"].astype(np.float16)}
    for i in range(N_LAYER):
        for name, key in LAYER_TENSORS:
            value = p[key][i]
            tensors[f"blk.{i}.{name}.weight"] = value.astype(np.float16) if value.ndim == 2 else value
    tensors["output_norm.weight"] = p["norm"]
    return gguf_bytes(metadata, tensors)


# --- the run -----------------------------------------------------------------


def report(p, vocab, heldout, say):
    """Say the perplexities on the held-out ids, and some samples."""
    for n_ctx in (256, 512) if heldout else ():
        value, chunks = perplexity(p, heldout, n_ctx)
        say(f"held-out perplexity {value:.4f}, n_ctx {n_ctx}, {chunks} chunks")
    start = "Once upon a time"
    for seed, temperature in ((0, 0.0), (1, 0.8), (2, 0.8)):
        say(start + generate(p, vocab, [BOS, *vocab.encode(start)], temperature, seed))
    for seed, question in enumerate(["Tell me a story about a dog.", "Write a story about a cat named Zoe.", "Hello!"]):
        ids = [BOS, *vocab.encode_chat([("user", question)], answer=True)]
        say(f"{question} -> {generate(p, vocab, ids, 0.8, seed)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the training text and of the weights")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--tokens", type=int, default=3072, help="tokens in a step")
    parser.add_argument("--out", default="stories-1m.gguf")
    parser.add_argument("--heldout", help="text to measure the perplexity on")
    parser.add_argument("--limit", type=int, help="stop after so many steps (to try things out)")
    args = parser.parse_args()
    began = time.time()

    def say(text):
        print(f"[{time.time() - began:7.1f} s] {text}", flush=True)

    rng = random.Random(args.seed)
    sample = []
    for _ in range(6000):
        sample.append(stories.story(rng)[0])
        sample += [content for _, content in stories.chat(rng)]
    vocab = Vocab.train("\n".join(sample), N_VOCAB)
    say(f"vocabulary of {len(vocab.tokens)} tokens from {len(sample)} texts")

    # Short rows first, which are cheaper; full rows for the last fifth.
    n_short = args.steps * 4 // 5
    half = N_CTX // 2
    short = training_rows(vocab, args.seed + 1000, n_short * (args.tokens // half), half)
    full = training_rows(vocab, args.seed + 2000, (args.steps - n_short) * (args.tokens // N_CTX), N_CTX)
    weights = target_weights(vocab)
    say(f"{short[0].size + full[0].size} tokens of text, {int((weights > 1).sum())} tokens are names")
    heldout = [BOS, *vocab.encode(open(args.heldout).read())] if args.heldout else []

    p = init_params(args.seed)
    m = {name: jnp.zeros_like(value) for name, value in p.items()}
    s = {name: jnp.zeros_like(value) for name, value in p.items()}
    say(f"{sum(value.size for value in p.values())} parameters")
    mean = None
    for step in range(args.limit or args.steps):
        if step < n_short:
            rows, at = short, step
        else:
            rows, at = full, step - n_short
        batch = args.tokens // rows[0].shape[1]
        picked = slice(at * batch, (at + 1) * batch)
        rate = learning_rate(step, args.steps)
        p, m, s, loss = train_step(p, m, s, rows[0][picked], rows[1][picked], weights, step + 1.0, rate)
        mean = float(loss) if mean is None else 0.95 * mean + 0.05 * float(loss)
        if step % 25 == 0:
            say(f"step {step} loss {mean:.4f}")
        if step % 250 == 249 and heldout:
            say(f"step {step} held-out perplexity {perplexity(p, heldout, 256)[0]:.4f}")
            say(generate(p, vocab, [BOS, *vocab.encode("Once upon a time")], 0.8, step, 60))
    with open(args.out, "wb") as out:
        out.write(model_file(p, vocab))
    say(f"wrote {args.out}, {os.path.getsize(args.out)} bytes")

    rounded = {name: value if "norm" in name else value.astype(np.float16).astype(np.float32) for name, value in p.items()}
    report(rounded, vocab, heldout, say)


if __name__ == "__main__":
    main()
