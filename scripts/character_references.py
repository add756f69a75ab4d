"""Writes corpora/src/wikitext/character_references.txt: the named character references of the HTML standard that end in a semicolon.

    python scripts/character_references.py            # writes the table
    python scripts/character_references.py --check    # fails if the table is another one
"""

import html.entities
import pathlib
import sys

TABLE = pathlib.Path(__file__).parent.parent / "corpora/src/wikitext/character_references.txt"
WIDTH = 140


def table():
    """`name=code` or `name=code+code` in hexadecimal, as many in a line as fit."""
    lines = [""]
    for name in sorted(name[:-1] for name in html.entities.html5 if name.endswith(";")):
        codes = "+".join(f"{ord(letter):x}" for letter in html.entities.html5[name + ";"])
        entry = f"{name}={codes}"
        if lines[-1] and len(lines[-1]) + 1 + len(entry) > WIDTH:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + entry
    return "\n".join(lines) + "\n"


if sys.argv[1:] == ["--check"]:
    if TABLE.read_text(encoding="utf-8") != table():
        sys.exit(f"{TABLE} is not what this script writes: run it without --check")
else:
    TABLE.write_text(table(), encoding="utf-8")
