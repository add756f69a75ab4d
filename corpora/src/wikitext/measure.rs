//! `{{convert|10|km|mi}}` and its kin: a measure in one unit and in another.

use super::clean::Cleaner;
use super::html::raise;
use super::numerals;
use super::template::Argument;
use super::unit_symbols;
use super::units::{self, Unit};
use crate::languages::Language;

/// A number as it was given.
struct Number {
    value: f64,
    /// Digits behind the point; negative: zeros at the end.
    digits: f64,
    /// Whether it is a fraction and nothing else: `1⁄2 mile`.
    is_fraction: bool,
    shown: String,
}

/// What `{{convert}}` was asked for.
struct Measure {
    numbers: Vec<Number>,
    /// Between the numbers: `to`, `-`, `x`.
    between: Vec<String>,
    unit: String,
    /// What the unit counts, as a power of ten: 6 of `e6m3`.
    exponent: i32,
    /// The inches of `5 ft 11 in`.
    rest: Option<(Number, &'static Unit)>,
    targets: Option<String>,
    rounding: Option<Rounding>,
    /// Words between unit and conversion, of `adj=mid`.
    middle: String,
}

/// How a converted value is rounded where the template says it.
#[derive(Clone, Copy)]
enum Rounding {
    /// To so many digits behind the point.
    Digits(i32),
    /// To so many significant digits.
    Significant(i32),
    /// To a multiple of this.
    Multiple(f64),
}

/// How the units of a side are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Units {
    Names,
    Symbols,
    /// Not at all.
    Absent,
}

/// How it is to be written.
struct Manner<'page> {
    /// The units of the left side and of the right one.
    sides: (Units, Units),
    language: &'static Language,
    adjective: bool,
    american: bool,
    display: &'page str,
    flip: bool,
}

impl Manner<'_> {
    fn english(&self) -> bool {
        self.language.code == "en"
    }

    /// What stands behind a number in a unit.
    fn behind(&self, number: &str, is_one: bool, unit: &Unit, units: Units) -> String {
        // Degrees are never spelled out.
        let units = if unit.symbol.starts_with('°') && units == Units::Names { Units::Symbols } else { units };
        match units {
            Units::Symbols => unit_symbols::behind(number, unit.symbol, self.language),
            Units::Absent => String::new(),
            Units::Names => {
                let name = if is_one || self.adjective { unit.singular } else { unit.plural };
                let name = if self.adjective { name.replace(' ', "-") } else { name.to_owned() };
                let name = match self.american {
                    true => name.replace("metre", "meter").replace("litre", "liter").replace("tonne", "metric ton"),
                    false => name,
                };
                format!("{}{name}", if self.adjective { "-" } else { " " })
            }
        }
    }
}

impl Cleaner<'_> {
    pub(super) fn show_measure(&mut self, name: &str, arguments: &[Argument]) {
        let mut values: Vec<String> = Vec::new();
        for range in self.placed(arguments).into_iter().take(16) {
            values.push(self.plain_part(Some(range)));
        }
        // `{{km to mi|10}}` has its units in its name.
        if let Some((from, to)) = name.split_once(" to ")
            && !values.is_empty()
        {
            values.splice(1..1, [from.to_owned(), to.to_owned()]);
        }
        let value_of = |key: &[&str]| self.named(arguments, key).unwrap_or_default();
        let adjective = value_of(&["adj"]);
        let sides = match value_of(&["abbr"]) {
            _ if !self.context.english() => (Units::Symbols, Units::Symbols),
            "on" | "unit" | "~" => (Units::Symbols, Units::Symbols),
            "" if value_of(&["disp"]) == "or" && !matches!(name, "cvt" | "cvt2") => (Units::Names, Units::Names),
            "in" => (Units::Symbols, Units::Names),
            "off" => (Units::Names, Units::Names),
            "values" | "none" => (Units::Absent, Units::Absent),
            _ if matches!(name, "cvt" | "cvt2") => (Units::Symbols, Units::Symbols),
            _ => (Units::Names, Units::Symbols),
        };
        let manner = Manner {
            sides,
            language: self.context.facts(),
            adjective: matches!(adjective, "on" | "mid" | "1"),
            american: value_of(&["sp"]) == "us",
            display: value_of(&["disp"]),
            flip: value_of(&["order"]) == "flip" || value_of(&["disp"]) == "flip",
        };
        let significant = value_of(&["sigfig"]).parse().ok().map(Rounding::Significant);
        let multiple = value_of(&["round"]).parse().ok().filter(|multiple| *multiple > 0.0).map(Rounding::Multiple);
        let shown = match self.measure(&values, adjective == "mid") {
            Some(mut measure) => {
                measure.rounding = measure.rounding.or(significant).or(multiple);
                measure.spell(value_of(&["spell"]));
                self.written(&measure, &manner)
            }
            None => values.first().cloned().unwrap_or_default(),
        };
        self.push_plain(&shown);
    }

    /// Takes the arguments apart; `None` if they do not begin with a number.
    fn measure(&self, values: &[String], has_middle: bool) -> Option<Measure> {
        let mut values = values.iter().map(String::as_str).peekable();
        let mut numbers = vec![self.number(values.next()?)?];
        let mut between = Vec::new();
        while let Some(word) = values.next_if(|value| is_range(value)) {
            between.push(word.to_owned());
            numbers.push(self.number(values.next()?)?);
        }
        let (exponent, unit) = scaled(values.next().unwrap_or_default());
        let unit = unit.to_owned();
        let mut rest = None;
        if let Some(number) = values.peek().and_then(|value| self.number(value))
            && let Some(second) = values.clone().nth(1).and_then(units::find)
            && units::find(&unit).is_some_and(|first| first.quantity == second.quantity)
        {
            values.next();
            values.next();
            rest = Some((number, second));
        }
        let targets = values.next_if(|value| value.parse::<i32>().is_err()).map(str::to_owned);
        let digits = values.next_if(|value| value.parse::<i32>().is_ok()).and_then(|value| value.parse().ok());
        let middle = if has_middle { values.next().unwrap_or_default().to_owned() } else { String::new() };
        let rounding = digits.map(Rounding::Digits);
        Some(Measure { numbers, between, unit, exponent, rest, targets, rounding, middle })
    }

    /// A number as people write it: `1,000`, `5+1/2`, `−3.5`, and as its language writes it.
    fn number(&self, text: &str) -> Option<Number> {
        let plain = self.context.language().plain(text).replace(['−', '–'], "-").replace('⁄', "/");
        let (whole, fraction) = match plain.split_once('/') {
            None => (plain.as_str(), None),
            Some((before, under)) => {
                let (whole, over) = before.rsplit_once(['+', ' ']).unwrap_or(("", before));
                (whole.trim(), Some((over.trim().parse::<f64>().ok()?, under.trim().parse::<f64>().ok()?)))
            }
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte));
        let mut value: f64 = if whole.is_empty() && fraction.is_some() { 0.0 } else { whole.parse().ok()? };
        if !is_number(whole) || !value.is_finite() {
            return None;
        }
        let zeros = whole.len() - whole.trim_end_matches('0').len();
        let mut digits = match whole.split_once('.') {
            Some((_, parts)) => parts.len() as f64,
            None if value == 0.0 => 0.0,
            None => -(zeros as f64),
        };
        let language = self.context.language();
        let mut shown = if whole.is_empty() { String::new() } else { language.number(whole).replace('-', "−") };
        let is_fraction = whole.is_empty() && fraction.is_some();
        if let Some((over, under)) = fraction {
            if under == 0.0 {
                return None;
            }
            value += over / under;
            digits = under.abs().log10().max(1.0);
            shown = format!("{shown}{}{over}⁄{under}", if shown.is_empty() { "" } else { "+" });
        }
        Some(Number { value, digits, is_fraction, shown })
    }

    fn written(&self, measure: &Measure, manner: &Manner) -> String {
        let Some(unit) = units::find(&measure.unit) else {
            let numbers = joined(&shown(&measure.numbers), &measure.between, manner, None);
            return format!("{numbers} {}", powers(&measure.unit)).trim().to_owned();
        };
        let targets = measure.targets.as_deref().unwrap_or(unit.default);
        let (left, right) = manner.sides;
        let (of_given, of_converted) = if manner.flip { (right, left) } else { (left, right) };
        let given = given(measure, unit, manner, of_given);
        let converted = self.converted(measure, unit, targets, manner, of_converted);
        let Some(converted) = converted else { return given };
        let (first, second) = if manner.flip { (converted, given) } else { (given, converted) };
        match manner.display {
            "or" if manner.english() => format!("{first} or {second}"),
            "output only" | "out" | "output" => second,
            "number" | "output number only" | "num" => {
                let unit = |letter: char| letter.is_alphabetic() || matches!(letter, '/' | '°');
                second[..second.find(unit).unwrap_or(second.len())].trim_end().to_owned()
            }
            "comma" => format!("{first}, {second}"),
            "sqbr" => format!("{first} [{second}]"),
            "/" | "slash" => format!("{first} / {second}"),
            "unit" | "table" | "tablecen" => first,
            _ => {
                let pattern = manner.language.wiki.conversion.as_deref().unwrap_or("{} ({})");
                let mut parts = pattern.splitn(3, "{}");
                let mut part = || parts.next().unwrap_or_default();
                format!("{}{first}{}{second}{}", part(), part(), part())
            }
        }
    }

    /// The measure in the units asked for; `None` if it cannot be given in any of them.
    fn converted(
        &self,
        measure: &Measure,
        unit: &Unit,
        targets: &str,
        manner: &Manner,
        written: Units,
    ) -> Option<String> {
        if targets.is_empty() {
            return None;
        }
        let language = self.context.language();
        let mut all = Vec::new();
        let known: Vec<&str> = match units::find(scaled(targets).1) {
            Some(_) => vec![targets],
            None => targets.split([' ', '+']).filter(|target| !target.is_empty()).collect(),
        };
        for target in known {
            let rest = |total: f64| match &measure.rest {
                Some((number, second)) => Some(total + second.convert(number.value, unit)?),
                None => Some(total),
            };
            if let Some((large, small, parts)) = compound(target) {
                let value = unit.convert(rest(measure.numbers.first()?.value)?, small)?.round();
                let (whole, left) = ((value / parts).trunc(), value % parts);
                let part = |value: f64, unit: &Unit| {
                    let number = language.number(&value.to_string());
                    let behind = manner.behind(&number, number == "1", unit, written);
                    format!("{number}{behind}")
                };
                all.push(format!("{} {}", part(whole, large), part(left, small)));
                continue;
            }
            let (exponent, target) = scaled(target);
            let to = units::find(target)?;
            let scale = 10f64.powi(measure.exponent - exponent);
            let converted = |number: &Number| Some(unit.convert(rest(number.value)?, to)? * scale);
            let values: Vec<f64> = measure.numbers.iter().map(converted).collect::<Option<_>>()?;
            let digits = |rounding| match rounding {
                Some(Rounding::Digits(digits)) => Some(digits),
                Some(Rounding::Significant(digits)) => {
                    values.iter().map(|value| units::digits_of_significant(*value, digits)).max()
                }
                Some(Rounding::Multiple(_)) => None,
                None => {
                    let each = measure.numbers.iter().zip(&values);
                    each.map(|(number, value)| match &measure.rest {
                        Some((inches, second)) => {
                            let total = number.value * unit.in_units_of(second) + inches.value;
                            second.digits_behind_another(inches.digits.max(0.0), total, to, *value)
                        }
                        None if measure.exponent != 0 || exponent != 0 => {
                            units::digits_by_ratio(number.digits, number.value, *value)
                        }
                        None => unit.digits(number.digits, number.value, to, *value),
                    })
                    .max()
                }
            };
            let digits = digits(measure.rounding);
            let rounded = values.iter().map(|value| match (measure.rounding, digits) {
                (Some(Rounding::Multiple(multiple)), _) => ((value / multiple).round() * multiple).to_string(),
                (_, digits) => units::rounded(*value, digits.unwrap_or(0)),
            });
            let mut numbers: Vec<String> = rounded.map(|number| language.number(&number).replace('-', "−")).collect();
            manner.count(&mut numbers, exponent, written);
            all.push(with_unit(&numbers, &measure.between, manner, to, written));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// `{{height|ft=5|in=11}}`.
    pub(super) fn show_height(&mut self, arguments: &[Argument]) {
        let mut shown = Vec::new();
        for unit in ["m", "cm", "ft", "in"] {
            if let Some(value) = self.named(arguments, &[unit]).filter(|value| !value.is_empty()) {
                shown.push(format!("{value} {unit}"));
            }
        }
        self.push_plain(&shown.join(" "));
    }
}

/// Whether a unit behind this number is in the singular.
fn is_singular(number: &str) -> bool {
    number == "1" || number.eq_ignore_ascii_case("one")
}

impl Measure {
    /// Writes whole numbers in words where `spell` asks for it; `In` begins a sentence.
    fn spell(&mut self, spell: &str) {
        if !matches!(spell, "in" | "In" | "on" | "On") {
            return;
        }
        let is_whole = |number: &Number| number.value >= 0.0 && number.value.fract() == 0.0 && number.value < 1e15;
        for (place, number) in self.numbers.iter_mut().enumerate().filter(|(_, number)| is_whole(number)) {
            if let Some(mut words) = numerals::in_words(number.value as u64) {
                if place == 0 && spell.starts_with(char::is_uppercase) {
                    words[..1].make_ascii_uppercase();
                }
                number.shown = words;
            }
        }
    }
}

impl Manner<'_> {
    /// Writes behind the last of some numbers what their unit counts: `2 million`, `2×10⁶`.
    fn count(&self, numbers: &mut [String], exponent: i32, written: Units) {
        let (Some(last), true) = (numbers.last_mut(), exponent != 0) else { return };
        match numerals::power_of_ten(exponent).filter(|_| written == Units::Names && self.english()) {
            Some(word) => last.push_str(&format!("{}{word}", if self.adjective { "-" } else { " " })),
            None => last.push_str(&format!("×10{}", raise(&exponent.to_string()).unwrap_or_default())),
        }
    }
}

/// A unit without what it counts in engineers' notation, and that as a power of ten: 6 and `m3` of `e6m3`.
fn scaled(code: &str) -> (i32, &str) {
    let parts = code.strip_prefix('e').filter(|_| units::find(code).is_none());
    let parts = parts.map(|rest| rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()));
    match parts.and_then(|(digits, unit)| Some((digits.parse().ok()?, unit))) {
        Some((exponent @ (3 | 6 | 9 | 12 | 15), unit)) if units::find(unit).is_some() => (exponent, unit),
        _ => (0, code),
    }
}

fn shown(numbers: &[Number]) -> Vec<String> {
    numbers.iter().map(|number| number.shown.clone()).collect()
}

/// The measure in the unit it was given in.
fn given(measure: &Measure, unit: &Unit, manner: &Manner, written: Units) -> String {
    let mut numbers = shown(&measure.numbers);
    manner.count(&mut numbers, measure.exponent, written);
    let is_one = measure.numbers.last().is_some_and(|number| number.is_fraction || is_singular(&number.shown));
    if let Some((number, second)) = &measure.rest {
        let first = joined(&numbers, &measure.between, manner, None);
        let (of_first, of_second) = (
            manner.behind(&first, is_one, unit, written),
            manner.behind(&number.shown, number.is_fraction || is_singular(&number.shown), second, written),
        );
        let between = if manner.adjective && written == Units::Names { "-" } else { " " };
        return format!("{first}{of_first}{between}{}{of_second}", number.shown);
    }
    let number = with_unit(&numbers, &measure.between, manner, unit, written);
    if is_one && written == Units::Names && measure.numbers.iter().any(|number| number.is_fraction) {
        let numbers = joined(&numbers, &measure.between, manner, None);
        return format!("{numbers}{}{}", manner.behind(&numbers, true, unit, written), measure.middle);
    }
    format!("{number}{}", measure.middle)
}

/// Numbers with their unit behind the last, and behind each where they are sides.
fn with_unit(numbers: &[String], between: &[String], manner: &Manner, unit: &Unit, written: Units) -> String {
    let is_symbol = written == Units::Symbols || unit.symbol.starts_with('°');
    let mut number = joined(numbers, between, manner, is_symbol.then_some(unit));
    let is_one = numbers.last().is_some_and(|number| is_singular(number));
    number.push_str(&manner.behind(&number, is_one, unit, written));
    number
}

fn is_range(word: &str) -> bool {
    matches!(
        word,
        "-" | "–"
            | "to"
            | "and"
            | "or"
            | "by"
            | "x"
            | "×"
            | "*"
            | "xx"
            | "and(-)"
            | "to(-)"
            | "or(-)"
            | "+/-"
            | "±"
            | "-to"
            | "to about"
            | "&ndash;"
            | ","
    )
}

/// Numbers with the words of a range between them. With a unit these are symbols, and it stands on each side where it does so.
fn joined(numbers: &[String], between: &[String], manner: &Manner, unit: Option<&Unit>) -> String {
    let mut written = String::new();
    let spelled = manner.english() && unit.is_none();
    for (place, number) in numbers.iter().enumerate() {
        if let Some(word) = place.checked_sub(1).and_then(|place| between.get(place)) {
            match word.as_str() {
                "xx" => written.push_str(" × "),
                "x" | "by" | "×" | "*" if spelled => written.push_str(" by "),
                "x" | "by" | "×" | "*" => {
                    // Each side has its unit: `3 m × 4 m`.
                    if let Some(unit) = unit {
                        written.push_str(&manner.behind(&written, false, unit, Units::Symbols));
                    }
                    written.push_str(" × ");
                }
                "+/-" | "±" => written.push_str(" ± "),
                "," => written.push_str(", "),
                "to about" if manner.english() => written.push_str(" to about "),
                "to" | "-to" if manner.english() => written.push_str(" to "),
                "and" if manner.english() => written.push_str(" and "),
                "or" if manner.english() => written.push_str(" or "),
                "to(-)" if spelled => written.push_str(" to "),
                "and(-)" if spelled => written.push_str(" and "),
                "or(-)" if spelled => written.push_str(" or "),
                _ => written.push('–'),
            }
        }
        written.push_str(number);
    }
    written
}

/// Two units that are written together, and how many of the second are one of the first.
fn compound(target: &str) -> Option<(&'static Unit, &'static Unit, f64)> {
    let (large, small, parts) = match target {
        "ftin" => ("ft", "in", 12.0),
        "stlb" => ("st", "lb", 14.0),
        "lboz" => ("lb", "oz", 16.0),
        _ => return None,
    };
    Some((units::find(large)?, units::find(small)?, parts))
}

/// A unit as it was given, its powers raised.
pub(super) fn powers(code: &str) -> String {
    let mut written = String::with_capacity(code.len());
    let mut before = ' ';
    for letter in code.chars().filter(|letter| !matches!(letter, '[' | ']' | '{' | '}')) {
        written.push(match letter {
            '2' if before.is_alphabetic() => '²',
            '3' if before.is_alphabetic() => '³',
            other => other,
        });
        before = letter;
    }
    written
}
