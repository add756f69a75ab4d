"""Writes tests/parity: what transformers computes for tiny random Qwen2 and Qwen3 models, in f32 on the CPU.

    pip install torch transformers safetensors
    python scripts/parity_fixtures.py write tests/parity     # the fixtures
    python scripts/parity_fixtures.py check some/policy      # that transformers loads a directory of ours

tests/parity.rs compares the decoder with the fixtures.
"""

import json
import pathlib
import sys

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
    versions = dict(torch=torch.__version__, transformers=transformers.__version__)
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


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
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
