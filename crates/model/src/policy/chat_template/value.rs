//! Values of a running template. Lists and dictionaries know how large they are with all that they hold, each thing
//! counted as often as it appears, so that whoever walks through one can pay beforehand.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::limits::{Failure, Meter, Outcome, VALUE_DEPTH, fail};
use super::syntax::Macro;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Rc<List>),
    Map(Rc<Dict>),
    /// What `namespace()` makes.
    Namespace(Rc<RefCell<Dict>>),
    Macro(Arc<Macro>),
    Loop(Rc<Loop>),
    Function(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct List {
    items: Vec<Value>,
    extent: Extent,
}

/// A dictionary in the order of its keys' appearance.
#[derive(Debug, Default)]
pub(super) struct Dict {
    items: Vec<(Arc<str>, Value)>,
    extent: Extent,
}

/// The variable `loop`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) index: usize,
    pub(super) items: Rc<List>,
    pub(super) depth: usize,
    /// What `loop.changed` was last given.
    pub(super) last: Rc<RefCell<Option<Value>>>,
}

/// How large a value is, in bytes or so, and how deeply nested.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    size: u64,
    depth: u64,
}

impl Extent {
    fn hold(&mut self, key: usize, value: &Value) -> Outcome<()> {
        let inner = match value {
            Value::List(list) => list.extent,
            Value::Map(map) => map.extent,
            Value::Str(text) => Extent { size: text.len() as u64, depth: 0 },
            // What has a life of its own could come to hold what holds it.
            Value::Namespace(_) | Value::Macro(_) | Value::Loop(_) | Value::Function(_) => {
                return fail(format!("a {} cannot be put into another value", value.kind()));
            }
            _ => Extent::default(),
        };
        self.size = self.size.saturating_add(inner.size).saturating_add(key as u64 + 24);
        self.depth = self.depth.max(inner.depth + 1);
        match self.depth <= VALUE_DEPTH {
            true => Ok(()),
            false => {
                Err(Failure::Limit { limit: "levels of lists and dictionaries in one another", most: VALUE_DEPTH })
            }
        }
    }
}

impl List {
    /// A list; its items are paid for.
    pub(super) fn new(items: Vec<Value>, meter: &mut Meter) -> Outcome<Self> {
        meter.values(items.len())?;
        let mut extent = Extent::default();
        items.iter().try_for_each(|item| extent.hold(0, item))?;
        Ok(Self { items, extent })
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Dict {
    /// An object of JSON. Its size is not paid for: it is what there is to render.
    pub(super) fn from_json(json: &serde_json::Map<String, serde_json::Value>) -> Outcome<Self> {
        let mut dict = Self::default();
        for (key, value) in json {
            let value = from_json(value)?;
            dict.extent.hold(key.len(), &value)?;
            dict.items.push((key.as_str().into(), value));
        }
        Ok(dict)
    }

    pub(super) fn size(&self) -> u64 {
        self.extent.size
    }

    pub(super) fn items(&self) -> &[(Arc<str>, Value)] {
        &self.items
    }

    pub(super) fn get(&self, key: &str, meter: &mut Meter) -> Outcome<Option<&Value>> {
        meter.work(self.items.len() as u64)?;
        Ok(self.items.iter().find(|(own, _)| **own == *key).map(|(_, value)| value))
    }

    /// Sets a key. A size once reached stays, whatever is set later.
    pub(super) fn set(&mut self, key: Arc<str>, value: Value, meter: &mut Meter) -> Outcome<()> {
        meter.values(1)?;
        meter.work(self.items.len() as u64)?;
        self.extent.hold(key.len(), &value)?;
        match self.items.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) => *own = value,
            None => self.items.push((key, value)),
        }
        Ok(())
    }
}

fn from_json(json: &serde_json::Value) -> Outcome<Value> {
    use serde_json::Value as Json;
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        Json::String(text) => Value::text(text),
        Json::Array(array) => {
            let mut list = List::default();
            for item in array {
                let item = from_json(item)?;
                list.extent.hold(0, &item)?;
                list.items.push(item);
            }
            Value::List(Rc::new(list))
        }
        Json::Object(object) => Value::Map(Rc::new(Dict::from_json(object)?)),
    })
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn list(items: Vec<Value>, meter: &mut Meter) -> Outcome<Self> {
        Ok(Self::List(Rc::new(List::new(items, meter)?)))
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined value",
            Self::None => "none",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Str(_) => "text",
            Self::List(_) => "list",
            Self::Map(_) => "dictionary",
            Self::Namespace(_) => "namespace",
            Self::Macro(_) => "macro",
            Self::Loop(_) => "loop variable",
            Self::Function(_) => "function",
        }
    }

    /// Bytes that whoever walks through all of it meets.
    pub(super) fn size(&self) -> u64 {
        let inner = match self {
            Self::Str(text) => text.len() as u64,
            Self::List(list) => list.extent.size,
            Self::Map(map) => map.extent.size,
            _ => 0,
        };
        inner.saturating_add(16)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// A number as a float; a boolean is 0 or 1.
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => self.as_i64().map(|number| number as f64),
        }
    }

    /// A whole number; a boolean is 0 or 1.
    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.items.is_empty(),
            Self::Namespace(_) | Self::Macro(_) | Self::Loop(_) | Self::Function(_) => true,
        }
    }

    /// What a loop over it gives: items, keys, characters.
    pub(super) fn iterate(&self, meter: &mut Meter) -> Outcome<Rc<List>> {
        let items = match self {
            Self::List(list) => return Ok(Rc::clone(list)),
            Self::Undefined => Vec::new(),
            Self::Map(map) => {
                meter.values(map.items.len())?;
                map.items.iter().map(|(key, _)| Self::Str(Arc::clone(key))).collect()
            }
            Self::Str(text) => {
                meter.work(64 * text.len() as u64)?;
                let mut buffer = [0; 4];
                text.chars().map(|scalar| Self::text(scalar.encode_utf8(&mut buffer))).collect()
            }
            other => return fail(format!("a {} cannot be iterated over", other.kind())),
        };
        Ok(Rc::new(List::new(items, meter)?))
    }

    /// Number of items, keys or characters.
    pub(super) fn len(&self, meter: &mut Meter) -> Outcome<usize> {
        match self {
            Self::Undefined => Ok(0),
            Self::Str(text) => {
                meter.bytes(text.len())?;
                Ok(text.chars().count())
            }
            Self::List(list) => Ok(list.items.len()),
            Self::Map(map) => Ok(map.items.len()),
            other => fail(format!("a {} has no length", other.kind())),
        }
    }
}

impl Loop {
    pub(super) fn attribute(&self, name: &str) -> Value {
        let (items, index) = (self.items.items(), self.index);
        let int = |number: usize| Value::Int(number as i64);
        let item = |at: Option<usize>| at.and_then(|at| items.get(at)).cloned().unwrap_or(Value::Undefined);
        match name {
            "index" => int(index + 1),
            "index0" => int(index),
            "revindex" => int(items.len() - index),
            "revindex0" => int(items.len() - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == items.len()),
            "length" => int(items.len()),
            "depth" => int(self.depth + 1),
            "depth0" => int(self.depth),
            "previtem" => item(index.checked_sub(1)),
            "nextitem" => item(Some(index + 1)),
            _ => Value::Undefined,
        }
    }
}
