"""Writes encoder/tests/families: tiny random encoders of the families that run through candle-transformers, in f32 on the CPU.

    pip install torch transformers safetensors
    python scripts/encoder_family_fixtures.py encoder/tests/families

A folder a model as scripts/encoder_fixtures.py writes it; encoder/src/families/parity.rs compares. Models with a
head for tokens have logits and spans, the others vectors alone. transformers has no class for Jina's BERT with
ALiBi, whose published code is remote: its forward pass is written out here.
"""

import json
import math
import pathlib
import sys
import warnings

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

import encoder_fixtures as common
from encoder_fixtures import SMALL, TEXTS, rounded

# Longer than any local window and any linear bucket of relative positions.
LONG = " ".join(f"{word} {number}" for number in range(12) for word in ("London", "united", "wonder", "Paris,"))


def wrapped(tokenizer, names):
    """With the special tokens of this kind around a text."""
    cls, sep, pad, unknown, mask = names
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B {sep}", special_tokens=[(cls, ids[cls]), (sep, ids[sep])])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=cls, sep_token=sep, pad_token=pad, unk_token=unknown, mask_token=mask)


NAMES = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]


def bytes_and_brackets():
    """As ModernBERT's: byte-level BPE with BERT's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(common.corpus(), trainers.BpeTrainer(
        vocab_size=330, special_tokens=NAMES, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return wrapped(tokenizer, NAMES)


def pieces():
    """As DeBERTa-v3's: sentencepiece with BERT's special tokens."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(common.corpus(), trainers.UnigramTrainer(
        vocab_size=150, special_tokens=NAMES, unk_token="[UNK]", show_progress=False))
    return wrapped(tokenizer, NAMES)


def ended():
    """As Qwen3-Embedding's: byte-level BPE, one token after the text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    end = "<|endoftext|>"
    tokenizer.train_from_iterator(common.corpus(), trainers.BpeTrainer(
        vocab_size=300, special_tokens=[end], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)


def uncased():
    vocabulary = common.dense(common.word_piece(220, lowercase=True))
    return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True)


def special_ids(tokenizer):
    return dict(pad_token_id=tokenizer.pad_token_id, cls_token_id=tokenizer.cls_token_id,
                sep_token_id=tokenizer.sep_token_id, bos_token_id=tokenizer.cls_token_id,
                eos_token_id=tokenizer.sep_token_id)


class Jina(torch.nn.Module):
    """BERT with GEGLU, and instead of positions a slope a head that falls with the distance (ALiBi, both ways)."""

    def __init__(self, vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads):
        super().__init__()
        self.config = dict(
            architectures=["JinaBertForMaskedLM"], model_type="bert", position_embedding_type="alibi",
            feed_forward_type="geglu", hidden_act="gelu", vocab_size=vocab_size, hidden_size=hidden_size,
            intermediate_size=intermediate_size, num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads, max_position_embeddings=8192, type_vocab_size=2,
            layer_norm_eps=1e-12, pad_token_id=0, initializer_range=0.02)
        shapes = {"embeddings.word_embeddings.weight": (vocab_size, hidden_size),
                  "embeddings.token_type_embeddings.weight": (2, hidden_size)}
        norms = ["embeddings.LayerNorm"]
        for number in range(num_hidden_layers):
            layer = f"encoder.layer.{number}"
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes[f"{layer}.attention.{part}.weight"] = (hidden_size, hidden_size)
                shapes[f"{layer}.attention.{part}.bias"] = (hidden_size,)
            shapes[f"{layer}.mlp.gated_layers.weight"] = (2 * intermediate_size, hidden_size)
            shapes[f"{layer}.mlp.wo.weight"] = (hidden_size, intermediate_size)
            shapes[f"{layer}.mlp.wo.bias"] = (hidden_size,)
            norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.mlp.layernorm"]
        for norm in norms:
            shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (hidden_size,)
        self.tensors = {name: 0.3 * torch.randn(shape) + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0)
                        for name, shape in shapes.items()}

    def slopes(self):
        """Of n heads, a power of two: 2^(-8k/n). Of others: those of the next lower power, then every other of the next higher."""
        def powers(count):
            return [2 ** (-8 * k / count) for k in range(1, count + 1)]
        heads = self.config["num_attention_heads"]
        lower = 2 ** math.floor(math.log2(heads))
        return torch.tensor(powers(lower) + powers(2 * lower)[0::2][:heads - lower])

    def states(self, ids):
        """Last hidden states of one text without padding, [L, D]."""
        tensors, config = self.tensors, self.config
        heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
        norm = lambda x, name: F.layer_norm(
            x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], config["layer_norm_eps"])
        linear = lambda x, name: F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
        x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.token_type_embeddings.weight"][0]
        x = norm(x, "embeddings.LayerNorm")
        places = torch.arange(len(ids))
        bias = -self.slopes()[:, None, None] * (places[:, None] - places[None, :]).abs()
        for number in range(config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            query, key, value = (linear(x, f"{layer}.attention.self.{part}").view(-1, heads, size).transpose(0, 1)
                                 for part in ("query", "key", "value"))
            weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(size) + bias, dim=-1)
            context = (weights @ value).transpose(0, 1).reshape(len(ids), -1)
            x = norm(linear(context, f"{layer}.attention.output.dense") + x, f"{layer}.attention.output.LayerNorm")
            gate, wide = linear(x, f"{layer}.mlp.gated_layers").chunk(2, dim=-1)
            x = norm(linear(F.gelu(gate) * wide, f"{layer}.mlp.wo") + x, f"{layer}.mlp.layernorm")
        return x

    def save_pretrained(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        save_file(self.tensors, folder / "model.safetensors")


def fixtures():
    """Name, model, tokenizer; the configurations have what is easily got wrong."""
    tokenizer = bytes_and_brackets()
    yield "modernbert", transformers.ModernBertForTokenClassification(transformers.ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, local_attention=8, norm_eps=1e-3,
        hidden_size=16, intermediate_size=24, num_hidden_layers=5, num_attention_heads=4,
        **special_ids(tokenizer), **common.labels())), tokenizer

    tokenizer = pieces()
    # As the published DeBERTa-v3: buckets of relative positions, keys and queries shared with positions.
    yield "deberta-v3", transformers.DebertaV2ForTokenClassification(transformers.DebertaV2Config(
        vocab_size=len(tokenizer), relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm",
        share_att_key=True, pos_att_type="p2c|c2p", max_relative_positions=-1, position_biased_input=False,
        max_position_embeddings=512, type_vocab_size=0, pad_token_id=tokenizer.pad_token_id, **SMALL,
        **common.labels())), tokenizer

    yield "deberta-v2", transformers.DebertaV2ForTokenClassification(transformers.DebertaV2Config(
        vocab_size=len(tokenizer), relative_attention=True, share_att_key=False, pos_att_type=["c2p"],
        max_relative_positions=8, position_biased_input=True, max_position_embeddings=300, type_vocab_size=2,
        hidden_act="gelu_new", layer_norm_eps=1e-3, pad_token_id=tokenizer.pad_token_id, **SMALL,
        **common.labels())), tokenizer

    tokenizer = uncased()
    yield "nomic-bert", transformers.NomicBertForTokenClassification(transformers.NomicBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, layer_norm_eps=1e-3, **SMALL,
        **common.labels())), tokenizer

    # Three heads, so that slopes are not powers of one number.
    yield "jina-bert", Jina(len(tokenizer), hidden_size=24, intermediate_size=20, num_hidden_layers=2,
                            num_attention_heads=3), tokenizer

    tokenizer = ended()
    yield "qwen3", transformers.Qwen3Model(transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, max_position_embeddings=512, rope_theta=1_000_000.0, rms_norm_eps=1e-6,
        tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=None)), tokenizer


def hidden_states(model, tokenizer, texts):
    """Token ids and last hidden states of each text: all texts in one batch padded on the right, where there is a mask."""
    if isinstance(model, Jina):
        for text in texts:
            ids = tokenizer(text)["input_ids"]
            yield ids, model.states(ids)
        return
    tokenizer.padding_side = "right"
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    hidden = getattr(model, "base_model", model)(**inputs).last_hidden_state
    for number in range(len(texts)):
        length = int(batch["attention_mask"][number].sum())
        yield batch["input_ids"][number, :length].tolist(), hidden[number, :length]


def expected(model, tokenizer):
    texts = TEXTS + [LONG]
    has_head = hasattr(model, "classifier")
    pipeline = has_head and transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
    rows = []
    with torch.no_grad():
        for text, (ids, states) in zip(texts, hidden_states(model, tokenizer, texts)):
            row = dict(text=text, ids=ids, mean=rounded(states.mean(0)), cls=rounded(states[0]), last=rounded(states[-1]))
            if has_head and text != LONG:
                inputs = tokenizer(text, return_tensors="pt")
                logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0]
                row |= dict(logits=rounded(logits), spans=common.spans(pipeline, text, "simple"))
            rows.append(row)
    return rows


def write(folder):
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for number, (name, model, tokenizer) in enumerate(fixtures()):
        torch.manual_seed(number)
        directory = folder / name
        if not isinstance(model, Jina):
            model = model.float().eval()
            common.spread(model)
        if hasattr(model, "classifier"):
            common.balance(model, tokenizer)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        (directory / "model.safetensors").chmod(0o644)
        rows = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in expected(model, tokenizer)) + "\n]\n"
        (directory / "expected.json").write_text(rows)
    versions = dict(torch=torch.__version__, transformers=transformers.__version__)
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
