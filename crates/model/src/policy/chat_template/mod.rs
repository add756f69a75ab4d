//! Chat templates: the Jinja that a model directory says how to write a conversation in.
//!
//! A template is a program of whoever published the model, so it runs within `limits`: nesting is bounded when it is
//! parsed, and work, memory and output are metered while it runs, in proportion to the conversation that it is given. The
//! interpreter is our own because no meter can be put around somebody else's: an instruction of a general engine may
//! double a text or compare lists that hold each other, and parse trees and values are as deep as the template likes.
//!
//! What templates on the hub use is there: `for`, `if`, `set`, `macro`, `with`, `do`, `raw`, `break`, `continue`,
//! `generation`, namespaces, slices, methods of Python's strings and dictionaries, `raise_exception`. Values print, and
//! `tojson` writes, as in `transformers`. Templates cannot include files; in place of a clock they have a day that is given
//! ([`Date`]).

mod date;
mod filters;
mod format;
mod interpreter;
mod lexer;
mod limits;
mod methods;
mod operators;
mod parser;
mod syntax;
mod value;

use std::rc::Rc;
use std::sync::Arc;

pub use date::Date;
use limits::{Failure, Meter};
use value::{Dict, Value};

/// What a chat template is given beside a conversation: by whoever configures a run, so that the same configuration makes
/// the same prompts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateSettings {
    /// Variables by name, such as `enable_thinking`: the `chat_template_kwargs` of `transformers` and vLLM.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// What `strftime_now` takes for today.
    pub date: Date,
}

/// Why a chat template is not one, or does not render.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no Jinja, or Jinja of a kind that chat templates do not use.
    #[error("{template}, line {line}: {detail}")]
    Syntax {
        /// Where the template comes from, such as `chat_template.jinja`.
        template: String,
        /// Counted from 1.
        line: u32,
        /// What is wrong.
        detail: String,
    },
    /// It asks for more than a template may.
    #[error(
        "{template}, line {line}: the template goes beyond the limit of {most} {limit}; \
         no template that writes a conversation needs that much: take the model from another source"
    )]
    Limit {
        /// Where the template comes from.
        template: String,
        /// Counted from 1.
        line: u32,
        /// What is limited.
        limit: &'static str,
        /// The limit.
        most: u64,
    },
    /// It cannot be rendered with this conversation, or refuses it by `raise_exception`.
    #[error("{template}, line {line}: {detail}")]
    Render {
        /// Where the template comes from.
        template: String,
        /// Counted from 1.
        line: u32,
        /// What is wrong, or what the template says.
        detail: String,
    },
}

/// A parsed chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    /// Where it comes from.
    name: String,
    source: String,
    body: Arc<[syntax::Node]>,
}

impl ChatTemplate {
    /// Parses the template that `name` (a file, for messages) holds.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`], or [`TemplateError::Limit`] if it is too long or too deeply nested.
    pub fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        let failed = |(line, failure): (u32, Failure)| match failure {
            Failure::Limit { limit, most } => TemplateError::Limit { template: name.to_owned(), line, limit, most },
            Failure::Message(detail) => {
                TemplateError::Syntax { template: name.to_owned(), line, detail: shortened(detail) }
            }
        };
        if source.len() as u64 > limits::SOURCE_BYTES {
            return Err(failed((1, Failure::Limit { limit: "bytes of source", most: limits::SOURCE_BYTES })));
        }
        let tokens = lexer::tokens(source).map_err(failed)?;
        let body = parser::Parser::new(tokens).template().map_err(failed)?;
        Ok(Self { name: name.to_owned(), source: source.to_owned(), body: body.into() })
    }

    /// As it was parsed.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation. `context` is an object: `messages`, `add_generation_prompt` and so on; what it has not is
    /// undefined. `today` is the day of `strftime_now`.
    ///
    /// # Errors
    /// [`TemplateError::Render`] or [`TemplateError::Limit`].
    pub fn render(
        &self,
        context: &serde_json::Map<String, serde_json::Value>,
        today: Date,
    ) -> Result<String, TemplateError> {
        let at = |line, failure| match failure {
            Failure::Limit { limit, most } => TemplateError::Limit { template: self.name.clone(), line, limit, most },
            Failure::Message(detail) => {
                TemplateError::Render { template: self.name.clone(), line, detail: shortened(detail) }
            }
        };
        let variables = Dict::from_json(context).map_err(|failure| at(1, failure))?;
        let meter = Meter::for_input(variables.size());
        let mut interpreter = interpreter::Interpreter::new(&Value::Map(Rc::new(variables)), today, meter);
        match interpreter.run(&self.body) {
            Ok(()) => Ok(interpreter.into_output()),
            Err(failure) => Err(at(interpreter.line(), failure)),
        }
    }
}

/// A message that a template has a part in, no longer than one is read.
fn shortened(detail: String) -> String {
    match detail.char_indices().nth(1_000) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail,
    }
}

#[cfg(test)]
mod tests;
