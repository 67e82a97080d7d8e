//! Filters: `x | name(args)`.

mod numbers;
mod sequences;
mod texts;
mod wrap;

use super::interpreter::{Args, Interpreter};
use super::meter::{FailKind, Res, fail};
use super::value::Value;

/// The filters that a template may use, in the order of their names.
pub const FILTERS: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Whether a filter has this name.
pub(crate) fn is_filter(name: &str) -> bool {
    FILTERS.binary_search(&name).is_ok()
}

impl Interpreter<'_> {
    /// `value | name(args)`.
    pub fn filter(&mut self, name: &str, value: &Value, args: Args) -> Res<Value> {
        let _level = self.heap.meter.deeper()?;
        self.step(1)?;
        match name {
            "abs" | "round" | "int" | "float" | "filesizeformat" => self.number_filter(name, value, args),
            "tojson" => self.to_json(value, args),
            "default" | "d" => {
                let [default, boolean] = args.bind(name, ["default_value", "boolean"], 0)?;
                let boolean = match boolean {
                    Some(boolean) => self.truth(&boolean)?,
                    None => false,
                };
                if value.is_undefined() || (boolean && !self.truth(value)?) {
                    return match default {
                        Some(default) => Ok(default),
                        None => self.heap.str(""),
                    };
                }
                Ok(value.clone())
            }
            "attr" | "batch" | "count" | "dictsort" | "first" | "groupby" | "items" | "join" | "last"
            | "length" | "list" | "map" | "max" | "min" | "random" | "reject" | "rejectattr" | "reverse"
            | "select" | "selectattr" | "slice" | "sort" | "sum" | "unique" => {
                self.sequence_filter(name, value, args)
            }
            "urlize" => fail(FailKind::Template, "the filter urlize is not supported"),
            other if is_filter(other) => self.text_filter(name, value, args),
            other => fail(FailKind::Template, format!("No filter named '{other}'.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FILTERS;

    #[test]
    fn the_names_are_in_order() {
        assert!(FILTERS.is_sorted());
    }
}
