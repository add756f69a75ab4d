//! What the rules find, language by language.

use EntityLabel::*;
use proptest::prelude::*;

use super::*;

fn found(language: &str, text: &str) -> Vec<(String, EntityLabel)> {
    let locale = Locale::of(language);
    let cut = Text::new(text, &locale);
    find(&cut, &locale).into_iter().map(|amount| (text[cut.span(&amount.tokens)].to_owned(), amount.label)).collect()
}

fn check(language: &str, cases: &[(&str, &[(&str, EntityLabel)])]) {
    for (text, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(words, label)| ((*words).to_owned(), *label)).collect();
        assert_eq!(found(language, text), expected, "{language}: {text}");
    }
}

#[test]
fn english_dates() {
    check(
        "en",
        &[
            (
                "On 12 March 1984 and March 13, 1985, in June 1986.",
                &[("12 March 1984", Date), ("March 13, 1985", Date), ("June 1986", Date)],
            ),
            (
                "the 3rd of May 1901, May 4th, 3–5 May 1902",
                &[("3rd of May 1901", Date), ("May 4th", Date), ("3–5 May 1902", Date)],
            ),
            (
                "2026-11-21 or 21/11/2026 or 21.11.2026",
                &[("2026-11-21", Date), ("21/11/2026", Date), ("21.11.2026", Date)],
            ),
            ("in the 1990s, 1914–1918 and 1939-45", &[("1990s", Date), ("1914–1918", Date), ("1939-45", Date)]),
            (
                "the 19th century, the nineteenth century, the 3rd century BC",
                &[("19th century", Date), ("nineteenth century", Date), ("3rd century BC", Date)],
            ),
            ("44 BC, AD 79, 476 AD, 300 BCE", &[("44 BC", Date), ("AD 79", Date), ("476 AD", Date), ("300 BCE", Date)]),
            ("summer of 1969 and winter 1944", &[("summer of 1969", Date), ("winter 1944", Date)]),
            ("He may march in May. On Monday, 5 June 2000", &[("May", Date), ("Monday, 5 June 2000", Date)]),
            ("last year, yesterday, three years", &[("last year", Date), ("yesterday", Date), ("three years", Date)]),
            ("Sunday came", &[("Sunday", Date)]),
        ],
    );
}

#[test]
fn english_amounts() {
    check(
        "en",
        &[
            ("£30K, CHF 5m and EUR 2 billion", &[("£30K", Money), ("CHF 5m", Money), ("EUR 2 billion", Money)]),
            (
                "$3.5 million, US$5, €20, 10 dollars, £1–2 billion",
                &[
                    ("$3.5 million", Money),
                    ("US$5", Money),
                    ("€20", Money),
                    ("10 dollars", Money),
                    ("£1–2 billion", Money),
                ],
            ),
            (
                "$2.4mn, £35k, €7bn, US$1.2B, A$3m, $5–7bn, £10k–15k, ₹4 crore, ₹9cr, $6 mn, 40k euros, 3bn € and 8k",
                &[
                    ("$2.4mn", Money),
                    ("£35k", Money),
                    ("€7bn", Money),
                    ("US$1.2B", Money),
                    ("A$3m", Money),
                    ("$5–7bn", Money),
                    ("£10k–15k", Money),
                    ("₹4 crore", Money),
                    ("₹9cr", Money),
                    ("$6 mn", Money),
                    ("40k euros", Money),
                    ("3bn €", Money),
                ],
            ),
            (
                "40%, 12.5 percent, five per cent, 10–20%",
                &[("40%", Percent), ("12.5 percent", Percent), ("five per cent", Percent), ("10–20%", Percent)],
            ),
            (
                "25 km, 5-foot, 3 square miles, 120 km², 90 km/h, 20 °C, 5 feet",
                &[
                    ("25 km", Quantity),
                    ("5-foot", Quantity),
                    ("3 square miles", Quantity),
                    ("120 km²", Quantity),
                    ("90 km/h", Quantity),
                    ("20 °C", Quantity),
                    ("5 feet", Quantity),
                ],
            ),
            ("at 10:30 a.m. or 5 pm, two hours", &[("10:30 a.m.", Time), ("5 pm", Time), ("two hours", Time)]),
            ("the first, 3rd and twenty-fifth", &[("first", Ordinal), ("3rd", Ordinal), ("twenty-fifth", Ordinal)]),
            (
                "twenty-five, one hundred and five, 1,200 and two million",
                &[
                    ("twenty-five", Cardinal),
                    ("one hundred and five", Cardinal),
                    ("1,200", Cardinal),
                    ("two million", Cardinal),
                ],
            ),
            ("no one, F16, B2B and 5G", &[]),
        ],
    );
}

#[test]
fn other_languages() {
    check(
        "de",
        &[(
            "am 3. Mai 1901 und im 19. Jahrhundert, 44 v. Chr., 3,5 Millionen Euro, 12 %",
            &[
                ("3. Mai 1901", Date),
                ("19. Jahrhundert", Date),
                ("44 v. Chr.", Date),
                ("3,5 Millionen Euro", Money),
                ("12 %", Percent),
            ],
        )],
    );
    check(
        "fr",
        &[(
            "le 1er mai 1901, au XIXe siècle, 5 millions de dollars, 20 km",
            &[("1er mai 1901", Date), ("XIXe siècle", Date), ("5 millions de dollars", Money), ("20 km", Quantity)],
        )],
    );
    check(
        "es",
        &[(
            "el 3 de mayo de 1901, el siglo XIX, 20 por ciento",
            &[("3 de mayo de 1901", Date), ("siglo XIX", Date), ("20 por ciento", Percent)],
        )],
    );
    check("it", &[("il 3 maggio 1901, nel XIX secolo", &[("3 maggio 1901", Date), ("XIX secolo", Date)])]);
    check("pt", &[("em 3 de maio de 1901, século XIX", &[("3 de maio de 1901", Date), ("século XIX", Date)])]);
    check(
        "ru",
        &[(
            "3 мая 1901 года, в XIX веке, в 1990-х, 20 км, 416\u{a0}219 и 1984\u{a0}219",
            &[
                ("3 мая 1901 года", Date),
                ("XIX веке", Date),
                ("1990-х", Date),
                ("20 км", Quantity),
                ("416\u{a0}219", Cardinal),
                ("1984", Date),
                ("219", Cardinal),
            ],
        )],
    );
    check("bg", &[("на 3 май 1901 г. и през XIX век", &[("3 май 1901 г.", Date), ("XIX век", Date)])]);
    check(
        "vi",
        &[(
            "ngày 3 tháng 5 năm 1901, tháng 5 năm 1901, năm 1901, thế kỷ 20 trên thế giới",
            &[("ngày 3 tháng 5 năm 1901", Date), ("tháng 5 năm 1901", Date), ("năm 1901", Date), ("thế kỷ 20", Date)],
        )],
    );
    check(
        "mr",
        &[(
            "३ मे १९०१ रोजी, २५ किलोमीटर, १० टक्के",
            &[("३ मे १९०१ रोजी", Date), ("२५ किलोमीटर", Quantity), ("१० टक्के", Percent)],
        )],
    );
    check("ja", &[("1901年5月3日、20世紀、500円", &[("1901年5月3日", Date), ("20世紀", Date), ("500円", Money)])]);
    check("zh", &[("1901年5月3日", &[("1901年5月3日", Date)])]);
    check("ko", &[("1901년 5월 3일", &[("1901년 5월 3일", Date)])]);
    check("ar", &[("3 مايو 1901", &[("3 مايو 1901", Date)])]);
    check("hi", &[("३ मई १९०१", &[("३ मई १९०१", Date)])]);
    check("pl", &[("3 maja 1901 roku", &[("3 maja 1901 roku", Date)])]);
    check("nl", &[("3 mei 1901, 19e eeuw", &[("3 mei 1901", Date), ("19e eeuw", Date)])]);
}

#[test]
fn whole_surfaces_are_classified() {
    let locale = Locale::of("en");
    assert_eq!(classify("1984", &locale), Some(Date));
    assert_eq!(classify("12 March", &locale), Some(Date));
    assert_eq!(classify("Apollo 11", &locale), None);
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_overlaps(text in "([0-9]{1,4}|[.,:%$€/-]| |May|March|th|century|million|km|BC|XIX|年|的){0,30}") {
        let cut = Text::new(&text, &Locale::of("en"));
        for language in ["en", "de", "ja"] {
            let mut end = 0;
            for amount in find(&cut, &Locale::of(language)) {
                prop_assert!(amount.tokens.start >= end && amount.tokens.end > amount.tokens.start);
                prop_assert!(amount.tokens.end <= cut.tokens.len());
                end = amount.tokens.end;
            }
        }
    }
}
