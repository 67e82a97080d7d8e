//! Rules that every grammar may use.

/// Blanks between the parts of a JSON text.
pub(super) const SPACE: &str = r#"| " " | "\n"{1,2} [ \t]{0,20}"#;

/// A rule that is there for the asking, and the ones it refers to.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) content: &'static str,
    pub(super) uses: &'static [&'static str],
}

const fn rule(name: &'static str, content: &'static str, uses: &'static [&'static str]) -> Builtin {
    Builtin { name, content, uses }
}

const PRIMITIVES: [Builtin; 12] = [
    rule("boolean", r#"("true" | "false")"#, &[]),
    rule("decimal-part", "[0-9]{1,16}", &[]),
    rule("integral-part", "[0] | [1-9] [0-9]{0,15}", &[]),
    rule(
        "number",
        r#"("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?"#,
        &["integral-part", "decimal-part"],
    ),
    rule("integer", r#"("-"? integral-part)"#, &["integral-part"]),
    rule(
        "value",
        "object | array | string | number | boolean | null",
        &["object", "array", "string", "number", "boolean", "null"],
    ),
    rule(
        "object",
        r#""{" space ( string ":" space value ("," space string ":" space value)* )? space "}""#,
        &["string", "value"],
    ),
    rule("array", r#""[" space ( value ("," space value)* )? space "]""#, &["value"]),
    rule(
        "uuid",
        r#""\"" [0-9a-fA-F]{8} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{12} "\"""#,
        &[],
    ),
    rule("char", r#"[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})"#, &[]),
    rule("string", r#""\"" char* "\"""#, &["char"]),
    rule("null", r#""null""#, &[]),
];

const FORMATS: [Builtin; 6] = [
    rule(
        "date",
        r#"[0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | [1-2] [0-9] | "3" [0-1] )"#,
        &[],
    ),
    rule(
        "time",
        r#"([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{3} )? ( "Z" | ( "+" | "-" ) ( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] )"#,
        &[],
    ),
    rule("date-time", r#"date "T" time"#, &["date", "time"]),
    rule("date-string", r#""\"" date "\"""#, &["date"]),
    rule("time-string", r#""\"" time "\"""#, &["time"]),
    rule("date-time-string", r#""\"" date-time "\"""#, &["date-time"]),
];

/// The rule of a JSON type, or one that such rules use.
pub(super) fn primitive(name: &str) -> Option<&'static Builtin> {
    PRIMITIVES.iter().find(|rule| rule.name == name)
}

/// A rule of a string format.
pub(super) fn format(name: &str) -> Option<&'static Builtin> {
    FORMATS.iter().find(|rule| rule.name == name)
}

/// Names that a user's rule must not take.
pub(super) fn is_reserved(name: &str) -> bool {
    name == "root" || primitive(name).is_some() || format(name).is_some()
}
