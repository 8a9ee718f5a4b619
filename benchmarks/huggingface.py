"""Tiny networks of Hugging Face ``transformers`` with random weights: (name, network, inputs by name)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Case = tuple[nn.Module, dict[str, Any]]
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 64,
}
_DECODER = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64, "use_cache": False}
_TOKENS = 7


def _tokens(*, mask: bool = False) -> dict[str, Any]:
    ids = torch.randint(3, 60, (2, _TOKENS))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} if mask else {"input_ids": ids}


def _both() -> dict[str, Any]:
    return {**_tokens(), "decoder_input_ids": torch.randint(3, 60, (2, 5))}


class Scores(nn.Module):
    """A network of which only the scores count: what else it returns would be kept in place, hidden states too."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, **inputs: Any) -> torch.Tensor:
        """Return the logits, or the embedding of a network without any."""
        output = self.network(**inputs)
        return output.logits if "logits" in output else output.image_embeds


def _build(model: str, config: str, inputs: dict[str, Any], **settings: Any) -> Case:
    import transformers

    network = getattr(transformers, model)(getattr(transformers, config)(**settings))
    return Scores(network.eval()), inputs


def _images(size: int = 32) -> dict[str, Any]:
    return {"pixel_values": torch.randn(2, 3, size, size)}


_VISION = {k: v for k, v in _SMALL.items() if k != "vocab_size"} | {"image_size": 32, "patch_size": 8}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 64, "use_cache": False}
_SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}

CASES: dict[str, Callable[[], Case]] = {
    "gpt2": lambda: _build(
        "GPT2LMHeadModel", "GPT2Config", _tokens(), n_embd=32, n_layer=2, n_head=4, vocab_size=64, use_cache=False
    ),
    "gpt_neox": lambda: _build("GPTNeoXForCausalLM", "GPTNeoXConfig", _tokens(), **_DECODER),
    "opt": lambda: _build(
        "OPTForCausalLM",
        "OPTConfig",
        _tokens(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        vocab_size=64,
        word_embed_proj_dim=32,
        use_cache=False,
    ),
    "llama": lambda: _build("LlamaForCausalLM", "LlamaConfig", _tokens(), **_DECODER),
    "llama_masked": lambda: _build("LlamaForCausalLM", "LlamaConfig", _tokens(mask=True), **_DECODER),
    "qwen2": lambda: _build("Qwen2ForCausalLM", "Qwen2Config", _tokens(), **_DECODER),
    "qwen3": lambda: _build("Qwen3ForCausalLM", "Qwen3Config", _tokens(), **_DECODER, head_dim=8),
    "mistral": lambda: _build("MistralForCausalLM", "MistralConfig", _tokens(), **_DECODER),
    "gemma": lambda: _build("GemmaForCausalLM", "GemmaConfig", _tokens(), **_DECODER, head_dim=8),
    "gemma2": lambda: _build("Gemma2ForCausalLM", "Gemma2Config", _tokens(), **_DECODER, head_dim=8),
    "phi": lambda: _build("PhiForCausalLM", "PhiConfig", _tokens(), **_DECODER),
    "mixtral": lambda: _build(
        "MixtralForCausalLM", "MixtralConfig", _tokens(), **_DECODER, num_local_experts=4, num_experts_per_tok=2
    ),
    "mamba": lambda: _build(
        "MambaForCausalLM",
        "MambaConfig",
        _tokens(),
        hidden_size=32,
        num_hidden_layers=2,
        vocab_size=64,
        state_size=4,
        use_cache=False,
    ),
    "bert": lambda: _build("BertForSequenceClassification", "BertConfig", _tokens(), **_SMALL),
    "bert_masked": lambda: _build("BertForMaskedLM", "BertConfig", _tokens(mask=True), **_SMALL),
    "roberta": lambda: _build("RobertaForMaskedLM", "RobertaConfig", _tokens(), **_SMALL),
    "distilbert": lambda: _build(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        _tokens(),
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        vocab_size=64,
    ),
    "electra": lambda: _build("ElectraForSequenceClassification", "ElectraConfig", _tokens(), **_SMALL),
    "albert": lambda: _build("AlbertForMaskedLM", "AlbertConfig", _tokens(), **_SMALL, embedding_size=16),
    "vit": lambda: _build("ViTForImageClassification", "ViTConfig", _images(), **_VISION),
    "deit": lambda: _build("DeiTForImageClassification", "DeiTConfig", _images(), **_VISION),
    "clip_vision": lambda: _build("CLIPVisionModelWithProjection", "CLIPVisionConfig", _images(), **_VISION),
    "t5": lambda: _build("T5ForConditionalGeneration", "T5Config", _both(), **_T5),
    "t5_gated": lambda: _build(
        "T5ForConditionalGeneration", "T5Config", _both(), **_T5, feed_forward_proj="gated-gelu"
    ),
    "bart": lambda: _build(
        "BartForConditionalGeneration", "BartConfig", _both(), **_SEQ2SEQ, max_position_embeddings=64
    ),
    "whisper": lambda: _build(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {"input_features": torch.randn(2, 8, 60), "decoder_input_ids": torch.randint(3, 60, (2, 5))},
        **_SEQ2SEQ,
        num_mel_bins=8,
        max_source_positions=30,
        max_target_positions=20,
    ),
}
