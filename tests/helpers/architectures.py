"""Tiny random models of many architectures, from their settings alone, each with two batches.

A case says what must be found in a model: how many layers, and which modules with a matrix are left
out, by globs over their names, with words of the reason.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch

TEXT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
BERT = {**TEXT, "intermediate_size": 48, "max_position_embeddings": 64}
LLAMA = {**BERT, "num_key_value_heads": 1}
GPT = {
    "vocab_size": 60,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MOE = {**LLAMA, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
DEEPSEEK = {
    **LLAMA,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
SEQUENCES = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
PICTURES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 8,
    "patch_size": 4,
}

ROUTER = {"*.mlp.gate": "router", "*.mlp.router": "router"}
CONVOLUTION = "Conv[12]d is not a linear layer"


def ids(draw):
    """Token ids (2, 9), none of them special."""
    return torch.randint(3, 60, (2, 9), generator=draw)


def reals(*shape):
    """What makes floating inputs of a shape."""
    return lambda draw: torch.randn(*shape, generator=draw)


IDS = {"input_ids": ids}
BOTH = {"input_ids": ids, "decoder_input_ids": ids}
IMAGE = {"pixel_values": reals(2, 3, 8, 8)}


@dataclass(frozen=True)
class Case:
    """A model of class `kind`, of a `config` with settings.

    layers: how many are found. one: the layer looked at. left_out: globs, with words of reasons.
    batch: what makes each argument of its forward.
    """

    name: str
    kind: str
    config: str
    settings: dict
    layers: int
    one: str
    left_out: dict = field(default_factory=dict)
    batch: dict = field(default_factory=lambda: IDS)

    def build(self):
        """The model, in evaluation mode, the same each time."""
        import transformers

        config = getattr(transformers, self.config)(**self.settings)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = getattr(transformers, self.kind)(config).eval()
            for parameter in model.parameters():  # what begins constant gets values of its own
                if parameter.is_floating_point() and parameter.max() == parameter.min():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    def batches(self):
        """Two batches, the same each time."""
        draw = torch.Generator().manual_seed(1)
        return [{name: make(draw) for name, make in self.batch.items()} for _ in range(2)]

    def expects(self, name, reason):
        """Whether a module is to be left out for a reason."""
        return any(
            fnmatchcase(name, glob) and words in reason for glob, words in self.left_out.items()
        )


DECODER = "model.layers.1.mlp.down_proj"
EXPERT = "model.layers.1.mlp.experts.2.{}"

CASES = [
    Case("llama", "LlamaForCausalLM", "LlamaConfig", LLAMA, 15, DECODER),
    Case("mistral", "MistralForCausalLM", "MistralConfig", LLAMA, 15, DECODER),
    Case("qwen2", "Qwen2ForCausalLM", "Qwen2Config", LLAMA, 15, "model.layers.0.self_attn.k_proj"),
    Case("qwen3", "Qwen3ForCausalLM", "Qwen3Config", {**LLAMA, "head_dim": 16}, 15, DECODER),
    Case("gemma2", "Gemma2ForCausalLM", "Gemma2Config", {**LLAMA, "head_dim": 16}, 15, DECODER),
    Case("gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", {**LLAMA, "head_dim": 16}, 15, DECODER),
    Case(
        "opt",
        "OPTForCausalLM",
        "OPTConfig",
        {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
        13,
        "model.decoder.layers.1.fc2",
    ),
    Case("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT, 9, "transformer.h.1.attn.c_proj"),
    Case(
        "gpt-neox",
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        BERT,
        9,
        "gpt_neox.layers.1.attention.query_key_value",
    ),
    Case(
        "gpt-j",
        "GPTJForCausalLM",
        "GPTJConfig",
        {**GPT, "rotary_dim": 8},
        13,
        "transformer.h.1.mlp.fc_out",
    ),
    Case(
        "falcon",
        "FalconForCausalLM",
        "FalconConfig",
        TEXT,
        9,
        "transformer.h.1.self_attention.dense",
    ),
    Case(
        "bloom",
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 60, "hidden_size": 32, "n_layer": 2, "n_head": 2},
        9,
        "transformer.h.1.self_attention.dense",
    ),
    Case("phi", "PhiForCausalLM", "PhiConfig", LLAMA, 13, "model.layers.1.self_attn.dense"),
    Case("phi-3", "Phi3ForCausalLM", "Phi3Config", LLAMA, 9, "model.layers.1.mlp.gate_up_proj"),
    Case(
        "starcoder2",
        "Starcoder2ForCausalLM",
        "Starcoder2Config",
        LLAMA,
        13,
        "model.layers.1.mlp.c_proj",
    ),
    Case(
        "mixtral",
        "MixtralForCausalLM",
        "MixtralConfig",
        {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
        25,
        EXPERT.format("gate_up_proj"),
        ROUTER,
    ),
    Case(
        "qwen2-moe",
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {**MOE, "shared_expert_intermediate_size": 24},
        33,
        EXPERT.format("down_proj"),
        ROUTER,
    ),
    Case(
        "qwen3-moe",
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**MOE, "head_dim": 16},
        25,
        EXPERT.format("gate_up_proj"),
        ROUTER,
    ),
    Case(
        "olmoe",
        "OlmoeForCausalLM",
        "OlmoeConfig",
        {**LLAMA, "num_experts": 4, "num_experts_per_tok": 2},
        25,
        EXPERT.format("down_proj"),
        ROUTER,
    ),
    Case(
        "deepseek-v2",
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        {**DEEPSEEK, "topk_method": "greedy"},
        25,
        EXPERT.format("down_proj"),
        ROUTER,
    ),
    Case(
        "deepseek-v3",
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        DEEPSEEK,
        25,
        EXPERT.format("gate_up_proj"),
        ROUTER,
    ),
    Case(
        "gpt-oss",
        "GptOssForCausalLM",
        "GptOssConfig",
        {**LLAMA, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
        25,
        EXPERT.format("down_proj"),
        ROUTER,
    ),
    Case(
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        {k: v for k, v in TEXT.items() if k != "num_attention_heads"} | {"state_size": 4},
        9,
        "backbone.layers.1.mixer.x_proj",
        {"*.mixer": "MambaMixer", "*.conv1d": "Conv1d"},  # A_log and D; a convolution
    ),
    Case(
        "t5",
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 60, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2},
        17,
        "decoder.block.0.layer.1.EncDecAttention.k",
        batch=BOTH,
    ),
    Case(
        "bart",
        "BartForConditionalGeneration",
        "BartConfig",
        {**SEQUENCES, "max_position_embeddings": 64},
        17,
        "model.decoder.layers.0.encoder_attn.v_proj",
        batch=BOTH,
    ),
    Case(
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            **SEQUENCES,
            "num_mel_bins": 8,
            "max_source_positions": 10,
            "max_target_positions": 16,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
        17,
        "model.decoder.layers.0.fc1",
        {"*.conv?": "Conv1d"},
        {"input_features": reals(2, 8, 20), "decoder_input_ids": ids},
    ),
    Case("bert", "BertForMaskedLM", "BertConfig", BERT, 14, "bert.encoder.layer.1.output.dense"),
    Case(
        "roberta",
        "RobertaForMaskedLM",
        "RobertaConfig",
        BERT,
        14,
        "roberta.encoder.layer.1.attention.self.value",
    ),
    Case(
        "deberta",
        "DebertaForMaskedLM",
        "DebertaConfig",
        {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        14,
        "deberta.encoder.layer.1.attention.self.in_proj",
    ),
    Case(
        "deberta-v2",
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        {
            **BERT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
        },
        18,
        "deberta.encoder.layer.1.attention.self.pos_key_proj",
    ),
    Case(
        "vit",
        "ViTForImageClassification",
        "ViTConfig",
        PICTURES,
        13,
        "vit.layers.1.attention.v_proj",
        {"*.projection": "Conv2d", "vit.embeddings": "ViTEmbeddings"},
        IMAGE,
    ),
    Case(
        "clip",
        "CLIPModel",
        "CLIPConfig",
        {"text_config": BERT, "vision_config": PICTURES, "projection_dim": 16},
        26,
        "vision_model.encoder.layers.0.mlp.fc1",
        {"*.patch_embedding": "Conv2d"},
        IDS | IMAGE,
    ),
    Case(
        "convnext",
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 16},
        5,
        "convnext.encoder.stages.1.layers.0.pwconv2",
        {"convnext.*": "Conv2d"},
        {"pixel_values": reals(2, 3, 16, 16)},
    ),
    Case(
        "resnet",
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        1,
        "classifier.1",
        {"resnet.*": "Conv2d"},
        {"pixel_values": reals(2, 3, 16, 16)},
    ),
    Case(
        "wav2vec2",
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        {
            **BERT,
            "conv_dim": (16, 16),
            "conv_stride": (5, 2),
            "conv_kernel": (10, 3),
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
        14,
        "wav2vec2.encoder.layers.1.feed_forward.output_dense",
        {"*.conv": "Conv1d"},
        {"input_values": reals(2, 400)},
    ),
    Case(
        "llama-4",
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {**LLAMA, "head_dim": 16, "num_local_experts": 4, "intermediate_size_mlp": 48},
        15,
        "model.layers.1.feed_forward.shared_expert.up_proj",
        {"*.experts": "fused in a way that is not known", "*.router": "router"},
    ),
]  # fmt: skip
