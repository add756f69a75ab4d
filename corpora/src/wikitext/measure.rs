//! `{{convert|10|km|mi}}` and its kin: a measure in one unit and in another.

use super::clean::Cleaner;
use super::template::Argument;
use super::unit_symbols;
use super::units::{self, Unit};

/// A number as it was given.
struct Number {
    value: f64,
    /// Digits behind the point; negative: zeros at the end.
    digits: i32,
    shown: String,
}

/// What `{{convert}}` was asked for.
struct Measure {
    numbers: Vec<Number>,
    /// Between the numbers: `to`, `-`, `x`.
    between: Vec<String>,
    unit: String,
    /// The inches of `5 ft 11 in`.
    rest: Option<(Number, &'static Unit)>,
    targets: Option<String>,
    digits: Option<i32>,
    /// Words between unit and conversion, of `adj=mid`.
    middle: String,
}

/// How it is to be written.
struct Manner<'page> {
    symbols: bool,
    language: &'page str,
    adjective: bool,
    american: bool,
    display: &'page str,
    flip: bool,
}

impl Manner<'_> {
    fn english(&self) -> bool {
        self.language == "en"
    }

    /// What stands behind a number in a unit, if symbols are asked for.
    fn behind(&self, number: &str, unit: &Unit) -> String {
        unit_symbols::behind(number, unit.symbol, self.language)
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
        let manner = Manner {
            symbols: matches!(value_of(&["abbr"]), "on" | "in" | "unit")
                || matches!(name, "cvt" | "cvt2")
                || !self.context.english(),
            language: self.context.language_code(),
            adjective: matches!(adjective, "on" | "mid" | "1"),
            american: value_of(&["sp"]) == "us",
            display: value_of(&["disp"]),
            flip: value_of(&["order"]) == "flip" || value_of(&["disp"]) == "flip",
        };
        let shown = match self.measure(&values, adjective == "mid") {
            Some(measure) => self.written(&measure, &manner),
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
        let unit = values.next().unwrap_or_default().to_owned();
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
        Some(Measure { numbers, between, unit, rest, targets, digits, middle })
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
            Some((_, parts)) => i32::try_from(parts.len()).ok()?,
            None if value == 0.0 => 0,
            None => -i32::try_from(zeros).ok()?,
        };
        let language = self.context.language();
        let mut shown = if whole.is_empty() { String::new() } else { language.number(whole).replace('-', "−") };
        if let Some((over, under)) = fraction {
            if under == 0.0 {
                return None;
            }
            value += over / under;
            digits = digits.max(1);
            shown = format!("{shown}{}{over}⁄{under}", if shown.is_empty() { "" } else { "+" });
        }
        Some(Number { value, digits, shown })
    }

    fn written(&self, measure: &Measure, manner: &Manner) -> String {
        let Some(unit) = units::find(&measure.unit) else {
            let numbers =
                joined(measure.numbers.iter().map(|number| number.shown.clone()), &measure.between, manner, None);
            return format!("{numbers} {}", powers(&measure.unit)).trim().to_owned();
        };
        let given = given(measure, unit, manner);
        let targets = measure.targets.as_deref().unwrap_or(unit.default);
        let converted = self.converted(measure, unit, targets, manner);
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
            _ if manner.language == "zh" => format!("{first}（{second}）"),
            _ => format!("{first} ({second})"),
        }
    }

    /// The measure in the units asked for; `None` if it cannot be given in any of them.
    fn converted(&self, measure: &Measure, unit: &Unit, targets: &str, manner: &Manner) -> Option<String> {
        if targets.is_empty() {
            return None;
        }
        let mut all = Vec::new();
        let known: Vec<&str> = match units::find(targets) {
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
                let language = self.context.language();
                let part = |value: f64, unit: &Unit| {
                    let number = language.number(&value.to_string());
                    let behind = manner.behind(&number, unit);
                    format!("{number}{behind}")
                };
                all.push(format!("{} {}", part(whole, large), part(left, small)));
                continue;
            }
            let to = units::find(target)?;
            let values: Option<Vec<f64>> =
                measure.numbers.iter().map(|number| unit.convert(rest(number.value)?, to)).collect();
            let values = values?;
            let digits = measure.digits.or_else(|| {
                let given = measure.rest.as_ref().map_or(0, |(number, _)| number.digits.max(0));
                let each = measure.numbers.iter().zip(&values);
                each.map(|(number, value)| match &measure.rest {
                    // Feet and inches are known to the inch.
                    Some((_, second)) => second.digits(given + 1, to, *value),
                    None => unit.digits(number.digits, to, *value),
                })
                .max()
            })?;
            let shown = values
                .iter()
                .map(|value| self.context.language().number(&units::rounded(*value, digits)).replace('-', "−"));
            let symbols = Manner { symbols: true, adjective: false, ..*manner };
            all.push(with_symbol(shown, &measure.between, &symbols, to));
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

/// The measure in the unit it was given in.
fn given(measure: &Measure, unit: &Unit, manner: &Manner) -> String {
    let numbers = measure.numbers.iter().map(|number| number.shown.clone());
    if let Some((number, second)) = &measure.rest {
        let first = joined(numbers, &measure.between, manner, None);
        let named = |unit: &Unit, shown: &str| match manner.symbols {
            true => manner.behind(shown, unit),
            false => format!(" {}", name_of(unit, shown, manner)),
        };
        return format!("{first}{} {}{}", named(unit, &first), number.shown, named(second, &number.shown));
    }
    if manner.symbols || unit.symbol.starts_with('°') {
        return with_symbol(numbers, &measure.between, manner, unit);
    }
    let number = joined(numbers, &measure.between, manner, None);
    let space = if manner.adjective { "-" } else { " " };
    format!("{number}{space}{}{}", name_of(unit, &number, manner), measure.middle)
}

fn name_of(unit: &Unit, number: &str, manner: &Manner) -> String {
    let name = if number == "1" || manner.adjective { unit.singular } else { unit.plural };
    let name = if manner.adjective { name.replace(' ', "-") } else { name.to_owned() };
    if manner.american { name.replace("metre", "meter").replace("litre", "liter") } else { name }
}

fn with_symbol(numbers: impl Iterator<Item = String>, between: &[String], manner: &Manner, unit: &Unit) -> String {
    let mut number = joined(numbers, between, manner, Some(unit));
    number.push_str(&manner.behind(&number, unit));
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

/// Numbers with the words of a range between them, and the unit on each side where it stands there.
fn joined(numbers: impl Iterator<Item = String>, between: &[String], manner: &Manner, unit: Option<&Unit>) -> String {
    let mut written = String::new();
    for (place, number) in numbers.enumerate() {
        if let Some(word) = place.checked_sub(1).and_then(|place| between.get(place)) {
            match word.as_str() {
                "x" | "by" | "×" | "*" | "xx" if !manner.symbols && manner.english() => written.push_str(" by "),
                "x" | "by" | "×" | "*" | "xx" => {
                    // Each side has its unit: `3 m × 4 m`.
                    if let Some(unit) = unit {
                        written.push_str(&manner.behind(&written, unit));
                    }
                    written.push_str(" × ");
                }
                "+/-" | "±" => written.push_str(" ± "),
                "," => written.push_str(", "),
                "to about" if manner.english() => written.push_str(" to about "),
                "to" | "-to" if manner.english() => written.push_str(" to "),
                "and" if manner.english() => written.push_str(" and "),
                "or" if manner.english() => written.push_str(" or "),
                "to(-)" if manner.english() && !manner.symbols => written.push_str(" to "),
                "and(-)" if manner.english() && !manner.symbols => written.push_str(" and "),
                "or(-)" if manner.english() && !manner.symbols => written.push_str(" or "),
                _ => written.push('–'),
            }
        }
        written.push_str(&number);
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

/// A unit that is not known, as it was given, its powers raised.
fn powers(code: &str) -> String {
    let mut written = code.replace(['[', ']', '{', '}'], "");
    for (digit, raised) in [('2', '²'), ('3', '³')] {
        if written.ends_with(digit) {
            written.pop();
            written.push(raised);
        }
    }
    written
}
