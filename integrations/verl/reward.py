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
    "bf bm boldsymbol boxed ce emph ensuremath fbox hbox it mathbb mathbf mathbfit mathcal mathfrak mathit mathnormal "
    "mathrm mathscr mathsf mathtt mbox operatorname rm text textbf textit textmd textnormal textrm textsc textsf textsl texttt textup underline".split()
)
MATHEMATICS = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]

# Commands that show nothing, alone or with their argument; letters and spaces; accents with the marks of Unicode.
UNSEEN = set(
    "Huge LARGE Large big bigl bigr displaystyle footnotesize huge large left normalsize right scriptstyle small textstyle "
    "tiny".split()
)
WITH_ARGUMENT = {"color", "hspace", "textcolor"}
LETTERS = dict(
    AA="Å", AE="Æ", L="Ł", O="Ø", OE="Œ", aa="å", ae="æ", i="ı", l="ł", o="ø", oe="œ", qquad=" ", quad=" ", ss="ß",
    textendash="-",
)
ACCENTS = {
    '"': "\u0308", "'": "\u0301", ".": "\u0307", "=": "\u0304", "H": "\u030b", "^": "\u0302", "`": "\u0300", "c": "\u0327",
    "k": "\u0328", "r": "\u030a", "u": "\u0306", "v": "\u030c", "~": "\u0303",
}

# Signs that look alike: dashes, quotation marks, full width; and those that show nothing.
SIGNS = {code: "-" for code in [*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63]}
SIGNS.update({code: "'" for code in [*range(0x2018, 0x201C), 0x2032]})
SIGNS.update({code: '"' for code in [*range(0x201C, 0x2020), 0x2033, *map(ord, "«»‹›「」『』")]})
SIGNS.update({ord("。"): ".", ord("、"): ",", ord("…"): "..."})
SIGNS.update({code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)})
SIGNS.update({code: "" for code in [0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF]})


def accented(text):
    """The accented letter that follows a backslash, and how long it is written; None if there is none."""
    mark = ACCENTS.get(text[:1])
    if mark is None:
        return None
    braced = re.match(r"\{([^}]*)\}", text[1:])
    if braced is None and (text[0].isalpha() or len(text) < 2):
        return None
    letter = braced.group(1).lstrip("\\") if braced else text[1]
    if len(letter) != 1 or not letter.isalpha():
        return None
    return letter + mark, 1 + (braced.end() if braced else 1)


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
    has_commands = "\\" in inner
    while at < len(inner):
        sign = inner[at]
        at += 1
        if sign == "\\":
            command = re.match("[A-Za-z]*", inner[at:]).group()
            letter = accented(inner[at:])
            argument = re.match(r"\s*\{[^}]*\}", inner[at + len(command) :])
            if command not in WRAPPERS and letter:
                text.append(letter[0])
                at += letter[1]
                after_command = False
                continue
            at += len(command)
            if command in UNSEEN:
                after_command = False
            elif command in WITH_ARGUMENT and argument:
                at += argument.end()
                after_command = False
            elif command in LETTERS:
                text.append(LETTERS[command])
                at += inner[at : at + 1] == " "
                after_command = False
            elif command in WRAPPERS:
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
        elif sign == "~" and has_commands:
            text.append(" ")
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
    # Ligatures, and signs of half width: letters in another form.
    text = re.sub("[\ufb00-\ufb06\uff61-\uffdc]", lambda sign: unicodedata.normalize("NFKC", sign.group()), text)
    text = unicodedata.normalize("NFC", text.translate(SIGNS))
    return "".join(text.split()).lower()


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """1.0 where the boxed answer is one of the accepted ones, lower-cased and without spaces; else 0.0."""
    accepted = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
    boxed = last_boxed(solution_str[-WINDOW:])
    if boxed is None or not bare(boxed):
        return 0.0
    return float(any(bare(boxed) == bare(answer) for answer in accepted))
