//! Macros: made, called, and given their arguments.

use super::ast::Macro;
use super::interpreter::{Args, Interpreter, Object};
use super::meter::{MACRO_DEPTH_MAX, Res, too_deep, type_error};
use super::scope::ScopeId;
use super::value::Value;

impl<'t> Interpreter<'t> {
    pub(super) fn make_macro(&mut self, definition: &'t Macro) -> Res<Value> {
        self.scopes.capture(self.scope);
        self.add_object(Object::Macro { definition, scope: self.scope })
    }

    /// Calls a macro with its arguments.
    pub fn call_macro(&mut self, definition: &'t Macro, scope: ScopeId, args: Args) -> Res<Value> {
        self.macros += 1;
        if self.macros > MACRO_DEPTH_MAX {
            return too_deep(MACRO_DEPTH_MAX);
        }
        let _level = self.heap.meter.deeper()?;
        let line = self.line;
        let text = self.in_scope(scope, |this| {
            this.bind(definition, args)?;
            this.capture(|this| this.statements(&definition.body).map(|_| ()))
        });
        self.macros -= 1;
        if text.is_ok() {
            self.line = line;
        }
        text
    }

    /// Gives a macro's parameters their values, in its scope.
    pub(super) fn bind(&mut self, definition: &'t Macro, args: Args) -> Res<()> {
        let name = definition.name.map_or("caller", |name| self.name(name));
        let Args { positional, mut named } = args;
        let given = positional.as_slice();
        let mut defaults = Vec::new();
        for (at, (parameter, default)) in definition.parameters.iter().enumerate() {
            let known = self.name(*parameter);
            self.step(1 + named.len() / 8)?;
            let value = match given.get(at) {
                Some(value) => Some(value.clone()),
                None => named.iter().position(|(key, _)| &**key == known).map(|at| named.remove(at).1),
            };
            match (value, default) {
                (Some(value), _) => self.scopes.set(self.scope, *parameter, value)?,
                (None, None) => {
                    let undefined = self.heap.undefined(format!("parameter '{known}' was not provided"));
                    self.scopes.set(self.scope, *parameter, undefined)?;
                }
                (None, Some(default)) => defaults.push((*parameter, default)),
            }
        }
        let explicit = definition.parameters.iter().any(|(parameter, _)| self.name(*parameter) == "caller");
        if definition.uses_caller
            && !explicit
            && let Some(caller_name) = self.special.caller
        {
            let caller = match named.iter().position(|(key, _)| &**key == "caller") {
                Some(at) => named.remove(at).1,
                None => self.heap.undefined("No caller defined"),
            };
            self.scopes.set(self.scope, caller_name, caller)?;
        }
        if definition.uses_kwargs
            && let Some(kwargs_name) = self.special.kwargs
        {
            let mut entries = self.heap.entries();
            for (key, value) in named.drain(..) {
                entries.insert(self.heap.str(&key)?, value)?;
            }
            let kwargs = self.heap.dict(entries)?;
            self.scopes.set(self.scope, kwargs_name, kwargs)?;
        } else if let Some((key, _)) = named.first() {
            return type_error(format!("macro '{name}' takes no keyword argument '{key}'"));
        }
        let extra = given.get(definition.parameters.len()..).unwrap_or_default();
        if definition.uses_varargs
            && let Some(varargs_name) = self.special.varargs
        {
            let mut items = self.heap.items();
            items.extend(extra)?;
            let varargs = self.heap.tuple(items)?;
            self.scopes.set(self.scope, varargs_name, varargs)?;
        } else if !extra.is_empty() {
            return type_error(format!(
                "macro '{name}' takes not more than {} argument(s)",
                definition.parameters.len()
            ));
        }
        for (parameter, default) in defaults {
            let value = self.eval(default)?;
            self.scopes.set(self.scope, parameter, value)?;
        }
        Ok(())
    }
}
