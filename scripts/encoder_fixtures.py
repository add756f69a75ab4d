"""Writes encoder/tests/parity: what transformers computes with tiny random encoders, in f32 on the CPU.

    pip install torch transformers safetensors
    python scripts/encoder_fixtures.py encoder/tests/parity

A folder a model: configuration, tokenizer and weights as `save_pretrained` writes them, and `expected.json` with the
token ids, logits, pooled vectors and spans of the texts in `texts.json`. encoder/src/parity.rs compares.
"""

import json
import pathlib
import sys
import warnings

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Ada Lovelace met Charles Babbage in London, England.",
    "The United Nations was founded on 24 October 1945; its seat is New York City.",
    "Émile Zola wrote 'J’accuse…!' for L’Aurore (Paris).",
    "北京は中国の首都である。",
    "Łódź 🙂 and São Paulo are 10,000 km apart — or so.",
    "",
    "  spaces\taround \n unaffable words  ",
    "Naïve façades: O'Neill's U.S. tour cost $5.50 (about €5).",
]
LABELS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
STRATEGIES = ["simple", "first", "average", "max"]
SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)


def corpus():
    return TEXTS + ["unaffable unable affable words world wording wonder London Londoners New York united nations"] * 3


def word_piece(vocab_size, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False))
    vocabulary = {token: id for token, id in tokenizer.get_vocab().items() if token not in "🙂本"}
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def dense(vocabulary):
    return {token: id for id, token in enumerate(sorted(vocabulary, key=vocabulary.get))}


def byte_pairs(vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def unigram(vocab_size):
    """As XLM-R's: sentencepiece pieces, words with the punctuation after them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=special, unk_token="<unk>", show_progress=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>")


def labels():
    return dict(id2label=dict(enumerate(LABELS)), label2id={label: id for id, label in enumerate(LABELS)})


def fixtures():
    """Name, model, tokenizer; each differs from the others in something that is easily got wrong."""
    cased = dense(word_piece(260, lowercase=False))
    tokenizer = transformers.BertTokenizer(vocab=cased, do_lower_case=False, model_max_length=48)
    yield "bert", transformers.BertForTokenClassification(transformers.BertConfig(
        vocab_size=len(cased), max_position_embeddings=48, **SMALL, **labels())), tokenizer

    uncased = dense(word_piece(220, lowercase=True))
    tokenizer = transformers.BertTokenizer(vocab=uncased, do_lower_case=True)
    yield "distilbert", transformers.DistilBertForTokenClassification(transformers.DistilBertConfig(
        vocab_size=len(uncased), dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=64,
        **labels())), tokenizer

    vocabulary, merges = byte_pairs(340)
    tokenizer = transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)
    yield "roberta", transformers.RobertaForTokenClassification(transformers.RobertaConfig(
        vocab_size=len(vocabulary), max_position_embeddings=130, type_vocab_size=1, layer_norm_eps=1e-5,
        hidden_act="gelu_new", **SMALL, **labels())), tokenizer

    tokenizer = unigram(150)
    yield "xlm-roberta", transformers.XLMRobertaForTokenClassification(transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=130, type_vocab_size=1, layer_norm_eps=1e-2,
        hidden_act="relu", **SMALL, **labels())), tokenizer


def spread(model):
    """Weights large enough that labels differ from token to token, and norms and biases that do something."""
    scale = {"word_embeddings": 1.0, "classifier.weight": 1.0}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            deviation = next((value for part, value in scale.items() if part in name), 0.3)
            parameter.copy_(centre + deviation * torch.randn_like(parameter))


def balance(model, tokenizer):
    """No label is the answer to everything, and the one for outside is the commonest."""
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        of_tokens = model(**batch).logits[batch["attention_mask"].bool()]
        model.classifier.bias -= of_tokens.mean(0)
        model.classifier.weight /= of_tokens.std(0).unsqueeze(1)
        model.classifier.bias /= of_tokens.std(0)
        model.classifier.bias[0] += 1


def rounded(tensor):
    return json.loads(json.dumps(tensor.tolist()), parse_float=lambda number: round(float(number), 7))


def spans(pipeline, text, strategy):
    found = pipeline(text, aggregation_strategy=strategy) if text.strip() else []
    rows = []
    for span in found:
        # Tokens of white space alone can stand at the ends of a span, or make one.
        words = text[span["start"]:span["end"]]
        start = span["start"] + len(words) - len(words.lstrip())
        end = start + len(words.strip())
        if start < end:
            places = [len(text[:place].encode()) for place in (start, end)]
            rows.append([*places, span["entity_group"], round(float(span["score"]), 7)])
    return rows


def expected(model, tokenizer):
    # All texts in one padded batch: the mask must keep the padding out.
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        logits = model(**batch).logits
        hidden = model.base_model(**batch).last_hidden_state
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
    rows = []
    for number, text in enumerate(TEXTS):
        length = int(batch["attention_mask"][number].sum())
        states = hidden[number, :length]
        rows.append(dict(
            text=text, ids=batch["input_ids"][number, :length].tolist(),
            logits=rounded(logits[number, :length]), mean=rounded(states.mean(0)), cls=rounded(states[0]),
            spans={strategy: spans(pipeline, text, strategy) for strategy in STRATEGIES}))
    return rows


def write(folder):
    warnings.simplefilter("ignore")
    for number, (name, model, tokenizer) in enumerate(fixtures()):
        torch.manual_seed(number)
        model = model.float().eval()
        spread(model)
        balance(model, tokenizer)
        directory = folder / name
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        (directory / "model.safetensors").chmod(0o644)
        if name == "bert":
            torch.save(model.state_dict(), directory / "pytorch_model.bin")
        rows = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in expected(model, tokenizer)) + "\n]\n"
        (directory / "expected.json").write_text(rows)
    versions = dict(torch=torch.__version__, transformers=transformers.__version__)
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
