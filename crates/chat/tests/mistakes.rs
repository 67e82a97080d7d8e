//! Templates that are broken or fail: the error names the line.

use quipu_chat::{ChatTemplate, Error, Message};

fn outcome(source: &str) -> Result<String, Error> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(&[Message::new("user", "hi")], true)
}

#[test]
fn malformed_sources_name_their_line() {
    for (source, line) in [
        ("{% for m in messages %}x", 1),
        ("a\n{{ b", 2),
        ("a\n\n{% nonsense %}", 3),
        ("{% if %}{% endif %}", 1),
        ("{{ 'open }}", 1),
        ("a\n{% endfor %}", 2),
        ("{{ a b }}", 1),
        ("{# never closed", 1),
    ] {
        match ChatTemplate::new(source, "", "") {
            Err(Error::Syntax { line: found, detail }) => {
                assert_eq!(found, line, "{source}: {detail}");
                assert!(!detail.is_empty());
            }
            other => panic!("{source:?} gave {other:?}"),
        }
    }
}

#[test]
fn failing_operations_name_their_line() {
    for (source, line) in [
        ("\n{{ missing.field }}", 2),
        ("\n\n{{ 1 + 'a' }}", 3),
        ("{{ unknown_function() }}", 1),
        ("{{ 'a' | unknown_filter }}", 1),
        ("{{ 'a'.unknown_method() }}", 1),
        ("{% include 'other' %}", 1),
        ("{{ 1 // 0 }}", 1),
    ] {
        match outcome(source) {
            Err(Error::Render { line: found, .. } | Error::Syntax { line: found, .. }) => {
                assert_eq!(found, line, "{source}");
            }
            other => panic!("{source:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_refusal_inside_a_macro_is_still_a_refusal() {
    let source = "{% macro no() %}{{ raise_exception('not \"this\"') }}{% endmacro %}\n{{ no() }}";
    match outcome(source) {
        Err(Error::Raised { message, .. }) => assert_eq!(message, "not \"this\""),
        other => panic!("{other:?}"),
    }
}
