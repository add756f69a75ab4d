//! Arithmetic of `{{#expr: …}}`: <https://www.mediawiki.org/wiki/Help:Calculation>.

/// Value of an expression; `None` if it is none, or gives no number.
pub(super) fn evaluate(text: &str) -> Option<f64> {
    let text = text.replace(['−', '–'], "-").to_lowercase();
    let mut parser = Parser { rest: text.trim(), depth: 0 };
    let value = parser.binary(0)?;
    (parser.rest.trim().is_empty() && value.is_finite()).then_some(value)
}

/// A value as it is written: whole numbers without a point.
pub(super) fn written(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    // As many digits as are certain.
    let rounded = format!("{value:.12}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

struct Parser<'text> {
    rest: &'text str,
    depth: usize,
}

/// Operators by how loosely they bind, the loosest first.
const LEVELS: &[&[&str]] = &[
    &["or"],
    &["and"],
    &["=", "!=", "<>", "<=", ">=", "<", ">"],
    &["round"],
    &["+", "-"],
    &["*", "/", "div", "mod", "fmod"],
    &["^"],
];

impl Parser<'_> {
    fn binary(&mut self, level: usize) -> Option<f64> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let right = self.binary(level + 1)?;
            left = applied(operator, left, right)?;
        }
        Some(left)
    }

    /// The longest of these operators that comes next.
    fn operator(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        let rest = self.rest.trim_start();
        let found = operators.iter().filter(|operator| rest.starts_with(**operator)).max_by_key(|found| found.len())?;
        // `<` is not the beginning of `<=` or `<>` of another level, and a word ends where its letters do.
        let behind = &rest[found.len()..];
        let word = found.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if word && behind.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            return None;
        }
        self.rest = behind;
        Some(found)
    }

    fn unary(&mut self) -> Option<f64> {
        self.depth += 1;
        if self.depth > 50 {
            return None;
        }
        let value = self.value();
        self.depth -= 1;
        value
    }

    fn value(&mut self) -> Option<f64> {
        self.rest = self.rest.trim_start();
        for sign in ["-", "+"] {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.rest = rest;
                let value = self.unary()?;
                return Some(if sign == "-" { -value } else { value });
            }
        }
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            let value = self.binary(0)?;
            self.rest = self.rest.trim_start().strip_prefix(')')?;
            return Some(value);
        }
        let digits = self.rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        if digits > 0 {
            let (number, rest) = self.rest.split_at(digits);
            self.rest = rest;
            let mut value: f64 = number.parse().ok()?;
            // `1.5e3`: ten to a power.
            if let Some(rest) = self.rest.strip_prefix('e') {
                self.rest = rest;
                value *= 10f64.powf(self.unary()?);
            }
            return Some(value);
        }
        for name in ["not", "abs", "ceil", "floor", "trunc", "sqrt", "exp", "ln", "sin", "cos", "tan", "pi"] {
            if let Some(rest) = self.rest.strip_prefix(name) {
                self.rest = rest;
                return match name {
                    "pi" => Some(std::f64::consts::PI),
                    _ => Some(function(name, self.unary()?)),
                };
            }
        }
        None
    }
}

fn function(name: &str, value: f64) -> f64 {
    match name {
        "not" => f64::from(u8::from(value == 0.0)),
        "abs" => value.abs(),
        "ceil" => value.ceil(),
        "floor" => value.floor(),
        "trunc" => value.trunc(),
        "sqrt" => value.sqrt(),
        "exp" => value.exp(),
        "ln" => value.ln(),
        "sin" => value.sin(),
        "cos" => value.cos(),
        _ => value.tan(),
    }
}

fn applied(operator: &str, left: f64, right: f64) -> Option<f64> {
    let truth = |holds: bool| f64::from(u8::from(holds));
    Some(match operator {
        "or" => truth(left != 0.0 || right != 0.0),
        "and" => truth(left != 0.0 && right != 0.0),
        "=" => truth(left == right),
        "!=" | "<>" => truth(left != right),
        "<" => truth(left < right),
        ">" => truth(left > right),
        "<=" => truth(left <= right),
        ">=" => truth(left >= right),
        "round" => {
            let unit = 10f64.powf(right.trunc().clamp(-15.0, 15.0));
            (left * unit).round() / unit
        }
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" | "div" if right != 0.0 => left / right,
        "mod" if right.trunc() != 0.0 => left.trunc() % right.trunc(),
        "fmod" if right != 0.0 => left % right,
        "^" => left.powf(right),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn gives(expression: &str, expected: Option<&str>) {
        assert_eq!(evaluate(expression).map(written).as_deref(), expected, "{expression}");
    }

    #[test]
    fn operators_bind_as_they_do_in_mediawiki() {
        gives("1 + 2 * 3", Some("7"));
        gives("(145 * 1500 / 1125) round 0", Some("193"));
        gives("2 ^ 3 + 1", Some("9"));
        gives("-3 + 5 > 1 and not 0", Some("1"));
        gives("7 mod 4", Some("3"));
        gives("1.5e3 / 2", Some("750"));
        gives("1/3 round 2", Some("0.33"));
        gives("trunc 3.7", Some("3"));
        gives("3 <> 4", Some("1"));
    }

    #[test]
    fn what_is_no_expression_gives_nothing() {
        for broken in ["", "1 +", "a", "1 2", "1/0", "((1)", "ln 0", &"(".repeat(500)] {
            gives(broken, None);
        }
    }
}
