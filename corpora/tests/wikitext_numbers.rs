//! Numbers, measures and dates as the wikis write them.

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
fn a_decimal_comma_is_no_mark_between_thousands() {
    for (language, wikitext, text) in [
        (
            "it",
            "{{M|4,25|u=km}}, {{M|4.25|u=km}}, {{M|7300|u=m}}, {{Val|0,5||kg}}",
            "4,25 km, 4,25 km, 7.300 m, 0,5 kg",
        ),
        ("es", "{{unidad|4,25|km}} {{val|6,5|u=g}} {{val|12345,6|u=g}}", "4,25 km 6,5 g 12 345,6 g"),
        ("pt", "{{val|4,25|0,05|u=km}} {{fmtn|1234567|km}}", "4,25±0,05 km 1 234 567 km"),
        ("ru", "{{val|4,25|u=км}} {{число|7300,5}}", "4,25 км 7 300,5"),
        ("de", "{{val|4,25|u=m/s2}} {{FormatZahl|7300,5}}", "4,25 m/s² 7.300,5"),
        ("fr", "{{unité|4,25|km}} {{val|4,25|e=3|u=km}}", "4,25 km 4,25×10³ km"),
        ("pl", "{{unit|4,25|u=km}} {{liczba|73000}}", "4,25 km 73 000"),
        ("uk", "{{val|4,25|u=км}} {{nts|73000}}", "4,25 км 73 000"),
        ("nl", "{{val|4,25|u=km}} {{nts|7300,5}}", "4,25 km 7.300,5"),
        ("sv", "{{val|4,25|u=km}} {{convert|4,25|mi|km}}", "4,25 km 4,25 mi (6,84 km)"),
        ("cs", "{{val|4,25|u=km}}", "4,25 km"),
        ("fi", "{{val|4,25|u=km}}", "4,25 km"),
        ("hr", "{{val|4,25|u=km}} {{convert|4,25|mi|km}}", "4,25 km 4,25 mi (6,84 km)"),
        ("lt", "{{val|4,25|u=km}}", "4,25 km"),
        ("kk", "{{val|4,25|u=km}}", "4,25 km"),
        ("oc", "{{val|4,25|u=km}}", "4,25 km"),
        ("en", "{{val|1,234.5|u=km}} {{val|1234.25|0.05|0.1|u=kg|up=m3}}", "1,234.5 km 1,234.25 (+0.05, −0.1) kg/m³"),
        ("ja", "{{val|4.25|u=km}} {{val|7,300}}", "4.25 km 7,300"),
    ] {
        shows_in(language, wikitext, text);
    }
}

#[test]
fn a_conversion_is_as_precise_as_what_it_converts() {
    // Feet and pounds from whole numbers are as precise as the unit of these; all else by the ratio of the two values.
    shows(
        "{{convert|87|m}} {{convert|360|m|ft}} {{convert|87.5|m|ft}}",
        "87 metres (285 ft) 360 metres (1,180 ft) 87.5 metres (287 ft)",
    );
    shows(
        "{{convert|71|kg|lb}} {{convert|500|g|lb}} {{convert|3|t|lb}}",
        "71 kilograms (157 lb) 500 grams (1.1 lb) 3 tonnes (6,600 lb)",
    );
    shows(
        "{{convert|25|mi}} {{convert|0.3|mi|km}} {{convert|2000|mi}}",
        "25 miles (40 km) 0.3 miles (0.48 km) 2,000 miles (3,200 km)",
    );
    shows(
        "{{convert|1200|C|F}} {{convert|20|C|F}} {{convert|-12|F|C}} {{convert|0|C|F}}",
        "1,200 °C (2,190 °F) 20 °C (68 °F) −12 °F (−24 °C) 0 °C (32 °F)",
    );
    shows(
        "{{convert|5|ft|4|in|cm}} {{convert|6|ft|2|in|m}} {{convert|10|st|4|lb|kg}}",
        "5 feet 4 inches (163 cm) 6 feet 2 inches (1.88 m) 10 stone 4 pounds (65 kg)",
    );
    shows(
        "{{convert|5|-|10|mi}} {{convert|50|to|75|km|mi}}",
        "5–10 miles (8.0–16.1 km) 50 to 75 kilometres (31 to 47 mi)",
    );
    shows(
        "{{convert|10|km|mi|2}} {{convert|123|km|mi|sigfig=3}} {{convert|123|km|mi|round=5}}",
        "10 kilometres (6.21 mi) 123 kilometres (76.4 mi) 123 kilometres (75 mi)",
    );
}

#[test]
fn units_are_spelled_as_the_template_is_asked() {
    shows(
        "{{convert|10|km|mi|abbr=off}} {{convert|1|mi|km|abbr=off}}",
        "10 kilometres (6.2 miles) 1 mile (1.6 kilometres)",
    );
    shows("{{convert|10|km|mi|abbr=on}} {{convert|10|km|mi|abbr=in}}", "10 km (6.2 mi) 10 km (6.2 miles)");
    shows("{{convert|10|km|mi|abbr=values}} {{convert|10|km|mi|order=flip}}", "10 (6.2) 6.2 miles (10 km)");
    shows("a {{convert|10|km|mi|adj=on|abbr=off}} path", "a 10-kilometre (6.2-mile) path");
    shows("{{convert|1/2|mi}} {{convert|10|kilometers|miles|sp=us}}", "1⁄2 mile (0.80 km) 10 kilometers (6.2 mi)");
}

#[test]
fn dates_have_both_calendars() {
    shows(
        "{{OldStyleDate|7 May|1718|26 April}}, {{OldStyleDateDY|9 January|1690|30 December 1689}}",
        "7 May [O.S. 26 April] 1718, 9 January 1690 [O.S. 30 December 1689]",
    );
    shows(
        "{{OldStyleDateNY|7 May|26 April}}, {{OS2NS|26 April|1718|7 May}}",
        "7 May [O.S. 26 April], 26 April [7 May N.S.] 1718",
    );
    shows_in(
        "ru",
        "{{OldStyleDate|18|5|1868|6|5}}; {{СС|07.11.1917}}; {{OldStyleDate|10|1|1900}}",
        "6 (18) мая 1868; 25 октября (7 ноября) 1917; 29 декабря 1899 (10 января 1900)",
    );
    shows_in("uk", "{{СС|18|5|1868}}", "6 (18) травня 1868");
    shows_in("ru", "{{OldStyleDate|давно}}", "давно");
}

#[test]
fn a_date_is_written_in_the_form_asked_for() {
    shows(
        "{{#formatdate:1871-03-09|dmy}} {{#formatdate:9 March 1871|mdy}} {{#formatdate:March 9, 1871|ymd}}",
        "9 March 1871 March 9, 1871 1871 March 9",
    );
    shows(
        "{{#dateformat:1871 March 9|ISO 8601}} {{#dateformat:9 March|mdy}} {{#dateformat:March 9|dmy}}",
        "1871-03-09 March 9 9 March",
    );
    shows(
        "{{#formatdate:1871-03-09}} {{#formatdate:9 March 1871|default}} {{#formatdate:soon|dmy}}",
        "1871-03-09 9 March 1871 soon",
    );
    shows_in("de", "{{#formatdate:1871-03-09|dmy}}", "9 März 1871");
}

#[test]
fn a_day_is_written_in_any_form() {
    shows(
        "{{#time:j F Y|1871-03-09}}, {{#time:F Y|1871-03}}, {{#time:l|9 March 1871}}",
        "9 March 1871, March 1871, Thursday",
    );
    shows("Seen {{#time:Y}}.", "Seen.");
    shows(
        "{{date|1871-03-09|dmy}} {{date|9 March 1871|mdy}} {{dts|1871-03-09}}",
        "9 March 1871 March 9, 1871 March 9, 1871",
    );
    shows("{{dts|format=dmy|1871|3|9}} {{start date|1871|3|9}}", "9 March 1871 March 9, 1871");
    shows("{{as of|1871|3|9}} {{as of|1871|3|9|df=US}}", "As of 9 March 1871 As of March 9, 1871");
    shows("She was {{age|1871|3|9|1899|3|8}}, and is {{age|1871|3|9}}.", "She was 27, and is.");
    shows_in(
        "ru",
        "{{СС2|07.11.1917|25.10.1917}}; {{СС2|12.1.1900|31.12.1899}}",
        "25 октября (7 ноября) 1917; 31 декабря 1899 (12 января 1900)",
    );
}

#[test]
fn units_count_in_millions_and_numbers_are_spelled() {
    shows(
        "{{convert|3|e6km2|sqmi}} {{convert|3|e6m3|cuft}}",
        "3 million square kilometres (1,200,000 sq mi) 3 million cubic metres (110,000,000 cu ft)",
    );
    shows(
        "{{convert|3|e6m3|e6cuft|abbr=on}} {{convert|8|e3kg|t}}",
        "3×10⁶ m³ (110×10⁶ cu ft) 8 thousand kilograms (8.0 t)",
    );
    shows("{{convert|5|mi|km|spell=in}}, {{convert|1|mi|km|spell=In}}", "five miles (8.0 km), One mile (1.6 km)");
    shows("{{convert|4|xx|6|m}} {{convert|4|x|6|m}}", "4 × 6 metres (13 × 20 ft) 4 by 6 metres (13 ft × 20 ft)");
    shows(
        "{{convert|5|km|mi|disp=or}} {{convert|40|nmi}}",
        "5 kilometres or 3.1 miles 40 nautical miles (74 km; 46 mi)",
    );
    shows("{{convert|15|kn}} {{convert|5|U.S.gal|L}}", "15 knots (28 km/h; 17 mph) 5 US gallons (19 L)");
    shows("{{val|5|-|8|u=m}} {{number to word|42}} {{spellnum|7}}", "5–8 m forty-two seven");
    shows_in("fr", "{{unité|4|à=6,5|km}}", "4 à 6,5 km");
    shows_in("uk", "{{convert|4,25|км|mi}}", "4,25 км (2,64 милі)");
}
