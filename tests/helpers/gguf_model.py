"""A tiny Qwen2 of random weights as a GGUF file of 8-bit blocks, as llama.cpp writes one."""

import numpy as np

WIDTH, INNER, TOKENS, BLOCKS = 32, 64, 300, 2
ARCHITECTURE = "qwen2"

PARTS = {
    "attn_q": ("self_attn.q_proj", (WIDTH, WIDTH)),
    "attn_k": ("self_attn.k_proj", (WIDTH // 2, WIDTH)),
    "attn_v": ("self_attn.v_proj", (WIDTH // 2, WIDTH)),
    "attn_output": ("self_attn.o_proj", (WIDTH, WIDTH)),
    "ffn_gate": ("mlp.gate_proj", (INNER, WIDTH)),
    "ffn_up": ("mlp.up_proj", (INNER, WIDTH)),
    "ffn_down": ("mlp.down_proj", (WIDTH, INNER)),
}
"""Matrices of a block: their names in GGUF, in transformers, and their shapes."""


def write_gguf(path, blocks=BLOCKS):
    """Write the file; returns the unpacked matrices by their names in transformers."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_name("tiny")
    writer.add_block_count(blocks)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    _add_tokenizer(writer, gguf)
    packed = {}

    def add(name, shape, theirs=None):
        dense = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, 1 + dense / 10)
            return
        blocks_of_8_bits = gguf.quants.quantize(dense, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, blocks_of_8_bits, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        packed[theirs] = gguf.quants.dequantize(
            blocks_of_8_bits, gguf.GGMLQuantizationType.Q8_0
        ).astype(np.float32)

    add("token_embd.weight", (TOKENS, WIDTH), "model.embed_tokens.weight")
    add("output_norm.weight", (WIDTH,))
    for block in range(blocks):
        add(f"blk.{block}.attn_norm.weight", (WIDTH,))
        add(f"blk.{block}.ffn_norm.weight", (WIDTH,))
        for theirs, (ours, shape) in PARTS.items():
            add(f"blk.{block}.{theirs}.weight", shape, f"model.layers.{block}.{ours}.weight")
            if theirs in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{block}.{theirs}.bias", shape[:1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return packed


def _add_tokenizer(writer, gguf):
    """A byte-level vocabulary: all bytes, a few merges, and tokens that are never met."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = sorted(ByteLevel.alphabet())
    merges = ["t h", "th e", "a n", "an d", "e r", "i n"]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += [f"<unmet{i}>" for i in range(TOKENS - 1 - len(tokens))] + ["<|endoftext|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([gguf.TokenType.NORMAL] * (TOKENS - 1) + [gguf.TokenType.CONTROL])
    writer.add_eos_token_id(TOKENS - 1)
    writer.add_bos_token_id(TOKENS - 1)
