//! Tokens to a tree.

use std::sync::Arc;

use super::lexer::Token;
use super::limits::{Failure, NESTING, Outcome, fail};
use super::syntax::{Arguments, Comparison, Expr, For, Macro, Node, Operator, Statement, Step, Target};

pub(super) struct Parser {
    tokens: Vec<(u32, Token)>,
    at: usize,
    depth: u64,
}

const RESERVED: [&str; 8] = ["and", "or", "not", "in", "is", "if", "else", "elif"];

impl Parser {
    pub(super) fn new(tokens: Vec<(u32, Token)>) -> Self {
        Self { tokens, at: 0, depth: 0 }
    }

    /// The whole template; an error has its line.
    pub(super) fn template(mut self) -> Result<Vec<Node>, (u32, Failure)> {
        let body = self.body(&[]).and_then(|(body, _)| match self.peek() {
            None => Ok(body),
            Some(_) => fail("a tag closes what was not opened"),
        });
        body.map_err(|failure| (self.line(), failure))
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or_else(|| self.tokens.last()).map_or(1, |(line, _)| *line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(own)) if *own == sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(own)) if &**own == name)
    }

    fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Outcome<()> {
        if self.skip_sign(sign) { Ok(()) } else { self.unexpected(&format!("`{sign}`")) }
    }

    fn unexpected<T>(&self, expected: &str) -> Outcome<T> {
        let got = match self.peek() {
            None | Some(Token::PrintEnd | Token::TagEnd) => "the end of the tag".to_owned(),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
            Some(Token::Str(_)) => "a text".to_owned(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".to_owned(),
            Some(_) => "a tag".to_owned(),
        };
        fail(format!("{expected} expected, got {got}"))
    }

    fn name(&mut self) -> Outcome<Arc<str>> {
        match self.peek() {
            Some(Token::Name(name)) if !RESERVED.contains(&&**name) => {
                let name = Arc::clone(name);
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    /// Parses something that may contain itself.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= NESTING {
            return Err(Failure::Limit { limit: "levels of nesting", most: NESTING });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a tag that begins with one of `ends`, which is taken and returned.
    fn body(&mut self, ends: &[&str]) -> Outcome<(Vec<Node>, String)> {
        self.nested(|parser| {
            let mut body = Vec::new();
            loop {
                let line = parser.line();
                let statement = match parser.peek() {
                    None if ends.is_empty() => return Ok((body, String::new())),
                    None => return fail(format!("`{}` is missing", ends.last().copied().unwrap_or_default())),
                    Some(Token::Text(text)) => {
                        let text = Arc::clone(text);
                        parser.at += 1;
                        Statement::Text(text)
                    }
                    Some(Token::PrintStart) => {
                        parser.at += 1;
                        let printed = parser.expression()?;
                        if parser.peek() != Some(&Token::PrintEnd) {
                            return parser.unexpected("the end of the tag");
                        }
                        parser.at += 1;
                        Statement::Print(printed)
                    }
                    _ => {
                        parser.at += 1;
                        let Some(Token::Name(word)) = parser.peek() else { return parser.unexpected("a statement") };
                        let word = word.to_string();
                        if ends.contains(&word.as_str()) {
                            parser.at += 1;
                            return Ok((body, word));
                        }
                        parser.at += 1;
                        if word == "generation" {
                            // Marks what the assistant wrote for a mask of training; the text is as without it.
                            parser.tag_end()?;
                            body.extend(parser.body(&["endgeneration"])?.0);
                            parser.tag_end()?;
                            continue;
                        }
                        let statement = parser.statement(&word)?;
                        parser.tag_end()?;
                        statement
                    }
                };
                body.push(Node { line, statement });
            }
        })
    }

    fn tag_end(&mut self) -> Outcome<()> {
        if self.peek() != Some(&Token::TagEnd) {
            return self.unexpected("the end of the tag");
        }
        self.at += 1;
        Ok(())
    }

    /// A statement up to the end of its last tag.
    fn statement(&mut self, word: &str) -> Outcome<Statement> {
        match word {
            "for" => self.for_statement(),
            "if" => self.if_statement(),
            "set" => self.set_statement(),
            "macro" => self.macro_statement(),
            "with" => {
                let mut assigned = Vec::new();
                while self.peek() != Some(&Token::TagEnd) {
                    let target = self.target()?;
                    self.expect_sign("=")?;
                    assigned.push((target, self.expression()?));
                    if !self.skip_sign(",") {
                        break;
                    }
                }
                self.tag_end()?;
                Ok(Statement::With(assigned, self.body(&["endwith"])?.0))
            }
            "do" => Ok(Statement::Do(self.expression()?)),
            "break" => Ok(Statement::Break),
            "continue" => Ok(Statement::Continue),
            other => fail(format!("unknown statement `{other}`")),
        }
    }

    fn for_statement(&mut self) -> Outcome<Statement> {
        let target = self.target()?;
        if !self.skip_name("in") {
            return self.unexpected("`in`");
        }
        // Without `x if y else z`: `if` says which items are taken.
        let items = self.tuple_or(Self::or)?;
        let only = if self.skip_name("if") { Some(self.expression()?) } else { None };
        self.tag_end()?;
        let (body, end) = self.body(&["else", "endfor"])?;
        let otherwise = if end == "else" {
            self.tag_end()?;
            self.body(&["endfor"])?.0
        } else {
            Vec::new()
        };
        Ok(Statement::For(For { target, items, only, body, otherwise }))
    }

    fn if_statement(&mut self) -> Outcome<Statement> {
        let mut branches = Vec::new();
        let mut end = "elif".to_owned();
        while end == "elif" {
            let test = self.expression()?;
            self.tag_end()?;
            let (body, next) = self.body(&["elif", "else", "endif"])?;
            branches.push((test, body));
            end = next;
        }
        let mut otherwise = Vec::new();
        if end == "else" {
            self.tag_end()?;
            otherwise = self.body(&["endif"])?.0;
        }
        Ok(Statement::If(branches, otherwise))
    }

    fn set_statement(&mut self) -> Outcome<Statement> {
        let target = self.target()?;
        if self.skip_sign("=") {
            return Ok(Statement::Set(target, self.tuple_or(Self::expression)?));
        }
        let mut filters = Vec::new();
        while self.skip_sign("|") {
            filters.push(self.filter()?);
        }
        self.tag_end()?;
        Ok(Statement::SetBlock(target, filters, self.body(&["endset"])?.0))
    }

    fn macro_statement(&mut self) -> Outcome<Statement> {
        let name = self.name()?;
        self.expect_sign("(")?;
        let mut parameters = Vec::new();
        while !self.skip_sign(")") {
            let parameter = self.name()?;
            let default = if self.skip_sign("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter, default));
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.unexpected("`,` or `)`");
            }
        }
        self.tag_end()?;
        let body = self.body(&["endmacro"])?.0;
        // The name may be said again.
        if matches!(self.peek(), Some(Token::Name(_))) {
            self.at += 1;
        }
        Ok(Statement::Macro(Arc::new(Macro { name, parameters, body })))
    }

    fn target(&mut self) -> Outcome<Target> {
        let first = self.one_target()?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut several = vec![first];
        while self.skip_sign(",") {
            several.push(self.one_target()?);
        }
        Ok(Target::Several(several))
    }

    fn one_target(&mut self) -> Outcome<Target> {
        if self.skip_sign("(") {
            let inner = self.nested(Self::target)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let name = self.name()?;
        if self.skip_sign(".") { Ok(Target::Attribute(name, self.name()?)) } else { Ok(Target::Name(name)) }
    }

    /// One expression, or several with commas between them, which are a list.
    fn tuple_or(&mut self, parse: fn(&mut Self) -> Outcome<Expr>) -> Outcome<Expr> {
        let first = parse(self)?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign(",") {
            if matches!(self.peek(), None | Some(Token::TagEnd)) || self.is_sign(")") {
                break;
            }
            items.push(parse(self)?);
        }
        Ok(Expr::List(items))
    }

    fn expression(&mut self) -> Outcome<Expr> {
        self.nested(|parser| {
            let value = parser.or()?;
            if !parser.skip_name("if") {
                return Ok(value);
            }
            let test = parser.or()?;
            let otherwise = if parser.skip_name("else") { Some(Box::new(parser.expression()?)) } else { None };
            Ok(Expr::If(Box::new(test), Box::new(value), otherwise))
        })
    }

    fn or(&mut self) -> Outcome<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_name("or") {
            parts.push(self.and()?);
        }
        Ok(Expr::Or(parts))
    }

    fn and(&mut self) -> Outcome<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_name("and") {
            parts.push(self.not()?);
        }
        Ok(Expr::And(parts))
    }

    fn not(&mut self) -> Outcome<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Outcome<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let before = self.at;
            let operator = match self.peek() {
                Some(Token::Sign("==")) => Comparison::Equal,
                Some(Token::Sign("!=")) => Comparison::NotEqual,
                Some(Token::Sign("<")) => Comparison::Less,
                Some(Token::Sign("<=")) => Comparison::LessOrEqual,
                Some(Token::Sign(">")) => Comparison::Greater,
                Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
                Some(Token::Name(name)) if &**name == "in" => Comparison::In,
                Some(Token::Name(name)) if &**name == "not" => {
                    self.at += 1;
                    if !self.is_name("in") {
                        self.at = before;
                        break;
                    }
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn chain(&mut self, operators: &[(&str, Operator)], next: fn(&mut Self) -> Outcome<Expr>) -> Outcome<Expr> {
        let first = next(self)?;
        let mut rest = Vec::new();
        while let Some(&(_, operator)) = operators.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.at += 1;
            rest.push((operator, next(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Arithmetic(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Outcome<Expr> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::concatenation)
    }

    fn concatenation(&mut self) -> Outcome<Expr> {
        self.chain(&[("~", Operator::Concatenate)], Self::product)
    }

    fn product(&mut self) -> Outcome<Expr> {
        let operators = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("//", Operator::FloorDivide),
            ("%", Operator::Remainder),
        ];
        self.chain(&operators, Self::power)
    }

    fn power(&mut self) -> Outcome<Expr> {
        self.chain(&[("**", Operator::Power)], Self::signed)
    }

    fn signed(&mut self) -> Outcome<Expr> {
        let mut signs = Vec::new();
        while self.is_sign("-") || self.is_sign("+") {
            signs.push(self.is_sign("-"));
            self.at += 1;
        }
        let mut value = self.primary()?;
        if !signs.is_empty() {
            // A sign binds closer than a filter, and less close than an attribute.
            value = Expr::Signed(signs, Box::new(self.postfix(value, false)?));
        }
        self.postfix(value, true)
    }

    /// What stands behind a value: attributes, indices and calls, and filters and tests where they may.
    fn postfix(&mut self, value: Expr, filters: bool) -> Outcome<Expr> {
        let mut steps = Vec::new();
        loop {
            if self.skip_sign(".") {
                if let Some(&Token::Int(number)) = self.peek() {
                    self.at += 1;
                    steps.push(Step::Index(Expr::Int(number)));
                } else if let Some(Token::Name(name)) = self.peek() {
                    // Here even `in` is a name.
                    let name = Arc::clone(name);
                    self.at += 1;
                    steps.push(Step::Attribute(name));
                } else {
                    return self.unexpected("a name");
                }
            } else if self.skip_sign("[") {
                steps.push(self.nested(Self::subscript)?);
            } else if self.skip_sign("(") {
                steps.push(Step::Call(self.nested(Self::arguments)?));
            } else if filters && self.skip_sign("|") {
                steps.push(self.filter()?);
            } else if filters && self.skip_name("is") {
                steps.push(self.test()?);
            } else {
                break;
            }
        }
        Ok(if steps.is_empty() { value } else { Expr::Postfix(Box::new(value), steps) })
    }

    fn subscript(&mut self) -> Outcome<Step> {
        let part = |parser: &mut Self| {
            let empty = parser.is_sign(":") || parser.is_sign("]");
            if empty { Ok(None) } else { parser.expression().map(Some) }
        };
        let start = part(self)?;
        if !self.skip_sign(":") {
            self.expect_sign("]")?;
            return start.map_or_else(|| self.unexpected("an index"), |index| Ok(Step::Index(index)));
        }
        let stop = part(self)?;
        let step = if self.skip_sign(":") { part(self)? } else { None };
        self.expect_sign("]")?;
        Ok(Step::Slice([start, stop, step]))
    }

    /// Arguments up to the closing parenthesis.
    fn arguments(&mut self) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        while !self.skip_sign(")") {
            let named = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Name(name)), Some((_, Token::Sign("=")))) => Some(Arc::clone(name)),
                _ => None,
            };
            match named {
                Some(name) => {
                    self.at += 2;
                    arguments.named.push((name, self.expression()?));
                }
                None => arguments.positional.push(self.expression()?),
            }
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.unexpected("`,` or `)`");
            }
        }
        Ok(arguments)
    }

    fn filter(&mut self) -> Outcome<Step> {
        let name = self.name()?;
        let arguments = if self.skip_sign("(") { self.nested(Self::arguments)? } else { Arguments::default() };
        Ok(Step::Filter(name, arguments))
    }

    fn test(&mut self) -> Outcome<Step> {
        let negated = self.skip_name("not");
        let name = match self.peek() {
            // `is in list` is a test of that name.
            Some(Token::Name(name)) if &**name == "in" => {
                let name = Arc::clone(name);
                self.at += 1;
                name
            }
            _ => self.name()?,
        };
        let mut arguments = Arguments::default();
        if self.skip_sign("(") {
            arguments = self.nested(Self::arguments)?;
        } else {
            let takes = match self.peek() {
                Some(Token::Name(name)) => !RESERVED.contains(&&**name),
                Some(Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Sign("[" | "{")) => true,
                _ => false,
            };
            if takes {
                arguments.positional.push(self.nested(|parser| {
                    let value = parser.primary()?;
                    parser.postfix(value, false)
                })?);
            }
        }
        Ok(Step::Test { name, arguments, negated })
    }

    fn primary(&mut self) -> Outcome<Expr> {
        let Some(token) = self.peek().cloned() else { return self.unexpected("an expression") };
        self.at += 1;
        Ok(match token {
            Token::Int(number) => Expr::Int(number),
            Token::Float(number) => Expr::Float(number),
            Token::Str(text) => {
                // Texts that follow one another are one.
                let mut whole = text.to_string();
                while let Some(Token::Str(more)) = self.peek() {
                    whole.push_str(more);
                    self.at += 1;
                }
                Expr::Str(whole.into())
            }
            Token::Name(name) => match &*name {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                word if RESERVED.contains(&word) => {
                    self.at -= 1;
                    return self.unexpected("an expression");
                }
                _ => Expr::Name(name),
            },
            Token::Sign("(") => self.nested(|parser| {
                if parser.skip_sign(")") {
                    return Ok(Expr::List(Vec::new()));
                }
                let inner = parser.tuple_or(Self::expression)?;
                parser.expect_sign(")")?;
                Ok(inner)
            })?,
            Token::Sign("[") => self.nested(|parser| {
                let mut items = Vec::new();
                while !parser.skip_sign("]") {
                    items.push(parser.expression()?);
                    if !parser.skip_sign(",") && !parser.is_sign("]") {
                        return parser.unexpected("`,` or `]`");
                    }
                }
                Ok(Expr::List(items))
            })?,
            Token::Sign("{") => self.nested(|parser| {
                let mut items = Vec::new();
                while !parser.skip_sign("}") {
                    let key = parser.expression()?;
                    parser.expect_sign(":")?;
                    items.push((key, parser.expression()?));
                    if !parser.skip_sign(",") && !parser.is_sign("}") {
                        return parser.unexpected("`,` or `}`");
                    }
                }
                Ok(Expr::Dict(items))
            })?,
            _ => {
                self.at -= 1;
                return self.unexpected("an expression");
            }
        })
    }
}
