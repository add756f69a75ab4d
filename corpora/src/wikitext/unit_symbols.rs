//! Symbols of units by language. The metric ones are the same nearly everywhere; English ones abbreviate English words.
//!
//! The forms are mostly the short ones of the Unicode CLDR (<https://cldr.unicode.org>).

use std::borrow::Cow;

/// Symbols in place of English words, for all languages but English.
const ANYWHERE: &str = "acres=ac, /acre=/ac, acre⋅ft=ac⋅ft, AU=au, fathom=fth, furlong=fur, chain=ch, long tons=long tn, \
    short tons=sh tn, sq in=in², sq ft=ft², sq yd=yd², sq mi=mi², /sq mi=/mi², sq nmi=nmi², cu in=in³, cu ft=ft³, \
    cu yd=yd³, cu mi=mi³, cu ft/s=ft³/s, lb/cu in=lb/in³, lb/cu ft=lb/ft³, lb/cu yd=lb/yd³";

/// Languages, and what they write for a symbol (that of [`ANYWHERE`] where it has one). What is said of `km` holds for `km²` and
/// `km/h` as well. Where a word is inflected, the forms are those for one, few, many and a fraction; three where a fraction takes that for few.
const LANGUAGES: &[(&str, &str)] = &[
    ("de", "au=AE, ly=Lj"),
    ("fr", "in=po, ft=pi, au=ua, ly=al, kn=nd, imp gal=gal imp."),
    ("es", "ly=a. l., imp gal=gal imp."),
    ("it", "ly=al, imp gal=gal imp."),
    ("pt", "in=pol., in²=pol², in³=pol³, au=ua, ly=anos-luz, kn=nós, imp gal=gal. imp."),
    ("nl", "ac=acre, au=AE, ly=lj, imp gal=imp. gal"),
    ("sv", "in=tum, ft=fot, au=AE, ly=ljusår, kn=knop, hp=hk, lb=pund, oz=uns"),
    ("pl", "au=j.a., kn=w., nmi=Mm, US gal=gal am., imp gal=gal ang."),
    ("tr", "in=inç, ft=fit, mi=mil, km/h=km/sa, m/s=m/sn, mph=mil/sa, hp=bg, imp gal=İng. gal, sh tn=kısa ton"),
    ("vi", "ac=mẫu Anh, imp gal=gal Anh"),
    ("bg", "ac=акра, ly=св. г., hp=к. с., imp gal=имп. галона"),
    (
        "ru",
        "mm=мм, cm=см, dm=дм, m=м, km=км, μm=мкм, nm=нм, in=дюйм|дюйма|дюймов, ft=фут|фута|футов, yd=ярд|ярда|ярдов, \
         mi=миля|мили|миль, nmi=мор. миля|мор. мили|мор. миль, au=а. е., ly=св. год|св. года|св. лет, pc=пк, \
         in²=кв. дюйм|кв. дюйма|кв. дюймов, ft²=кв. фут|кв. фута|кв. футов, yd²=кв. ярд|кв. ярда|кв. ярдов, \
         mi²=кв. миля|кв. мили|кв. миль, /mi²=/кв. милю, ha=га, ac=акр|акра|акров, in³=куб. дюйм|куб. дюйма|куб. дюймов, \
         ft³=куб. фут|куб. фута|куб. футов, yd³=куб. ярд|куб. ярда|куб. ярдов, mi³=куб. миля|куб. мили|куб. миль, \
         L=л, ml=мл, US gal=амер. галлон|амер. галлона|амер. галлонов, imp gal=имп. галлон|имп. галлона|имп. галлонов, \
         bbl=баррель|барреля|баррелей, mg=мг, g=г, kg=кг, t=т, oz=унция|унции|унций, lb=фунт|фунта|фунтов, h=ч, s=с, \
         min=мин, mph=миля/ч|мили/ч|миль/ч, kn=узел|узла|узлов, ft/s=фут/с|фута/с|футов/с, Pa=Па, hPa=гПа, kPa=кПа, \
         MPa=МПа, GPa=ГПа, bar=бар, mbar=мбар, atm=атм, mmHg=мм рт. ст., W=Вт, kW=кВт, MW=МВт, hp=л. с., PS=л. с., \
         J=Дж, kJ=кДж, MJ=МДж, cal=кал, kcal=ккал, kWh=кВт⋅ч, N=Н, kN=кН, kgf=кгс",
    ),
    (
        "uk",
        "mm=мм, cm=см, dm=дм, m=м, km=км, μm=мкм, nm=нм, in=дюйм|дюйми|дюймів|дюйма, ft=фут|фути|футів|фута, \
         yd=ярд|ярди|ярдів|ярда, mi=миля|милі|миль, nmi=м. миля|м. милі|м. миль, au=а. о., \
         ly=св. рік|св. роки|св. років|св. року, pc=пк, in²=кв. дюйм|кв. дюйми|кв. дюймів|кв. дюйма, \
         ft²=кв. фут|кв. фути|кв. футів|кв. фута, mi²=кв. миля|кв. милі|кв. миль, /mi²=/кв. милю, ha=га, \
         ac=акр|акри|акрів|акра, in³=куб. дюйм|куб. дюйми|куб. дюймів|куб. дюйма, \
         ft³=куб. фут|куб. фути|куб. футів|куб. фута, L=л, ml=мл, imp gal=англ. галон|англ. галони|англ. галонів|англ. галона, \
         bbl=барель|барелі|барелів|бареля, mg=мг, g=г, kg=кг, t=т, oz=унція|унції|унцій, lb=фунт|фунти|фунтів|фунта, h=год, \
         s=с, min=хв, mph=миля/год|милі/год|миль/год, kn=вузол|вузли|вузлів|вузла, Pa=Па, hPa=гПа, kPa=кПа, MPa=МПа, \
         GPa=ГПа, bar=бар, mbar=мбар, atm=атм, mmHg=мм рт. ст., W=Вт, kW=кВт, MW=МВт, hp=к. с., PS=к. с., J=Дж, kJ=кДж, \
         MJ=МДж, cal=кал, kcal=ккал, kWh=кВт⋅год, N=Н, kN=кН, kgf=кгс",
    ),
    (
        "ar",
        "mm=مم, cm=سم, m=م, km=كم, in=بوصة, ft=قدم, yd=ياردة, mi=ميل, nmi=ميل بحري, fth=قامة, au=و.ف., ly=سنة ضوئية, \
         pc=فرسخ فلكي, ha=هكتار, ac=فدان, L=لتر, imp gal=غالون إمبراطوري, bbl=برميل, g=غرام, kg=كغم, t=ط.م, oz=أونصة, lb=رطل, \
         km/h=كم/س, m/s=م/ث, mph=ميل/س, kn=عقدة, °C=°م, hPa=هكتوباسكال, kW=كيلوواط, hp=حصان, J=جول, kWh=ك.و.س, N=نيوتن",
    ),
    (
        "fa",
        "mm=میلی‌متر, cm=سانتی‌متر, m=متر, km=کیلومتر, m²=متر مربع, km²=کیلومتر مربع, /km²=/کیلومتر مربع, in=اینچ, ft=فوت, \
         yd=یارد, mi=مایل, nmi=مایل دریایی, in²=اینچ مربع, ft²=فوت مربع, mi²=مایل مربع, /mi²=/مایل مربع, ha=هکتار, ac=جریب, \
         bbl=بشکه, g=گرم, kg=کیلوگرم, t=تُن, oz=اونس, lb=پوند, kn=گره, hp=اسب بخار, ly=سال نوری, pc=پارسک",
    ),
    (
        "hi",
        "mm=मि॰मी॰, cm=सें॰मी॰, m=मी॰, km=कि॰मी॰, m²=वर्ग मी॰, km²=वर्ग कि॰मी॰, /km²=/वर्ग कि॰मी॰, in=इंच, ft=फ़ीट, yd=यार्ड, mi=मील, \
         in²=वर्ग इंच, ft²=वर्ग फ़ीट, mi²=वर्ग मील, /mi²=/वर्ग मील, m³=घन मी॰, ft³=घन फ़ीट, ha=हे॰, ac=एकड़, L=ली॰, g=ग्रा॰, \
         kg=कि॰ग्रा॰, t=टन, oz=औंस, lb=पौंड, h=घं॰, s=से॰, mph=मील/घं॰, kn=नॉट, ly=प्र॰व॰, pc=पार्सेक, °C=°से॰",
    ),
    (
        "mr",
        "mm=मिमी, cm=सेंमी, m=मी, km=किमी, km²=चौ. किमी, /km²=/चौ. किमी, in=इंच, ft=फूट, yd=यार्ड, mi=मैल, ft²=चौ. फूट, \
         mi²=चौ. मैल, /mi²=/चौ. मैल, ha=हेक्टर, ac=एकर, L=ली, g=ग्रॅ, kg=किग्रॅ, t=टन, oz=औंस, lb=पाउंड, st=स्टोन, h=तास, s=से, \
         kW=किवॉ, ly=प्रव, °C=°से",
    ),
    (
        "zh",
        "mm=毫米, cm=厘米, dm=分米, m=米, km=公里, μm=微米, nm=纳米, in=英寸, ft=英尺, yd=码, mi=英里, nmi=海里, fth=英寻, fur=弗隆, \
         au=天文单位, ly=光年, pc=秒差距, mm²=平方毫米, cm²=平方厘米, m²=平方米, km²=平方公里, /km²=/平方公里, ha=公顷, ac=英亩, \
         in²=平方英寸, ft²=平方英尺, yd²=平方码, mi²=平方英里, /mi²=/平方英里, cm³=立方厘米, m³=立方米, km³=立方公里, in³=立方英寸, \
         ft³=立方英尺, yd³=立方码, mi³=立方英里, L=升, ml=毫升, US gal=加仑, imp gal=英制加仑, bbl=桶, mg=毫克, g=克, kg=千克, t=吨, \
         oz=盎司, lb=磅, st=英石, long tn=长吨, sh tn=短吨, h=小时, min=分, s=秒, mph=英里/小时, kn=节, Pa=帕, hPa=百帕, kPa=千帕, \
         MPa=兆帕, W=瓦, kW=千瓦, MW=兆瓦, hp=马力, J=焦耳, kJ=千焦, cal=卡, kcal=千卡, kWh=千瓦时, N=牛, kN=千牛, \
         kg/m³=千克/立方米, g/cm³=克/立方厘米, m³/s=立方米/秒, ft³/s=立方英尺/秒",
    ),
    ("ja", "nmi=海里, ly=光年, hp=馬力"),
];

/// What stands behind a number written in a language: the symbol of a unit as the language has it, behind a space where one belongs.
pub(super) fn behind(number: &str, symbol: &'static str, language: &str) -> String {
    let written = if language == "en" { symbol.into() } else { written(number, symbol, language) };
    let joins = written.starts_with(|first: char| first == '/' || is_han(first));
    if joins { written.into_owned() } else { format!(" {written}") }
}

fn written(number: &str, symbol: &'static str, language: &str) -> Cow<'static, str> {
    let symbol = entry(ANYWHERE, symbol).unwrap_or(symbol);
    let Some((_, entries)) = LANGUAGES.iter().find(|(code, _)| *code == language) else { return symbol.into() };
    if let Some(forms) = entry(entries, symbol) {
        return form(forms, number).into();
    }
    // By its parts, if all that are letters are known and none is inflected: `km/h`.
    let mut parts = String::new();
    let mut rest = symbol;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter: char| !letter.is_alphabetic()).unwrap_or(rest.len()).max(first.len_utf8());
        let (part, after) = rest.split_at(end);
        match entry(entries, part) {
            Some(known) if !known.contains('|') => parts.push_str(known),
            None if !first.is_alphabetic() => parts.push_str(part),
            _ => return symbol.into(),
        }
        rest = after;
    }
    parts.into()
}

fn entry(entries: &'static str, symbol: &str) -> Option<&'static str> {
    let mut pairs = entries.split(", ").filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(known, forms)| (known == symbol).then_some(forms))
}

/// The form that goes with a number, by the rules that Russian and Ukrainian share.
fn form(forms: &'static str, number: &str) -> &'static str {
    let forms: Vec<&str> = forms.split('|').collect();
    let [one, few, many, ..] = forms[..] else { return forms.first().copied().unwrap_or_default() };
    let last = number.rsplit(['–', '×', '±']).next().unwrap_or_default();
    if last.contains([',', '⁄']) {
        return forms.get(3).copied().unwrap_or(few);
    }
    let mut digits = last.chars().rev().filter_map(|digit| digit.to_digit(10));
    let (units, tens) = (digits.next(), digits.next());
    match units {
        Some(1) if tens != Some(1) => one,
        Some(2..=4) if tens != Some(1) => few,
        _ => many,
    }
}

fn is_han(letter: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::super::units;
    use super::*;

    /// A key with a slip of the pen would never be found.
    #[test]
    fn keys_are_symbols_of_units_or_parts_of_them() {
        let symbols: Vec<&'static str> = units::symbols().collect();
        let keys = |entries: &'static str| entries.split(", ").map(|pair| pair.split_once('=').unwrap().0);
        for key in keys(ANYWHERE) {
            assert!(symbols.contains(&key), "`{key}` is no symbol of a unit");
        }
        let replaced: Vec<&str> = symbols.iter().map(|symbol| entry(ANYWHERE, symbol).unwrap_or(symbol)).collect();
        for (language, entries) in LANGUAGES {
            for key in keys(entries) {
                let part = |symbol: &&str| symbol.split(|letter: char| !letter.is_alphabetic()).any(|part| part == key);
                let known = replaced.contains(&key) || replaced.iter().any(part);
                assert!(known, "{language}: `{key}` is neither a symbol nor part of one");
                assert_eq!(keys(entries).filter(|other| *other == key).count(), 1, "{language}: `{key}` twice");
            }
        }
        assert!(replaced.iter().all(|symbol| !symbol.contains("sq ") && !symbol.contains("cu ")));
    }

    #[test]
    fn words_are_inflected_by_the_number_before_them() {
        let miles = |number| behind(number, "mi", "ru");
        assert_eq!(
            ["1", "21", "1,5", "2", "12", "111", "5", "1–2"].map(miles),
            [" миля", " миля", " мили", " мили", " миль", " миль", " миль", " мили"]
        );
        assert_eq!(["3", "3,5", "30"].map(|number| behind(number, "ft", "uk")), [" фути", " фута", " футів"]);
    }

    #[test]
    fn parts_are_written_as_the_whole_is() {
        assert_eq!(behind("5", "km/h", "ru"), " км/ч");
        assert_eq!(behind("5", "kg/m³", "uk"), " кг/м³");
        assert_eq!(behind("5", "/km²", "zh"), "/平方公里");
        assert_eq!(behind("5", "ft⋅lbf", "ru"), " ft⋅lbf");
        assert_eq!(behind("5", "sq mi", "de"), " mi²");
        assert_eq!(behind("5", "sq mi", "en"), " sq mi");
    }
}
