//! A parsed template.

use std::sync::Arc;

use num_bigint::BigInt;

/// A name of the template: its place in [`Template::names`].
pub(crate) type Symbol = u32;

/// A template, ready to be rendered.
#[derive(Debug)]
pub(crate) struct Template {
    pub body: Vec<Stmt>,
    /// Every name that the template mentions.
    pub names: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Stmt {
    pub kind: StmtKind,
    /// Line of the template, from 1.
    pub line: u32,
}

#[derive(Debug)]
pub(crate) enum StmtKind {
    Text(Arc<str>),
    Output(Expr),
    Set {
        target: Target,
        value: Expr,
    },
    SetBlock {
        target: Target,
        filter: Option<Expr>,
        body: Vec<Stmt>,
    },
    If {
        branches: Vec<(Expr, Vec<Stmt>)>,
        otherwise: Vec<Stmt>,
    },
    For(Box<For>),
    With {
        bindings: Vec<(Target, Expr)>,
        body: Vec<Stmt>,
    },
    Macro(Arc<Macro>),
    Call {
        caller: Arc<Macro>,
        call: Expr,
    },
    /// `expr` holds a [`ExprKind::Captured`] where the body's text goes.
    Filter {
        filter: Expr,
        body: Vec<Stmt>,
    },
    /// A body with names of its own: `block` (which sees only the top level's), `generation`.
    Scope {
        body: Vec<Stmt>,
        top_level: bool,
    },
    AutoEscape {
        on: Expr,
        body: Vec<Stmt>,
    },
    Break,
    Continue,
    /// What fails when it is reached.
    Fail(&'static str),
}

#[derive(Debug)]
pub(crate) struct For {
    pub target: Target,
    pub iter: Expr,
    pub test: Option<Expr>,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
    pub recursive: bool,
    /// The body mentions `loop`.
    pub uses_loop: bool,
}

#[derive(Debug)]
pub(crate) struct Macro {
    /// None for the body of a call block.
    pub name: Option<Symbol>,
    pub parameters: Vec<(Symbol, Option<Expr>)>,
    pub body: Vec<Stmt>,
    pub uses_varargs: bool,
    pub uses_kwargs: bool,
    pub uses_caller: bool,
}

/// What is assigned to.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Symbol),
    /// `namespace.attribute`
    Attribute(Symbol, Arc<str>),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub line: u32,
    /// Levels of expressions in this one.
    pub depth: u16,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    None,
    Bool(bool),
    Integer(BigInt),
    Float(f64),
    Text(Arc<str>),
    Name(Symbol),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(BinaryOp, Box<(Expr, Expr)>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    Concat(Vec<Expr>),
    /// test, then, otherwise
    Conditional(Box<(Expr, Expr)>, Option<Box<Expr>>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<(Expr, Expr)>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Arc<str>, Box<Arguments>),
    Test(Box<Expr>, Arc<str>, Box<Arguments>),
    /// The text that a filter block or a set block has written.
    Captured,
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Arc<str>, Expr)>,
    pub rest: Option<Expr>,
    pub named_rest: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}
