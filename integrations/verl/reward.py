"""Reward for rows that `memtrain tasks export --format verl` writes.

verl: custom_reward_function.path=<this file> custom_reward_function.name=compute_score
"""

import re
import unicodedata

WINDOW = 300  # characters at the end of a response in which the box is looked for


def last_boxed(text):
    """Contents of the last `\\boxed{...}` whose braces match, or None."""
    opening = "\\boxed{"
    start = text.rfind(opening)
    while start >= 0:
        depth = 1
        for at in range(start + len(opening), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[start + len(opening) : at]
        start = text.rfind(opening, 0, start)
    return None


# Commands whose argument is what they show; pairs of signs that turn mathematics on and off.
WRAPPERS = set(
    "bf bm boldsymbol boxed emph fbox hbox it mathbf mathbfit mathit mathnormal mathrm mathsf mathtt mbox operatorname rm "
    "text textbf textit textmd textnormal textrm textsc textsf textsl texttt textup underline".split()
)
MATHEMATICS = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]

# Signs that look alike: dashes, quotation marks, full width; and those that show nothing.
SIGNS = {code: "-" for code in [*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63]}
SIGNS.update({code: "'" for code in [*range(0x2018, 0x201C), 0x2032]})
SIGNS.update({code: '"' for code in [*range(0x201C, 0x2020), 0x2033]})
SIGNS.update({code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)})
SIGNS.update({code: "" for code in [0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF]})


def without_tex(answer):
    """What is left of an answer without the commands that only set type."""
    inner = answer.strip()
    while True:
        for opening, closing in MATHEMATICS:
            if len(inner) >= len(opening + closing) and inner.startswith(opening) and inner.endswith(closing):
                inner = inner[len(opening) : len(inner) - len(closing)].strip()
                break
        else:
            break
    text, shown, after_command, at = [], [], False, 0
    while at < len(inner):
        sign = inner[at]
        at += 1
        if sign == "\\":
            command = re.match("[A-Za-z]*", inner[at:]).group()
            at += len(command)
            if command in WRAPPERS:
                at += len(inner[at:]) - len(inner[at:].lstrip())
                after_command = False
            elif command:
                text.append("\\" + command)
                after_command = True
            else:
                escaped = inner[at : at + 1]
                at += 1
                if escaped and escaped in "%$&#_{}":
                    text.append(escaped)
                elif escaped and escaped in " ,:;\\":
                    text.append(" ")
                elif escaped != "!":
                    text.append("\\" + escaped)
                after_command = False
        elif sign == "{":
            shown.append(after_command)
            text.append("{" if after_command else "")
            after_command = False
        elif sign == "}":
            after_command = shown.pop() if shown else False
            text.append("}" if after_command else "")
        else:
            text.append(sign)
            after_command = False
    return "".join(text)


def bare(text):
    """An answer as it is compared: its plain text lower-cased and without spaces."""
    if any(sign in text for sign in "\\{$"):
        text = without_tex(text)
    text = unicodedata.normalize("NFC", text.translate(SIGNS))
    return "".join(text.split()).lower()


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """1.0 where the boxed answer is one of the accepted ones, lower-cased and without spaces; else 0.0."""
    accepted = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
    boxed = last_boxed(solution_str[-WINDOW:])
    if boxed is None or not bare(boxed):
        return 0.0
    return float(any(bare(boxed) == bare(answer) for answer in accepted))
