//! `str()` and `repr()`.

use super::integer::to_text;
use super::interpreter::{Interpreter, Object};
use super::meter::Res;
use super::unicode::is_printable;
use super::value::{Buffer, Dict, Function, Value, View};

impl Interpreter<'_> {
    /// The name of a value's type, of objects too.
    pub fn type_of(&self, value: &Value) -> &'static str {
        match value {
            Value::Object(id) => match self.object(*id) {
                Object::Namespace(_) => "Namespace",
                Object::Loop(_) | Object::Busy => "LoopContext",
                Object::Iterator { .. } => "generator",
                Object::Cycler { .. } => "Cycler",
                Object::Joiner { .. } => "Joiner",
                Object::Macro { .. } => "Macro",
            },
            other => other.type_name(),
        }
    }

    /// Appends `str(value)`.
    pub fn push_text(&mut self, value: &Value, out: &mut Buffer) -> Res<()> {
        match value {
            Value::Str(text) => out.push_str(text.as_str()),
            Value::Undefined(_) => Ok(()),
            other => self.push_repr(other, out),
        }
    }

    /// `str(value)`, keeping a text as it is.
    pub fn to_str(&mut self, value: &Value) -> Res<Value> {
        if let Value::Str(_) = value {
            return Ok(value.clone());
        }
        let mut out = self.heap.buffer();
        self.push_text(value, &mut out)?;
        out.finish(false)
    }

    /// Appends `repr(value)`.
    pub fn push_repr(&mut self, value: &Value, out: &mut Buffer) -> Res<()> {
        let _level = self.heap.meter.deeper()?;
        self.step(1)?;
        match value {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
            Value::Int(n) => out.push_str(&n.to_string()),
            Value::Big(n) => {
                self.step((n.bits() as usize / 64).pow(2) / 16)?;
                out.push_str(&to_text(n)?)
            }
            Value::Float(x) => out.push_str(&float_repr(*x)),
            Value::Str(text) => {
                if text.safe {
                    out.push_str("Markup(")?;
                }
                push_str_repr(text.as_str(), out)?;
                if text.safe { out.push_str(")") } else { Ok(()) }
            }
            Value::Bytes(bytes) => push_bytes_repr(bytes, out),
            Value::List(seq) => {
                out.push_str("[")?;
                self.push_items(seq.items(), out)?;
                out.push_str("]")
            }
            Value::Tuple(seq) | Value::Group(seq) => {
                out.push_str("(")?;
                self.push_items(seq.items(), out)?;
                out.push_str(if seq.items().len() == 1 { ",)" } else { ")" })
            }
            Value::Dict(dict) => self.push_dict(dict, out),
            Value::View(view, dict) => self.push_view(*view, dict, out),
            Value::Range(range) if range.step == 1 => {
                out.push_str(&format!("range({}, {})", range.start, range.stop))
            }
            Value::Range(range) => {
                out.push_str(&format!("range({}, {}, {})", range.start, range.stop, range.step))
            }
            Value::Function(function) => out.push_str(match function {
                Function::Range => "<function safe_range>",
                Function::Namespace => "<class 'jinja2.utils.Namespace'>",
                Function::Dict => "<class 'dict'>",
                Function::Cycler => "<class 'jinja2.utils.Cycler'>",
                Function::Joiner => "<class 'jinja2.utils.Joiner'>",
                Function::RaiseException => "<function raise_exception>",
                Function::StrftimeNow => "<function strftime_now>",
            }),
            Value::Method(method) => {
                let text =
                    format!("<built-in method {} of {} object>", method.name, method.object.type_name());
                out.push_str(&text)
            }
            Value::Object(id) => self.push_object(*id, out),
        }
    }

    fn push_items(&mut self, items: &[Value], out: &mut Buffer) -> Res<()> {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ")?;
            }
            self.push_repr(item, out)?;
        }
        Ok(())
    }

    fn push_dict(&mut self, dict: &Dict, out: &mut Buffer) -> Res<()> {
        out.push_str("{")?;
        for (at, (key, value)) in dict.entries().iter().enumerate() {
            if at > 0 {
                out.push_str(", ")?;
            }
            self.push_repr(&key.value, out)?;
            out.push_str(": ")?;
            self.push_repr(value, out)?;
        }
        out.push_str("}")
    }

    fn push_view(&mut self, view: View, dict: &Dict, out: &mut Buffer) -> Res<()> {
        out.push_str(match view {
            View::Keys => "dict_keys([",
            View::Values => "dict_values([",
            View::Items => "dict_items([",
        })?;
        for (at, (key, value)) in dict.entries().iter().enumerate() {
            if at > 0 {
                out.push_str(", ")?;
            }
            match view {
                View::Keys => self.push_repr(&key.value, out)?,
                View::Values => self.push_repr(value, out)?,
                View::Items => {
                    out.push_str("(")?;
                    self.push_repr(&key.value, out)?;
                    out.push_str(", ")?;
                    self.push_repr(value, out)?;
                    out.push_str(")")?;
                }
            }
        }
        out.push_str("])")
    }

    fn push_object(&mut self, id: super::value::ObjectId, out: &mut Buffer) -> Res<()> {
        match self.object(id) {
            Object::Namespace(entries) => {
                let entries: Vec<(Value, Value)> =
                    entries.iter().map(|(key, value)| (key.value.clone(), value.clone())).collect();
                self.step(entries.len())?;
                out.push_str("<Namespace {")?;
                if self.printing.contains(&id) {
                    return out.push_str("...}>");
                }
                self.printing.push(id);
                let written = self.push_pairs(&entries, out);
                self.printing.pop();
                written?;
                out.push_str("}>")
            }
            Object::Loop(_) => {
                let (index, length) =
                    self.with_loop(id, |this, state| Ok((state.index0 + 1, this.loop_length(state)?)))?;
                out.push_str(&format!("<LoopContext {index}/{length}>"))
            }
            Object::Macro { definition, .. } => match definition.name {
                Some(name) => {
                    let text = format!("<Macro '{}'>", self.name(name));
                    out.push_str(&text)
                }
                None => out.push_str("<Macro anonymous>"),
            },
            _ => {
                let text = format!("<{} object>", self.type_of(&Value::Object(id)));
                out.push_str(&text)
            }
        }
    }

    fn push_pairs(&mut self, pairs: &[(Value, Value)], out: &mut Buffer) -> Res<()> {
        for (at, (key, value)) in pairs.iter().enumerate() {
            if at > 0 {
                out.push_str(", ")?;
            }
            self.push_repr(key, out)?;
            out.push_str(": ")?;
            self.push_repr(value, out)?;
        }
        Ok(())
    }
}

/// The quotes of Python's `repr`: single ones, unless only they occur.
fn quote_of(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

/// Appends `repr` of a text.
pub(crate) fn push_str_repr(text: &str, out: &mut Buffer) -> Res<()> {
    let quote = quote_of(text.contains('\''), text.contains('"'));
    out.push(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            '\\' => out.push_str("\\\\")?,
            c if c == quote => {
                out.push('\\')?;
                out.push(c)?;
            }
            c if is_printable(c) => out.push(c)?,
            c => {
                let code = c as u32;
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                })?;
            }
        }
    }
    out.push(quote)
}

fn push_bytes_repr(bytes: &[u8], out: &mut Buffer) -> Res<()> {
    let quote = quote_of(bytes.contains(&b'\''), bytes.contains(&b'"'));
    out.push('b')?;
    out.push(quote)?;
    for b in bytes {
        match b {
            b'\n' => out.push_str("\\n")?,
            b'\r' => out.push_str("\\r")?,
            b'\t' => out.push_str("\\t")?,
            b'\\' => out.push_str("\\\\")?,
            b if char::from(*b) == quote => {
                out.push('\\')?;
                out.push(quote)?;
            }
            b' '..=b'~' => out.push(char::from(*b))?,
            b => out.push_str(&format!("\\x{b:02x}"))?,
        }
    }
    out.push(quote)
}

/// `repr` of a float: the shortest digits that read back, with an exponent from 1e16 on and below 1e-4.
pub(crate) fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::float_repr;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (x, want) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e300, "1.5e+300"),
            (123456789.123, "123456789.123"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(x), want);
        }
    }
}
