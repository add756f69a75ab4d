"""Writes tests/parity/loss: the loss of TRL's GRPOTrainer and of verl, and torch's gradients of them, for a tiny random Qwen3.

    pip install torch transformers trl datasets safetensors
    pip install verl --no-deps && pip install ray tensordict codetiming hydra-core peft torchdata pybind11 pylatexenc
    python scripts/loss_fixtures.py tests/parity/loss

TRL's part calls `GRPOTrainer._compute_loss`, verl's part `compute_policy_loss_vanilla`, `kl_penalty` and `agg_loss`: nothing of
theirs is written again here. tests/gradient.rs gives the same conversations to `memtrain policy gradient`.
"""

import json
import pathlib
import sys
import tempfile

import datasets
import tokenizers
import torch
import transformers
import trl
import verl
from safetensors.torch import save_file
from trl import GRPOConfig, GRPOTrainer
from verl.trainer.ppo import core_algos

VOCABULARY = 24
SHAPE = dict(
    vocab_size=VOCABULARY, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=4, max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=True,
)
# Longer than any response, so that it is not their mean length by accident.
LONGEST = 9
BETA = 0.04


def make_model():
    torch.manual_seed(7)
    theta = dict(rope_type="default", rope_theta=10_000.0)
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, rope_parameters=theta)).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_((1.0 if "norm" in name else 0.0) + 0.4 * torch.randn_like(parameter))
    return model


def make_conversations(model):
    """Three prompts with two or three responses of different lengths; old and reference log-probabilities near the policy's."""
    generator = torch.Generator().manual_seed(11)
    draw = lambda count: torch.randint(0, VOCABULARY, (count,), generator=generator).tolist()
    conversations = []
    for prompt_length, lengths in [(3, (1, 4)), (5, (7, 2, 5)), (4, (3, 6))]:
        prompt = draw(prompt_length)
        for length in lengths:
            advantage = (torch.rand((), generator=generator) * 3 - 1.5).item()
            conversations.append(dict(prompt_ids=prompt, response_ids=draw(length), advantages=[advantage] * length))
    batch = padded(conversations)
    with torch.no_grad():
        log_probs = token_log_probs(model, batch)
    near = lambda spread: log_probs + spread * (2 * torch.rand(log_probs.shape, generator=generator) - 1)
    old, ref = near(0.8), near(1.2)
    for row, conversation in enumerate(conversations):
        count = len(conversation["response_ids"])
        conversation["old_logprobs"] = old[row, :count].tolist()
        conversation["ref_logprobs"] = ref[row, :count].tolist()
    return conversations


def padded(conversations):
    """Prompts padded on the left, responses on the right, as both libraries have them."""
    prompts = max(len(one["prompt_ids"]) for one in conversations)
    responses = max(len(one["response_ids"]) for one in conversations)
    left = lambda ids, fill: [fill] * (prompts - len(ids)) + ids
    right = lambda values, fill: values + [fill] * (responses - len(values))
    rows = lambda make: torch.tensor([make(one) for one in conversations])
    numbers = lambda key: rows(lambda one: right(one[key], 0.0)) if key in conversations[0] else None
    return dict(
        prompt_ids=rows(lambda one: left(one["prompt_ids"], 0)),
        prompt_mask=rows(lambda one: left([1] * len(one["prompt_ids"]), 0)),
        completion_ids=rows(lambda one: right(one["response_ids"], 0)),
        completion_mask=rows(lambda one: right([1] * len(one["response_ids"]), 0)),
        advantages=numbers("advantages"), old=numbers("old_logprobs"), ref=numbers("ref_logprobs"),
    )


def token_log_probs(model, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    count = batch["completion_ids"].size(1)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -count - 1:-1]
    return torch.log_softmax(logits, dim=-1).gather(2, batch["completion_ids"][:, :, None]).squeeze(2)


def of_trl(folder, batch, loss_type, on_policy=False, beta=0.0, delta=None, epsilon_high=0.2):
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0")),
        pad_token="w0", eos_token="w1", unk_token="w0")
    rows = batch["prompt_ids"].size(0)
    with tempfile.TemporaryDirectory() as output:
        arguments = GRPOConfig(
            output_dir=output, loss_type=loss_type, beta=beta, delta=delta, epsilon=0.2, epsilon_high=epsilon_high,
            max_completion_length=LONGEST, per_device_train_batch_size=rows, num_generations=rows, use_cpu=True,
            use_bias_correction_kl=True, bf16=False, gradient_checkpointing=False, report_to=[])
        trainer = GRPOTrainer(
            model=str(folder), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
            train_dataset=datasets.Dataset.from_list([dict(prompt="w3")]), processing_class=tokenizer)
    model = trainer.model.float().train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = {key: batch[key] for key in ["prompt_ids", "prompt_mask", "completion_ids", "completion_mask"]}
    inputs |= dict(advantages=batch["advantages"], num_items_in_batch=batch["completion_mask"].sum())
    if not on_policy:
        inputs["old_per_token_logps"] = batch["old"]
    if beta:
        inputs["ref_per_token_logps"] = batch["ref"]
    loss = trainer._compute_loss(model, inputs)
    model.zero_grad()
    loss.backward()
    metrics = {key: values[-1] for key, values in trainer._metrics["train"].items()}
    expected = dict(loss=loss.item(), entropy=metrics["entropy"], clip_low=metrics["clip_ratio/low_mean"],
                    clip_high=metrics["clip_ratio/high_mean"])
    if beta:
        expected["kl"] = metrics["kl"]
    settings = {"loss.aggregation": loss_type, "loss.kl_beta": beta, "loss.kl_bias_correction": True,
                "loss.clip_high": epsilon_high, "loss.dual_clip": "inf" if delta is None else delta, "loss.normalizer_tokens": LONGEST}
    name = f"trl/{loss_type}" + ("/on-policy" if on_policy else "") + ("/kl" if beta else "") + ("/delta" if delta else "")
    case = dict(name=name, settings=settings, old=not on_policy, ref=beta > 0, expected=expected)
    return case, {key: value.grad.clone() for key, value in model.named_parameters()}


class ActorSettings(dict):
    """What `compute_policy_loss_vanilla` reads of verl's actor configuration."""
    clip_ratio, clip_ratio_low, clip_ratio_high = 0.2, 0.2, 0.28

    def __init__(self, dual_clip, scale):
        super().__init__(clip_ratio_c=dual_clip)
        self.global_batch_info = dict(loss_scale_factor=scale)


def of_verl(model, batch, aggregation, estimator, dual_clip):
    mask = batch["completion_mask"].float()
    log_probs = token_log_probs(model, batch)
    settings = ActorSettings(dual_clip, LONGEST)
    loss, metrics = core_algos.compute_policy_loss_vanilla(
        old_log_prob=batch["old"], log_prob=log_probs, advantages=batch["advantages"], response_mask=mask,
        loss_agg_mode=aggregation, config=settings)
    kl = core_algos.kl_penalty(log_probs, batch["ref"], estimator)
    loss = loss + BETA * core_algos.agg_loss(kl, mask, aggregation, **settings.global_batch_info)
    model.zero_grad()
    loss.backward()
    expected = dict(loss=loss.item(), kl=((kl * mask).sum() / mask.sum()).item(),
                    clip_low_or_high=metrics["actor/pg_clipfrac"], clip_dual=metrics["actor/pg_clipfrac_lower"])
    settings = {"loss.aggregation": aggregation, "loss.kl_beta": BETA, "loss.kl_estimator": estimator,
                "loss.clip_high": 0.28, "loss.dual_clip": dual_clip, "loss.normalizer_tokens": LONGEST}
    case = dict(name=f"verl/{aggregation}/{estimator}", settings=settings, old=True, ref=True, expected=expected)
    return case, {key: value.grad.clone() for key, value in model.named_parameters()}


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    conversations = make_conversations(model)
    (folder / "batch.jsonl").write_text("".join(json.dumps(one) + "\n" for one in conversations))
    batch = padded(conversations)
    results = []
    for loss_type in ["grpo", "dapo", "dr_grpo"]:
        results.append(of_trl(folder, batch, loss_type, on_policy=True))
        results.append(of_trl(folder, batch, loss_type, beta=BETA, epsilon_high=0.28))
        results.append(of_trl(folder, batch, loss_type, beta=BETA, epsilon_high=0.28, delta=1.5))
    for aggregation in ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]:
        for estimator, dual_clip in [("k1", 3.0), ("k2", 1.5), ("k3", 1.7)]:
            results.append(of_verl(model, batch, aggregation, estimator, dual_clip))
    (folder / "cases.json").write_text(json.dumps([case for case, _ in results], indent=1) + "\n")
    save_file({f"{case['name']}:{key}": value for case, gradients in results for key, value in gradients.items()},
              folder / "gradients.safetensors")
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, trl=trl.__version__,
                    verl=verl.__version__)
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
