//! Templates whose words belong to a sentence, by what they are about.

use memtrain_corpora::wikitext::{WikiContext, clean};

#[track_caller]
fn shows_in(language: &str, wikitext: &str, text: &str) {
    let context = WikiContext::default().with_language(language);
    assert_eq!(clean(wikitext, &context).text, text, "from `{wikitext}` in {language}");
}

#[track_caller]
fn shows(wikitext: &str, text: &str) {
    shows_in("en", wikitext, text);
}

#[test]
fn citations_that_are_part_of_the_sentence() {
    shows(
        "{{harvtxt|Ost|1990|p=7}} says so, {{harvtxt|Ost|Velm|1991|pp=7–9}} do not.",
        "Ost (1990, p. 7) says so, Ost & Velm (1991, pp. 7–9) do not.",
    );
    shows(
        "It is old {{harv|Ost|Velm|Lorn|1992}}, see {{harvnb|Ost|1990|loc=ch. 2}}.",
        "It is old (Ost, Velm & Lorn 1992), see Ost 1990, ch. 2.",
    );
    shows(
        "{{harvtxt|A|B|C|D|1993}} and {{harvcoltxt|Ost|1990|p=7}}; {{harvcol|Ost|1990|p=7}}",
        "A et al. (1993) and Ost (1990:7); (Ost 1990:7)",
    );
    shows("{{harvtxt|Ost}} wrote.{{sfn|Ost|1990|p=7}}", "Ost wrote.");
    shows_in("es", "{{Harvsp|Ost|1990|p=7}} dice que sí.", "Ost (1990, p. 7) dice que sí.");
}

#[test]
fn countries_and_athletes_beside_their_flags() {
    shows("{{fb-rt|GER}} met {{fb|ITA}}, {{fbw|JPN}} and {{fbu|21|ESP}}.", "Germany met Italy, Japan and Spain.");
    shows(
        "{{flagIOCathlete|[[Ida Velm]]|SWE|2002 Winter}} beat {{flagathlete|Ada Ost|FIN}}.",
        "Ida Velm (SWE) beat Ada Ost (FIN).",
    );
    shows(
        "{{flagIOC|HOL|1964 Summer}}, {{flagcountry|SCG}}, {{FRG}} and {{flag|Norway}}",
        "Netherlands, Serbia and Montenegro, West Germany and Norway",
    );
    shows("{{flagicon|SWE}} Ida and {{flagdeco|Norway}} Ola", "Ida and Ola");
    shows(
        "{{cr|IND}} v {{cr-rt|AUS}}, {{ru|FRA}} v {{ruw|NZL}}, {{hb|DEN}}, {{bk|LTU}}, {{vb|POL}}, {{ih|CAN}}",
        "India v Australia, France v New Zealand, Denmark, Lithuania, Poland, Canada",
    );
    shows_in("es", "{{SEL|BRA}} y {{bandera2|FRA}}", "Brasil y Francia");
    shows_in("it", "La {{Naz|CA|FRA}} e la {{Naz|CA|ESP|M}}.", "La Francia e la Spagna.");
    shows_in("ru", "{{Флагификация|FRA}} и {{флагификация|SWE}}", "Франция и Швеция");
}

#[test]
fn ships_by_their_prefixes() {
    shows(
        "{{USS|Ost|DD-7}}, {{HMY|Velm}}, {{MV|Lorn}}, {{TSS|Ost|1901|6}} and {{SS|Velm|1902|2}}",
        "USS Ost (DD-7), HMY Velm, MV Lorn, TSS Ost and Velm",
    );
    shows(
        "{{HNoMS|Ost}}, {{HSwMS|Velm||6}}, {{HrMs|Lorn|1910|3}}, {{USC&GS|Ost}} and {{GS|U-7|1935|6}}",
        "HNoMS Ost, HSwMS Velm, Lorn (1910), USC&GS Ost and German submarine U-7",
    );
    shows(
        "{{ship|HMS|Ost|1760|6}}, {{ship||Velm|1761}} and {{ship|Italian cruiser|Lorn||2}}",
        "HMS Ost, Velm (1761) and Lorn",
    );
    shows(
        "{{RMS|Ost}} {{ORP|Velm}} {{INS|Lorn}} {{ROKS|Ost}} {{BRP|Velm}} {{PS|Lorn}} {{RNLB|Ost}} {{NRP|Velm}} {{TCG|Lorn}}",
        "RMS Ost ORP Velm INS Lorn ROKS Ost BRP Velm PS Lorn RNLB Ost NRP Velm TCG Lorn",
    );
    let page = clean("{{USS|Ost|DD-7|6}}", &WikiContext::default());
    assert_eq!(page.links[0].target, "USS Ost (DD-7)");
}

#[test]
fn listings_of_guides() {
    shows(
        "* {{do|name=Boat|alt=|url=http://a.b|address=Pier 2|lat=1|long=2|content=It leaves [[Ost]] at noon.}}\n\
         * {{sleep|name=Inn|price=9|content=}}\n* {{listing|type=buy|name=Fair|alt=Markt|directions=behind the mill|content=Cheese.}}",
        "Boat, Pier 2. It leaves Ost at noon.\nInn\nFair (Markt), behind the mill. Cheese.",
    );
    shows("Go to {{marker|type=go|name=the pier|lat=1|long=2}} first. {{see|Other page}}", "Go to the pier first.");
    shows_in(
        "de",
        "* {{vCard|name=Gasthof|type=inn|address=Am Tor 3|description=Ein altes Haus.}}",
        "Gasthof, Am Tor 3. Ein altes Haus.",
    );
    shows_in("fr", "* {{Manger|nom=Le Port|adresse=quai 3|description=Du poisson.}}", "Le Port, quai 3. Du poisson.");
    shows_in("it", "* {{eat|nome=Il Molo|indirizzo=Via 3|descrizione=Pesce.}}", "Il Molo, Via 3. Pesce.");
}

#[test]
fn words_of_the_english_wiki() {
    shows(
        "({{native name|fr|le Bourg}}) or {{native phrase|es|la villa}}, {{native name|de|Dorf|paren=omit}}",
        "(le Bourg (French)) or la villa (Spanish), Dorf",
    );
    shows("The {{abbrlink|WHO|World Health Organization}} and {{abbr|UN|United Nations}}", "The WHO and UN");
    shows("{{linktext|日|本}} and {{linktext|sea}}", "日本 and sea");
    shows(
        "{{unichar|00E9|latin small letter e with acute}}, {{unichar|41}}",
        "U+00E9 é LATIN SMALL LETTER E WITH ACUTE, U+41 A",
    );
    shows("{{percentage|1|8|1}}, {{percentage|3|4}}, {{percentage|1|0}}x", "12.5%, 75%, x");
    shows("{{inline-block|a b}} {{angle bracket|c}} {{lang-xyz2|d}}", "a b ⟨c⟩ d");
}

#[test]
fn words_of_other_wikis() {
    for (language, wikitext, text) in [
        (
            "ja",
            "英語で「{{en|a wide sea}}」。彼は{{ILQ|海は広い}}と言う。",
            "英語で「a wide sea」。彼は海は広いと言う。",
        ),
        (
            "ja",
            "海（{{lang-fr-short|mer}}）と{{読み仮名|岬|みさき}}、{{ふりがな|東風|こち}}",
            "海（仏: mer）と岬（みさき）、東風（こち）",
        ),
        ("bn", "আয়তন {{রূপান্তর|20|km|mi}}।", "আয়তন ২০ km (১২ mi)।"),
        ("hy", "({{lang-en2|Sea}}) {{lang-fr|mer}}", "(Sea) ֆրանսերեն: mer"),
        (
            "uk",
            "{{lang-grc2|ἅλς}} {{iw|Море|моря|en|Sea}} +3 {{градус Цельсія}} {{nts|73000}}",
            "ἅλς моря +3 °C 73 000",
        ),
        ("ru", "{{lang-es|mar}} и {{не переведено 5|Море|моря||Sea}}", "исп. mar и моря"),
        ("ko", "바다({{llang|fr|mer}})", "바다(프랑스어: mer)"),
        ("he", "זהו {{מונחון|ים|מים רבים}} ({{אנגלית|sea}}).", "זהו ים (באנגלית: sea)."),
        ("el", "({{lang-fr|mer}})", "(Γαλλικά: mer)"),
        ("es", "{{refnec|el mar}} del {{siglo|II|a}} y del {{siglo|XX}}", "el mar del siglo II a. C. y del siglo XX"),
        ("ca", "el {{segle|XX}}", "el segle XX"),
        (
            "fr",
            "le {{date-|3 mai 1900}} en 20 {{av JC}}, {{souverain2|Louis X}} au {{s|IX|e}}",
            "le 3 mai 1900 en 20 av. J.-C., Louis X au IXe siècle",
        ),
        ("fr", "{{heure|20|15}}, {{n°|3}} et {{-s|II}}", "20 h 15, no 3 et IIe siècle av. J.-C."),
        ("de", "{{svS|hav}} und {{ptS|mar}}", "schwedisch hav und portugiesisch mar"),
        ("pl", "{{czes.|moře}} i {{w języku|en|sea}}", "czes. moře i sea"),
        ("zh", "（{{bd|1900年|5月3日|1980年|2月1日}}）{{tsl|en|Sea|海|大海}}", "（1900年5月3日－1980年2月1日）大海"),
        ("fi", "({{k-es|mar}})", "(esp. mar)"),
    ] {
        shows_in(language, wikitext, text);
    }
}

#[test]
fn arguments_may_be_named_by_their_place() {
    shows("{{harvtxt|1=Ost|2=1990}} {{lang|1=fr|2=pont}} {{hlist|1=a|2=b}}", "Ost (1990) pont a, b");
}

#[test]
fn citations_have_their_forms() {
    shows("{{harvp|Ost|1990|p=7}} and {{harvtxt|Ost|Velm|year=1991}}.", "Ost (1990), p. 7 and Ost & Velm (1991).");
    shows(
        "{{harvs|txt|first=Ann|last=Ost|year=1990|loc=§ 2}}, {{harvs|nb|last=Ost|year=1990}}",
        "Ann Ost (1990, § 2), Ost 1990",
    );
    shows("It is old {{harvs|last1=Ost|last2=Velm|year1=1990|year2=1991}}.", "It is old (Ost & Velm 1990, 1991).");
}

#[test]
fn a_template_that_is_not_closed_costs_no_sentence() {
    shows("{{lang|fr|Le pont is old. It was built.\n\nNext.", "Le pont is old. It was built.\n\nNext.");
    shows("A {{nowrap|wide river floods. It is old.", "A wide river floods. It is old.");
    shows("{{unknown|x=1|The mill is old. It burned.\n\nNext.", "The mill is old. It burned.\n\nNext.");
    shows("{{small|a {{big|b}} c.", "a b c.");
    shows("{{Infobox town\n| name = Lorn\n| area = 5\n\nLorn is a town.", "Lorn is a town.");
    shows("{{Infobox town|name=Lorn\n| area = 5\n\nLorn is a town.", "Lorn is a town.");
    shows("{{Use dmy dates|date=May 2010\n\nLorn is a town.", "Lorn is a town.");
}

#[test]
fn names_in_small_letters_are_no_ships() {
    shows("{{HS|Lorn}} and {{hs|1}} {{Ts|x}}.", "HS Lorn and.");
    shows(
        "the {{sclass|Lorn|cruiser|0}} ships of the {{sclass|Lorn|cruiser|4}}, {{sclass|Lorn|cruiser|5}}",
        "the Lorn-class ships of the Lorn class, Lorn",
    );
}

#[test]
fn flags_are_named_as_the_wiki_names_its_templates() {
    shows_in("fr", "{{Norvège}} bat {{États-Unis}}.", "Norvège bat États-Unis.");
    shows_in("it", "{{Bandiera|NOR|nome}} vince, {{Bandiera|NOR}} Norvegia.", "Norvegia vince, Norvegia.");
    shows("{{flagmedalist|[[Ola]]|NOR}} of {{country|NOR}}", "Ola (NOR) of Norway");
}

#[test]
fn words_beside_a_hint_are_the_words() {
    shows("the {{H:title|United Valleys|UV}} and {{hover title|United Valleys|UV}}", "the UV and UV");
    shows("the {{tt|UV|United Valleys}} {{define|x|y}} {{brackets|a}} {{1/2}}", "the UV x [a] ½");
    shows("{{stn|Lorn}}, {{rws|Ost}}; 10 is {{10^|1}}", "Lorn station, Ost railway station; 10 is 10¹");
}
