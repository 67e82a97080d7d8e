//! Expressions, by jinja2's grammar.

use std::sync::Arc;

use super::ast::{Arguments, BinaryOp, CompareOp, Expr, ExprKind};
use super::filters::is_filter;
use super::lexer::{TokenKind, syntax_error};
use super::parser::{EXPR_DEPTH_MAX, Parse, Parser};
use super::predicates::is_test;

impl Parser {
    pub(super) fn node(&self, kind: ExprKind, line: u32) -> Parse<Expr> {
        let depth = 1 + deepest(&kind);
        if depth > EXPR_DEPTH_MAX {
            return syntax_error(
                line,
                format!("an expression is nested more than {EXPR_DEPTH_MAX} levels deep"),
            );
        }
        Ok(Expr { kind, line, depth })
    }

    pub(super) fn tuple_ends(&self, ends: &[&str]) -> bool {
        match self.kind() {
            TokenKind::VariableEnd | TokenKind::BlockEnd | TokenKind::Operator(")") => true,
            TokenKind::Name(name) => ends.contains(&name.as_str()),
            _ => false,
        }
    }

    pub(super) fn tuple(&mut self, conditional: bool, ends: &[&str], parentheses: bool) -> Parse<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.tuple_ends(ends) {
                break;
            }
            items.push(self.expression(conditional)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(item) = items.pop() {
                return Ok(item);
            }
            if !parentheses {
                return self.unexpected("an expression");
            }
        }
        self.node(ExprKind::Tuple(items), line)
    }

    pub(super) fn expression(&mut self, conditional: bool) -> Parse<Expr> {
        self.deeper(EXPR_DEPTH_MAX)?;
        let expr = if conditional { self.conditional() } else { self.or() };
        self.depth -= 1;
        expr
    }

    pub(super) fn conditional(&mut self) -> Parse<Expr> {
        let line = self.line();
        // What is before the `if` is soft too; whether an `if` follows is known only behind it.
        let soft = self.soft;
        self.soft = soft || self.has_conditional();
        let mut expr = self.or()?;
        while self.skip_name("if") {
            let test = self.or()?;
            let otherwise = if self.skip_name("else") {
                self.deeper(EXPR_DEPTH_MAX)?;
                let otherwise = self.conditional()?;
                self.depth -= 1;
                Some(Box::new(otherwise))
            } else {
                None
            };
            expr = self.node(ExprKind::Conditional(Box::new((test, expr)), otherwise), line)?;
        }
        self.soft = soft;
        Ok(expr)
    }

    /// Whether an `if` follows in this expression, at its own level of brackets.
    pub(super) fn has_conditional(&self) -> bool {
        let mut open = 0usize;
        for token in &self.tokens[self.at..] {
            match &token.kind {
                TokenKind::Operator("(" | "[" | "{") => open += 1,
                TokenKind::Operator(")" | "]" | "}") => match open.checked_sub(1) {
                    Some(less) => open = less,
                    None => return false,
                },
                TokenKind::Operator(",") if open == 0 => return false,
                TokenKind::Name(name) if open == 0 && name == "if" => return true,
                TokenKind::BlockEnd | TokenKind::VariableEnd | TokenKind::End => return false,
                _ => {}
            }
        }
        false
    }

    pub(super) fn or(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            left = self.node(ExprKind::Or(Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    pub(super) fn and(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            left = self.node(ExprKind::And(Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    pub(super) fn not(&mut self) -> Parse<Expr> {
        let line = self.line();
        if self.skip_name("not") {
            self.deeper(EXPR_DEPTH_MAX)?;
            let inner = self.not()?;
            self.depth -= 1;
            return self.node(ExprKind::Not(Box::new(inner)), line);
        }
        self.compare()
    }

    pub(super) fn compare(&mut self) -> Parse<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let op = match self.kind() {
                TokenKind::Operator("==") => CompareOp::Eq,
                TokenKind::Operator("!=") => CompareOp::Ne,
                TokenKind::Operator("<") => CompareOp::Lt,
                TokenKind::Operator("<=") => CompareOp::Le,
                TokenKind::Operator(">") => CompareOp::Gt,
                TokenKind::Operator(">=") => CompareOp::Ge,
                TokenKind::Name(name) if name == "in" => CompareOp::In,
                TokenKind::Name(name)
                    if name == "not" && matches!(self.next_kind(), TokenKind::Name(next) if next == "in") =>
                {
                    self.advance();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.advance();
            rest.push((op, self.sum()?));
        }
        if rest.is_empty() { Ok(first) } else { self.node(ExprKind::Compare(Box::new(first), rest), line) }
    }

    pub(super) fn sum(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.concat()?;
        loop {
            let op = match self.kind() {
                TokenKind::Operator("+") => BinaryOp::Add,
                TokenKind::Operator("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.concat()?;
            left = self.node(ExprKind::Binary(op, Box::new((left, right))), line)?;
        }
    }

    pub(super) fn concat(&mut self) -> Parse<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_op("~") {
            items.push(self.product()?);
        }
        self.node(ExprKind::Concat(items), line)
    }

    pub(super) fn product(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.power()?;
        loop {
            let op = match self.kind() {
                TokenKind::Operator("*") => BinaryOp::Mul,
                TokenKind::Operator("/") => BinaryOp::Div,
                TokenKind::Operator("//") => BinaryOp::FloorDiv,
                TokenKind::Operator("%") => BinaryOp::Mod,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.power()?;
            left = self.node(ExprKind::Binary(op, Box::new((left, right))), line)?;
        }
    }

    /// jinja2 groups powers from the left, and binds a sign more tightly.
    pub(super) fn power(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.unary(true)?;
        while self.skip_op("**") {
            let right = self.unary(true)?;
            left = self.node(ExprKind::Binary(BinaryOp::Pow, Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    pub(super) fn unary(&mut self, with_filters: bool) -> Parse<Expr> {
        let line = self.line();
        let mut expr = if self.is_op("-") || self.is_op("+") {
            let negative = self.is_op("-");
            self.advance();
            self.deeper(EXPR_DEPTH_MAX)?;
            let inner = Box::new(self.unary(false)?);
            self.depth -= 1;
            self.node(if negative { ExprKind::Negative(inner) } else { ExprKind::Positive(inner) }, line)?
        } else {
            self.primary()?
        };
        expr = self.postfix(expr)?;
        if with_filters { self.filter_expression(expr) } else { Ok(expr) }
    }

    pub(super) fn primary(&mut self) -> Parse<Expr> {
        let line = self.line();
        let kind = match self.kind().clone() {
            TokenKind::Name(name) => {
                self.advance();
                match name.as_str() {
                    "true" | "True" => ExprKind::Bool(true),
                    "false" | "False" => ExprKind::Bool(false),
                    "none" | "None" => ExprKind::None,
                    _ => {
                        let symbol = self.symbol(&name);
                        self.mentioned.push(symbol);
                        ExprKind::Name(symbol)
                    }
                }
            }
            TokenKind::Text(mut text) => {
                self.advance();
                while let TokenKind::Text(more) = self.kind() {
                    text.push_str(more);
                    self.advance();
                }
                ExprKind::Text(text.into())
            }
            TokenKind::Integer(value) => {
                self.advance();
                ExprKind::Integer(value)
            }
            TokenKind::Float(value) => {
                self.advance();
                ExprKind::Float(value)
            }
            TokenKind::Operator("(") => {
                self.advance();
                let inner = self.tuple(true, &[], true)?;
                self.expect_op(")")?;
                return Ok(inner);
            }
            TokenKind::Operator("[") => {
                self.advance();
                let mut items = Vec::new();
                while !self.is_op("]") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.is_op("]") {
                            break;
                        }
                    }
                    items.push(self.expression(true)?);
                }
                self.expect_op("]")?;
                ExprKind::List(items)
            }
            TokenKind::Operator("{") => {
                self.advance();
                let mut items = Vec::new();
                while !self.is_op("}") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.is_op("}") {
                            break;
                        }
                    }
                    let key = self.expression(true)?;
                    self.expect_op(":")?;
                    items.push((key, self.expression(true)?));
                }
                self.expect_op("}")?;
                ExprKind::Dict(items)
            }
            _ => return self.unexpected("an expression"),
        };
        self.node(kind, line)
    }

    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parse<Expr> {
        loop {
            let line = self.line();
            if self.skip_op(".") {
                match self.kind().clone() {
                    TokenKind::Name(name) => {
                        self.advance();
                        expr = self.node(ExprKind::Attribute(Box::new(expr), name.as_str().into()), line)?;
                    }
                    TokenKind::Integer(index) => {
                        self.advance();
                        let index = self.node(ExprKind::Integer(index), line)?;
                        expr = self.node(ExprKind::Item(Box::new((expr, index))), line)?;
                    }
                    _ => return self.unexpected("a name or a number"),
                }
            } else if self.skip_op("[") {
                expr = self.subscript(expr, line)?;
            } else if self.is_op("(") {
                let arguments = self.arguments()?;
                expr = self.node(ExprKind::Call(Box::new(expr), Box::new(arguments)), line)?;
            } else {
                return Ok(expr);
            }
        }
    }

    pub(super) fn subscript(&mut self, object: Expr, line: u32) -> Parse<Expr> {
        let mut start = None;
        if !self.is_op(":") {
            if self.is_op("]") {
                let index = self.node(ExprKind::Tuple(Vec::new()), line)?;
                self.advance();
                return self.node(ExprKind::Item(Box::new((object, index))), line);
            }
            let first = self.expression(true)?;
            if self.is_op(",") {
                let mut items = vec![first];
                while self.skip_op(",") {
                    items.push(self.expression(true)?);
                }
                self.expect_op("]")?;
                let index = self.node(ExprKind::Tuple(items), line)?;
                return self.node(ExprKind::Item(Box::new((object, index))), line);
            }
            if self.skip_op("]") {
                return self.node(ExprKind::Item(Box::new((object, first))), line);
            }
            start = Some(first);
        }
        self.expect_op(":")?;
        let mut stop = None;
        let mut step = None;
        if !self.is_op(":") && !self.is_op("]") {
            stop = Some(self.expression(true)?);
        }
        if self.skip_op(":") && !self.is_op("]") {
            step = Some(self.expression(true)?);
        }
        self.expect_op("]")?;
        self.node(ExprKind::Slice(Box::new(object), Box::new([start, stop, step])), line)
    }

    pub(super) fn filter_expression(&mut self, mut expr: Expr) -> Parse<Expr> {
        loop {
            if self.skip_op("|") {
                expr = self.filter(expr)?;
            } else if self.is_name("is") {
                expr = self.test(expr)?;
            } else if self.is_op("(") {
                let line = self.line();
                let arguments = self.arguments()?;
                expr = self.node(ExprKind::Call(Box::new(expr), Box::new(arguments)), line)?;
            } else {
                return Ok(expr);
            }
        }
    }

    pub(super) fn filters(&mut self, mut expr: Expr) -> Parse<Expr> {
        while self.skip_op("|") {
            expr = self.filter(expr)?;
        }
        Ok(expr)
    }

    pub(super) fn dotted_name(&mut self) -> Parse<String> {
        let mut name = self.identifier()?;
        while self.skip_op(".") {
            name.push('.');
            name.push_str(&self.identifier()?);
        }
        Ok(name)
    }

    pub(super) fn filter(&mut self, input: Expr) -> Parse<Expr> {
        let line = self.line();
        let name = self.dotted_name()?;
        if !is_filter(&name) && !self.soft {
            return syntax_error(line, format!("No filter named '{name}'."));
        }
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        self.node(ExprKind::Filter(Box::new(input), name.as_str().into(), Box::new(arguments)), line)
    }

    pub(super) fn test(&mut self, input: Expr) -> Parse<Expr> {
        let line = self.line();
        self.advance();
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        if !is_test(&name) && !self.soft {
            return syntax_error(line, format!("No test named '{name}'."));
        }
        let mut arguments = Arguments::default();
        if self.is_op("(") {
            arguments = self.arguments()?;
        } else if self.test_argument_follows() {
            if self.is_name("is") {
                return syntax_error(line, "You cannot chain multiple tests with is");
            }
            let argument = self.primary()?;
            arguments.positional.push(self.postfix(argument)?);
        }
        let test =
            self.node(ExprKind::Test(Box::new(input), name.as_str().into(), Box::new(arguments)), line)?;
        if negated { self.node(ExprKind::Not(Box::new(test)), line) } else { Ok(test) }
    }

    pub(super) fn test_argument_follows(&self) -> bool {
        match self.kind() {
            TokenKind::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            TokenKind::Text(_) | TokenKind::Integer(_) | TokenKind::Float(_) => true,
            TokenKind::Operator(op) => matches!(*op, "[" | "{"),
            _ => false,
        }
    }

    pub(super) fn arguments(&mut self) -> Parse<Arguments> {
        let line = self.line();
        self.expect_op("(")?;
        self.deeper(EXPR_DEPTH_MAX)?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.is_op(")") {
            if !std::mem::replace(&mut first, false) {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            let invalid = || syntax_error(line, "invalid syntax for function call expression");
            if self.skip_op("*") {
                if arguments.rest.is_some() || arguments.named_rest.is_some() {
                    return invalid();
                }
                arguments.rest = Some(self.expression(true)?);
            } else if self.skip_op("**") {
                if arguments.named_rest.is_some() {
                    return invalid();
                }
                arguments.named_rest = Some(self.expression(true)?);
            } else if let TokenKind::Name(name) = self.kind()
                && *self.next_kind() == TokenKind::Operator("=")
            {
                let name: Arc<str> = name.as_str().into();
                if arguments.named_rest.is_some() {
                    return invalid();
                }
                if arguments.named.iter().any(|(known, _)| *known == name) {
                    return syntax_error(line, format!("keyword argument repeated: {name}"));
                }
                self.advance();
                self.advance();
                arguments.named.push((name, self.expression(true)?));
            } else {
                if arguments.rest.is_some() || arguments.named_rest.is_some() || !arguments.named.is_empty() {
                    return invalid();
                }
                arguments.positional.push(self.expression(true)?);
            }
        }
        self.depth -= 1;
        self.expect_op(")")?;
        Ok(arguments)
    }
}

/// Levels of the expressions that `kind` holds.
fn deepest(kind: &ExprKind) -> u16 {
    let of = |items: &mut dyn Iterator<Item = &Expr>| items.map(|item| item.depth).max().unwrap_or(0);
    match kind {
        ExprKind::None
        | ExprKind::Bool(_)
        | ExprKind::Integer(_)
        | ExprKind::Float(_)
        | ExprKind::Text(_)
        | ExprKind::Name(_)
        | ExprKind::Captured => 0,
        ExprKind::Tuple(items) | ExprKind::List(items) | ExprKind::Concat(items) => of(&mut items.iter()),
        ExprKind::Dict(items) => of(&mut items.iter().flat_map(|(key, value)| [key, value])),
        ExprKind::Not(inner)
        | ExprKind::Negative(inner)
        | ExprKind::Positive(inner)
        | ExprKind::Attribute(inner, _) => inner.depth,
        ExprKind::Binary(_, pair) | ExprKind::And(pair) | ExprKind::Or(pair) | ExprKind::Item(pair) => {
            pair.0.depth.max(pair.1.depth)
        }
        ExprKind::Compare(first, rest) => first.depth.max(of(&mut rest.iter().map(|(_, expr)| expr))),
        ExprKind::Conditional(pair, otherwise) => {
            pair.0.depth.max(pair.1.depth).max(otherwise.as_ref().map_or(0, |expr| expr.depth))
        }
        ExprKind::Slice(object, parts) => object.depth.max(of(&mut parts.iter().flatten())),
        ExprKind::Call(object, arguments)
        | ExprKind::Filter(object, _, arguments)
        | ExprKind::Test(object, _, arguments) => object
            .depth
            .max(of(&mut arguments.positional.iter()))
            .max(of(&mut arguments.named.iter().map(|(_, expr)| expr)))
            .max(of(&mut arguments.rest.iter().chain(&arguments.named_rest))),
    }
}
