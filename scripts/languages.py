#!/usr/bin/env python3
"""Writes the published facts of corpora/languages/*.toml: of the Unicode CLDR, and of MediaWiki's message files.

    npm pack cldr-core cldr-dates-full cldr-localenames-full cldr-numbers-full cldr-units-full
    for archive in cldr-*.tgz; do mkdir -p "cldr/${archive%-[0-9]*}"
        tar xzf "$archive" -C "cldr/${archive%-[0-9]*}" --strip-components=1; done
    scripts/languages.py --cldr cldr --mediawiki mediawiki-1.39.17

The folder of MediaWiki is an unpacked release. What stands above the marker line of a file is written by hand and stays; a language
of either source that has no file gets one. `--check` writes nothing and fails where a file is stale.
"""

import argparse
import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "corpora" / "languages"
MARKER = "# ---- published facts, written by scripts/languages.py ----"

# Codes of Wikipedias and of message files that CLDR has under another name.
CLDR_CODES = {
    "als": "gsw", "bat-smg": "sgs", "bh": "bho", "fiu-vro": "vro", "roa-rup": "rup", "zh-classical": "lzh",
    "zh-min-nan": "nan", "zh-yue": "yue", "tl": "fil", "sh": "hr", "be-tarask": "be-tarask",
}
# Files of languages by another code of theirs.
SAME = {
    "nb": "no", "gsw": "als", "sgs": "bat-smg", "bho": "bh", "vro": "fiu-vro", "rup": "roa-rup", "lzh": "zh-classical",
    "nan": "zh-min-nan", "yue": "zh-yue", "fil": "tl", "be-x-old": "be-tarask", "hr-latn": "hr", "cbk": "cbk-zam",
    "egl": "eml", "mo": "ro", "iw": "he", "in": "id", "ji": "yi", "simple": "en", "nds-nl": "nds-nl", "zgh-x": "zgh",
}
# Codes with a hyphen that are languages of their own, not variants of the language before it.
HYPHENED = {
    "bat-smg", "be-tarask", "cbk-zam", "fiu-vro", "map-bms", "nds-nl", "roa-rup", "roa-tara", "zh-classical", "zh-min-nan", "zh-yue",
}
# Message files that are no language.
NO_LANGUAGES = {"qqq", "qqx", "exif", "en-rtl"}

NAMESPACES = {
    "NS_MEDIA": -2, "NS_SPECIAL": -1, "NS_TALK": 1, "NS_USER": 2, "NS_USER_TALK": 3, "NS_PROJECT": 4, "NS_PROJECT_TALK": 5,
    "NS_FILE": 6, "NS_IMAGE": 6, "NS_FILE_TALK": 7, "NS_IMAGE_TALK": 7, "NS_MEDIAWIKI": 8, "NS_MEDIAWIKI_TALK": 9,
    "NS_TEMPLATE": 10, "NS_TEMPLATE_TALK": 11, "NS_HELP": 12, "NS_HELP_TALK": 13, "NS_CATEGORY": 14, "NS_CATEGORY_TALK": 15,
}
ENGLISH = {
    -2: "media", -1: "special", 1: "talk", 2: "user", 3: "user talk", 4: "project", 5: "project talk", 6: "file", 7: "file talk",
    8: "mediawiki", 9: "mediawiki talk", 10: "template", 11: "template talk", 12: "help", 13: "help talk", 14: "category",
    15: "category talk",
}
# Languages whose names are written down: those that pages quote words of.
QUOTED = (FOLDER / "quoted_languages.txt")
TERRITORIES = (FOLDER / "territories.txt")

UNITS = {
    "unit": [
        "length-kilometer", "length-meter", "length-centimeter", "length-millimeter", "length-mile", "length-foot", "length-inch",
        "area-square-kilometer", "area-hectare", "area-acre", "mass-kilogram", "mass-gram", "mass-tonne", "mass-pound",
        "volume-liter", "power-kilowatt", "power-megawatt",
    ],
    "date-unit": ["duration-day", "duration-week", "duration-month", "duration-year"],
    "time-unit": ["duration-hour", "duration-minute", "duration-second"],
    "percent": ["concentr-percent"],
}
CURRENCIES = ["EUR", "USD", "GBP", "JPY", "CHF", "RUB", "CNY", "INR"]


def file_of(code):
    """The code of the file that tells of a language or of a variant."""
    code = code.lower().replace("_", "-")
    if code in SAME:
        return SAME[code]
    if code in HYPHENED or "-" not in code:
        return code
    base = code.split("-")[0]
    return SAME.get(base, base)


# ---- MediaWiki ----

def strings(text):
    """The string literals of a piece of PHP, unescaped, in order."""
    for match in re.finditer(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", text, re.S):
        yield literal(match.group(0))


def literal(text):
    if text.startswith("'"):
        return text[1:-1].replace("\\'", "'").replace("\\\\", "\\")
    inner = re.sub(r"\\u\{([0-9A-Fa-f]+)\}", lambda match: chr(int(match.group(1), 16)), text[1:-1])
    if re.search(r"\\x[0-9A-Fa-f]{2}", inner):
        raw = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda match: bytes([int(match.group(1), 16)]), inner.encode())
        inner = raw.decode("utf-8", "replace")
    return inner.replace('\\"', '"').replace("\\$", "$").replace("\\\\", "\\")


STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""


def without_comments(text):
    pattern = rf"({STRING})|/\*.*?\*/|(?://|\#)[^\n]*"
    return re.sub(pattern, lambda match: match.group(1) or " ", text, flags=re.S)


def array(text, name):
    """The body of `$name = [ … ];`."""
    match = re.search(rf"^\${name}\s*=\s*(?:\[|array\()(.*?)(?:\]|\))\s*;", text, re.S | re.M)
    return match.group(1) if match else ""


def pairs(body):
    """`'a' => 'b'` of an array of strings."""
    return {literal(match.group(1)): literal(match.group(2)) for match in re.finditer(rf"({STRING})\s*=>\s*({STRING})", body)}


def messages(path):
    text = without_comments(path.read_text(encoding="utf-8"))
    own = {}
    names = {}

    def add(number, name):
        name = name.replace("$1", "wikipedia").replace("_", " ").strip().lower()
        if name and name != ENGLISH.get(number) and "{" not in name:
            names.setdefault(number, [])
            if name not in names[number]:
                names[number].append(name)

    for match in re.finditer(rf"(NS_\w+)\s*=>\s*({STRING})", array(text, "namespaceNames")):
        if match.group(1) in NAMESPACES:
            add(NAMESPACES[match.group(1)], literal(match.group(2)))
    for match in re.finditer(rf"({STRING})\s*=>\s*(NS_\w+)", array(text, "namespaceAliases")):
        if match.group(2) in NAMESPACES:
            add(NAMESPACES[match.group(2)], literal(match.group(1)))
    for match in re.finditer(r"(NS_\w+)\s*=>\s*(?:\[|array\()(.*?)[\])]", array(text, "namespaceGenderAliases"), re.S):
        for name in pairs(match.group(2)).values():
            add(NAMESPACES[match.group(1)], name)
    own["namespaces"] = names
    redirect = re.search(r"'redirect'\s*=>\s*(?:\[|array\()(.*?)[\])]", text, re.S)
    words = [word.strip("#＃'").lower() for word in strings(redirect.group(1))] if redirect else []
    own["redirect"] = [word for word in dict.fromkeys(words) if word not in ("0", "1", "redirect", "")]
    fallback = re.search(r"^\$fallback\s*=\s*'([^']+)'", text, re.M)
    own["fallback"] = [code.strip() for code in fallback.group(1).split(",")] if fallback else []
    trail = re.search(r"^\$linkTrail\s*=\s*(.*?);\s*$", text, re.S | re.M)
    if trail:
        diacritics = re.search(rf"^\$arabicCombiningDiacritics\s*=\s*((?:{STRING}|[\s.])+);", text, re.M)
        parts = re.findall(rf"{STRING}|\$\w+", trail.group(1))
        pieces = [
            literal(part) if part[0] != "$" else "".join(strings(diacritics.group(1))) if diacritics else "" for part in parts
        ]
        own["trail"] = letters("".join(pieces))
    if "$separatorTransformTable" in text:
        own["separators"] = pairs(array(text, "separatorTransformTable"))
    digits = pairs(array(text, "digitTransformTable"))
    if digits.get("0"):
        own["zero"] = digits["0"]
    grouping = re.search(rf"^\$digitGroupingPattern\s*=\s*({STRING})", text, re.M)
    if grouping:
        own["lakh"] = "#,##,##0" in literal(grouping.group(1))
    minimum = re.search(r"^\$minimumGroupingDigits\s*=\s*(\d)", text, re.M)
    if minimum:
        own["min_grouping"] = int(minimum.group(1))
    return own


# Quotation marks, digits, dashes and marks of no width that some languages count among the letters are no part of a name.
NO_LETTERS = set("“”»«„\"'’‘·-–—0123456789\ufeff")


def letters(pattern):
    """The letters of the character class of a link trail, ranges as `a-z`; empty where links have no trail."""
    match = re.search(r"\^\(\[(.*?)\]\+\)", pattern, re.S) or re.search(r"\^\((?:\?:)?\[(.*?)\]", pattern, re.S)
    if not match:
        return ""
    inner = re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda match: chr(int(match.group(1), 16)), match.group(1)).replace("\\", "")
    out, at = [], 0
    while at < len(inner):
        if at + 2 < len(inner) and inner[at + 1] == "-" and inner[at + 2] > inner[at]:
            out.append(inner[at:at + 3])
            at += 3
        else:
            if inner[at] not in NO_LETTERS:
                out.append(inner[at])
            at += 1
    ranges = sorted(set(part for part in out if len(part) == 3))
    covered = lambda letter: any(part[0] <= letter <= part[2] for part in ranges)
    return "".join(ranges) + "".join(sorted(set(part for part in out if len(part) == 1 and not covered(part))))


class MediaWiki:
    def __init__(self, folder):
        defines = folder / "includes" / "Defines.php"
        self.version = re.search(r"'MW_VERSION',\s*'([^']+)'", defines.read_text(encoding="utf-8")).group(1)
        self.files = {}
        for path in sorted((folder / "languages" / "messages").glob("Messages*.php")):
            code = path.stem.removeprefix("Messages").lower().replace("_", "-")
            if code not in NO_LANGUAGES:
                self.files[code] = messages(path)

    def chain(self, code):
        """A language and those whose messages stand where it has none, English left out."""
        seen, queue = [], [code]
        while queue:
            code = queue.pop(0)
            if code != "en" and code not in seen and code in self.files:
                seen.append(code)
                queue += self.files[code]["fallback"]
        return seen

    def value(self, code, key):
        return next((self.files[one][key] for one in self.chain(code) if key in self.files[one]), None)

    def variants(self, code):
        return [one for one in self.files if file_of(one) == code]

    def facts(self, code):
        variants = self.variants(code)
        if not variants:
            return {}
        main = code if code in variants else next((one for one in variants if SAME.get(one) == code), variants[0])
        # A language whose messages are those of a variant says so by its fallback: Serbian in Cyrillic, Chinese in simple characters.
        names, redirect = {}, []
        for one in [main, *[one for one in variants if one != main]]:
            for number, listed in self.files[one]["namespaces"].items():
                names.setdefault(number, [])
                names[number] += [name for name in listed if name not in names[number]]
            redirect += [word for word in self.files[one]["redirect"] if word not in redirect]
        if names:
            for one in self.chain(main)[1:]:
                for number, listed in self.files[one]["namespaces"].items():
                    names.setdefault(number, listed)
        facts = {"namespaces": dict(sorted(names.items())), "redirect": redirect}
        for key in ["trail", "separators", "zero", "lakh", "min_grouping"]:
            value = self.value(main, key)
            if value is not None:
                facts[key] = value
        return facts


# ---- CLDR ----

class Cldr:
    def __init__(self, folder):
        self.folder = folder
        self.version = json.loads((folder / "cldr-core" / "package.json").read_text())["version"]
        self.locales = sorted(path.name for path in (folder / "cldr-dates-full" / "main").iterdir())
        self.languages = [name for name in self.locales if re.fullmatch(r"[a-z]{2,3}", name)]
        likely = self.read("cldr-core/supplemental/numberingSystems.json")["supplemental"]["numberingSystems"]
        self.digits = {name: system.get("_digits", "") for name, system in likely.items()}
        self.english = self.main("cldr-localenames-full", "en", "languages.json")["localeDisplayNames"]["languages"]

    def read(self, path):
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def main(self, package, code, name):
        path = self.folder / package / "main" / code / name
        return json.loads(path.read_text(encoding="utf-8"))["main"][code] if path.exists() else {}

    def is_written(self, code):
        """Whether CLDR has the months of a language: where it has not, they are `M01` and so on."""
        gregorian = self.gregorian(code)
        return bool(gregorian) and not gregorian["months"]["format"]["wide"]["1"].startswith("M01")

    def gregorian(self, code):
        dates = self.main("cldr-dates-full", code, "ca-gregorian.json")
        return dates["dates"]["calendars"]["gregorian"] if dates else {}

    def facts(self, code, quoted, territories):
        facts = {}
        code = CLDR_CODES.get(code, code)
        if code not in self.locales:
            return facts
        if self.is_written(code):
            facts |= self.dates(code)
        facts |= self.numbers(code)
        names = self.main("cldr-localenames-full", code, "languages.json").get("localeDisplayNames", {}).get("languages", {})
        own = {key: names[key] for key in quoted if names.get(key, key) != key}
        if code != "en" and sum(own[key] != self.english.get(key) for key in own) < 10:
            own = {}
        places = self.main("cldr-localenames-full", code, "territories.json").get("localeDisplayNames", {}).get("territories", {})
        in_english = self.main("cldr-localenames-full", "en", "territories.json")["localeDisplayNames"]["territories"]
        countries = {key: short(places, key) for key in territories if places.get(key, key) != key}
        if code != "en" and sum(name != in_english.get(key) for key, name in countries.items()) < 10:
            countries = {}
        facts |= {"languages": own, "territories": countries}
        return facts

    def dates(self, code):
        gregorian = self.gregorian(code)
        months = gregorian["months"]
        listed = lambda kind, width: [clean(months[kind][width][str(number)]) for number in range(1, 13)]
        wide, alone = listed("format", "wide"), listed("stand-alone", "wide")
        era = clean(gregorian["eras"]["eraAbbr"]["1"])
        long = pattern(gregorian["dateFormats"]["long"], era)
        of_year = pattern(gregorian["dateTimeFormats"]["availableFormats"].get("yMMMM", ""), era)
        facts = {"months": wide}
        if alone != wide:
            facts["months_alone"] = alone
        if long and of_year:
            facts |= {"date": long, "month_of_year": of_year}
        days = gregorian["days"]
        weekday = [clean(days[kind]["wide"][day]) for kind in ("format", "stand-alone") for day in days[kind]["wide"]]
        month = wide + alone + listed("format", "abbreviated") + listed("stand-alone", "abbreviated")
        facts["words"] = {"month": words(month), "weekday": words(weekday)} | self.words(code)
        return facts

    def words(self, code):
        """Words of amounts: what stands with a number in CLDR's patterns, if it is one word."""
        found = {}
        numbers = self.main("cldr-numbers-full", code, "numbers.json").get("numbers", {})
        formats = numbers.get("decimalFormats-numberSystem-latn", {}).get("long", {}).get("decimalFormat", {})
        found["magnitude"] = words(re.sub(r"[0¤']", "", value) for value in formats.values())
        currencies = self.main("cldr-numbers-full", code, "currencies.json").get("numbers", {}).get("currencies", {})
        named = lambda entry: [value for key, value in entry.items() if key.startswith("displayName")]
        found["currency"] = words(value for key in CURRENCIES for value in named(currencies.get(key, {})))
        units = self.main("cldr-units-full", code, "units.json").get("units", {})
        for kind, names in UNITS.items():
            forms = []
            for name in names:
                for width in ("long", "short") if kind == "unit" else ("long",):
                    entry = units.get(width, {}).get(name, {})
                    forms += [value.replace("{0}", "") for key, value in entry.items() if "-count-" in key and isinstance(value, str)]
            found[kind] = words(forms)
        # The abbreviations of English stand where CLDR has nothing.
        is_own = lambda listed: listed and not set(listed.split()) <= {"d", "w", "m", "y", "h", "min", "s"}
        return {kind: listed for kind, listed in found.items() if is_own(listed)}

    def numbers(self, code):
        numbers = self.main("cldr-numbers-full", code, "numbers.json").get("numbers", {})
        if not numbers:
            return {}
        system = numbers.get("defaultNumberingSystem", "latn")
        symbols = numbers.get(f"symbols-numberSystem-{system}") or numbers["symbols-numberSystem-latn"]
        standard = numbers.get(f"decimalFormats-numberSystem-{system}", {}).get("standard", "")
        facts = {"decimal": clean(symbols["decimal"]), "group": symbols["group"], "min_grouping": int(numbers["minimumGroupingDigits"])}
        facts["lakh"] = "#,##,##0" in standard
        if system != "latn" and self.digits.get(system):
            facts["zero"] = self.digits[system][0]
        return facts


def short(places, key):
    """The name of a country; of Hong Kong and its like the short form."""
    if key in ("HK", "MO", "PS"):
        return places.get(f"{key}-alt-short", places[key])
    return places[key]


def clean(text):
    """Without marks of direction; spaces that do not break are spaces."""
    return re.sub("[\u200e\u200f\u061c]", "", text).replace("\u202f", " ").replace("\u00a0", " ").strip()


def words(texts):
    """The single words among texts, small, without a full stop, each once."""
    found = (clean(text).lower().rstrip(".") for text in texts)
    single = (word for word in found if word and " " not in word and not re.search(r"[\d%()/¤]", word))
    return " ".join(dict.fromkeys(single))


def pattern(text, era):
    """A date pattern of CLDR as `{d}`, `{m}` the month's name, `{n}` its number, `{y}`."""
    out = []
    for quoted, field, other in re.findall(r"'((?:[^']|'')*)'|([A-Za-z]+)|([^A-Za-z']+)", text):
        if quoted or not (field or other):
            out.append(quoted.replace("''", "'") or "'")
        elif other:
            out.append(other)
        elif field in ("d", "dd"):
            out.append("{d}")
        elif field in ("MMMM", "LLLL", "MMM", "LLL"):
            out.append("{m}")
        elif field in ("M", "MM", "L", "LL"):
            out.append("{n}")
        elif field in ("y", "yyyy"):
            out.append("{y}")
        elif field.startswith("G"):
            out.append(era)
        else:
            return ""
    found = clean("".join(out))
    return found if "{y}" in found and ("{m}" in found or "{n}" in found) else ""


# ---- files ----

def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\u00a0\u200b-\u200f\u202f\u061c\ufeff]", lambda match: f"\\u{ord(match.group(0)):04X}", text)


def key(text):
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


def published(code, cldr, wiki, quoted, territories):
    """The lines of a file below its marker; `quoted` and `territories` are what names are taken of."""
    of_wiki, of_cldr = wiki.facts(code), cldr.facts(code, quoted, territories)
    lines = [MARKER, f"# Unicode CLDR {cldr.version} (Unicode-3.0), MediaWiki {wiki.version} (facts of its message files)", "[published]"]
    name = cldr.english.get(CLDR_CODES.get(code, code), "")
    lines += [f"name = {toml(name)}"] if name else []

    def table(name, entries):
        entries = [f"{key(str(entry))} = {toml(value)}" for entry, value in entries if value not in (None, [], "")]
        if entries:
            lines.extend([f"[published.{name}]", *entries])

    # What CLDR says of numbers counts before what the wiki's software has.
    writing = {one: of_cldr.get(one) for one in ("decimal", "group", "lakh", "min_grouping", "zero")}
    if of_wiki and not of_cldr.get("decimal"):
        separators = of_wiki.get("separators", {})
        writing = {"decimal": separators.get(".") or ".", "group": separators.get(",", ",")}
        writing |= {one: of_wiki.get(one) for one in ("lakh", "min_grouping", "zero")}
    if writing.get("group") == "\u202f":
        writing["group"] = "\u00a0"
    writing = {one: value for one, value in writing.items() if value not in (None, False, "") and (one, value) != ("min_grouping", 1)}
    for one in ("date", "month_of_year", "months", "months_alone"):
        writing[one] = of_cldr.get(one)
    table("writing", writing.items())
    trail = of_wiki.get("trail")
    table("wiki", [("redirect", of_wiki.get("redirect")), ("trail", trail)])
    if trail == "":
        lines.extend(["[published.wiki]"] if not of_wiki.get("redirect") else [])
        lines.append('trail = ""')
    table("namespaces", of_wiki.get("namespaces", {}).items())
    table("words", of_cldr.get("words", {}).items())
    table("languages", of_cldr.get("languages", {}).items())
    table("territories", of_cldr.get("territories", {}).items())
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cldr", type=Path, required=True, help="folder with the unpacked packages cldr-*")
    parser.add_argument("--mediawiki", type=Path, required=True, help="folder of an unpacked MediaWiki release")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file is stale")
    arguments = parser.parse_args()
    cldr, wiki = Cldr(arguments.cldr), MediaWiki(arguments.mediawiki)
    quoted = QUOTED.read_text(encoding="utf-8").split()
    territories = [line.split()[0] for line in TERRITORIES.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    codes = {file_of(code) for code in wiki.files} | {file_of(code) for code in cldr.languages if cldr.is_written(code)}
    codes |= {path.stem for path in FOLDER.glob("*.toml")}
    codes.discard("mul")
    stale = 0
    for code in sorted(codes):
        path = FOLDER / f"{code}.toml"
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        by_hand = old.split(MARKER)[0].rstrip("\n")
        # Names are for the wikis of a language.
        has_wiki = "\nwikipedia = true" in f"\n{by_hand}"
        facts = published(code, cldr, wiki, quoted if has_wiki else [], territories if has_wiki else [])
        text = "\n".join(([by_hand, ""] if by_hand else []) + facts) + "\n"
        if len(facts) <= 3 and not by_hand:
            continue
        if text != old:
            stale += 1
            print(f"{'stale' if arguments.check else 'written'}: {path.name}")
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    print(f"{len(codes)} languages, {stale} {'stale' if arguments.check else 'written'}")
    sys.exit(1 if arguments.check and stale else 0)


if __name__ == "__main__":
    main()
