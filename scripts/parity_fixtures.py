"""Writes tests/parity: what transformers computes for tiny random Qwen2, Qwen3 and Llama models, and PEFT for an adapter,
in f32 on the CPU; and a sharded directory in bf16.

    pip install torch transformers peft safetensors
    python scripts/parity_fixtures.py write tests/parity     # the fixtures
    python scripts/parity_fixtures.py check some/policy      # that transformers loads a directory of ours
    python scripts/parity_fixtures.py check-adapter some/policy some/adapter   # that PEFT loads an adapter of ours

tests/parity.rs compares the decoder with the fixtures.
"""

import json
import pathlib
import sys

import peft
import torch
import transformers
from safetensors.torch import save_file

SHAPE = dict(
    vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6,
)


def models():
    theta = dict(rope_type="default", rope_theta=50_000.0)
    yield "qwen2", transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**SHAPE, rope_parameters=theta, tie_word_embeddings=False))
    yield "qwen3", transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(**SHAPE, rope_parameters=theta, head_dim=8, tie_word_embeddings=True))
    # A context so short that fast, slow and mixed frequencies all occur.
    stretched = dict(rope_type="llama3", rope_theta=50_000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                     original_max_position_embeddings=16)
    yield "llama", transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SHAPE, rope_parameters=stretched, head_dim=8, tie_word_embeddings=False))


def write(folder):
    for number, (name, model) in enumerate(models()):
        torch.manual_seed(number)
        model = model.float().eval()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                centre = 1.0 if "norm" in parameter_name else 0.0
                parameter.copy_(centre + 0.3 * torch.randn_like(parameter))
        ids = torch.randint(0, SHAPE["vocab_size"], (2, 24))
        logits = model(input_ids=ids).logits
        log_probs = torch.log_softmax(logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
        (-log_probs.mean()).backward()
        greedy = ids[:1, :6]
        with torch.no_grad():
            for _ in range(16):
                greedy = torch.cat([greedy, model(input_ids=greedy).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        expected = {f"gradient.{key}": value.grad.clone() for key, value in model.named_parameters()}
        expected |= {"input_ids": ids, "logits": logits.detach().contiguous(), "greedy": greedy,
                     "log_probs": log_probs.detach().contiguous()}
        model.save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        save_file(expected, folder / name / "expected.safetensors")
    write_sharded(folder / "sharded")
    write_adapter(folder / "qwen3", folder / "lora")
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


def write_sharded(folder):
    torch.manual_seed(7)
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=False))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="6KB")


def write_adapter(base, folder):
    torch.manual_seed(8)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    ids = torch.randint(0, SHAPE["vocab_size"], (2, 20))
    logits = model(input_ids=ids).logits
    log_probs = torch.log_softmax(logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    (-log_probs.mean()).backward()
    model.peft_config["default"].base_model_name_or_path = "tests/parity/qwen3"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    expected = {f"gradient.{key.replace('base_model.model.', '').replace('.default', '')}": value.grad.clone()
                for key, value in model.named_parameters() if value.grad is not None}
    merged = model.merge_and_unload()
    expected |= {"input_ids": ids, "logits": logits.detach().contiguous(),
                 "merged": merged.model.layers[1].mlp.down_proj.weight.detach().contiguous()}
    save_file(expected, folder / "expected.safetensors")


def check_adapter(base, adapter):
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, adapter)
    tokens = torch.arange(1, 13)[None]
    with torch.no_grad():
        with_adapter = model(input_ids=tokens).logits
        with model.disable_adapter():
            without = model(input_ids=tokens).logits
    log_probs = torch.log_softmax(with_adapter[:, :-1], dim=-1).gather(2, tokens[:, 1:, None]).squeeze(2)
    print(json.dumps({"difference_to_base": (with_adapter - without).abs().max().item(),
                      "log_probs": log_probs[0].tolist()}))


def check(directory):
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    messages = [{"role": "user", "content": "Who wrote it?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    log_probs = torch.log_softmax(logits[:, :-1].float(), dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    print(json.dumps({"text": text, "ids": ids[0].tolist(), "log_probs": log_probs[0].tolist(),
                      "eos": model.generation_config.eos_token_id}))


if __name__ == "__main__":
    commands = {"write": write, "check": check, "check-adapter": check_adapter}
    commands[sys.argv[1]](*map(pathlib.Path, sys.argv[2:]))
