//! Redirects that only the text tells of.

/// The word after `#` in the languages of the larger wikis, lower-case; every wiki also understands the English one.
const WORDS: &[&str] = &[
    "redirect",
    "doorverwijzing",
    "omdirigering",
    "omdiriger",
    "weiterleitung",
    "redirection",
    "redirección",
    "redireccion",
    "redirecionamento",
    "redirecciona",
    "rinvia",
    "rinvio",
    "patrz",
    "przekieruj",
    "tam",
    "ohjaus",
    "uudelleenohjaus",
    "átirányítás",
    "presmeruj",
    "přesměruj",
    "yönlendirme",
    "yönlendi̇rme",
    "yonlendirme",
    "đổi",
    "đổi hướng",
    "alih",
    "lencong",
    "перенаправление",
    "перенапр",
    "перенаправлення",
    "пренасочване",
    "виж",
    "преусмери",
    "пренасочи",
    "preusmeri",
    "ανακατευθυνση",
    "ανακατεύθυνση",
    "転送",
    "リダイレクト",
    "重定向",
    "넘겨주기",
    "تحويل",
    "تغییر_مسیر",
    "تغییرمسیر",
    "הפניה",
    "पुनर्निर्देशन",
    "पुनर्प्रेषित",
    "पुननिर्देशन",
    "पुनर्निदेशन",
    "अनुप्रेषित",
    "เปลี่ยนทาง",
    "birzuzendu",
    "redirectare",
    "preusmjeri",
    "suuna",
    "hdaal",
    "athsheoladh",
    "tilvísun",
    "ail-cyfeirio",
    "alidirektu",
    "alidirekti",
    "redirekto",
    "გადამისამართება",
    "վերահղում",
    "ആമുഖം",
    "தனிவழி",
    "వీటిని",
    "দারেকশন",
    "পুনর্নির্দেশ",
];

/// Target of a page's text, if it is a redirect: `#WORD [[Target]]` at the beginning. The part after `#` of the target and
/// the label are dropped.
pub(crate) fn target(text: &str) -> Option<String> {
    let rest = text.trim_start().strip_prefix(['#', '＃'])?.trim_start();
    let open = rest.find("[[")?;
    let word = rest[..open].trim_end().trim_end_matches(':').trim_end();
    // The longest word of the table has a dozen letters: anything longer is a numbered list, and lower-casing it is waste.
    if word.len() > 64 || !WORDS.contains(&word.to_lowercase().as_str()) {
        return None;
    }
    let link = &rest[open + 2..];
    let link = &link[..link.find("]]")?];
    let title = link.split(['|', '#', '\n']).next()?;
    let title = title.replace('_', " ");
    let title = title.trim().trim_start_matches(':').trim_start();
    (!title.is_empty()).then(|| title.to_owned())
}
