"""Writes pipeline/tests/fixtures/seqeval.json: random tags of every scheme with the scores that seqeval gives them.

    pip install seqeval==1.2.2 && python scripts/seqeval_fixture.py
"""

import json
import pathlib
import random

from seqeval.metrics import classification_report

LABELS = ["PERSON", "ORG", "LOC"]
SCHEMES = {
    "IO": ["I"],
    "IOB": ["B", "I"],
    "BIOES": ["B", "I", "E", "S"],
}


def sentence(draw, prefixes):
    length = draw.randint(1, 14)
    tags = ["O"] + [f"{prefix}-{label}" for prefix in prefixes for label in LABELS]
    return [draw.choice(tags) if draw.random() < 0.6 else "O" for _ in range(length)]


def changed(draw, tags, prefixes):
    """A prediction: the gold with some tags redrawn, so that some mentions stay right."""
    other = sentence(draw, prefixes)
    return [draw.choice(other) if draw.random() < 0.15 else tag for tag in tags]


def main():
    draw = random.Random(7)
    cases = []
    for scheme, prefixes in SCHEMES.items():
        for _ in range(8):
            gold = [sentence(draw, prefixes) for _ in range(12)]
            found = [changed(draw, tags, prefixes) for tags in gold]
            report = classification_report(gold, found, output_dict=True, zero_division=0)
            scores = {
                name: {key: float(row[key]) for key in ("precision", "recall", "f1-score", "support")}
                for name, row in report.items()
                if name != "weighted avg"
            }
            cases.append({"scheme": scheme, "gold": gold, "found": found, "scores": scores})
    path = pathlib.Path(__file__).parent.parent / "pipeline/tests/fixtures/seqeval.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


main()
