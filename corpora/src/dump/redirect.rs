//! Redirects that only the text tells of.

/// The word after `#` in the languages of all Wikipedias, lower-case and sorted; every wiki also understands the English one.
const WORDS: &[&str] = &[
    "aanstuur",
    "adkas",
    "ail-cyfeirio",
    "ailgyfeirio",
    "al",
    "aliah",
    "alidirekti",
    "alidirektu",
    "alih",
    "ancaminar",
    "athsheoladh",
    "aýdaw",
    "beralîkirin",
    "birzuzendu",
    "daskedyans",
    "dirección",
    "dirijar",
    "doorverwijzing",
    "endrecera",
    "fihodinana",
    "hdaal",
    "hetenayiş",
    "i̇sti̇qamətləndi̇r",
    "i̇sti̇qamətləndi̇rmə",
    "kiahou",
    "kúfù",
    "leidt_öm_op",
    "lencong",
    "ohjaus",
    "omdiriger",
    "omdirigering",
    "ođđasitstivren",
    "patrz",
    "peradresavimas",
    "presmeruj",
    "preusmeri",
    "preusmeritev",
    "preusmjeri",
    "przekieruj",
    "pupinah",
    "pusapuna",
    "přesměruj",
    "redireccio",
    "redireccion",
    "redirecciona",
    "redirecció",
    "redirección",
    "redirecionamento",
    "redirect",
    "redirectare",
    "redirecteaza",
    "redirection",
    "redirekto",
    "redirèccion",
    "reendrecera",
    "renviament",
    "ridrejto",
    "rimando",
    "rindirizza",
    "rinvia",
    "rinvio",
    "stir",
    "stivren",
    "suuna",
    "tam",
    "tilvísun",
    "tojədən_i̇sti̇ğomət_doy",
    "uudelleenohjaus",
    "varda",
    "viruleedung",
    "weiterleitung",
    "wiederleiden",
    "yonaltirish",
    "yonlendirme",
    "yoʻnaltirish",
    "yönlendir",
    "yönlendirme",
    "yönlendi̇r",
    "yönlendi̇rme",
    "yönləndi̇rmə",
    "yönnendi̇r",
    "yönnendi̇rmä",
    "yönnendi̇rmäkler",
    "átirányítás",
    "æрвитæн",
    "æрвыст",
    "ömleide",
    "ömleide_op",
    "ömleidung",
    "đổi",
    "đổi hướng",
    "ανακατευθυνση",
    "ανακατεύθυνση",
    "айдау",
    "види",
    "виж",
    "джибериу",
    "дӏасахьажор'",
    "көжүрүлге",
    "ластар",
    "перенапр",
    "перенаправление",
    "перенаправлення",
    "пренасочване",
    "пренасочи",
    "пренасочување",
    "преусмери",
    "преусмјери",
    "прѣнаправлєниѥ",
    "равона",
    "рарвыст",
    "редирект",
    "утаарыы",
    "утр",
    "чиглүүлэг",
    "шигледир",
    "юнәлтү",
    "վերահղում",
    "վերայղում",
    "הפניה",
    "ווייטערפירן",
    "بور",
    "تحويل",
    "تغییر_مسیر",
    "تغییرمسیر",
    "رجوع_مکرر",
    "مڑجوڑ",
    "چوريو",
    "ڕەوانەکەر",
    "ܨܘܝܒܐ",
    "अनुप्रेषण",
    "अनुप्रेषित",
    "अनुप्रेषितम्",
    "पुननिर्देशन",
    "पुनर्निदेशन",
    "पुनर्निर्दिष्टम्",
    "पुनर्निर्देशन",
    "पुनर्प्रेषित",
    "पुर्ननिर्देशन",
    "পুনঃনির্দেশ",
    "পুনঃর্নির্দেশ",
    "পুননির্দেশ",
    "পুনর্নির্দেশ",
    "ਰੀਡਿਰੈਕਟ",
    "ଲେଉଟାଣି",
    "வழிமாற்று",
    "దారిమార్పు",
    "തിരിച്ചുവിടുക",
    "തിരിച്ചുവിടൽ",
    "යළියොමුව",
    "เปลี่ยนทาง",
    "გადამისამართება",
    "បញ្ជូនបន្ត",
    "ប្ដូរចំណងជើង",
    "ប្ដូរទីតាំង",
    "ប្ដូរទីតាំងទៅ",
    "ប្តូរទីតាំង",
    "ប្តូរទីតាំងទៅ",
    "リダイレクト",
    "転送",
    "重定向",
    "重新導向",
    "넘겨주기",
];

/// Target of a page's text, if it is a redirect: `#WORD [[Target]]` at the beginning. The part after `#` of the target and
/// the label are dropped.
pub(crate) fn target(text: &str) -> Option<String> {
    let rest = text.trim_start().strip_prefix(['#', '＃'])?.trim_start();
    let open = rest.find("[[")?;
    let word = rest[..open].trim_end().trim_end_matches(':').trim_end();
    // The longest word of the table has a dozen letters: anything longer is a numbered list, and lower-casing it is waste.
    if word.len() > 64 || WORDS.binary_search(&word.to_lowercase().as_str()).is_err() {
        return None;
    }
    let link = &rest[open + 2..];
    let link = &link[..link.find("]]")?];
    let title = link.split(['|', '#', '\n']).next()?;
    let title = title.replace('_', " ");
    let title = title.trim().trim_start_matches(':').trim_start();
    (!title.is_empty()).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_languages_are_known() {
        assert!(WORDS.is_sorted());
        for text in [
            "#REDIRECT [[A b]]",
            "#WEITERLEITUNG [[a_b]]",
            "#перенаправление: [[:A b#c|d]]",
            "＃転送 [[A b]]",
            "#đổi[[A b]] x",
        ] {
            let target = target(text);
            assert_eq!(target.map(|target| target.to_lowercase()).as_deref(), Some("a b"), "{text}");
        }
        for text in ["# one [[a]]", "#REDIRECT", "redirect [[a]]", "#REDIRECT [[]]"] {
            assert_eq!(target(text), None, "{text}");
        }
    }
}
