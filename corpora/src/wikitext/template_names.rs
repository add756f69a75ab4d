//! Which templates show words that belong to the prose, by language. All others are dropped.

use super::template_languages;

/// What a template shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing that is prose.
    Nothing,
    /// The argument of this number, counted from 1.
    Argument(u8),
    /// The argument of one of these names, else of this number, else the first.
    Label(u8, &'static [&'static str]),
    /// The same, as a link to the article of that title.
    Link(u8, &'static [&'static str]),
    /// The last argument without a name.
    Last,
    /// The argument of this number as paragraphs or lists of their own.
    Block(u8),
    /// The same, or the argument `text`.
    Quotation(u8),
    /// Always these words.
    Words(&'static str),
    /// The first argument between these words.
    Between(&'static str, &'static str),
    /// These words, then one or two arguments.
    Circa(&'static str),
    /// These words, then a date.
    AsOf(&'static str),
    /// All arguments without a name, with this between them.
    Joined(&'static str),
    /// The arguments, or the list that is the first.
    Items,
    /// `{{lang-fr|…}}`, `{{langx|fr|…}}`: the name of the language, then the words.
    Language,
    /// `{{HMS|Victory}}`: the template's name, then the first argument, as a link.
    Ship,
    /// `{{sclass|Iowa|battleship}}`.
    ShipClass,
    /// A number with its unit, or several, and the same in another unit.
    Measure,
    /// `{{height|m=1.80}}`.
    Height,
    /// A number, a unit, its power, another unit.
    Unit,
    /// Year, month and day, however many are given.
    Date,
    /// Day, month and year.
    DayFirst,
    /// The day of a death, the day of the birth, and the age.
    Died,
    /// A number with its thousands apart.
    Number,
    /// `1st`.
    Ordinal,
    /// The template's name, its Roman number in capitals.
    Roman,
    /// A century between words.
    Century(&'static str, &'static str),
    /// `{{frac|1|2}}`.
    Fraction,
    /// `{{sfrac|1|2}}`.
    Slashed,
    /// A number with its unit in `u=`.
    Value,
    /// `{{nihongo|English|Japanese|Romanized}}`.
    Nihongo,
    /// The ways to write a Chinese or Korean name.
    Chinese,
    /// The first argument as a superscript.
    Raised,
    /// Ten to this power.
    Exponent,
    /// A musical sign.
    Sign,
    /// How a word is pronounced, if that is kept.
    Pronunciation,
    /// The country whose code is the first argument, as the wiki calls it, and a link to it.
    Country,
    /// The same, in English as it is typed.
    Flag,
    /// The first sentence on a person, out of its parts.
    Bio,
}

/// What the template of this name shows in a wiki of this language; `name` in lower case, with spaces for underscores.
pub(super) fn shows(name: &str, language: &str) -> Shows {
    match template_languages::shows(name, language) {
        Some(shows) => shows,
        None => common(name),
    }
}

/// Names of the English Wikipedia, which others have taken over.
fn common(name: &str) -> Shows {
    if let Some(shows) = signs(name).or_else(|| inline(name)).or_else(|| blocks(name)) {
        return shows;
    }
    if name.starts_with("lang-") || name.starts_with("lang ") {
        Shows::Language
    } else if is_pronunciation(name) {
        Shows::Pronunciation
    } else {
        Shows::Nothing
    }
}

/// Templates that say how a word is pronounced, in many wikis.
fn is_pronunciation(name: &str) -> bool {
    let beginnings = ["ipa-", "ipac-", "ipa "];
    let names =
        ["ipa", "ipa2", "ipa3", "ipaalink", "api", "afi", "lautschrift", "мфа", "respell", "pronunciation respelling"];
    names.contains(&name) || beginnings.iter().any(|beginning| name.starts_with(beginning))
}

/// Templates that are a sign or a word.
fn signs(name: &str) -> Option<Shows> {
    let words = match name {
        "!" | "pipe" | "vert" => "|",
        "!!" => "||",
        "=" | "equals" => "=",
        "(" => "{",
        ")" => "}",
        "!(" | "bracket" => "[",
        ")!" => "]",
        "'" | "apostrophe" | "-'" => "'",
        "' \"" | "'\"" => "'\"",
        "\" '" | "\"'" => "\"'",
        "'s" => "'s",
        "''" | "'''" => "",
        "*" | "asterisk" => "*",
        "#" | "hash" => "#",
        ":" | "colon" => ":",
        ";" => ";",
        "-" => "-",
        "minus" => "−",
        "plusminus" | "+-" | "pm" => "±",
        "nbsp" | "spaces" | "space" | "thinsp" | "thin space" | "hair space" | "hsp" | "nnbsp" | "zwsp"
        | "figure space" | "fsp" | "nb5" | "nb10" | "indent" | "wbr" | "shy" | "nobreak space" => " ",
        "ndash" | "en dash" | "endash" | "–" => "–",
        "mdash" | "em dash" | "emdash" | "—" | "mdashb" => "—",
        "snd" | "spnd" | "sndash" | "spaced ndash" | "spaced en dash" | "dash" | "spaced en dash space" | "snds" => {
            " – "
        }
        "spaced emdash" | "semdash" | "spaced em dash" => " — ",
        "·" | "dot" | "middot" | "•" | "bullet" | "bull" | "sdot" | "\\" => " · ",
        "pi" => "π",
        "carbon" => "C",
        "hydrogen" => "H",
        "oxygen" => "O",
        "nitrogen" => "N",
        "times" => "×",
        "sharp" => "♯",
        "flat" => "♭",
        "natural" => "♮",
        "degree" | "deg" => "°",
        "prime" => "′",
        "ellipsis" | "..." | "…" => "…",
        "sic" => "[sic]",
        "section sign" | "§" => "§",
        "trademark" | "tm" => "™",
        _ => return None,
    };
    // `{{sic|word}}` and `{{§|1}}` are written with their word.
    match name {
        "sic" | "§" | "prime" | "deg" | "degree" => None,
        _ => Some(Shows::Words(words)),
    }
}

/// Templates whose words are part of a sentence.
fn inline(name: &str) -> Option<Shows> {
    Some(match name {
        "ad" => Shows::Between("AD ", ""),
        "ce" => Shows::Between("", " CE"),
        "bc" => Shows::Between("", " BC"),
        "bce" => Shows::Between("", " BCE"),
        "circa" | "c." | "ca." | "circa." | "approx" | "ca" => Shows::Circa("c. "),
        "floruit" | "fl." | "fl" => Shows::Circa("fl. "),
        "reign" | "r." => Shows::Circa("r. "),
        "born in" => Shows::Between("born ", ""),
        "§" => Shows::Between("§ ", ""),
        "prime" => Shows::Between("", "′"),
        "deg" | "degree" => Shows::Between("", "°"),
        "sic" => Shows::Between("", " [sic]"),
        "as of" | "since" | "as of?" | "asof" | "tính đến" => Shows::AsOf("As of "),
        "gbp" | "£" | "pound sterling" | "gb£" | "uk£" | "poundssterling" => Shows::Between("£", ""),
        "us$" | "usd" | "us dollar" | "us dollars" => Shows::Between("US$", ""),
        "$" => Shows::Between("$", ""),
        "€" | "eur" | "euro" => Shows::Between("€", ""),
        "inr" | "indian rupee" | "₹" | "indianrupee" | "indian rupees" => Shows::Between("₹", ""),
        "a$" | "aud" | "au$" => Shows::Between("A$", ""),
        "c$" | "cad" | "ca$" => Shows::Between("C$", ""),
        "nz$" | "nzd" => Shows::Between("NZ$", ""),
        "hk$" | "hkd" => Shows::Between("HK$", ""),
        "s$" | "sgd" => Shows::Between("S$", ""),
        "jpy" | "¥" | "yen" => Shows::Between("¥", ""),
        "cny" | "rmb" => Shows::Between("CN¥", ""),
        "krw" | "₩" => Shows::Between("₩", ""),
        "chf" => Shows::Between("CHF ", ""),
        "php" | "₱" => Shows::Between("₱", ""),
        "radic" | "sqrt" | "root" => Shows::Between("√", ""),
        "abs" => Shows::Between("|", "|"),
        "gloss" | "glossed" => Shows::Between("‘", "’"),
        "lit" | "literal translation" | "literally" => Shows::Between("lit. ‘", "’"),
        "translation" | "trans" => Shows::Between("transl. ", ""),
        "ietf rfc" | "rfc" => Shows::Between("RFC ", ""),
        "langx" | "lang-x" => Shows::Language,
        "lang" | "lang2" | "langue" | "language text" | "abbrlink" | "wikt-lang" | "ruby-ja" | "linktext-lang"
        | "stylize" => Shows::Label(2, &["2", "text"]),
        "code" => Shows::Label(1, &["code"]),
        "audio" | "âm thanh" | "audio-nohelp" | "listen inline" => Shows::Argument(2),
        "w" | "autolink" => Shows::Last,
        "script" => Shows::Argument(2),
        "transl" | "transliteration" | "tlit" | "font" | "resize" | "rtl-lang" | "linktext" | "ltr-lang" | "ll"
        | "xlit" | "fontcolor" | "font color" | "color" | "colour" | "fs" | "lang-rtl" => Shows::Last,
        "nowrap"
        | "nobr"
        | "nobreak"
        | "no break"
        | "no wrap"
        | "nwr"
        | "small"
        | "smaller"
        | "smalldiv"
        | "big"
        | "bigger"
        | "large"
        | "larger"
        | "huge"
        | "midsize"
        | "em"
        | "emphasis"
        | "strong"
        | "bold"
        | "b"
        | "i"
        | "italic"
        | "italics"
        | "ital"
        | "underline"
        | "u"
        | "mono"
        | "kbd"
        | "samp"
        | "var"
        | "mvar"
        | "math"
        | "varserif"
        | "bigmath"
        | "abbr"
        | "abbreviation"
        | "tooltip"
        | "hover title"
        | "red link"
        | "proper name"
        | "visible anchor"
        | "vanchor"
        | "not a typo"
        | "typo"
        | "unicode"
        | "polytonic"
        | "hebrew"
        | "arabic"
        | "greek"
        | "cuneiform"
        | "runic"
        | "gothic"
        | "nastaliq"
        | "formatprice"
        | "format price"
        | "num"
        | "number"
        | "nts"
        | "ntsh"
        | "char"
        | "smallcaps"
        | "sc"
        | "sc1"
        | "sc2"
        | "small caps"
        | "smallcaps all"
        | "aut"
        | "sub"
        | "nowiki"
        | "noitalic"
        | "nobold"
        | "normal"
        | "no italic"
        | "no bold"
        | "nonbold"
        | "title"
        | "script/hebrew"
        | "script/arabic"
        | "script/greek"
        | "script/cyrillic"
        | "script/coptic"
        | "grc"
        | "he"
        | "nihongo2"
        | "nihongo3"
        | "cjk"
        | "crossreference"
        | "inline quote"
        | "highlight"
        | "text"
        | "plain"
        | "smallsup"
        | "pageno"
        | "convinfobox"
        | "oldstyledate"
        | "okina"
        | "rtl"
        | "ltr"
        | "bdi"
        | "hwpl"
        | "citation needed span"
        | "cnspan"
        | "dubious span"
        | "clarify span"
        | "quote without source"
        | "railgauge"
        | "track gauge"
        | "rail gauge"
        | "first word"
        | "str trim"
        | "trim"
        | "airport codes"
        | "native name"
        | "marriage"
        | "overline"
        | "strikethrough"
        | "strike"
        | "del"
        | "delink"
        | "no redirect"
        | "noredirect"
        | "background color"
        | "bg"
        | "align"
        | "right-align"
        | "serif"
        | "sans"
        | "sans-serif"
        | "tmath"
        | "tag"
        | "xt"
        | "mxt"
        | "bibleref2-nb"
        | "visible"
        | "glossary term"
        | "term"
        | "defn"
        | "long ital"
        | "fraktur"
        | "blackboard bold"
        | "symb"
        | "phon"
        | "phonem"
        | "grapheme"
        | "respell-nl"
        | "avoid wrap"
        | "normalwraplink"
        | "nowrap link"
        | "nowraplinks"
        | "sm"
        | "angr"
        | "nobreak link"
        | "plain link"
        | "plainlink"
        | "lc"
        | "uc" => Shows::Argument(1),
        "lcfirst" | "ucfirst" | "if then show" | "oldstyledatedy" | "oldstyledatenotice" => Shows::Argument(1),
        "singlequote" | "single quotes" | "single quote" | "'-" => Shows::Between("‘", "’"),
        "angbr" | "angle bracket" | "angle brackets" | "angbr ipa" => Shows::Between("⟨", "⟩"),
        "bracketed" | "square brackets" | "bra-ket" => Shows::Between("[", "]"),
        "ill" | "interlanguage link" | "illm" | "interlanguage link multi" | "link-interwiki" | "ill-wd" | "iill" => {
            Shows::Link(1, &["lt", "display", "tekst"])
        }
        "section link" | "slink" => Shows::Joined(" § "),
        "keypress" | "key press" | "key" | "keys" => Shows::Joined("+"),
        "gaps" | "chem" | "chem2" | "hchem" | "chem name" | "as written" | "nowrap begin" | "multiple" | "concat" => {
            Shows::Joined("")
        }
        "sortname" | "bibleverse" | "bibleverse-lb" | "bible verse" | "bibleref" | "bibleref2" | "qref"
        | "quran-usc" | "cite quran" => Shows::Joined(" "),
        "music" => Shows::Sign,
        "flag" | "flagu" | "flag2" | "flag+link" => Shows::Flag,
        "flagcountry" | "flag country" | "country flag" | "flagteam" | "flaglist" | "flagioc" | "flagioc2"
        | "flagiocteam" | "flagcgf" | "flagpasg" | "flagg" | "fb" | "fbw" | "cr" | "crw" | "ruw" | "bk" | "bkw"
        | "vb" | "vbw" | "hb" | "hbw" | "ih" | "flagright" => Shows::Country,
        "convert"
        | "cvt"
        | "conv"
        | "convertir"
        | "converti"
        | "convert2"
        | "umrechnen"
        | "converter"
        | "dönüştür"
        | "chuyển đổi"
        | "преобразуване"
        | "परिवर्तन"
        | "تحويل"
        | "km to mi"
        | "mi to km"
        | "m to ft"
        | "ft to m"
        | "kg to lb"
        | "c to f"
        | "f to c"
        | "cvt2" => Shows::Measure,
        "height" => Shows::Height,
        "val" => Shows::Value,
        "formatnum" => Shows::Number,
        "ordinal" | "ord" | "nth" | "ordinal to word" => Shows::Ordinal,
        "frac" | "fraction" => Shows::Fraction,
        "sfrac" => Shows::Slashed,
        "birth date"
        | "birth-date"
        | "birth date and age"
        | "birth-date and age"
        | "death date"
        | "death-date"
        | "dob"
        | "start date"
        | "start-date"
        | "end date"
        | "end-date"
        | "start date and age"
        | "start and end dates"
        | "film date"
        | "date"
        | "birthdate"
        | "bd"
        | "launch date"
        | "release date"
        | "released"
        | "dts"
        | "ngày sinh"
        | "ngày mất"
        | "bda"
        | "birth year and age"
        | "birth year"
        | "opening date"
        | "published date"
        | "event date"
        | "ngày phát hành"
        | "ngày sinh và tuổi" => Shows::Date,
        "death date and age" | "dda" | "death-date and age" | "ngày mất và tuổi" | "death date and given age" => {
            Shows::Died
        }
        "nihongo" | "nihongo foot" | "nihongo krt" | "japonais" | "nihongo core" => Shows::Nihongo,
        "zh" | "korean" | "ko-hhrm" | "lang-zh" | "zh-cn" => Shows::Chinese,
        "ko" | "ja" => return None,
        "sup" | "smallsup2" => Shows::Raised,
        "e" | "×10^" | "10^" | "esp" | "x10" => Shows::Exponent,
        "hms" | "uss" | "ss" | "rms" | "hmas" | "hmcs" | "hmnzs" | "uscgc" | "usns" | "usat" | "usrc" | "sms"
        | "ms" | "mv" | "mt" | "ins" | "jds" | "rv" | "gs" | "hdms" | "hnlms" | "hswms" | "css" | "hmt" | "uscgd"
        | "pns" | "hnoms" | "arm" | "ara" | "bap" | "ship" | "mvs" | "hmhs" | "rfa" | "rrs" => Shows::Ship,
        "sclass" | "sclass-" | "sclass2" | "sclass2-" => Shows::ShipClass,
        _ => return None,
    })
}

/// Templates that are paragraphs or lists.
fn blocks(name: &str) -> Option<Shows> {
    Some(match name {
        "quote"
        | "quotation"
        | "blockquote"
        | "cquote"
        | "bquote"
        | "centered pull quote"
        | "poemquote"
        | "poem quote"
        | "verse"
        | "quote2"
        | "pull quote"
        | "verse translation"
        | "block quote"
        | "rquote"
        | "quotetext" => Shows::Quotation(1),
        "hlist"
        | "flatlist"
        | "csv"
        | "cslist"
        | "comma separated entries"
        | "unbulleted list"
        | "ubl"
        | "plainlist"
        | "plain list"
        | "bulleted list"
        | "ubil"
        | "vunblist"
        | "ordered list"
        | "pagelist"
        | "enum"
        | "ublist"
        | "blist"
        | "br separated entries"
        | "hlist-comma"
        | "plain row list" => Shows::Items,
        "columns-list" | "col-list" | "multicol-section" | "div col-list" | "block indent" | "bi" | "center"
        | "centre" | "centered" | "căn giữa" | "block" | "indented" | "left" | "right" | "justify" | "small div"
        | "poem" | "stanza" => Shows::Block(1),
        _ => return None,
    })
}
