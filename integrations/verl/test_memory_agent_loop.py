"""The agent loop with a tokenizer of letters and a policy that repeats; verl itself is not needed: `python3 test_memory_agent_loop.py`."""

import asyncio
import contextlib
import sys
import types
import unittest
from pathlib import Path
from types import SimpleNamespace


class Base:
    """What the loop needs of verl's AgentLoopBase."""

    def __init__(self, tokenizer, server_manager):
        self.tokenizer, self.server_manager = tokenizer, server_manager

    async def ct_build_initial_tokens(self, messages):
        [message] = messages
        return self.tokenizer.encode(message["content"], add_special_tokens=False)


for name in ("verl", "verl.experimental", "verl.experimental.agent_loop", "verl.utils"):
    sys.modules[name] = types.ModuleType(name)
loop = sys.modules["verl.experimental.agent_loop.agent_loop"] = types.ModuleType("agent_loop")
loop.AgentLoopBase, loop.AgentLoopOutput = Base, SimpleNamespace
loop.register = lambda _: lambda loop_class: loop_class
profiler = sys.modules["verl.utils.profiler"] = types.ModuleType("profiler")
profiler.simple_timer = lambda name, metrics: contextlib.nullcontext()
sys.path.insert(0, str(Path(__file__).parent))

from memory_agent_loop import MemtrainReader, filled  # noqa: E402


class Letters:
    """A token a letter."""

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [ord(letter) for letter in text]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(map(chr, ids))


class Server:
    """Answers `note 1`, `note 2`, … and more letters than were asked for."""

    def __init__(self):
        self.prompts = []

    async def generate(self, request_id, prompt_ids, sampling_params, priority):
        self.prompts.append("".join(map(chr, prompt_ids)))
        ids = [ord(letter) for letter in f"note {len(self.prompts)}" + "." * 99]
        assert sampling_params["temperature"] == 0.5
        return SimpleNamespace(token_ids=ids, log_probs=[-1.0] * len(ids), extra_fields={})


def read(context, **limits):
    server = Server()
    reader = MemtrainReader(Letters(), server, **limits)
    row = {"raw_prompt": [{"role": "user", "content": "Who is {memory}?"}], "context": context}
    return server.prompts, asyncio.run(reader.run({"temperature": 0.5}, **row))


class ReaderTest(unittest.TestCase):
    def test_each_turn_has_a_context_of_its_own(self):
        prompts, outputs = read("abcdefgh", chunk_tokens=3, memory_tokens=6, answer_tokens=4)
        self.assertEqual(len(outputs), 4)
        for prompt, section, memory in zip(prompts, ["abc", "def", "gh"], ["empty", "note 1", "note 2"]):
            self.assertIn(f"<section>\n{section}\n</section>", prompt)
            self.assertIn(f"<notes>\n{memory}\n</notes>", prompt)
        self.assertIn("<notes>\nnote 3\n</notes>", prompts[3])
        self.assertNotIn("<section>", prompts[3])
        # Braces of a question are its own.
        self.assertTrue(all("Who is {memory}?" in prompt for prompt in prompts))
        for output, prompt, most in zip(outputs, prompts, [6, 6, 6, 4]):
            self.assertEqual("".join(map(chr, output.prompt_ids)), prompt)
            self.assertEqual([len(output.response_ids), sum(output.response_mask), len(output.response_logprobs)], [most] * 3)

    def test_of_a_long_document_the_middle_is_left_out(self):
        prompts, outputs = read("abcdefghij", chunk_tokens=2, max_chunks=3, memory_tokens=6, answer_tokens=4)
        self.assertEqual(len(outputs), 4)
        for prompt, section in zip(prompts, ["ab", "ch", "ij"]):
            self.assertIn(f"<section>\n{section}\n</section>", prompt)

    def test_an_empty_document_is_answered(self):
        self.assertEqual(len(read("")[1]), 1)

    def test_fields_are_replaced_once(self):
        self.assertEqual(filled("{a} {b} {c}", {"a": "{b}", "b": "x"}), "{b} x {c}")


if __name__ == "__main__":
    unittest.main()
