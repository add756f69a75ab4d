//! Numbers of the command line that are none, in plain words.

use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue};

/// The text of an error of the command line, with words of its own for a number that is none.
pub(super) fn rendered(error: &clap::Error) -> Option<String> {
    let source = error.source()?;
    let expected = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "the number is too large",
        Some(IntErrorKind::InvalidDigit) if is_negative(error) => "the number must not be negative",
        Some(_) => "a whole number is expected, in digits alone",
        None => source.downcast_ref::<ParseFloatError>().map(|_| "a number is expected, such as 0.5")?,
    };
    Some(error.render().to_string().replace(&source.to_string(), expected))
}

/// Whether what was typed is a whole number below 0.
fn is_negative(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.parse::<i128>().is_ok_and(|number| number < 0),
        _ => false,
    }
}
