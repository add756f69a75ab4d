//! Link trails: letters right behind a link that belong to its words, by the language of the wiki.

/// Whether a letter behind a link continues its last word: `[[town]]s`. The letters are those that the software is told for
/// each language; quotation marks, which some languages count among them, are left out, since they are no part of a name. A
/// wiki of a language that is not listed has the small letters of ASCII, as the software has.
pub(super) fn continues(letter: char, language: &str) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_lowercase()
            && !matches!(language, "zh" | "yue" | "wuu" | "gan" | "cdo" | "hak" | "nan");
    }
    match language {
        "ar" | "arz" | "ary" | "azb" | "ps" | "ckb" | "sd" => {
            matches!(letter, '\u{621}'..='\u{652}' | '\u{670}' | '\u{686}' | '\u{6A9}' | '\u{6AF}' | '\u{6CC}')
        }
        "fa" | "ur" | "pnb" | "glk" | "mzn" | "ug" => matches!(letter, '\u{620}'..='\u{65F}' | '\u{66E}'..='\u{6D3}'),
        "he" | "yi" => matches!(letter, '\u{5D0}'..='\u{5EA}'),
        "hi" | "mr" | "ne" | "bh" | "mai" | "sa" | "new" => {
            matches!(letter, '\u{900}'..='\u{963}' | '\u{971}'..='\u{97F}' | '\u{200D}')
        }
        "bn" | "as" => matches!(letter, '\u{980}'..='\u{9E3}' | '\u{9F0}'..='\u{9F1}'),
        "pa" => matches!(letter, '\u{A00}'..='\u{A65}' | '\u{A70}'..='\u{A7F}'),
        "gu" => matches!(letter, '\u{A80}'..='\u{AE3}'),
        "ta" => matches!(letter, '\u{B80}'..='\u{BE5}'),
        "te" => matches!(letter, '\u{C00}'..='\u{C65}'),
        "kn" => matches!(letter, '\u{C80}'..='\u{CE5}'),
        "ml" => matches!(letter, '\u{D00}'..='\u{D65}' | '\u{D7A}'..='\u{D7F}'),
        "ka" | "xmf" => matches!(letter, '\u{10D0}'..='\u{10FA}'),
        "hy" | "hyw" => matches!(letter, '\u{561}'..='\u{587}'),
        _ => others(language).contains(letter),
    }
}

/// The letters outside ASCII that languages of the Latin, Cyrillic and Greek scripts list.
fn others(language: &str) -> &'static str {
    match language {
        "de" | "als" | "bar" | "nds" | "ksh" => "äöüß",
        "fr" | "br" | "oc" | "wa" | "vi" | "ln" | "wo" | "pcd" | "frp" => "àâçéèêîôûäëïöüùÇÉÂÊÎÔÛÄËÏÖÜÀÈÙ",
        "es" | "ast" | "an" | "ext" | "qu" | "gn" | "eu" => "áéíóúüñ",
        "pt" | "gl" | "mwl" => "áâãàéêẽçíòóôõúüűũñï",
        "ca" => "àèéíòóúçïü·",
        "it" | "nap" | "scn" | "vec" | "lmo" | "pms" | "lij" | "fur" | "sc" | "co" => "àéèíîìóòúù",
        "ro" => "ăâîşţșțĂÂÎŞŢȘȚ",
        "nl" | "li" | "vls" | "zea" | "nds-nl" | "fy" | "af" => "äöüïëéèàêôûâîá",
        "sv" => "åäöéÅÄÖÉ",
        "da" | "no" | "nb" | "nn" => "æøåéèàô",
        "is" | "fo" => "áðéíóúýþæöø",
        "fi" | "se" => "äöåšž",
        "et" | "fiu-vro" => "äöõšüž",
        "hu" => "áéíóúöüőűÁÉÍÓÚÖÜŐŰ",
        "pl" | "szl" | "csb" => "ęóąśłżźćńĘÓĄŚŁŻŹĆŃ",
        "cs" => "áčďéěíňóřšťúůýž",
        "sk" => "áäčďéíľĺňóôŕšťúýž",
        "sl" | "hr" | "bs" => "čćđžšß",
        "sh" | "sr" => "čćđžšабвгдђежзијклљмнњопрстћуфхцчџш",
        "hsb" | "dsb" => "äöüßčćěłńóŕřšžźś",
        "lt" | "sgs" => "ąčęėįšųūž",
        "lv" | "ltg" => "ēūīāšģķļžčņ",
        "sq" => "ëç",
        "tr" => "ÇĞçğİıÖöŞşÜüÂâÎîÛû",
        "az" | "tk" | "crh" | "gag" => "çəğıöşüÇƏĞİÖŞÜäňýž",
        "ku" | "diq" => "çêîşûẍḧÇÊÎŞÛẌḦ",
        "cy" => "àáâèéêìíîïòóôûŵŷ",
        "ga" | "gd" => "áéíóúàèìòù",
        "eo" => "ĉĝĥĵŝŭ",
        "mt" => "ċġħżàèìòù",
        "ru" | "ce" | "cv" | "ba" | "tt" | "ky" | "kk" | "mn" | "tg" | "os" | "sah" | "udm" | "mhr" | "myv" | "kv"
        | "lez" | "av" | "xal" | "tyv" | "bxr" | "krc" => "абвгдеёжзийклмнопрстуфхцчшщъыьэюяәғқңөұүһіӣӯҳҷҡҙҫӑӗҥҕҝӈӧӱ",
        "uk" | "rue" => "абвгґдеєжзиіїйклмнопрстуфхцчшщьєюяёъы",
        "be" | "be-tarask" => "абвгґджзеёжзійклмнопрстуўфхцчшыьэюяćčłńśšŭźž",
        "bg" => "абвгдежзийклмнопрстуфхцчшщъыьэюя",
        "mk" => "абвгдѓежзѕијклљмнњопрстќуфхцчџшѐѝ",
        "el" | "pnt" => "αβγδεζηθικλμνξοπρστυφχψωςΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩάέήίόύώϊϋΐΰΆΈΉΊΌΎΏΪΫ",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WikiContext, clean};

    /// The words of the first link of a text in the wiki of a language.
    fn anchor(text: &str, language: &str) -> String {
        let page = clean(text, &WikiContext::default().with_language(language));
        page.text[page.links[0].span.clone()].to_owned()
    }

    #[test]
    fn letters_of_the_language_continue_a_link() {
        for (language, text, expected) in [
            ("en", "[[town]]s of", "towns"),
            ("en", "[[caf]]é", "caf"),
            ("en", "[[town]]S", "town"),
            ("de", "[[Stadt|Städte]]n, [[Rat]]häuser", "Städten"),
            ("de", "[[Rat]]häuser", "Rathäuser"),
            ("fr", "[[École]]éà", "Écoleéà"),
            ("ru", "[[город]]ами»", "городами"),
            ("uk", "[[місто]]їґ", "містоїґ"),
            ("bg", "[[град]]ът", "градът"),
            ("pl", "[[Łódź]]żółć", "Łódźżółć"),
            ("tr", "[[Ankara]]'dan", "Ankara"),
            ("el", "[[πόλη]]ς", "πόλης"),
            ("ar", "[[مدينة]]هم", "مدينةهم"),
            ("he", "[[עיר]]ים", "עירים"),
            ("mr", "[[शहर]]ात", "शहरात"),
            ("mr", "[[शहर]]।", "शहर"),
            ("zh", "[[城市]]abc", "城市"),
            ("zh", "[[城市]]的", "城市"),
            ("ja", "[[都市]]の", "都市"),
            ("th", "[[เมือง]]ใหญ่", "เมือง"),
            ("xx", "[[a]]bé", "Ab"),
        ] {
            assert_eq!(anchor(text, language).to_lowercase(), expected.to_lowercase(), "{language}: {text}");
        }
    }
}
