//! Which templates of the English Wikipedia show words that belong to the prose. All others are dropped.

/// What a template shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing that is prose.
    Nothing,
    /// The argument of this number, counted from 1.
    Argument(u8),
    /// The last argument without a name.
    Last,
    /// The argument of this number as paragraphs of their own.
    Quotation(u8),
    /// Always these words.
    Words(&'static str),
    /// These words, then the first argument.
    Before(&'static str),
    /// The first argument, then these words.
    After(&'static str),
    /// All arguments without a name, with this between them.
    Joined(&'static str),
    /// `{{lang-fr|…}}`: the name of the language, then the words.
    Language,
    /// `{{HMS|Victory}}`: the template's name, then the first argument.
    Ship,
    /// A number with its unit, and perhaps the second end of a range.
    Measure,
    /// Year, month and day, however many are given.
    Date,
    /// `{{frac|1|2}}`.
    Fraction,
    /// A number with its unit in `u=`.
    Value,
    /// `{{nihongo|English|Japanese|Romanized}}`.
    Nihongo,
    /// The first argument as a superscript.
    Raised,
    /// Ten to this power.
    Exponent,
}

/// What the template of this name shows; `name` in lower case, with spaces for underscores.
pub(super) fn shows(name: &str) -> Shows {
    match name {
        "!" => Shows::Words("|"),
        "=" => Shows::Words("="),
        "'" | "apostrophe" => Shows::Words("'"),
        "'s" => Shows::Words("'s"),
        "nbsp" | "spaces" | "space" | "thinsp" | "thin space" | "hair space" | "hsp" | "nnbsp" | "zwsp" => {
            Shows::Words(" ")
        }
        "ndash" | "en dash" | "endash" => Shows::Words("–"),
        "mdash" | "em dash" | "emdash" => Shows::Words("—"),
        "snd" | "spnd" | "sndash" | "spaced ndash" | "spaced en dash" | "dash" => Shows::Words(" – "),
        "snds" | "spaced en dash space" => Shows::Words(" – "),
        "·" | "dot" | "middot" | "•" | "bullet" | "bull" => Shows::Words(" · "),
        "pi" => Shows::Words("π"),
        "carbon" => Shows::Words("C"),
        "hydrogen" => Shows::Words("H"),
        "oxygen" => Shows::Words("O"),
        "nitrogen" => Shows::Words("N"),
        "euro" => Shows::Before("€"),
        "times" => Shows::Words("×"),
        "ad" | "ce" => Shows::After(" AD"),
        "bc" | "bce" => Shows::After(" BC"),
        "circa" | "c." | "ca." | "circa." | "approx" => Shows::Before("c. "),
        "floruit" | "fl." | "fl" => Shows::Before("fl. "),
        "born in" => Shows::Before("born "),
        "reign" | "r." => Shows::Joined("–"),
        "as of" | "since" | "as of?" => Shows::Before("As of "),
        "gbp" | "£" | "pound sterling" | "gb£" => Shows::Before("£"),
        "us$" | "usd" | "us dollar" => Shows::Before("US$"),
        "$" => Shows::Before("$"),
        "€" | "eur" => Shows::Before("€"),
        "inr" | "indian rupee" | "₹" | "indianrupee" | "indian rupees" => Shows::Before("₹"),
        "a$" | "aud" => Shows::Before("A$"),
        "c$" | "cad" | "ca$" => Shows::Before("C$"),
        "jpy" | "¥" | "yen" => Shows::Before("¥"),
        "cny" | "rmb" => Shows::Before("CN¥"),
        "lang" | "lang-x" | "langx" | "transl" | "transliteration" | "tlit" | "script" | "abbrlink" => {
            Shows::Argument(2)
        }
        "nowrap"
        | "nobr"
        | "nobreak"
        | "nowrap begin"
        | "small"
        | "smaller"
        | "big"
        | "larger"
        | "em"
        | "emphasis"
        | "strong"
        | "bold"
        | "b"
        | "i"
        | "italic"
        | "italics"
        | "underline"
        | "u"
        | "tt"
        | "mono"
        | "code"
        | "kbd"
        | "samp"
        | "var"
        | "mvar"
        | "math"
        | "varserif"
        | "abbr"
        | "abbreviation"
        | "tooltip"
        | "ill"
        | "interlanguage link"
        | "illm"
        | "link-interwiki"
        | "red link"
        | "proper name"
        | "visible anchor"
        | "vanchor"
        | "not a typo"
        | "typo"
        | "sic"
        | "as written"
        | "wikt-lang"
        | "unicode"
        | "polytonic"
        | "hebrew"
        | "arabic"
        | "greek"
        | "cuneiform"
        | "runic"
        | "gothic"
        | "music"
        | "formatnum"
        | "formatprice"
        | "num"
        | "number"
        | "angbr"
        | "angle bracket"
        | "char"
        | "keypress"
        | "key press"
        | "smallcaps"
        | "sc"
        | "small caps"
        | "smallcaps all"
        | "aut"
        | "sub"
        | "nowiki"
        | "noitalic"
        | "nobold"
        | "normal"
        | "resize"
        | "font"
        | "title"
        | "okina"
        | "flag"
        | "flagcountry"
        | "flagu"
        | "flagteam"
        | "flaglist"
        | "country flag"
        | "linktext"
        | "script/hebrew"
        | "script/arabic"
        | "script/greek"
        | "grc"
        | "he"
        | "rtl-lang"
        | "nihongo2"
        | "nihongo3"
        | "zh"
        | "ko"
        | "ja"
        | "cjk"
        | "crossreference"
        | "em dash inline"
        | "inline quote"
        | "highlight"
        | "text"
        | "if then show"
        | "plain"
        | "singlequote"
        | "single quotes"
        | "gaps"
        | "smallsup"
        | "pageno"
        | "convinfobox"
        | "oldstyledate"
        | "lc"
        | "uc"
        | "lcfirst"
        | "ucfirst"
        | "sortname"
        | "interlanguage link multi" => special_argument(name),
        "rtl" | "ltr" | "bdi" | "hwpl" => Shows::Argument(1),
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
        | "pull quote" => Shows::Quotation(1),
        "convert" | "cvt" | "conv" => Shows::Measure,
        "val" => Shows::Value,
        "frac" | "fraction" | "sfrac" => Shows::Fraction,
        "birth date" | "birth-date" | "bda" | "birth date and age" | "death date" | "death-date"
        | "death date and age" | "dob" | "start date" | "end date" | "start date and age" | "film date" | "date"
        | "dda" | "birthdate" | "bd" | "launch date" | "release date" | "dts" => Shows::Date,
        "nihongo" | "nihongo foot" | "korean" | "nihongo krt" => Shows::Nihongo,
        "sup" | "smallsup2" => Shows::Raised,
        "e" | "×10^" | "10^" => Shows::Exponent,
        "chem" | "chem2" | "hchem" => Shows::Joined(""),
        "hlist" | "flatlist" | "csv" | "cslist" | "comma separated entries" => Shows::Joined(", "),
        "unbulleted list" | "ubl" | "plainlist" | "plain list" | "bulleted list" | "ubil" => Shows::Joined(", "),
        "bibleverse" | "bibleverse-lb" | "bible verse" => Shows::Joined(" "),
        "hms" | "uss" | "ss" | "rms" | "hmas" | "hmcs" | "hmnzs" | "uscgc" | "usns" | "usat" | "usrc" | "sms"
        | "ms" | "mv" | "mt" | "ins" | "jds" | "rv" | "gs" | "hdms" | "hnlms" | "hswms" | "css" | "hmt" | "uscgd"
        | "html" => Shows::Ship,
        "ship" | "mvs" => Shows::Joined(" "),
        "airport codes" | "sclass" | "sclass-" | "sclass2" | "sclass2-" => Shows::Argument(1),
        "user" => Shows::Nothing,
        _ if name.starts_with("lang-") || name.starts_with("lang ") => Shows::Language,
        _ if name.starts_with("quote box") || name.starts_with("quotebox") => Shows::Nothing,
        _ => Shows::Nothing,
    }
}

/// The long list of templates that show one argument: nearly always the first.
fn special_argument(name: &str) -> Shows {
    match name {
        "font" | "resize" | "rtl-lang" | "wikt-lang" | "linktext" => Shows::Last,
        "gaps" => Shows::Joined(""),
        "sortname" => Shows::Joined(" "),
        // Their first argument is a code, or there is none worth showing.
        "zh" | "ko" | "ja" | "music" | "nowrap begin" => Shows::Nothing,
        _ => Shows::Argument(1),
    }
}

/// English name of a language by its code, for `{{lang-xx|…}}`.
pub(super) fn language_name(code: &str) -> Option<&'static str> {
    Some(match code {
        "af" => "Afrikaans",
        "ang" => "Old English",
        "ar" => "Arabic",
        "arc" => "Aramaic",
        "az" => "Azerbaijani",
        "be" => "Belarusian",
        "bg" => "Bulgarian",
        "bn" => "Bengali",
        "bs" => "Bosnian",
        "ca" => "Catalan",
        "cs" => "Czech",
        "cy" => "Welsh",
        "da" => "Danish",
        "de" => "German",
        "el" => "Greek",
        "en" => "English",
        "eo" => "Esperanto",
        "es" => "Spanish",
        "et" => "Estonian",
        "eu" => "Basque",
        "fa" => "Persian",
        "fi" => "Finnish",
        "fr" => "French",
        "fro" => "Old French",
        "fy" => "West Frisian",
        "ga" => "Irish",
        "gd" => "Scottish Gaelic",
        "gl" => "Galician",
        "grc" => "Ancient Greek",
        "he" => "Hebrew",
        "hi" => "Hindi",
        "hr" => "Croatian",
        "hu" => "Hungarian",
        "hy" => "Armenian",
        "id" => "Indonesian",
        "is" => "Icelandic",
        "it" => "Italian",
        "ja" => "Japanese",
        "ka" => "Georgian",
        "kk" => "Kazakh",
        "ko" => "Korean",
        "ku" => "Kurdish",
        "la" => "Latin",
        "lb" => "Luxembourgish",
        "lt" => "Lithuanian",
        "lv" => "Latvian",
        "mi" => "Māori",
        "mk" => "Macedonian",
        "mn" => "Mongolian",
        "mr" => "Marathi",
        "ms" => "Malay",
        "mt" => "Maltese",
        "ne" => "Nepali",
        "nl" => "Dutch",
        "no" => "Norwegian",
        "non" => "Old Norse",
        "pa" => "Punjabi",
        "pl" => "Polish",
        "pt" => "Portuguese",
        "ro" => "Romanian",
        "ru" => "Russian",
        "sa" => "Sanskrit",
        "sco" => "Scots",
        "sh" => "Serbo-Croatian",
        "sk" => "Slovak",
        "sl" => "Slovene",
        "sq" => "Albanian",
        "sr" => "Serbian",
        "sv" => "Swedish",
        "sw" => "Swahili",
        "ta" => "Tamil",
        "te" => "Telugu",
        "th" => "Thai",
        "tl" => "Tagalog",
        "tr" => "Turkish",
        "uk" => "Ukrainian",
        "ur" => "Urdu",
        "uz" => "Uzbek",
        "vi" => "Vietnamese",
        "yi" => "Yiddish",
        "zh" => "Chinese",
        "zu" => "Zulu",
        _ => return None,
    })
}
