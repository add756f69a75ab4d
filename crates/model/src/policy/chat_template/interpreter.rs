//! Runs a parsed template.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::date::Date;
use super::filters::{FUNCTIONS, apply, function};
use super::format::printed;
use super::limits::{DEPTH, Failure, Meter, Outcome, fail};
use super::methods::{self, Given};
use super::operators::{arithmetic, attribute, compare, index, slice, test};
use super::syntax::{Arguments, Expr, For, Macro, Node, Operator, Statement, Step, Target};
use super::value::{List, Loop, Value};

/// Work of a statement or an expression beside what it does to bytes.
const STEP: u64 = 16;

/// Variables by name, the newest last.
type Frame = Vec<(Arc<str>, Value)>;

/// Whether a loop goes on.
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Interpreter {
    /// The template's own variables, then those of each loop and block around what runs.
    frames: Vec<Frame>,
    /// The prompt, then what blocks and macros around what runs have written.
    outputs: Vec<String>,
    today: Date,
    meter: Meter,
    depth: u64,
    loops: usize,
    line: u32,
}

impl Interpreter {
    pub(super) fn new(variables: &Value, today: Date, meter: Meter) -> Self {
        let mut root: Frame = FUNCTIONS.iter().map(|name| ((*name).into(), Value::Function(name))).collect();
        if let Value::Map(map) = variables {
            root.extend(map.items().iter().cloned());
        }
        Self { frames: vec![root], outputs: vec![String::new()], today, meter, depth: 0, loops: 0, line: 1 }
    }

    pub(super) fn run(&mut self, body: &[Node]) -> Outcome<()> {
        self.block(body).map(drop)
    }

    pub(super) fn into_output(mut self) -> String {
        self.outputs.pop().unwrap_or_default()
    }

    /// The line of the statement that runs.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= DEPTH {
            return Err(Failure::Limit {
                limit: "levels of macros, statements and expressions in one another",
                most: DEPTH,
            });
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn block(&mut self, body: &[Node]) -> Outcome<Flow> {
        self.deeper(|this| {
            for node in body {
                this.line = node.line;
                this.meter.work(STEP)?;
                match this.statement(&node.statement)? {
                    Flow::Next => {}
                    flow => return Ok(flow),
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&mut self, statement: &Statement) -> Outcome<Flow> {
        match statement {
            Statement::Text(text) => self.write(text)?,
            Statement::Print(value) => {
                let value = self.evaluate(value)?;
                let text = printed(&value, &mut self.meter)?;
                self.write(&text)?;
            }
            Statement::For(one) => return self.for_loop(one),
            Statement::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.evaluate(condition)?.is_true() {
                        return self.block(body);
                    }
                }
                return self.block(otherwise);
            }
            Statement::Set(target, value) => {
                let value = self.evaluate(value)?;
                self.assign(target, value)?;
            }
            Statement::SetBlock(target, filters, body) => {
                let (text, flow) = self.captured(body)?;
                let value = self.steps(Value::Str(text.into()), filters)?;
                self.assign(target, value)?;
                return Ok(flow);
            }
            Statement::With(assigned, body) => {
                let values = assigned.iter().map(|(_, value)| self.evaluate(value)).collect::<Outcome<Vec<_>>>()?;
                self.frames.push(Frame::new());
                for ((target, _), value) in assigned.iter().zip(values) {
                    self.assign(target, value)?;
                }
                let flow = self.block(body)?;
                self.frames.pop();
                return Ok(flow);
            }
            Statement::Macro(own) => self.set(&own.name, Value::Macro(Arc::clone(own))),
            Statement::Do(value) => drop(self.evaluate(value)?),
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Writes to the prompt, or to the block around.
    fn write(&mut self, text: &str) -> Outcome<()> {
        self.meter.bytes(text.len())?;
        if self.outputs.len() == 1 {
            self.meter.output(text.len())?;
        }
        if let Some(output) = self.outputs.last_mut() {
            output.push_str(text);
        }
        Ok(())
    }

    /// What a body writes.
    fn captured(&mut self, body: &[Node]) -> Outcome<(String, Flow)> {
        self.outputs.push(String::new());
        let flow = self.block(body)?;
        let text = self.outputs.pop().unwrap_or_default();
        self.meter.bytes(text.len())?;
        Ok((text, flow))
    }

    fn set(&mut self, name: &Arc<str>, value: Value) {
        if let Some(frame) = self.frames.last_mut() {
            match frame.iter_mut().find(|(own, _)| own == name) {
                Some((_, own)) => *own = value,
                None => frame.push((Arc::clone(name), value)),
            }
        }
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        self.meter.work(STEP + self.frames.last().map_or(0, Vec::len) as u64)?;
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Attribute(space, name) => match self.variable(space)? {
                Value::Namespace(space) => space.borrow_mut().set(Arc::clone(name), value, &mut self.meter)?,
                other => {
                    return fail(format!("`{space}` is a {}, and only a namespace can be assigned to", other.kind()));
                }
            },
            Target::Several(targets) => {
                let items = value.iterate(&mut self.meter)?;
                if items.items().len() != targets.len() {
                    return fail(format!("{} values for {} names", items.items().len(), targets.len()));
                }
                for (target, item) in targets.iter().zip(items.items()) {
                    self.assign(target, item.clone())?;
                }
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str) -> Outcome<Value> {
        for frame in self.frames.iter().rev() {
            self.meter.work(frame.len() as u64)?;
            if let Some((_, value)) = frame.iter().find(|(own, _)| **own == *name) {
                return Ok(value.clone());
            }
        }
        Ok(Value::Undefined)
    }

    fn for_loop(&mut self, one: &For) -> Outcome<Flow> {
        let mut items = self.evaluate(&one.items)?.iterate(&mut self.meter)?;
        self.frames.push(Frame::new());
        if let Some(only) = &one.only {
            let mut kept = Vec::new();
            for item in items.items() {
                self.clear_frame();
                self.assign(&one.target, item.clone())?;
                if self.evaluate(only)?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = Rc::new(List::new(kept, &mut self.meter)?);
        }
        let last = Rc::new(RefCell::new(None));
        let name: Arc<str> = "loop".into();
        self.loops += 1;
        for (index, item) in items.items().iter().enumerate() {
            self.clear_frame();
            let state = Loop { index, items: Rc::clone(&items), depth: self.loops - 1, last: Rc::clone(&last) };
            self.set(&name, Value::Loop(Rc::new(state)));
            self.meter.work(4 * STEP)?;
            self.assign(&one.target, item.clone())?;
            if let Flow::Break = self.block(&one.body)? {
                break;
            }
        }
        self.loops -= 1;
        self.frames.pop();
        if items.items().is_empty() { self.block(&one.otherwise) } else { Ok(Flow::Next) }
    }

    fn clear_frame(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.clear();
        }
    }

    fn evaluate(&mut self, expr: &Expr) -> Outcome<Value> {
        self.meter.work(STEP)?;
        Ok(match expr {
            Expr::None => Value::None,
            Expr::Bool(flag) => Value::Bool(*flag),
            Expr::Int(number) => Value::Int(*number),
            Expr::Float(number) => Value::Float(*number),
            Expr::Str(text) => Value::Str(Arc::clone(text)),
            Expr::Name(name) => self.variable(name)?,
            _ => return self.deeper(|this| this.compound(expr)),
        })
    }

    fn compound(&mut self, expr: &Expr) -> Outcome<Value> {
        Ok(match expr {
            Expr::List(items) => {
                let items = items.iter().map(|item| self.evaluate(item)).collect::<Outcome<_>>()?;
                Value::list(items, &mut self.meter)?
            }
            Expr::Dict(items) => {
                let mut given = Given::default();
                for (key, item) in items {
                    let key = self.evaluate(key)?;
                    let key = printed(&key, &mut self.meter)?;
                    given.named.push((key.into(), self.evaluate(item)?));
                }
                function("dict", &given, self.today, &mut self.meter)?
            }
            Expr::Postfix(value, steps) => {
                let value = self.evaluate(value)?;
                self.steps(value, steps)?
            }
            Expr::Signed(signs, value) => {
                let mut value = self.evaluate(value)?;
                for is_minus in signs.iter().rev() {
                    self.meter.work(STEP)?;
                    let sign = if *is_minus { Operator::Subtract } else { Operator::Add };
                    value = match (*is_minus, value) {
                        (true, Value::Float(number)) => Value::Float(-number),
                        (_, value) => arithmetic(&Value::Int(0), sign, &value, &mut self.meter)?,
                    };
                }
                value
            }
            Expr::Not(value) => Value::Bool(!self.evaluate(value)?.is_true()),
            Expr::Arithmetic(first, rest) => {
                let mut value = self.evaluate(first)?;
                for (operator, next) in rest {
                    let next = self.evaluate(next)?;
                    value = arithmetic(&value, *operator, &next, &mut self.meter)?;
                }
                value
            }
            Expr::Compare(first, rest) => {
                let mut left = self.evaluate(first)?;
                for (comparison, next) in rest {
                    let next = self.evaluate(next)?;
                    if !compare(&left, *comparison, &next, &mut self.meter)? {
                        return Ok(Value::Bool(false));
                    }
                    left = next;
                }
                Value::Bool(true)
            }
            Expr::And(parts) | Expr::Or(parts) => {
                let stops_at = matches!(expr, Expr::Or(_));
                let mut value = Value::Undefined;
                for part in parts {
                    value = self.evaluate(part)?;
                    if value.is_true() == stops_at {
                        break;
                    }
                }
                value
            }
            Expr::If(condition, value, otherwise) => match (self.evaluate(condition)?.is_true(), otherwise) {
                (true, _) => self.evaluate(value)?,
                (false, Some(otherwise)) => self.evaluate(otherwise)?,
                (false, None) => Value::Undefined,
            },
            simple => self.evaluate(simple)?,
        })
    }

    fn steps(&mut self, mut value: Value, steps: &[Step]) -> Outcome<Value> {
        let mut steps = steps.iter().peekable();
        while let Some(step) = steps.next() {
            self.meter.work(STEP)?;
            value = match step {
                Step::Attribute(name) => match steps.peek() {
                    Some(Step::Call(arguments)) => {
                        steps.next();
                        let given = self.given(arguments)?;
                        match methods::call(&value, name, &given, &mut self.meter)? {
                            Some(found) => found,
                            None => match attribute(&value, name, &mut self.meter)? {
                                Value::Undefined => return fail(format!("a {} has no method `{name}`", value.kind())),
                                found => self.call(&found, given)?,
                            },
                        }
                    }
                    _ => attribute(&value, name, &mut self.meter)?,
                },
                Step::Index(at) => {
                    let at = self.evaluate(at)?;
                    index(&value, &at, &mut self.meter)?
                }
                Step::Slice(bounds) => {
                    let mut given = [Value::None, Value::None, Value::None];
                    for (given, bound) in given.iter_mut().zip(bounds) {
                        if let Some(bound) = bound {
                            *given = self.evaluate(bound)?;
                        }
                    }
                    slice(&value, [&given[0], &given[1], &given[2]], &mut self.meter)?
                }
                Step::Call(arguments) => {
                    let given = self.given(arguments)?;
                    self.call(&value, given)?
                }
                Step::Filter(name, arguments) => {
                    let given = self.given(arguments)?;
                    apply(name, &value, &given, &mut self.meter)?
                }
                Step::Test { name, arguments, negated } => {
                    let given = self.given(arguments)?;
                    let is = test(name, &value, given.positional.first(), &mut self.meter)?;
                    Value::Bool(is != *negated)
                }
            };
        }
        Ok(value)
    }

    fn given(&mut self, arguments: &Arguments) -> Outcome<Given> {
        let positional = arguments.positional.iter().map(|value| self.evaluate(value)).collect::<Outcome<_>>()?;
        let named = arguments.named.iter().map(|(name, value)| Ok((Arc::clone(name), self.evaluate(value)?)));
        Ok(Given { positional, named: named.collect::<Outcome<_>>()? })
    }

    fn call(&mut self, called: &Value, given: Given) -> Outcome<Value> {
        match called {
            Value::Function(name) => function(name, &given, self.today, &mut self.meter),
            Value::Macro(own) => {
                let own = Arc::clone(own);
                self.call_macro(&own, given)
            }
            other => fail(format!("a {} cannot be called", other.kind())),
        }
    }

    /// Macros see the variables of the template and their own.
    fn call_macro(&mut self, own: &Macro, given: Given) -> Outcome<Value> {
        if given.positional.len() > own.parameters.len() {
            return fail(format!("the macro `{}` takes {} arguments", own.name, own.parameters.len()));
        }
        let known = |name: &str| own.parameters.iter().any(|(own, _)| **own == *name);
        if let Some((name, _)) = given.named.iter().find(|(name, _)| !known(name)) {
            return fail(format!("the macro `{}` has no parameter `{name}`", own.name));
        }
        let callers = self.frames.split_off(1);
        self.frames.push(Frame::new());
        for (place, (name, default)) in own.parameters.iter().enumerate() {
            let value = match (given.get(place, name), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.evaluate(default)?,
                (None, None) => Value::Undefined,
            };
            self.set(name, value);
        }
        let line = self.line;
        let (text, _) = self.captured(&own.body)?;
        self.line = line;
        self.frames.truncate(1);
        self.frames.extend(callers);
        Ok(Value::Str(text.into()))
    }
}
