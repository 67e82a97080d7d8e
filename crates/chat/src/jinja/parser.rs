//! Tokens to a [`Template`], by jinja2's grammar: statements. Expressions are in `expressions`.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Expr, ExprKind, For, Macro, Stmt, StmtKind, Symbol, Target, Template};
use super::lexer::{SyntaxError, Token, TokenKind, syntax_error, tokenize};

/// Nesting of expressions; Python stops at 200.
pub(super) const EXPR_DEPTH_MAX: u16 = 250;
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

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) names: Vec<Arc<str>>,
    pub(super) symbols: HashMap<Arc<str>, Symbol>,
    pub(super) depth: u16,
    /// The tags that are open.
    pub(super) blocks: Vec<&'static str>,
    /// Loops around this place, within its macro.
    pub(super) loops: u32,
    /// Inside of an `if`, where an unknown filter fails only when it is reached.
    pub(super) soft: bool,
    /// The names that were read, in order; a macro or loop looks at what its body added.
    pub(super) mentioned: Vec<Symbol>,
    pub(super) block_names: Vec<String>,
}

pub(super) type Parse<T> = Result<T, SyntaxError>;

const STATEMENT_ENDS: [&str; 14] = [
    "endfor",
    "endif",
    "else",
    "elif",
    "endset",
    "endmacro",
    "endcall",
    "endfilter",
    "endwith",
    "endblock",
    "endautoescape",
    "endgeneration",
    "endtrans",
    "endraw",
];

impl Parser {
    pub(super) fn kind(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    pub(super) fn next_kind(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.kind(), TokenKind::Operator(found) if *found == op)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(found) if found == name)
    }

    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Parse<T> {
        syntax_error(self.line(), format!("expected {expected}, got {}", self.kind()))
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Parse<()> {
        if self.skip_op(op) { Ok(()) } else { self.unexpected(&format!("'{op}'")) }
    }

    pub(super) fn expect_name(&mut self, name: &str) -> Parse<()> {
        if self.skip_name(name) { Ok(()) } else { self.unexpected(&format!("'{name}'")) }
    }

    pub(super) fn identifier(&mut self) -> Parse<String> {
        match self.kind() {
            TokenKind::Name(name) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn block_end(&mut self) -> Parse<()> {
        if *self.kind() == TokenKind::BlockEnd {
            self.advance();
            Ok(())
        } else {
            self.unexpected("'%}'")
        }
    }

    pub(super) fn symbol(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.symbols.get(name) {
            return *symbol;
        }
        let name: Arc<str> = name.into();
        let symbol = self.names.len() as Symbol;
        self.names.push(Arc::clone(&name));
        self.symbols.insert(name, symbol);
        symbol
    }

    pub(super) fn deeper(&mut self, max: u16) -> Parse<()> {
        self.depth += 1;
        if self.depth > max {
            syntax_error(self.line(), format!("nested more than {max} levels deep"))
        } else {
            Ok(())
        }
    }

    // Statements

    /// Statements up to a tag that `ends` names, which is not consumed.
    pub(super) fn statements(&mut self, ends: &[&'static str]) -> Parse<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.kind() {
                TokenKind::End => {
                    if ends.is_empty() {
                        return Ok(body);
                    }
                    return syntax_error(
                        line,
                        format!("Unexpected end of template, expected {}", ends.join(" or ")),
                    );
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
    pub(super) fn body(&mut self, ends: &[&'static str]) -> Parse<Vec<Stmt>> {
        self.skip_op(":");
        self.block_end()?;
        if self.blocks.len() >= usize::from(BLOCK_DEPTH_MAX) {
            return syntax_error(
                self.line(),
                format!("blocks nested more than {BLOCK_DEPTH_MAX} levels deep"),
            );
        }
        self.blocks.push(ends[0]);
        let body = self.statements(ends)?;
        self.blocks.pop();
        Ok(body)
    }

    /// A body that ends with one tag, which is consumed.
    pub(super) fn whole_body(&mut self, end: &'static str) -> Parse<Vec<Stmt>> {
        let body = self.body(&[end])?;
        self.advance();
        Ok(body)
    }

    /// A body with names of its own.
    pub(super) fn hard_body(&mut self, end: &'static str) -> Parse<Vec<Stmt>> {
        let soft = std::mem::replace(&mut self.soft, false);
        let body = self.whole_body(end)?;
        self.soft = soft;
        Ok(body)
    }

    pub(super) fn statement(&mut self, out: &mut Vec<Stmt>) -> Parse<()> {
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

    pub(super) fn set(&mut self) -> Parse<StmtKind> {
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

    pub(super) fn if_statement(&mut self) -> Parse<StmtKind> {
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

    pub(super) fn for_statement(&mut self) -> Parse<StmtKind> {
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

    pub(super) fn with(&mut self) -> Parse<StmtKind> {
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

    pub(super) fn block(&mut self) -> Parse<StmtKind> {
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

    pub(super) fn macro_statement(&mut self) -> Parse<StmtKind> {
        self.advance();
        let name = self.identifier()?;
        let name = self.symbol(&name);
        let parameters = self.parameters()?;
        let made = self.macro_body(Some(name), parameters, "endmacro")?;
        Ok(StmtKind::Macro(Arc::new(made)))
    }

    pub(super) fn parameters(&mut self) -> Parse<Vec<(Symbol, Option<Expr>)>> {
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

    pub(super) fn macro_body(
        &mut self,
        name: Option<Symbol>,
        parameters: Vec<(Symbol, Option<Expr>)>,
        end: &'static str,
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
        Ok(Macro { name, parameters, body, uses_varargs, uses_kwargs, uses_caller })
    }

    pub(super) fn call_block(&mut self) -> Parse<StmtKind> {
        let line = self.line();
        self.advance();
        let parameters = if self.is_op("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression(true)?;
        if !matches!(call.kind, ExprKind::Call(..)) {
            return syntax_error(line, "expected call");
        }
        let caller = self.macro_body(None, parameters, "endcall")?;
        Ok(StmtKind::Call { caller: Arc::new(caller), call })
    }

    pub(super) fn target(&mut self, namespaces: bool, ends: &[&str]) -> Parse<Target> {
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

    pub(super) fn one_target(&mut self, namespaces: bool) -> Parse<Target> {
        let line = self.line();
        if self.skip_op("(") {
            self.deeper(EXPR_DEPTH_MAX)?;
            let target =
                if self.is_op(")") { Target::Tuple(Vec::new()) } else { self.target(namespaces, &[])? };
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
}

fn assigns(target: &Target, symbol: Symbol) -> bool {
    match target {
        Target::Name(name) => *name == symbol,
        Target::Attribute(..) => false,
        Target::Tuple(items) => items.iter().any(|item| assigns(item, symbol)),
    }
}
