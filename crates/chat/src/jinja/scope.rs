//! Where names live: a chain of scopes, innermost first.
//!
//! jinja2 decides at compile time which Python variable a name is; looked up at run time the answers are the same. A
//! scope goes when its block ends, unless a macro was made in it, which may still see it.

use std::rc::Rc;

use super::ast::Symbol;
use super::meter::{Meter, Res};
use super::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScopeId(u32);

/// The scope of the template's top level.
pub(crate) const TOP: ScopeId = ScopeId(0);

const VARIABLE_BYTES: usize = 32;
const SCOPE_BYTES: usize = 64;

struct Scope {
    parent: Option<ScopeId>,
    variables: Vec<(Symbol, Value)>,
    captured: bool,
}

pub(crate) struct Scopes {
    scopes: Vec<Scope>,
    meter: Rc<Meter>,
}

impl Scopes {
    pub fn new(meter: Rc<Meter>) -> Self {
        let top = Scope { parent: None, variables: Vec::new(), captured: true };
        Self { scopes: vec![top], meter }
    }

    pub fn enter(&mut self, parent: ScopeId) -> Res<ScopeId> {
        self.meter.take(SCOPE_BYTES)?;
        self.scopes.push(Scope { parent: Some(parent), variables: Vec::new(), captured: false });
        Ok(ScopeId(self.scopes.len() as u32 - 1))
    }

    pub fn leave(&mut self, scope: ScopeId) {
        if scope.0 as usize + 1 == self.scopes.len() && !self.scopes[scope.0 as usize].captured {
            let gone = self.scopes.pop();
            let variables = gone.map_or(0, |scope| scope.variables.len());
            self.meter.give(SCOPE_BYTES + variables * VARIABLE_BYTES);
        }
    }

    /// Keeps a scope and those around it.
    pub fn capture(&mut self, scope: ScopeId) {
        let mut next = Some(scope);
        while let Some(ScopeId(at)) = next {
            let scope = &mut self.scopes[at as usize];
            scope.captured = true;
            next = scope.parent;
        }
    }

    pub fn get(&self, scope: ScopeId, name: Symbol) -> Res<Option<&Value>> {
        let mut next = Some(scope);
        while let Some(ScopeId(at)) = next {
            let scope = &self.scopes[at as usize];
            self.meter.step(scope.variables.len() / 16)?;
            if let Some((_, value)) = scope.variables.iter().find(|(known, _)| *known == name) {
                return Ok(Some(value));
            }
            next = scope.parent;
        }
        Ok(None)
    }

    pub fn set(&mut self, scope: ScopeId, name: Symbol, value: Value) -> Res<()> {
        let variables = &mut self.scopes[scope.0 as usize].variables;
        self.meter.step(variables.len() / 16)?;
        if let Some((_, old)) = variables.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
            return Ok(());
        }
        self.meter.take(VARIABLE_BYTES)?;
        variables.push((name, value));
        Ok(())
    }
}
