//! Tokens to a [`Template`], by jinja2's grammar.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{
    Arguments, BinaryOp, CompareOp, Expr, ExprKind, For, Macro, Stmt, StmtKind, Symbol, Target, Template,
};
use super::filters::is_filter;
use super::lexer::{SyntaxError, Token, TokenKind, syntax_error, tokenize};
use super::predicates::is_test;

/// Nesting of expressions; Python stops at 200.
const EXPR_DEPTH_MAX: u16 = 250;
/// Nesting of blocks; Python stops at 100, and at 20 loops.
const BLOCK_DEPTH_MAX: u16 = 100;

/// Parses a template's source.
pub(crate) fn parse(source: &str) -> Result<Template, SyntaxError> {
    let tokens = tokenize(source)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        names: Vec::new(),
        symbols: HashMap::new(),
        depth: 0,
        blocks: Vec::new(),
        loops: 0,
        soft: false,
        mentioned: Vec::new(),
        block_names: Vec::new(),
    };
    let body = parser.statements(&[])?;
    Ok(Template { body, names: parser.names })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    names: Vec<Arc<str>>,
    symbols: HashMap<Arc<str>, Symbol>,
    depth: u16,
    /// The tags that are open.
    blocks: Vec<&'static str>,
    /// Loops around this place, within its macro.
    loops: u32,
    /// Inside of an `if`, where an unknown filter fails only when it is reached.
    soft: bool,
    /// The names that were read, in order; a macro or loop looks at what its body added.
    mentioned: Vec<Symbol>,
    block_names: Vec<String>,
}

type Parse<T> = Result<T, SyntaxError>;

const STATEMENT_ENDS: [&str; 14] = [
    "endfor", "endif", "else", "elif", "endset", "endmacro", "endcall", "endfilter", "endwith", "endblock",
    "endautoescape", "endgeneration", "endtrans", "endraw",
];

impl Parser {
    fn kind(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    fn next_kind(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.kind(), TokenKind::Operator(found) if *found == op)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(found) if found == name)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.advance();
        }
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.advance();
        }
        found
    }

    fn unexpected<T>(&self, expected: &str) -> Parse<T> {
        syntax_error(self.line(), format!("expected {expected}, got {}", self.kind()))
    }

    fn expect_op(&mut self, op: &str) -> Parse<()> {
        if self.skip_op(op) { Ok(()) } else { self.unexpected(&format!("'{op}'")) }
    }

    fn expect_name(&mut self, name: &str) -> Parse<()> {
        if self.skip_name(name) { Ok(()) } else { self.unexpected(&format!("'{name}'")) }
    }

    fn identifier(&mut self) -> Parse<String> {
        match self.kind() {
            TokenKind::Name(name) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn block_end(&mut self) -> Parse<()> {
        if *self.kind() == TokenKind::BlockEnd {
            self.advance();
            Ok(())
        } else {
            self.unexpected("'%}'")
        }
    }

    fn symbol(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.symbols.get(name) {
            return *symbol;
        }
        let name: Arc<str> = name.into();
        let symbol = self.names.len() as Symbol;
        self.names.push(Arc::clone(&name));
        self.symbols.insert(name, symbol);
        symbol
    }

    fn deeper(&mut self, max: u16) -> Parse<()> {
        self.depth += 1;
        if self.depth > max { syntax_error(self.line(), format!("nested more than {max} levels deep")) } else { Ok(()) }
    }

    // Statements

    /// Statements up to a tag that `ends` names, which is not consumed.
    fn statements(&mut self, ends: &[&'static str]) -> Parse<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.kind() {
                TokenKind::End => {
                    if ends.is_empty() {
                        return Ok(body);
                    }
                    return syntax_error(line, format!("Unexpected end of template, expected {}", ends.join(" or ")));
                }
                TokenKind::Data(text) => {
                    let kind = StmtKind::Text(text.as_str().into());
                    self.advance();
                    body.push(Stmt { kind, line });
                }
                TokenKind::VariableBegin => {
                    self.advance();
                    let expr = self.tuple(true, &[], false)?;
                    if *self.kind() != TokenKind::VariableEnd {
                        return self.unexpected("'}}'");
                    }
                    self.advance();
                    body.push(Stmt { kind: StmtKind::Output(expr), line });
                }
                TokenKind::BlockBegin => {
                    self.advance();
                    if let TokenKind::Name(name) = self.kind()
                        && ends.contains(&name.as_str())
                    {
                        return Ok(body);
                    }
                    self.statement(&mut body)?;
                    self.block_end()?;
                }
                _ => return self.unexpected("text or a tag"),
            }
        }
    }

    /// The rest of an opening tag, the body, and the name of its closing tag.
    fn body(&mut self, ends: &[&'static str]) -> Parse<Vec<Stmt>> {
        self.skip_op(":");
        self.block_end()?;
        if self.blocks.len() >= usize::from(BLOCK_DEPTH_MAX) {
            return syntax_error(self.line(), format!("blocks nested more than {BLOCK_DEPTH_MAX} levels deep"));
        }
        self.blocks.push(ends[0]);
        let body = self.statements(ends)?;
        self.blocks.pop();
        Ok(body)
    }

    /// A body that ends with one tag, which is consumed.
    fn whole_body(&mut self, end: &'static str) -> Parse<Vec<Stmt>> {
        let body = self.body(&[end])?;
        self.advance();
        Ok(body)
    }

    /// A body with names of its own.
    fn hard_body(&mut self, end: &'static str) -> Parse<Vec<Stmt>> {
        let soft = std::mem::replace(&mut self.soft, false);
        let body = self.whole_body(end)?;
        self.soft = soft;
        Ok(body)
    }

    fn statement(&mut self, out: &mut Vec<Stmt>) -> Parse<()> {
        let line = self.line();
        let TokenKind::Name(name) = self.kind() else { return self.unexpected("a tag's name") };
        let name = name.clone();
        let kind = match name.as_str() {
            "set" => self.set()?,
            "if" => self.if_statement()?,
            "for" => self.for_statement()?,
            "macro" => self.macro_statement()?,
            "call" => self.call_block()?,
            "filter" => {
                self.advance();
                let captured = self.node(ExprKind::Captured, line)?;
                let filter = self.filter(captured)?;
                let filter = self.filters(filter)?;
                StmtKind::Filter { filter, body: self.hard_body("endfilter")? }
            }
            "with" => self.with()?,
            "print" => {
                self.advance();
                let mut first = true;
                while *self.kind() != TokenKind::BlockEnd {
                    if !std::mem::replace(&mut first, false) {
                        self.expect_op(",")?;
                    }
                    let expr = self.expression(true)?;
                    out.push(Stmt { kind: StmtKind::Output(expr), line });
                }
                return Ok(());
            }
            "block" => self.block()?,
            "autoescape" => {
                self.advance();
                let on = self.expression(true)?;
                StmtKind::AutoEscape { on, body: self.hard_body("endautoescape")? }
            }
            "generation" => {
                self.advance();
                let loops = std::mem::replace(&mut self.loops, 0);
                let body = self.hard_body("endgeneration")?;
                self.loops = loops;
                StmtKind::Scope { body, top_level: false }
            }
            "break" | "continue" => {
                self.advance();
                if self.loops == 0 {
                    return syntax_error(line, format!("'{name}' outside of a loop"));
                }
                if name == "break" { StmtKind::Break } else { StmtKind::Continue }
            }
            "extends" | "include" | "import" | "from" => {
                while *self.kind() != TokenKind::BlockEnd && *self.kind() != TokenKind::End {
                    self.advance();
                }
                StmtKind::Fail("no loader for other templates")
            }
            other if STATEMENT_ENDS.contains(&other) => {
                let open = self.blocks.last().map_or(String::new(), |end| format!(", expected '{end}'"));
                return syntax_error(line, format!("unexpected tag '{other}'{open}"));
            }
            other => return syntax_error(line, format!("Encountered unknown tag '{other}'")),
        };
        out.push(Stmt { kind, line });
        Ok(())
    }

    fn set(&mut self) -> Parse<StmtKind> {
        self.advance();
        let target = self.target(true, &[])?;
        if self.skip_op("=") {
            let value = self.tuple(true, &[], false)?;
            return Ok(StmtKind::Set { target, value });
        }
        let line = self.line();
        let filter = if self.is_op("|") {
            let captured = self.node(ExprKind::Captured, line)?;
            Some(self.filters(captured)?)
        } else {
            None
        };
        Ok(StmtKind::SetBlock { target, filter, body: self.hard_body("endset")? })
    }

    fn if_statement(&mut self) -> Parse<StmtKind> {
        let soft = std::mem::replace(&mut self.soft, true);
        self.advance();
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let test = self.tuple(false, &[], false)?;
            let body = self.body(&["endif", "elif", "else"])?;
            branches.push((test, body));
            if self.skip_name("elif") {
                continue;
            }
            if self.skip_name("else") {
                otherwise = self.body(&["endif"])?;
            }
            self.advance();
            break;
        }
        self.soft = soft;
        Ok(StmtKind::If { branches, otherwise })
    }

    fn for_statement(&mut self) -> Parse<StmtKind> {
        self.advance();
        let line = self.line();
        let target = self.target(false, &["in"])?;
        let loop_symbol = self.symbol("loop");
        if assigns(&target, loop_symbol) {
            return syntax_error(line, "Can't assign to special loop variable in for-loop target");
        }
        self.expect_name("in")?;
        let iter = self.tuple(false, &["recursive"], false)?;
        let test = if self.skip_name("if") { Some(self.expression(true)?) } else { None };
        let recursive = self.skip_name("recursive");
        let soft = std::mem::replace(&mut self.soft, false);
        self.loops += 1;
        let mentioned = self.mentioned.len();
        let body = self.body(&["endfor", "else"])?;
        let uses_loop = recursive || self.mentioned[mentioned..].contains(&loop_symbol);
        self.loops -= 1;
        let otherwise = if self.skip_name("else") { self.body(&["endfor"])? } else { Vec::new() };
        self.advance();
        self.soft = soft;
        Ok(StmtKind::For(Box::new(For { target, iter, test, body, otherwise, recursive, uses_loop })))
    }

    fn with(&mut self) -> Parse<StmtKind> {
        self.advance();
        let mut bindings = Vec::new();
        while *self.kind() != TokenKind::BlockEnd {
            if !bindings.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(false, &[])?;
            self.expect_op("=")?;
            bindings.push((target, self.expression(true)?));
        }
        Ok(StmtKind::With { bindings, body: self.hard_body("endwith")? })
    }

    fn block(&mut self) -> Parse<StmtKind> {
        self.advance();
        let line = self.line();
        let name = self.identifier()?;
        if self.block_names.contains(&name) {
            return syntax_error(line, format!("block '{name}' defined twice"));
        }
        let scoped = self.skip_name("scoped");
        self.skip_name("required");
        self.block_names.push(name.clone());
        let loops = std::mem::replace(&mut self.loops, 0);
        let body = self.hard_body("endblock")?;
        self.loops = loops;
        self.skip_name(&name);
        Ok(StmtKind::Scope { body, top_level: !scoped })
    }

    fn macro_statement(&mut self) -> Parse<StmtKind> {
        self.advance();
        let line = self.line();
        let name = self.identifier()?;
        let name = self.symbol(&name);
        let parameters = self.parameters()?;
        let made = self.macro_body(Some(name), parameters, "endmacro", line)?;
        Ok(StmtKind::Macro(Arc::new(made)))
    }

    fn parameters(&mut self) -> Parse<Vec<(Symbol, Option<Expr>)>> {
        self.expect_op("(")?;
        let mut parameters: Vec<(Symbol, Option<Expr>)> = Vec::new();
        while !self.is_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let line = self.line();
            let name = self.identifier()?;
            let symbol = self.symbol(&name);
            let default = if self.skip_op("=") { Some(self.expression(true)?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return syntax_error(line, "non-default argument follows default argument");
            }
            if parameters.iter().any(|(known, _)| *known == symbol) {
                return syntax_error(line, format!("duplicate argument '{name}'"));
            }
            parameters.push((symbol, default));
        }
        self.expect_op(")")?;
        Ok(parameters)
    }

    fn macro_body(
        &mut self,
        name: Option<Symbol>,
        parameters: Vec<(Symbol, Option<Expr>)>,
        end: &'static str,
        line: u32,
    ) -> Parse<Macro> {
        let loops = std::mem::replace(&mut self.loops, 0);
        let mentioned = self.mentioned.len();
        let body = self.hard_body(end)?;
        self.loops = loops;
        let mut uses = |name: &str| {
            let symbol = self.symbol(name);
            self.mentioned[mentioned..].contains(&symbol)
        };
        let (uses_varargs, uses_kwargs, uses_caller) = (uses("varargs"), uses("kwargs"), uses("caller"));
        Ok(Macro { name, parameters, body, uses_varargs, uses_kwargs, uses_caller, line })
    }

    fn call_block(&mut self) -> Parse<StmtKind> {
        let line = self.line();
        self.advance();
        let parameters = if self.is_op("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression(true)?;
        if !matches!(call.kind, ExprKind::Call(..)) {
            return syntax_error(line, "expected call");
        }
        let caller = self.macro_body(None, parameters, "endcall", line)?;
        Ok(StmtKind::Call { caller: Arc::new(caller), call })
    }

    fn target(&mut self, namespaces: bool, ends: &[&str]) -> Parse<Target> {
        let line = self.line();
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.tuple_ends(ends) {
                break;
            }
            targets.push(self.one_target(namespaces)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        match (targets.pop(), is_tuple) {
            (Some(target), false) => Ok(target),
            (Some(last), true) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
            (None, _) => syntax_error(line, format!("expected a name to assign to, got {}", self.kind())),
        }
    }

    fn one_target(&mut self, namespaces: bool) -> Parse<Target> {
        let line = self.line();
        if self.skip_op("(") {
            self.deeper(EXPR_DEPTH_MAX)?;
            let target = if self.is_op(")") { Target::Tuple(Vec::new()) } else { self.target(namespaces, &[])? };
            self.depth -= 1;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.identifier()?;
        if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
            return syntax_error(line, format!("can't assign to '{name}'"));
        }
        let symbol = self.symbol(&name);
        if namespaces && self.skip_op(".") {
            let attribute = self.identifier()?;
            self.mentioned.push(symbol);
            return Ok(Target::Attribute(symbol, attribute.as_str().into()));
        }
        Ok(Target::Name(symbol))
    }

    // Expressions

    fn node(&self, kind: ExprKind, line: u32) -> Parse<Expr> {
        let depth = 1 + deepest(&kind);
        if depth > EXPR_DEPTH_MAX {
            return syntax_error(line, format!("an expression is nested more than {EXPR_DEPTH_MAX} levels deep"));
        }
        Ok(Expr { kind, line, depth })
    }

    fn tuple_ends(&self, ends: &[&str]) -> bool {
        match self.kind() {
            TokenKind::VariableEnd | TokenKind::BlockEnd | TokenKind::Operator(")") => true,
            TokenKind::Name(name) => ends.contains(&name.as_str()),
            _ => false,
        }
    }

    fn tuple(&mut self, conditional: bool, ends: &[&str], parentheses: bool) -> Parse<Expr> {
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

    fn expression(&mut self, conditional: bool) -> Parse<Expr> {
        self.deeper(EXPR_DEPTH_MAX)?;
        let expr = if conditional { self.conditional() } else { self.or() };
        self.depth -= 1;
        expr
    }

    fn conditional(&mut self) -> Parse<Expr> {
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
    fn has_conditional(&self) -> bool {
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

    fn or(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            left = self.node(ExprKind::Or(Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            left = self.node(ExprKind::And(Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Parse<Expr> {
        let line = self.line();
        if self.skip_name("not") {
            self.deeper(EXPR_DEPTH_MAX)?;
            let inner = self.not()?;
            self.depth -= 1;
            return self.node(ExprKind::Not(Box::new(inner)), line);
        }
        self.compare()
    }

    fn compare(&mut self) -> Parse<Expr> {
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

    fn sum(&mut self) -> Parse<Expr> {
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

    fn concat(&mut self) -> Parse<Expr> {
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

    fn product(&mut self) -> Parse<Expr> {
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
    fn power(&mut self) -> Parse<Expr> {
        let line = self.line();
        let mut left = self.unary(true)?;
        while self.skip_op("**") {
            let right = self.unary(true)?;
            left = self.node(ExprKind::Binary(BinaryOp::Pow, Box::new((left, right))), line)?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Parse<Expr> {
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

    fn primary(&mut self) -> Parse<Expr> {
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

    fn postfix(&mut self, mut expr: Expr) -> Parse<Expr> {
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

    fn subscript(&mut self, object: Expr, line: u32) -> Parse<Expr> {
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

    fn filter_expression(&mut self, mut expr: Expr) -> Parse<Expr> {
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

    fn filters(&mut self, mut expr: Expr) -> Parse<Expr> {
        while self.skip_op("|") {
            expr = self.filter(expr)?;
        }
        Ok(expr)
    }

    fn dotted_name(&mut self) -> Parse<String> {
        let mut name = self.identifier()?;
        while self.skip_op(".") {
            name.push('.');
            name.push_str(&self.identifier()?);
        }
        Ok(name)
    }

    fn filter(&mut self, input: Expr) -> Parse<Expr> {
        let line = self.line();
        let name = self.dotted_name()?;
        if !is_filter(&name) && !self.soft {
            return syntax_error(line, format!("No filter named '{name}'."));
        }
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        self.node(ExprKind::Filter(Box::new(input), name.as_str().into(), Box::new(arguments)), line)
    }

    fn test(&mut self, input: Expr) -> Parse<Expr> {
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
        let test = self.node(ExprKind::Test(Box::new(input), name.as_str().into(), Box::new(arguments)), line)?;
        if negated { self.node(ExprKind::Not(Box::new(test)), line) } else { Ok(test) }
    }

    fn test_argument_follows(&self) -> bool {
        match self.kind() {
            TokenKind::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            TokenKind::Text(_) | TokenKind::Integer(_) | TokenKind::Float(_) => true,
            TokenKind::Operator(op) => matches!(*op, "[" | "{"),
            _ => false,
        }
    }

    fn arguments(&mut self) -> Parse<Arguments> {
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

fn assigns(target: &Target, symbol: Symbol) -> bool {
    match target {
        Target::Name(name) => *name == symbol,
        Target::Attribute(..) => false,
        Target::Tuple(items) => items.iter().any(|item| assigns(item, symbol)),
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
        ExprKind::Not(inner) | ExprKind::Negative(inner) | ExprKind::Positive(inner) | ExprKind::Attribute(inner, _) => {
            inner.depth
        }
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
