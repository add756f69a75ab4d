#!/usr/bin/env python3
"""Cuts a sample out of a MediaWiki dump: whole articles that are about related things, and the redirects to them.

    python3 scripts/sample_dump.py DUMP OUT.xml.bz2 [--megabytes 4] [--pages 50000] [--start TITLE]

Writes OUT.xml.bz2 and, beside it, OUT.attribution.tsv: a line an article with the page and the revision it is of, its time, who saved
that revision, and the address of the revision; its history, which names all authors, is one click from there. The pages are those of
the dump to the byte, in its order. The same dump and options give the same files.

Relatedness is shared links: two articles are the nearer, the more targets both link to (each weighed by how rare it is), and the more
they link to each other. Beginning with `--start`, or with the article that is nearest to all others, the nearest to what is chosen is
added until the sample has so many megabytes of XML. Disambiguation pages and stubs are left out.
"""

import argparse
import bz2
import collections
import gzip
import html
import lzma
import math
import pathlib
import re

OPENERS = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
# Bytes of XML below which an article is a stub.
STUB = 8_000
# How much a link from one to the other counts, in links to a target that two articles of the dump have.
DIRECT = 5.0


def parts(path):
    """The head of a dump, then each of its pages, as text."""
    with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8", newline="") as lines:
        part = []
        for line in lines:
            if line.strip() == "<page>":
                if not part or part[0].strip() != "<page>":
                    yield "".join(part)
                part = []
            part.append(line)
            if line.strip() == "</page>":
                yield "".join(part)
                part = []


def field(page, name):
    found = re.search(rf"<{name}>(.*?)</{name}>", page)
    return html.unescape(found[1]) if found else ""


def title_of(target):
    """The title that a link's target means."""
    target = html.unescape(target).replace("_", " ").strip()
    return target[:1].upper() + target[1:]


def survey(path, most):
    """Sizes and links of the articles among the first pages, and where redirects lead."""
    sizes, links, redirects = {}, {}, {}
    pages = parts(path)
    next(pages)
    for _, page in zip(range(most), pages):
        title = field(page, "title")
        redirect = re.search(r'<redirect title="(.*?)"', page)
        if field(page, "ns") != "0":
            continue
        if redirect:
            redirects[title] = html.unescape(redirect[1])
        elif len(page) >= STUB and not re.search(r"\{\{[^{}|]*disambig", page, re.IGNORECASE):
            sizes[title] = len(page.encode())
            links[title] = {title_of(target) for target in re.findall(r"\[\[([^\[\]|#:]+)", page)}
    for title, targets in links.items():
        links[title] = {redirects.get(target, target) for target in targets} - {title}
    return sizes, links, redirects


def choose(sizes, links, start, budget):
    """Titles of related articles that have so many bytes together."""
    linked_by = collections.defaultdict(list)
    for title, targets in links.items():
        for target in sorted(targets):
            linked_by[target].append(title)
    weight = {target: math.log(len(links) / len(titles)) for target, titles in linked_by.items()}
    norm = {title: math.sqrt(sum(weight[target] ** 2 for target in targets)) or 1.0 for title, targets in links.items()}

    def nearness(title):
        """Every other article's nearness to this one."""
        near = collections.Counter()
        for target in sorted(links[title]):
            for other in linked_by[target]:
                near[other] += weight[target] ** 2 / (norm[title] * norm[other])
            if target in links:
                near[target] += DIRECT / norm[title]
        for other in linked_by[title]:
            near[other] += DIRECT / norm[other]
        del near[title]
        return near

    if start is None:
        start = max(sorted(links), key=lambda title: sum(nearness(title).values()))
    chosen, near, left = [], collections.Counter(), budget
    title = start
    while title is not None:
        chosen.append(title)
        left -= sizes[title]
        near.update(nearness(title))
        fits = [title for title in near if title not in chosen and sizes[title] <= left]
        title = max(sorted(fits), key=near.__getitem__, default=None)
    return set(chosen)


def attribution(page, base):
    revision = page[page.index("<revision>"):]
    author = field(revision, "username") or "(not signed in)"
    number = field(revision, "id")
    address = f"{base.rsplit('/wiki/', 1)[0]}/w/index.php?oldid={number}"
    return "\t".join([field(page, "title"), field(page, "id"), number, field(revision, "timestamp"), author, address])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=4.0, help="XML of the sample's articles (4)")
    parser.add_argument("--pages", type=int, default=50_000, help="pages at the dump's beginning to choose among (50000)")
    parser.add_argument("--start", help="title of the article to begin with")
    options = parser.parse_args()
    if not options.out.name.endswith(".xml.bz2"):
        parser.error(f"{options.out} does not end in .xml.bz2")

    sizes, links, redirects = survey(options.dump, options.pages)
    if not sizes:
        parser.error(f"{options.dump} has no article of {STUB} bytes among its first {options.pages} pages")
    if options.start is not None and options.start not in sizes:
        parser.error(f"{options.dump} has no article {options.start!r} of {STUB} bytes")
    chosen = choose(sizes, links, options.start, int(options.megabytes * 1e6))

    lines = ["title\tpage\trevision\ttime\tsaved_by\taddress"]
    pages = parts(options.dump)
    head = next(pages)
    base = field(head, "base")
    written = 0
    with bz2.open(options.out, "wt", encoding="utf-8", newline="") as out:
        out.write(head)
        for _, page in zip(range(options.pages), pages):
            title = field(page, "title")
            if title in chosen or redirects.get(title) in chosen:
                out.write(page)
                written += 1
                if title in chosen:
                    lines.append(attribution(page, base))
        out.write("</mediawiki>\n")
    notes = options.out.with_name(options.out.name.removesuffix(".xml.bz2") + ".attribution.tsv")
    notes.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(chosen)} articles, {written - len(chosen)} redirects, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
