//! Names of templates in other wikis than the English.

use super::template_names::Shows;

/// What a template shows in the wiki of a language, where that differs from the English Wikipedia.
pub(super) fn shows(name: &str, language: &str) -> Option<Shows> {
    match language {
        "en" | "simple" | "" => None,
        "de" | "als" | "bar" | "nds" => german(name),
        "fr" => french(name),
        "es" | "ca" | "gl" | "pt" | "ast" => iberian(name),
        "it" => italian(name),
        // In the Russian wiki it is the box of facts of a town.
        "uk" if name == "нп" => Some(Shows::Link(1, &["2", "текст"])),
        "ru" | "uk" | "be" | "bg" | "sr" | "mk" => cyrillic(name),
        "pl" | "cs" | "sk" | "sl" | "hr" | "bs" | "sh" => slavic(name),
        "ro" | "hu" | "et" | "lv" | "lt" | "el" => other(name),
        "nl" | "sv" | "da" | "no" | "nb" | "nn" | "fi" => northern(name),
        "ja" | "zh" | "ko" | "yue" | "wuu" => eastern(name),
        "vi" | "tr" | "id" | "ar" | "fa" | "he" | "hi" | "mr" | "bn" | "ta" | "te" | "ur" | "arz" => southern(name),
        _ => None,
    }
}

fn german(name: &str) -> Option<Shows> {
    Some(match name {
        "\"" => Shows::Between("„", "“"),
        "zitat" | "zitat-en" | "zitat-fr" | "zitat-la" | "zitat-es" | "zitat-it" => Shows::Quotation(1),
        "datum" | "dts" => Shows::Date,
        "höhe" => Shows::Between("", " m"),
        "§" => Shows::Between("§ ", ""),
        "0" => Shows::Words(""),
        "bibel" | "bibel2" => Shows::Joined(" "),
        "s" => Shows::Between("S. ", ""),
        "polytonisch" | "hebr" | "arf" | "kursiv" | "fett" | "kapitälchen" | "nowrap" | "unicode" | "farsi"
        | "fontsize" | "anker text" | "nfr" | "hochgestellt" | "tiefgestellt" | "sortkey" => Shows::Argument(1),
        "sortkeyname" | "sortname" => Shows::Joined(" "),
        "eur" | "euro" => Shows::Between("", " Euro"),
        "chf" => Shows::Between("", " CHF"),
        "usd" => Shows::Between("", " US-Dollar"),
        "ens" => Shows::Between("englisch ", ""),
        "des" => Shows::Between("deutsch ", ""),
        "frs" => Shows::Between("französisch ", ""),
        "las" => Shows::Between("lateinisch ", ""),
        "its" => Shows::Between("italienisch ", ""),
        "ess" => Shows::Between("spanisch ", ""),
        "rus" => Shows::Between("russisch ", ""),
        "grs" | "els" => Shows::Between("griechisch ", ""),
        "ars" => Shows::Between("arabisch ", ""),
        "pls" => Shows::Between("polnisch ", ""),
        "css" => Shows::Between("tschechisch ", ""),
        "jas" => Shows::Between("japanisch ", ""),
        "zhs" => Shows::Between("chinesisch ", ""),
        "trs" => Shows::Between("türkisch ", ""),
        "nls" => Shows::Between("niederländisch ", ""),
        "hus" => Shows::Between("ungarisch ", ""),
        "grcs" => Shows::Between("altgriechisch ", ""),
        _ => return None,
    })
}

fn french(name: &str) -> Option<Shows> {
    Some(match name {
        "unité" | "unite" | "nombre" | "nb" | "unité/2" => Shows::Unit,
        "date" | "date-" | "date de naissance" | "naissance" | "date de décès" | "décès" | "date rép"
        | "date républicaine" | "date sport" | "date de naissance-" => Shows::DayFirst,
        "s" | "siècle" | "s-" | "s mini" | "siècle-" | "s mini-" => Shows::Century("", "e siècle"),
        "-s" | "-s-" | "av jc" | "s av jc" | "s mini av jc" | "-siècle" => Shows::Century("", "e siècle av. J.-C."),
        "s2" | "sp" | "s2-" | "sp-" => Shows::Joined(" "),
        "1er" => Shows::Words("1er"),
        "1re" | "1ère" => Shows::Words("1re"),
        "er" => Shows::Words("er"),
        "ère" | "re" => Shows::Words("re"),
        "e" | "ème" => Shows::Words("e"),
        "," | "vir" => Shows::Words(", "),
        "ier" => Shows::Words("Ier"),
        "n°" | "numéro" | "no" => Shows::Between("no ", ""),
        "p." => Shows::Between("p. ", ""),
        "m." => Shows::Between("M. ", ""),
        "mme" => Shows::Between("Mme ", ""),
        "mlle" => Shows::Between("Mlle ", ""),
        "dr" => Shows::Between("Dr ", ""),
        "lien" | "link" | "lien interlangue" => Shows::Link(1, &["texte", "fr"]),
        "citation" | "guil" | "guillemets" | "citation bloc court" => Shows::Between("« ", " »"),
        "citation étrangère" => Shows::Between("« ", " »"),
        "citation bloc" | "bloc citation" | "bloc emphase" | "épigraphe" | "citation longue" | "vers" => {
            Shows::Quotation(1)
        }
        "langue" | "lang" => Shows::Label(2, &["texte", "2"]),
        "référence nécessaire"
        | "refnec"
        | "référence souhaitée"
        | "refsou"
        | "quoi"
        | "passage évasif"
        | "pas clair"
        | "référence insuffisante"
        | "passage non neutre"
        | "passage promotionnel"
        | "abréviation"
        | "abrd"
        | "abréviation discrète"
        | "lnobr"
        | "nobr"
        | "pc"
        | "petites capitales"
        | "petite capitale"
        | "souligner"
        | "terme défini"
        | "rom-maj"
        | "rom"
        | "romain"
        | "grec"
        | "grec ancien"
        | "hébreu"
        | "arabe"
        | "infobulle"
        | "page h\'"
        | "citation nécessaire"
        | "nom en italique"
        | "avec"
        | "code langue"
        | "minuscule texte"
        | "formatnum2"
        | "mathématiques"
        | "russe" => Shows::Argument(1),
        "incise" | "tiret" => Shows::Between(" – ", " – "),
        "exp" | "exposant" => Shows::Raised,
        "fchim" | "formule chimique" => Shows::Joined(""),
        "euro" | "euros" => Shows::Between("", " euros"),
        "x10" => Shows::Exponent,
        "tmp" => Shows::Between("", " °C"),
        "heure" => Shows::Joined(" h "),
        "japonais" => Shows::Nihongo,
        "cita" => Shows::Argument(1),
        _ => return roman_ordinal(name),
    })
}

/// `{{XVe}}`, `{{XVe siècle}}`: an ordinal that is its own template.
fn roman_ordinal(name: &str) -> Option<Shows> {
    let rest = name.trim_start_matches(['i', 'v', 'x', 'l', 'c', 'd', 'm']);
    match rest {
        "e" | "er" | "e siècle" | "er siècle" | "e siècle av. j.-c." if rest.len() < name.len() => {
            Some(Shows::Roman)
        }
        _ => match name {
            "2e" => Some(Shows::Words("2e")),
            "3e" => Some(Shows::Words("3e")),
            "2d" => Some(Shows::Words("2d")),
            "2de" => Some(Shows::Words("2de")),
            _ => None,
        },
    }
}

fn iberian(name: &str) -> Option<Shows> {
    Some(match name {
        "unidad" | "unitat" | "unidade" | "ud" => Shows::Unit,
        "fmtn" | "formatnum2" => Shows::Number,
        "siglo" => Shows::Century("siglo ", ""),
        "séc" | "século" => Shows::Century("século ", ""),
        "segle" => Shows::Century("segle ", ""),
        "fecha" | "dtlink" | "dni" | "dnibr" | "dtext" | "data" | "morte" | "nascimento" | "falecimento" => {
            Shows::DayFirst
        }
        "fecha de nacimiento" | "fecha de fallecimiento" | "fecha de inicio" => Shows::DayFirst,
        "cita" | "citação" | "citação2" | "citació" | "rquote" | "cita larga" | "bquote" | "quote" => {
            Shows::Quotation(1)
        }
        "esd"
        | "versalita"
        | "versaletes"
        | "may"
        | "maiúsculas"
        | "cita requerida"
        | "carece de fontes span"
        | "pbpe"
        | "nowrap"
        | "bandera2"
        | "bandeira2"
        | "país"
        | "flagcat"
        | "subrayado"
        | "griego"
        | "hebreo"
        | "árabe"
        | "revisar"
        | "letra" => Shows::Argument(1),
        "esdecir" => Shows::Argument(1),
        "lang-en2" | "lang-es2" => Shows::Argument(1),
        "enlace interlenguaje" | "enlla" | "ill" => Shows::Link(1, &["lt"]),
        "moneda" | "euros" => Shows::Joined(" "),
        _ => return None,
    })
}

fn italian(name: &str) -> Option<Shows> {
    Some(match name {
        "m" | "unità" => Shows::Value,
        "bio" => Shows::Bio,
        "converti" => Shows::Measure,
        "citazione" | "cita testo" | "quote" => Shows::Quotation(1),
        "senza fonte"
        | "citazione necessaria"
        | "cn"
        | "chiarire"
        | "maiuscoletto"
        | "sc"
        | "nowrap"
        | "ta"
        | "font"
        | "pb"
        | "tutto attaccato"
        | "lingua"
        | "bandiera2"
        | "nobr" => Shows::Argument(1),
        "data" => Shows::DayFirst,
        "euro" => Shows::Between("", " euro"),
        "ape" | "virgolette" => Shows::Between("«", "»"),
        "dim" => Shows::Argument(1),
        _ => return None,
    })
}

fn cyrillic(name: &str) -> Option<Shows> {
    Some(match name {
        "нп1"
        | "нп2"
        | "нп3"
        | "нп4"
        | "нп5"
        | "не переведено"
        | "не переведено 2"
        | "не переведено 3"
        | "не переведено 4"
        | "не переведено 5"
        | "не перекладено"
        | "нп-укр"
        | "iw"
        | "не е преведено"
        | "нпр" => Shows::Link(1, &["2", "текст"]),
        "начало цитаты" | "конец цитаты" => Shows::Nothing,
        "цитата" | "цитат" | "quote box2" | "врезка" | "quote" | "cquote" | "цитата2" => {
            Shows::Quotation(1)
        }
        "comment"
        | "подсказка"
        | "tooltip"
        | "коммент"
        | "s"
        | "nobr"
        | "флагификация"
        | "прапорець"
        | "nowrap"
        | "мн"
        | "math"
        | "рамка"
        | "малък"
        | "мал"
        | "large"
        | "подчёркнуто"
        | "зачёркнуто"
        | "эми"
        | "mono"
        | "unicode"
        | "юникод"
        | "ref-lang"
        | "нобр"
        | "н"
        | "капитель"
        | "прапор" => Shows::Argument(1),
        "число" | "num" | "чис" => Shows::Number,
        "сс3"
        | "date"
        | "дата рождения"
        | "дата смерти"
        | "дата народження"
        | "дата смерті"
        | "дата раждане"
        | "дата" => Shows::DayFirst,
        "oldstyledate" | "сс" => Shows::Argument(1),
        "lang-en2" | "lang-ru2" | "lang-de2" | "lang-fr2" => Shows::Argument(1),
        "тире" | "—" => Shows::Words(" — "),
        "јез-енгл" | "јез-ен" => Shows::Between("енгл. ", ""),
        "јез-нем" => Shows::Between("нем. ", ""),
        "јез-лат" => Shows::Between("лат. ", ""),
        "јез-фр" => Shows::Between("франц. ", ""),
        "градусы" => Shows::Between("", "°"),
        "e" => Shows::Exponent,
        "км" => Shows::Between("", " км"),
        _ => return None,
    })
}

fn slavic(name: &str) -> Option<Shows> {
    Some(match name {
        "cytat" | "citát" | "citat" | "citace textu" | "citat blok" => Shows::Quotation(1),
        "fakt" | "kapitaliki" | "cizojazyčně" | "j" | "nobr" | "malé" | "vlajka a název" | "państwo" | "małe" => {
            if name == "cizojazyčně" {
                Shows::Argument(2)
            } else {
                Shows::Argument(1)
            }
        }
        "vjazyce2" | "cj" => Shows::Argument(2),
        "datum narození a věk" | "datum narození" | "datum úmrtí" | "datum úmrtí a věk" => Shows::Date,
        "link-interwiki" => Shows::Link(1, &["tekst", "pl"]),
        "ang." => Shows::Between("ang. ", ""),
        "łac." => Shows::Between("łac. ", ""),
        "niem." => Shows::Between("niem. ", ""),
        "fr." => Shows::Between("fr. ", ""),
        "ros." => Shows::Between("ros. ", ""),
        "hiszp." => Shows::Between("hiszp. ", ""),
        "wł." => Shows::Between("wł. ", ""),
        "gr." => Shows::Between("gr. ", ""),
        "jap." => Shows::Between("jap. ", ""),
        _ => return None,
    })
}

fn northern(name: &str) -> Option<Shows> {
    Some(match name {
        "citaat" | "citat" | "lainaus" | "sitat" | "quote box" => Shows::Quotation(1),
        "k-en" => Shows::Between("engl. ", ""),
        "k-la" => Shows::Between("lat. ", ""),
        "k-de" => Shows::Between("saks. ", ""),
        "k-fr" => Shows::Between("ransk. ", ""),
        "k-ru" => Shows::Between("ven. ", ""),
        "kieli" | "lang" | "språk" | "sprog" => Shows::Argument(2),
        "flagga" | "flag+link" | "datum" | "nowrap" | "alkukieli" | "k" | "sortera" | "nts" => Shows::Argument(1),
        _ => return None,
    })
}

fn eastern(name: &str) -> Option<Shows> {
    Some(match name {
        "仮リンク" | "ill2" => Shows::Link(1, &["label"]),
        "ルビ" | "ruby" | "読み仮名" | "rubyja" | "읽는 법" => Shows::Joined("\u{2060}"),
        "補助漢字フォント"
        | "jis2004フォント"
        | "cp932フォント"
        | "拡張漢字"
        | "旧字体"
        | "要出典範囲"
        | "縦書き"
        | "by"
        | "色"
        | "僻字"
        | "위키공용"
        | "작은글"
        | "큰글"
        | "작은 글씨"
        | "한글"
        | "국기나라"
        | "국기"
        | "國旗"
        | "参照方法範囲"
        | "要検証範囲"
        | "rare"
        | "nobr"
        | "縮小"
        | "拡大"
        | "uri"
        | "fontsize"
        | "smaller" => Shows::Argument(1),
        "生年月日と年齢"
        | "死亡年月日と没年齢"
        | "没年齢"
        | "生年月日"
        | "死亡年月日"
        | "출생일"
        | "출생일과 나이"
        | "사망일"
        | "사망일과 나이"
        | "date"
        | "開始日"
        | "发布日期" => Shows::Date,
        "行内引用" | "cquote" | "인용문" | "引用" | "quotation" | "인용문2" => Shows::Quotation(1),
        "円記号" | "円" => Shows::Between("", "円"),
        "tsl" | "translink" | "internal link helper" => Shows::Link(3, &["4"]),
        "le" | "li" | "ilh" | "link-en" | "tle" => Shows::Link(1, &["3"]),
        "llang" => Shows::Argument(2),
        "임시링크" => Shows::Link(1, &["표기"]),
        "bd" => Shows::Nothing,
        _ if name.starts_with("link-") || name.starts_with("internal link helper/") => Shows::Link(1, &["3"]),
        _ => return None,
    })
}

fn southern(name: &str) -> Option<Shows> {
    Some(match name {
        "alıntı" | "trích dẫn" | "lời dẫn" | "kutipan" | "اقتباس" | "نقل قول" | "ציטוט" | "उद्धरण" | "अवतरण"
        | "উক্তি" => Shows::Quotation(1),
        "nhỏ" | "to" | "küçük" | "büyük" | "bayrak" | "ülke" | "bendera" | "بزرگ" | "کوچک" | "چپ" | "راست به چپ"
        | "خرد" | "صغير" | "كبير" | "قطن" | "मोठे" | "लहान" | "कीकोड" => {
            Shows::Argument(1)
        }
        "dil" | "lang" | "bahasa" | "لغة" | "भाषा" => Shows::Argument(2),
        "وصلة إنترويكي" | "و" => Shows::Link(1, &["عر", "نص"]),
        "tautan antarbahasa" | "liên kết ngôn ngữ" | "bağlantı" => Shows::Link(1, &["lt"]),
        "إنج" => Shows::Between("بالإنجليزية: ", ""),
        "فر" => Shows::Between("بالفرنسية: ", ""),
        "ألمانية" | "لغة-أل" => Shows::Between("بالألمانية: ", ""),
        "لات" | "لا" => Shows::Between("باللاتينية: ", ""),
        "به انگلیسی" | "انگلیسی" => Shows::Between("به انگلیسی: ", ""),
        "آلمانی" | "به آلمانی" => Shows::Between("به آلمانی: ", ""),
        "به فرانسوی" => Shows::Between("به فرانسوی: ", ""),
        "هـ" => Shows::Words("هـ"),
        "م" => Shows::Words("م"),
        "ق.م" | "ق م" => Shows::Words("ق.م"),
        "doğum tarihi"
        | "doğum tarihi ve yaşı"
        | "ölüm tarihi"
        | "tanggal lahir"
        | "lahirmati"
        | "تاريخ ميلاد"
        | "जन्म तिथि"
        | "जन्मतिथि"
        | "تاریخ تولد"
        | "जन्म दिनांक" => Shows::Date,
        "ölüm tarihi ve yaşı" | "death date and age" | "تاريخ وفاة" => Shows::Died,
        "रुपया" | "inr" => Shows::Between("₹", ""),
        _ => return None,
    })
}

fn other(name: &str) -> Option<Shows> {
    Some(match name {
        "szám" => Shows::Number,
        "conversie" => Shows::Measure,
        "citat" | "idézet" | "idézet 2" | "tsitaat" | "citātu" => Shows::Quotation(1),
        "nowrap" | "kis" | "mic" => Shows::Argument(1),
        _ => return None,
    })
}
