//! Wikitext as the wikis of the world write it: templates, functions, variants, options.

use memtrain_corpora::wikitext::{CleanOptions, CleanPage, Keep, Math, WikiContext, clean, clean_titled};

fn page(language: &str, wikitext: &str) -> CleanPage {
    clean_titled(wikitext, "Page", &WikiContext::default().with_language(language))
}

#[track_caller]
fn shows_in(language: &str, wikitext: &str, text: &str) {
    assert_eq!(page(language, wikitext).text, text, "from `{wikitext}`");
}

#[track_caller]
fn shows(wikitext: &str, text: &str) {
    shows_in("en", wikitext, text);
}

#[test]
fn measures_are_given_in_both_units() {
    shows("{{convert|10|km|mi}}", "10 kilometres (6.2 mi)");
    shows("{{cvt|1000|ft|m|0}}", "1,000 ft (305 m)");
    shows("a {{convert|100|km|adj=on|sp=us}} road", "a 100-kilometer (62 mi) road");
    shows("{{convert|10|-|20|C|F}}", "10–20 °C (50–68 °F)");
    shows("{{convert|3|x|4|m|ft|abbr=on}}", "3 m × 4 m (9.8 ft × 13.1 ft)");
    shows("{{convert|180|cm|ftin|abbr=on}}", "180 cm (5 ft 11 in)");
    shows("{{convert|1|mi}} {{convert|2+1/2|in}}", "1 mile (1.6 km) 2+1⁄2 inches (64 mm)");
    shows(
        "{{convert|5|mi|km|disp=or}} {{convert|5|mi|km|order=flip}}",
        "5 miles or 8.0 kilometres 8.0 kilometres (5 mi)",
    );
    shows("{{convert|7|hogshead|L}} {{convert|many|km}} {{convert}}", "7 hogshead many");
    shows("{{convert|120|/km2|/sqmi}}", "120 per square kilometre (310/sq mi)");
    shows_in("vi", "{{convert|1500|km|mi}}", "1.500 km (930 mi)");
}

#[test]
fn measures_are_written_as_their_language_writes_them() {
    shows_in("vi", "{{convert|89,6|/km2}}, {{convert|1.500|acre|ha}}", "89,6/km² (232/mi²), 1.500 mẫu Anh (610 ha)");
    shows_in(
        "mr",
        "{{convert|२४८|mi|km}}, {{convert|37,555|km2|sqmi}}",
        "२४८ मैल (३९९ किमी), ३७,५५५ चौ. किमी (१४,५०० चौ. मैल)",
    );
    shows_in("ru", "{{convert|21|mi}}, {{convert|10|km|mi}}", "21 миля (34 км), 10 км (6,2 мили)");
    shows_in(
        "zh",
        "{{convert|10|km|mi}}; {{convert|3|x|4|m|ft}}",
        "10公里（6.2英里）; 3米 × 4米（9.8英尺 × 13.1英尺）",
    );
    shows_in("de", "{{convert|12|ha|acre}}, {{convert|120|/km2|/sqmi|disp=num}}", "12 ha (30 ac), 310");
    shows_in("fr", "{{convert|1,75|m|ftin}}", "1,75 m (5 pi 9 po)");
    shows_in("hi", "{{convert|100|km/h|mph}}", "100 कि॰मी॰/घं॰ (62 मील/घं॰)");
    shows_in("ar", "{{convert|100|km|mi}}", "100 كم (62 ميل)");
    shows_in("tr", "{{convert|5|mi|km}} {{convert|90|km/h|mph}}", "5 mil (8,0 km) 90 km/sa (56 mil/sa)");
    // Where nothing is known of a language, symbols and no English words.
    shows_in("sw", "{{convert|5|acre|sqft}}", "5 ac (220,000 ft²)");
}

#[test]
fn dates_numbers_and_quantities() {
    shows("{{death date and age|1990|3|2|1920|5|1}}", "March 2, 1990 (aged 69)");
    shows(
        "{{as of|2010|3|lc=y}}, {{circa|1200|1250}}, {{floruit|1300}}",
        "as of March 2010, c. 1200 – c. 1250, fl. 1300",
    );
    shows("{{val|1.5|0.1|e=3|u=kg}} {{ordinal|22}} {{formatnum:1234567.5}}", "1.5±0.1×10³ kg 22nd 1,234,567.5");
    shows("{{US$|5 million}} {{AD|79}} {{BCE|44}} {{sfrac|1|2}}", "US$5 million AD 79 44 BCE 1/2");
    shows("{{chem|H|2|O}} {{chem2|CO2}} {{e|6}} {{music|flat}}", "H2O CO2 ×10⁶ ♭");
    shows_in("de", "{{formatnum:1234567.5}} {{Datum|1984|7|21}}", "1.234.567,5 21. Juli 1984");
    shows_in("fr", "{{date|21|juillet|1984}}, {{unité|1500|km|2}}, {{s|XX}}", "21 juillet 1984, 1 500 km², XXe siècle");
    shows_in("mr", "{{formatnum:1234567}}", "१२,३४,५६७");
    shows_in("ja", "{{生年月日と年齢|1984|7|21}}", "1984年7月21日");
    shows_in("ru", "{{дата рождения|21|7|1984}} {{число|1234567}} {{число|6,25}}", "21 июля 1984 1 234 567 6,25");
}

#[test]
fn words_of_other_languages_and_wikis() {
    shows("{{langx|fr|bonjour}}, {{lang-la|ave}}, {{transl|ar|DIN|salām}}", "French: bonjour, Latin: ave, salām");
    shows(
        "{{zh|c=中国|p=Zhōngguó}} {{nihongo|Tokyo|東京|Tōkyō}}",
        "Chinese: 中国; pinyin: Zhōngguó Tokyo (東京, Tōkyō)",
    );
    let page = page("en", "{{ill|Some Person|de|lt=the person}} on {{HMS|Victory|1765|6}}");
    assert_eq!(page.text, "the person on HMS Victory");
    let links: Vec<_> = page.links.iter().map(|link| (&page.text[link.span.clone()], link.target.as_str())).collect();
    assert_eq!(links, [("the person", "Some Person"), ("HMS Victory", "HMS Victory (1765)")]);
    shows_in("fr", "{{Lien|langue=en|trad=X|fr=Nom|texte=le nom}} {{citation|oui}} {{1er}}", "le nom « oui » 1er");
    shows_in("ru", "{{нп5|Имя|имени|en|Name}} {{lang-en|name}}", "имени англ. name");
    shows_in("ja", "{{仮リンク|名前|en|Name}}{{要出典}}", "名前");
    shows_in("hu", "{{szám|180000}}", "180 000");
    shows_in("ro", "{{conversie|22|–|25|C|F}}", "22–25 °C (72–77 °F)");
    shows_in("de", "{{\"|Ja}}", "„Ja“");
    shows_in("de", "{{enS|word}} {{Zitat|Ja.|Wer}}", "englisch word\n\nJa.");
    shows_in("it", "{{senza fonte|parole}} {{M|10|ul=km}}", "parole 10 km");
    shows_in("pl", "{{ang.|word}} {{fakt|tekst|data=2010}}", "ang. word tekst");
    shows_in(
        "vi",
        "{{lang-en|Red}} {{Tính đến|2019|October|21}} {{lang-sv|Sverige}}",
        "tiếng Anh: Red Tính đến 21 tháng 10 năm 2019 tiếng Thụy Điển: Sverige",
    );
    shows("{{audio|A.ogg|listen}} {{code|lang=c|code=x y}}", "listen x y");
    shows_in("mr", "'''{{लेखनाव}}''' {{संदर्भ हवा}}शहर", "Page शहर");
}

#[test]
fn functions_and_variables() {
    shows("{{#if: | no | yes}} {{#ifeq: 01 | 1 | same | other}} {{#ifexpr: 1 > 2 | a | b}}", "yes same b");
    shows(
        "{{#switch: b | a = 1 | b | c = 2 | 3}} {{#switch: z | a = 1 | #default = 4 }} {{#switch: z | a = 1 | 5}}",
        "2 4 5",
    );
    shows("{{#expr: (145 * 1500 / 1125) round 0}} {{#expr: 1 +}}", "193");
    shows("{{lc:ABC}} {{uc:abc}} {{ucfirst:abc}} {{padleft:7|3|0}} {{#tag:ref|x}} {{#invoke:a|b}}", "abc ABC Abc 007");
    shows(
        "{{PAGENAME}} {{subst:PAGENAME}} a{{!}}b c{{=}}d {{DEFAULTSORT:Z}}{{DISPLAYTITLE:''x''}}",
        "Page Page a|b c=d",
    );
    shows("{{PLURAL:1|man|men}} {{PLURAL:3|man|men}} {{GENDER:x|he|she}}", "man men he");
    shows("{{{1|default}}} {{{x|{{{y|deep}}}}}} {{{z|}}}", "default deep");
    shows("{{Template:nowrap|a}} {{Unknown: thing|b}}c", "a c");
    shows_in("de", "{{Vorlage:nowrap|a}} {{SEITENNAME}}", "a Page");
}

#[test]
fn lists_and_quotations_in_templates() {
    shows("{{plainlist|\n* one\n* two\n}}", "one\ntwo");
    shows("{{ubl|one|two}} and {{hlist|a|b}}", "one, two and a, b");
    shows("Said:{{unbulleted list|It is one.|It is two.}}", "Said:\nIt is one.\nIt is two.");
    shows("a{{cquote|text=Words.|author=B}}c", "a\n\nWords.\n\nc");
    shows("{{columns-list|colwidth=20em|\n* x\n* y\n}}", "x\ny");
    shows("({{angbr|{{IPA|a}}}}) b", "b");
}

#[test]
fn holes_are_mended_in_wide_text_too() {
    shows_in(
        "ja",
        "市（{{IPA|x}}、し）と町（{{IPA|x}}）と村（むら、{{IPA|x}}）は、{{IPA|y}}、海",
        "市（し）と町と村（むら）は、海",
    );
    shows_in("ru", "{{НП\n| описание изображения = {{small|Слова}}\n}}Город.", "Город.");
    shows_in("fr", "au {{XXe siècle}} et au {{IIIe siècle av. J.-C.}}", "au XXe siècle et au IIIe siècle av. J.-C.");
}

#[test]
fn variants_of_writing() {
    shows_in("zh", "-{zh-hans:计算机;zh-hant:電腦}-好", "计算机好");
    shows_in("zh", "-{原文}- -{T|zh:甲}-乙 -{H|zh-hans:丙;zh-hant:丁}-戊 -{R|己}-", "原文 乙 戊 己");
    shows_in("sr", "-{sr-ec:реч; sr-el:reč}-", "реч");
    shows("a -{b [[c|d]] e", "a b d e");
    shows("x}- y {{nowrap|-{zh:a}-}} {{nowrap|-{b}}", "x}- y a b");
}

#[test]
fn definition_lists_headings_and_line_marks() {
    shows(";term:meaning\n;[http://a.b x:y] : z\n; http://u.v/ : w", "term\nmeaning\nx:y\nz\nhttp://u.v/\nw");
    shows("a\n<!-- c -->* b\n<noinclude>\n</noinclude>* d", "a\n\nb\n\nd");
    let page = page(
        "en",
        "<!-- c -->== A == <!-- d -->\nx\n== B =={{anchor|b}}<ref>r</ref>\ny\n== C <!--\n--> ==\nz\n__NOTOC__== D ==",
    );
    let titles: Vec<_> = page.sections.iter().map(|section| section.title.as_str()).collect();
    assert_eq!(titles, ["", "A", "B", "C", "D"]);
    assert_eq!(page.text, "x\n\ny\n\nz");
    let broken = self::page("en", "a\n== B ==and c\n===D\ne\n= f\n==g== h ==\n==");
    let titles: Vec<_> = broken.sections.iter().map(|section| (section.title.as_str(), section.level)).collect();
    assert_eq!(titles, [("", 1), ("B", 2), ("D", 3), ("g== h", 2)]);
    assert_eq!(broken.text, "a\n\nand c\n\ne = f\n\n==");
    shows("a\n__notoc__\n__KEIN_INHALTSVERZEICHNIS__ b __init__ __目次非表示__", "a\n\nb __init__");
}

#[test]
fn broken_links_do_not_leak() {
    shows("a\n[[File:x.jpg|thumb|right|a caption\nb", "a\n\nb");
    shows("a [[Target|label b\nc", "a label b c");
    shows("[[http://x.y/z label]] [[Image:a.png<!-- c -->|thumb|d]]e", "label e");
    shows("[[<!-- é -->http://x.y/z label]] [[<b>http://x.yé世🦀</b>]] e", "label e");
    shows("a [[Bilderchen:x.JPG|thumb|140px|b [[c]]]]d", "a d");
    shows("[[#Part]] [[a|#]] [[Media:Song.ogg|hear]] [[a| ]]b", "#Part # hear b");
    shows("[http://[::1]/ v6] [http://x''it'' z] X[http://y z]", "v6 it z Xz");
    shows("[[{{nowrap|big city}}|x]] [[{{a|b}}|y]] [[a{{!}}b]]", "x y b");
}

#[test]
fn formulas_in_a_line() {
    shows(r"where <math>\alpha_1 \le x^2</math> and <math>\frac{a+b}{c}</math> hold", "where α₁ ≤ x² and hold");
    let tex = WikiContext::default().with_options(CleanOptions { math: Math::Tex, ..CleanOptions::default() });
    assert_eq!(clean(r"<math>\frac{a+b}{c}</math>", &tex).text, r"\frac{a+b}{c}");
    let drop = WikiContext::default().with_options(CleanOptions { math: Math::Drop, ..CleanOptions::default() });
    assert_eq!(clean("a <math>n</math> b", &drop).text, "a b");
    shows(
        "<syntaxhighlight lang=c>\nint x;\n</syntaxhighlight>a <syntaxhighlight lang=c inline>y</syntaxhighlight>",
        "a y",
    );
}

#[test]
fn tables_and_infoboxes_are_kept_on_request() {
    let options = CleanOptions { tables: Keep::Keep, infoboxes: Keep::Keep, ..CleanOptions::default() };
    let keep = WikiContext::default().with_options(options);
    let table = "a\n{| class=\"wikitable\"\n|+ Rivers\n! Name !! style=\"x\" | Length\n|-\n| [[Rhine]] || 1,230 <ref>r</ref>\n|-\n|\n* x\n| {{y}}\n|-\n|}\nb";
    let page = clean(table, &keep);
    assert_eq!(page.text, "a\n\nRivers\nName | Length\nRhine | 1,230\n* x\n\nb");
    assert_eq!(page.links[0].target, "Rhine");
    let html = "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>c";
    assert_eq!(clean(html, &keep).text, "A | B\n1 | 2\n\nc");
    let infobox = "{{Infobox town\n| name = Mira\n| image = x.jpg\n| population_total = 1,000\n| empty =\n}}Text.";
    assert_eq!(clean(infobox, &keep).text, "name: Mira\npopulation total: 1,000\n\nText.");
    assert_eq!(clean(infobox, &WikiContext::default()).text, "Text.");
    assert_eq!(clean(table, &WikiContext::default()).text, "a\n\nb");
}

#[test]
fn flags_leave_the_name_of_the_country() {
    let in_language = |text: &str, language: &str| clean(text, &WikiContext::default().with_language(language));
    for (language, text, expected) in [
        ("en", "{{USA}} won, {{flagicon|FRA}} Anne came second.", "United States won, Anne came second."),
        ("en", "{{flag|USA}}, {{flag|UK|1606}} and {{flagu|Norway}}", "USA, UK and Norway"),
        ("en", "{{flagcountry|USA}}, {{fb|BRA}}, {{flagIOC|GER|2008 Summer}}", "United States, Brazil, Germany"),
        ("en", "{{CSS|Ost}} and {{sms|Velm}}", "CSS Ost and SMS Velm"),
        ("de", "{{DEU}} und {{FRA|#}}Anne", "Deutschland und Anne"),
        ("fr", "{{USA}}, {{GER}}", "États-Unis, Allemagne"),
        ("vi", "{{flag|VIE}} và {{USA}}", "Việt Nam và Hoa Kỳ"),
        ("ru", "{{USA}}", "США"),
        ("zh", "{{JPN}}", "日本"),
        ("en", "{{XYZ}}a {{usa}}b", "a b"),
    ] {
        assert_eq!(in_language(text, language).text, expected, "{language}: {text}");
    }
    let page = in_language("{{flag|USA}} and {{GBR}}", "en");
    let links: Vec<_> = page.links.iter().map(|link| (&page.text[link.span.clone()], link.target.as_str())).collect();
    assert_eq!(links, [("USA", "United States"), ("United Kingdom", "United Kingdom")]);
}

#[test]
fn pronunciations_are_dropped_or_kept() {
    let keep =
        WikiContext::default().with_options(CleanOptions { pronunciations: Keep::Keep, ..CleanOptions::default() });
    for (text, dropped, kept) in [
        ("Paris ({{IPA|fr|paʁi}}) is.", "Paris is.", "Paris ([paʁi]) is."),
        ("Paris ({{IPAc-en|ˈ|p|ær|ɪ|s}}; {{respell|PARR|iss}}) is.", "Paris is.", "Paris (/ˈpærɪs/; PARR-iss) is."),
        ("Paris ({{IPA-fr|paʁi|lang}}) is.", "Paris is.", "Paris ([paʁi]) is."),
        ("Paris {{IPA|/paʁi/}} is.", "Paris is.", "Paris /paʁi/ is."),
    ] {
        assert_eq!(clean(text, &WikiContext::default()).text, dropped, "{text}");
        assert_eq!(clean(text, &keep).text, kept, "{text}");
    }
}
