#!/usr/bin/env python3
"""A preprocessor of mdBook: links that lead out of docs/ become links into the repository."""

import json
import posixpath
import re
import sys

LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def rewritten(content, folder, repository):
    """The text of a chapter in a folder of docs/, with the address of the repository in links that leave docs/."""

    def link(match):
        target, anchor = match.group(1), match.group(2) or ""
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if ":" in target or path.startswith("docs/"):
            return match.group(0)
        return f"]({repository}/blob/main/{path}{anchor})"

    return LINK.sub(link, content)


def walk(items, repository):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter["path"]:
            folder = posixpath.dirname(chapter["path"])
            chapter["content"] = rewritten(chapter["content"], folder, repository)
            walk(chapter["sub_items"], repository)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    walk(book.get("items") or book.get("sections"), context["config"]["output"]["html"]["git-repository-url"])
    json.dump(book, sys.stdout)


main()
