"""The reader of memtrain as an agent loop of verl's v1 trainer: a context for each chunk, all of them trained on.

Rows are those of `memtrain corpus export --format verl`. A trajectory is c memory turns and an answer from the last memory alone:

    m_k = policy(question, m_{k-1}, chunk_k),  k = 1 … c;    answer = policy(question, m_c)

`run` returns an output for each turn. verl scores the last one, gives all of them its reward, takes GRPO's advantage over the last
ones of a prompt's rollouts and hands it to the others (`verl/trainer/ppo/v1`, verl 0.9.1), as MemAgent does. Recall rewards of
single memories cannot be expressed there: `memtrain train` has those.

verl: actor_rollout_ref.rollout.agent.default_agent_loop=memtrain_reader
      actor_rollout_ref.rollout.agent.agent_loop_config_path=integrations/verl/agent_loops.yaml  PYTHONPATH=integrations/verl
"""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register
from verl.utils.profiler import simple_timer

PROMPTS = Path(__file__).resolve().parents[2] / "configs/prompts/standard"


def filled(template: str, fields: dict[str, str]) -> str:
    """The template with its fields replaced in one pass: braces in inserted text stay."""
    names = "|".join(map(re.escape, fields))
    return re.sub(rf"\{{({names})\}}", lambda match: fields[match.group(1)], template)


@register("memtrain_reader")
class MemtrainReader(AgentLoopBase):
    """Reads `context` chunk by chunk.

    Args:
        chunk_tokens: tokens of a chunk.
        max_chunks: chunks of a document; of a longer one the middle is left out, as MemTrain's released trainer does.
        memory_tokens, answer_tokens: longest memory and answer.
        prompts: folder of a prompt set of memtrain (`docs/formats.md`).
    """

    def __init__(
        self,
        *args: Any,
        chunk_tokens: int = 5000,
        max_chunks: int = 8,
        memory_tokens: int = 1024,
        answer_tokens: int = 1024,
        prompts: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.chunk_tokens, self.max_chunks = chunk_tokens, max_chunks
        self.memory_tokens, self.answer_tokens = memory_tokens, answer_tokens
        folder = Path(prompts) if prompts else PROMPTS
        self.memory = (folder / "memory.txt").read_text(encoding="utf-8").rstrip("\n")
        self.answer = (folder / "answer.txt").read_text(encoding="utf-8").rstrip("\n")
        empty = folder / "empty.txt"
        self.empty = empty.read_text(encoding="utf-8").rstrip("\n") if empty.exists() else "empty"

    def chunks(self, text: str) -> list[str]:
        """The text in pieces of `chunk_tokens` tokens, at most `max_chunks` of them."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        most = self.chunk_tokens * self.max_chunks
        if len(ids) > most:
            ids = ids[: most // 2] + ids[len(ids) - (most - most // 2) :]
        return [self.tokenizer.decode(ids[at : at + self.chunk_tokens]) for at in range(0, len(ids), self.chunk_tokens)]

    async def turn(
        self, prompt: str, max_tokens: int, sampling_params: dict[str, Any], priority: int
    ) -> tuple[str, AgentLoopOutput]:
        """One prompt in a context of its own, and the response to it."""
        prompt_ids = await self.ct_build_initial_tokens([{"role": "user", "content": prompt}])
        metrics: dict[str, Any] = {}
        with simple_timer("generate_sequences", metrics):
            drawn = await self.server_manager.generate(
                request_id=uuid4().hex,
                prompt_ids=prompt_ids,
                sampling_params={**sampling_params, "max_tokens": max_tokens},
                priority=priority,
            )
        response_ids = drawn.token_ids[:max_tokens]
        output = AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=response_ids,
            response_mask=[1] * len(response_ids),
            response_logprobs=drawn.log_probs[:max_tokens] if drawn.log_probs else None,
            num_turns=2,
            metrics=metrics,
            # The same keys for every output, as verl's own loops have them.
            extra_fields={**(drawn.extra_fields or {}), "turn_scores": [], "tool_rewards": []},
        )
        return self.tokenizer.decode(response_ids, skip_special_tokens=True), output

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> list[AgentLoopOutput]:
        question = list(kwargs["raw_prompt"])[-1]["content"]
        memory, outputs = self.empty, []
        for chunk in self.chunks(str(kwargs["context"])):
            prompt = filled(self.memory, {"problem": question, "memory": memory, "section": chunk})
            memory, output = await self.turn(prompt, self.memory_tokens, sampling_params, int(priority))
            outputs.append(output)
        prompt = filled(self.answer, {"problem": question, "memory": memory})
        outputs.append((await self.turn(prompt, self.answer_tokens, sampling_params, int(priority)))[1])
        return outputs
