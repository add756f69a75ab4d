//! Operators, indices and tests on values.

use std::cmp::Ordering;

use super::format::printed;
use super::limits::{Meter, Outcome, fail};
use super::syntax::{Comparison, Operator};
use super::value::Value;

/// An arithmetic operator; `~` joins what its sides print.
pub(super) fn arithmetic(left: &Value, operator: Operator, right: &Value, meter: &mut Meter) -> Outcome<Value> {
    use Operator::*;
    let unfit = || {
        let sign = match operator {
            Add => "+",
            Subtract => "-",
            Concatenate => "~",
            Multiply => "*",
            Divide => "/",
            FloorDivide => "//",
            Remainder => "%",
            Power => "**",
        };
        format!("`{sign}` does not apply to a {} and a {}", left.kind(), right.kind())
    };
    match (operator, left, right) {
        (Concatenate, _, _) => {
            let (left, right) = (printed(left, meter)?, printed(right, meter)?);
            return joined(&left, &right, meter);
        }
        (Add, Value::Str(left), Value::Str(right)) => return joined(left, right, meter),
        (Add, Value::List(left), Value::List(right)) => {
            meter.values(left.items().len().saturating_add(right.items().len()))?;
            return Value::list([left.items(), right.items()].concat(), meter);
        }
        (Multiply, Value::Str(text), count) | (Multiply, count, Value::Str(text)) => {
            let count = count.as_i64().ok_or_else(unfit)?.max(0) as usize;
            meter.bytes(text.len().saturating_mul(count))?;
            return Ok(Value::Str(text.repeat(count).into()));
        }
        (Multiply, Value::List(list), count) | (Multiply, count, Value::List(list)) => {
            let count = count.as_i64().ok_or_else(unfit)?.max(0) as usize;
            meter.values(list.items().len().saturating_mul(count))?;
            let items = list.items().iter().cycle().take(list.items().len().saturating_mul(count));
            return Value::list(items.cloned().collect(), meter);
        }
        (Remainder, Value::Str(pattern), values) => {
            let one = [values.clone()];
            let values = if let Value::List(list) = values { list.items() } else { &one };
            return Ok(Value::Str(super::format::percent(pattern, values, meter)?.into()));
        }
        _ => {}
    }
    let overflow = || "a result is too large a number".to_owned();
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        let whole = match operator {
            Add => left.checked_add(right),
            Subtract => left.checked_sub(right),
            Multiply => left.checked_mul(right),
            FloorDivide | Remainder | Divide if right == 0 => return fail("a division by zero"),
            FloorDivide => left.checked_div_euclid(right).map(|quotient| {
                // Euclid's remainder is never negative, Python's has the sign of the divisor.
                if right < 0 && left.rem_euclid(right) != 0 { quotient - 1 } else { quotient }
            }),
            Remainder => left
                .checked_rem(right)
                .map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }),
            Power if right >= 0 => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
            _ => return Ok(Value::Float(float(left as f64, operator, right as f64))),
        };
        return Ok(Value::Int(whole.ok_or_else(overflow)?));
    }
    let (left, right) = (left.as_f64().ok_or_else(unfit)?, right.as_f64().ok_or_else(unfit)?);
    if right == 0.0 && matches!(operator, Divide | FloorDivide | Remainder) {
        return fail("a division by zero");
    }
    Ok(Value::Float(float(left, operator, right)))
}

fn float(left: f64, operator: Operator, right: f64) -> f64 {
    match operator {
        Operator::Add | Operator::Concatenate => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide => (left / right).floor(),
        Operator::Remainder => left - right * (left / right).floor(),
        Operator::Power => left.powf(right),
    }
}

fn joined(left: &str, right: &str, meter: &mut Meter) -> Outcome<Value> {
    meter.bytes(left.len() + right.len())?;
    Ok(Value::Str([left, right].concat().into()))
}

/// The result of a comparison.
pub(super) fn compare(left: &Value, comparison: Comparison, right: &Value, meter: &mut Meter) -> Outcome<bool> {
    use Comparison::*;
    Ok(match comparison {
        Equal => equal(left, right, meter)?,
        NotEqual => !equal(left, right, meter)?,
        In => contains(right, left, meter)?,
        NotIn => !contains(right, left, meter)?,
        Less => order(left, right, meter)? == Some(Ordering::Less),
        LessOrEqual => matches!(order(left, right, meter)?, Some(Ordering::Less | Ordering::Equal)),
        Greater => order(left, right, meter)? == Some(Ordering::Greater),
        GreaterOrEqual => matches!(order(left, right, meter)?, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// Whether two values are equal.
pub(super) fn equal(left: &Value, right: &Value, meter: &mut Meter) -> Outcome<bool> {
    meter.work(left.size().min(right.size()))?;
    Ok(same(left, right))
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Str(left), Value::Str(right)) => left == right,
        (Value::List(left), Value::List(right)) => {
            let (left, right) = (left.items(), right.items());
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Map(left), Value::Map(right)) => {
            // In the order of both sorted by key.
            let sorted = |map: &super::value::Dict| {
                let mut items = map.items().to_vec();
                items.sort_by(|(left, _), (right, _)| left.cmp(right));
                items
            };
            let (left, right) = (sorted(left), sorted(right));
            left.len() == right.len()
                && left.iter().zip(&right).all(|((own, left), (other, right))| own == other && same(left, right))
        }
        _ => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_f64().is_some_and(|left| right.as_f64() == Some(left)),
        },
    }
}

/// Whether `whole` has `part` as an item, a key or a part of its text.
pub(super) fn contains(whole: &Value, part: &Value, meter: &mut Meter) -> Outcome<bool> {
    match (whole, part) {
        (Value::Undefined, _) => Ok(false),
        (Value::Str(whole), Value::Str(part)) => {
            meter.bytes(whole.len())?;
            Ok(whole.contains(&**part))
        }
        (Value::List(list), _) => {
            for item in list.items() {
                if equal(item, part, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Map(map), Value::Str(key)) => Ok(map.get(key, meter)?.is_some()),
        (Value::Namespace(space), Value::Str(key)) => Ok(space.borrow().get(key, meter)?.is_some()),
        (Value::Map(_), _) => Ok(false),
        _ => fail(format!("`in` does not apply to a {} and a {}", part.kind(), whole.kind())),
    }
}

/// The order of two numbers or two texts, or of two lists of such.
pub(super) fn order(left: &Value, right: &Value, meter: &mut Meter) -> Outcome<Option<Ordering>> {
    meter.work(left.size().min(right.size()))?;
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => Ok(Some(left.cmp(right))),
        (Value::List(left), Value::List(right)) => {
            for (left, right) in left.items().iter().zip(right.items()) {
                match order(left, right, meter)? {
                    Some(Ordering::Equal) => {}
                    other => return Ok(other),
                }
            }
            Ok(Some(left.items().len().cmp(&right.items().len())))
        }
        _ => match (left.as_i64(), right.as_i64(), left.as_f64(), right.as_f64()) {
            (Some(left), Some(right), ..) => Ok(Some(left.cmp(&right))),
            (_, _, Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
            _ => fail(format!("a {} and a {} have no order", left.kind(), right.kind())),
        },
    }
}

/// `value[index]`.
pub(super) fn index(value: &Value, index: &Value, meter: &mut Meter) -> Outcome<Value> {
    let place = |len: usize| {
        let at = index.as_i64()?;
        let at = if at < 0 { at.checked_add(len as i64)? } else { at };
        usize::try_from(at).ok().filter(|at| *at < len)
    };
    Ok(match (value, index) {
        (Value::List(list), _) => place(list.items().len()).map_or(Value::Undefined, |at| list.items()[at].clone()),
        (Value::Str(text), Value::Int(_)) => {
            meter.bytes(text.len())?;
            let found = place(text.chars().count()).and_then(|at| text.chars().nth(at));
            found.map_or(Value::Undefined, |scalar| Value::text(scalar.encode_utf8(&mut [0; 4])))
        }
        (_, Value::Str(name)) => return attribute(value, name, meter),
        (Value::Undefined, _) => return fail("an undefined value has no items"),
        _ => Value::Undefined,
    })
}

/// `value.name`.
pub(super) fn attribute(value: &Value, name: &str, meter: &mut Meter) -> Outcome<Value> {
    let found = match value {
        Value::Undefined => return fail(format!("an undefined value has no `{name}`")),
        Value::Map(map) => map.get(name, meter)?.cloned(),
        Value::Namespace(space) => space.borrow().get(name, meter)?.cloned(),
        Value::Loop(state) => Some(state.attribute(name)),
        _ => None,
    };
    Ok(found.unwrap_or(Value::Undefined))
}

/// `value[start:stop:step]` of a text or a list.
pub(super) fn slice(value: &Value, bounds: [&Value; 3], meter: &mut Meter) -> Outcome<Value> {
    let number = |bound: &Value| match bound {
        Value::None | Value::Undefined => Ok(None),
        other => other.as_i64().map(Some).ok_or_else(|| format!("a {} is no bound of a slice", other.kind())),
    };
    let [start, stop, step] = [number(bounds[0])?, number(bounds[1])?, number(bounds[2])?];
    let step = step.unwrap_or(1);
    if step == 0 {
        return fail("a slice by steps of zero");
    }
    if !matches!(value, Value::Str(_) | Value::List(_) | Value::Undefined) {
        return fail(format!("a {} has no slices", value.kind()));
    }
    let list;
    let scalars: Vec<char>;
    let len = match value {
        Value::Str(text) => {
            meter.work(4 * text.len() as u64)?;
            list = None;
            scalars = text.chars().collect();
            scalars.len()
        }
        other => {
            list = Some(other.iterate(meter)?);
            scalars = Vec::new();
            list.as_ref().map_or(0, |list| list.items().len())
        }
    };
    let places = places(start, stop, step, len as i64);
    match list {
        None => Ok(Value::Str(places.filter_map(|at| scalars.get(at)).collect::<String>().into())),
        Some(list) => {
            meter.values(len)?;
            Value::list(places.filter_map(|at| list.items().get(at).cloned()).collect(), meter)
        }
    }
}

/// The places of a slice as Python counts them; `len` is far below the largest number.
fn places(start: Option<i64>, stop: Option<i64>, step: i64, len: i64) -> impl Iterator<Item = usize> {
    // Of backward slices the places before the first item and behind the last count.
    let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |bound: Option<i64>, otherwise: i64| match bound {
        None => otherwise,
        Some(at) if at < 0 => at.saturating_add(len).clamp(least, most),
        Some(at) => at.clamp(least, most),
    };
    let (first, end) = match step > 0 {
        true => (clamp(start, 0), clamp(stop, len)),
        false => (clamp(start, len - 1), clamp(stop, -1)),
    };
    let next = move |at: &i64| at.checked_add(step);
    std::iter::successors(Some(first), next)
        .take_while(move |at| if step > 0 { *at < end } else { *at > end })
        .map(|at| at as usize)
}

/// `value is name(argument)`.
pub(super) fn test(name: &str, value: &Value, argument: Option<&Value>, meter: &mut Meter) -> Outcome<bool> {
    let argument = || argument.ok_or_else(|| format!("the test `{name}` needs an argument"));
    let comparison = match name {
        "eq" | "equalto" | "==" => Some(Comparison::Equal),
        "ne" | "!=" => Some(Comparison::NotEqual),
        "lt" | "lessthan" | "<" => Some(Comparison::Less),
        "le" | "<=" => Some(Comparison::LessOrEqual),
        "gt" | "greaterthan" | ">" => Some(Comparison::Greater),
        "ge" | ">=" => Some(Comparison::GreaterOrEqual),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        return compare(value, comparison, argument()?, meter);
    }
    let whole =
        || value.as_i64().ok_or_else(|| format!("the test `{name}` needs a whole number, got a {}", value.kind()));
    let cased = |is: fn(char) -> bool, is_not: fn(char) -> bool| {
        value.as_str().is_some_and(|text| text.chars().any(is) && !text.chars().any(is_not))
    };
    meter.work(value.as_str().map_or(1, str::len) as u64)?;
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "none" => matches!(value, Value::None),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "boolean" => matches!(value, Value::Bool(_)),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Map(_)),
        "sequence" => matches!(value, Value::List(_) | Value::Str(_) | Value::Map(_)),
        "iterable" => matches!(value, Value::List(_) | Value::Str(_) | Value::Map(_) | Value::Undefined),
        "number" => value.as_f64().is_some(),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "callable" => matches!(value, Value::Macro(_) | Value::Function(_)),
        "odd" => whole()?.rem_euclid(2) == 1,
        "even" => whole()?.rem_euclid(2) == 0,
        "divisibleby" => {
            let divisor = argument()?.as_i64().filter(|divisor| *divisor != 0);
            let divisor = divisor.ok_or_else(|| "the test `divisibleby` needs a number other than 0".to_owned())?;
            whole()?.wrapping_rem(divisor) == 0
        }
        "lower" => cased(char::is_lowercase, char::is_uppercase),
        "upper" => cased(char::is_uppercase, char::is_lowercase),
        "sameas" => match (value, argument()?) {
            (Value::List(left), Value::List(right)) => std::rc::Rc::ptr_eq(left, right),
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
            (_, other) => equal(value, other, meter)?,
        },
        "startingwith" => value.as_str().zip(argument()?.as_str()).is_some_and(|(text, start)| text.starts_with(start)),
        "endingwith" => value.as_str().zip(argument()?.as_str()).is_some_and(|(text, end)| text.ends_with(end)),
        other => return fail(format!("unknown test `{other}`")),
    })
}
