"""What PyTorch and TRL need for the work of `cargo bench --bench train`, which starts this and prints the ratios.

    pip install torch transformers trl datasets
    MEMTRAIN_BENCH_PYTHON=venv/bin/python cargo bench --bench train

Reads a policy directory and `{"prompts": [[id, …], …], "responses": [[[id, …], …], …]}`; prints one JSON object of CPU-seconds
(all threads of the process, user and system), the least of some runs. A word of the tokenizer is an id, and all words have
the same length: special tokens are matched anywhere in a text, so `w1` would be found in `w123`. That the prompts have the
bench's tokens is checked.
"""

import json
import pathlib
import sys
import tempfile
import time

import datasets
import tokenizers
import torch
import transformers
from trl import GRPOConfig, GRPOTrainer


def least(work, runs):
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def passes(model, prompts, responses, runs):
    """Forward, and forward with backward, of the mean log-probability of all responses; each with its prompt."""
    rows = [prompt + response for prompt, own in zip(prompts, responses) for response in own]
    ids = torch.tensor(rows)
    keep = len(responses[0][0])
    parameters = list(model.parameters())

    def score():
        logits = model(input_ids=ids, logits_to_keep=keep + 1, use_cache=False).logits[:, :-1]
        targets = ids[:, -keep:]
        return torch.log_softmax(logits, dim=-1).gather(2, targets[:, :, None]).mean()

    def forward():
        with torch.no_grad():
            score()

    def both():
        for parameter in parameters:
            parameter.grad = None
        (-score()).backward()

    return dict(forward=least(forward, runs), forward_backward=least(both, runs))


class Clock(transformers.TrainerCallback):
    def __init__(self):
        self.times, self.start = [], None

    def on_step_begin(self, *_, **__):
        self.start = time.process_time()

    def on_step_end(self, *_, **__):
        self.times.append(time.process_time() - self.start)


def step(folder, prompts, responses, runs):
    """A whole optimizer step of GRPOTrainer: draw, reward, loss, backward, AdamW."""
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    word = "w{:06d}".format
    words = {word(number): number for number in range(vocabulary)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=word(0)))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=word(0), eos_token=word(1), unk_token=word(0), padding_side="left")
    texts = [" ".join(map(word, prompt)) for prompt in prompts]
    assert tokenizer(texts)["input_ids"] == prompts
    group = len(responses[0])
    rows = len(prompts) * group
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        arguments = GRPOConfig(
            output_dir=output, loss_type="dapo", beta=0.0, temperature=1.0, num_generations=group,
            max_completion_length=len(responses[0][0]), per_device_train_batch_size=rows, steps_per_generation=1,
            max_steps=runs + 1, learning_rate=1e-6, use_cpu=True, bf16=False, gradient_checkpointing=False,
            save_strategy="no", logging_steps=10_000, report_to=[], disable_tqdm=True, scale_rewards="none")
        trainer = GRPOTrainer(
            model=str(folder), args=arguments, processing_class=tokenizer, callbacks=[clock],
            reward_funcs=lambda completion_ids, **_: [float(ids[0] % 2) for ids in completion_ids],
            train_dataset=datasets.Dataset.from_list([dict(prompt=text) for text in texts]))
        trainer.train()
    return min(clock.times[1:])


def main(folder, work, threads, runs):
    torch.set_num_threads(threads)
    work = json.loads(work.read_text())
    prompts, responses = work["prompts"], work["responses"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    times = passes(model, prompts, responses, runs)
    times["step"] = step(folder, prompts, responses, runs)
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, trl=__import__("trl").__version__)
    print(json.dumps(dict(times=times, versions=versions)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
