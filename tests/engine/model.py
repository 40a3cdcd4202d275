"""Writes a llama model with random weights, 0.6 MB, that a real llama.cpp loads: model.py OUT

No package is needed. The model babbles in words of its own vocabulary (ASCII, Chinese, an emoji, Markdown,
line breaks), never ends by itself (max_tokens does), and is the same file each time. Its chat template knows
thinking, so that a grammar in the request that spells <think>…</think> comes back as `reasoning_content`.
"""
import random
import struct
import sys

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 4096
WORDS = ["▁tide", "▁sea", "▁moon", "▁wave", "▁harbour", "▁rises", "▁falls", "▁and", "▁the", "▁of", ",", ".", "\n",
         "潮水", "月亮", "大海", "🌊", "é", "▁**ebb**", "▁`flow`"] + [f"▁w{number}" for number in range(200)]
TOKENS = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + WORDS
KINDS = [2, 3, 3] + [6] * 256 + [1] * len(WORDS)  # unknown, control, byte, normal
SCORES = [0.0] * 259 + [-float(rank) for rank in range(len(WORDS))]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def u32(value):
    return 4, struct.pack("<I", value)


def f32(value):
    return 6, struct.pack("<f", value)


def string(value):
    return 8, text(value)


def array(kind, items):
    return 9, struct.pack("<IQ", kind, len(items)) + b"".join(items)


def main(out):
    dice = random.Random(7)

    def weights(rows, columns, scale, silent=0):
        size = scale / columns**0.5
        values = [0.0] * (silent * columns) + [dice.gauss(0, size) for _ in range((rows - silent) * columns)]
        return [columns, rows], struct.pack(f"<{len(values)}f", *values)

    ones = ([WIDTH], struct.pack(f"<{WIDTH}f", *[1.0] * WIDTH))
    tensors = {
        "token_embd.weight": weights(len(TOKENS), WIDTH, 8),
        "output.weight": weights(len(TOKENS), WIDTH, 8, silent=259),  # no bytes, no end
        "output_norm.weight": ones,
    }
    for layer in range(LAYERS):
        for name, rows, columns in [("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH),
                                    ("attn_output", WIDTH, WIDTH), ("ffn_gate", INNER, WIDTH),
                                    ("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)]:
            tensors[f"blk.{layer}.{name}.weight"] = weights(rows, columns, 2)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = ones
    facts = {
        "general.architecture": string("llama"), "general.name": string("tiny"),
        "llama.context_length": u32(CONTEXT), "llama.embedding_length": u32(WIDTH), "llama.block_count": u32(LAYERS),
        "llama.feed_forward_length": u32(INNER), "llama.attention.head_count": u32(HEADS),
        "llama.attention.head_count_kv": u32(HEADS), "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
        "llama.rope.dimension_count": u32(WIDTH // HEADS), "llama.vocab_size": u32(len(TOKENS)),
        "tokenizer.ggml.model": string("llama"), "tokenizer.ggml.tokens": array(8, [text(token) for token in TOKENS]),
        "tokenizer.ggml.scores": array(6, [struct.pack("<f", score) for score in SCORES]),
        "tokenizer.ggml.token_type": array(5, [struct.pack("<i", kind) for kind in KINDS]),
        "tokenizer.ggml.bos_token_id": u32(1), "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.unknown_token_id": u32(0), "tokenizer.chat_template": string(TEMPLATE),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    for name, (kind, value) in facts.items():
        head += text(name) + struct.pack("<I", kind) + value
    offset, body = 0, b""
    for name, (shape, data) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        body += data + b"\0" * (-len(data) % 32)
        offset = len(body)
    with open(out, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + body)


main(sys.argv[1])
