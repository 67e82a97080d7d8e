//! Templates that are broken, or built to waste time, stack or memory.

use proptest::prelude::*;
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

#[test]
fn endless_work_is_stopped() {
    let nested = "{% for a in range(9999) %}".repeat(4) + &"{% endfor %}".repeat(4);
    assert!(matches!(outcome(&nested), Err(Error::TooMuchWork { .. })));
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(matches!(outcome(recursive), Err(Error::Render { .. } | Error::TooMuchWork { .. })));
    assert!(outcome("{{ range(999999999999) | list | length }}").is_err());
    assert!(outcome("{{ 'x' * 99999999999 }}").is_err());
}

#[test]
fn endless_output_is_stopped() {
    let source = "{% set x = 'xxxxxxxxxxxxxxxx' * 6000 %}{% for i in range(9999) %}{{ x }}{% endfor %}";
    assert!(matches!(outcome(source), Err(Error::OutputTooLong { .. })));
    let long = "x".repeat((1 << 18) + 1);
    assert!(matches!(outcome(&long), Err(Error::SourceTooLong { .. })));
}

#[test]
fn deep_values_and_deep_sources_do_not_end_the_process() {
    let nest = "{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let _ = outcome(nest);
    let _ = outcome(&format!("{nest}{{{{ ns.x | tojson }}}}"));
    for (open, close) in [("(", ")"), ("[", "]"), ("{'a':", "}")] {
        let deep = open.repeat(20_000) + "1" + &close.repeat(20_000);
        assert!(outcome(&format!("{{{{ {deep} }}}}")).is_err());
    }
    let _ = outcome(&("{% if true %}".repeat(5_000) + &"{% endif %}".repeat(5_000)));
    // As long as a source may be.
    let most = (1 << 18) - 32;
    for piece in ["not ", "-", "1 if 1 else "] {
        let _ = outcome(&format!("{{{{ {} 1 }}}}", piece.repeat(most / piece.len())));
    }
    for piece in ["+1", ".a", "|e", "[1]", "()"] {
        let _ = outcome(&format!("{{{{ 1{} }}}}", piece.repeat(most / piece.len())));
    }
    let piece = "{% elif 1 %}";
    let _ = outcome(&format!("{{% if 0 %}}{}{{% endif %}}", piece.repeat(most / piece.len())));
}

#[test]
fn a_long_conversation_has_work_enough() {
    let messages: Vec<Message> = (0..2_000).map(|i| Message::new("user", format!("turn {i}"))).collect();
    let text = ChatTemplate::default_chatml().render(&messages, true).unwrap();
    assert_eq!(text.matches("<|im_start|>").count(), 2_001);
}

proptest! {
    #[test]
    fn any_source_is_accepted_or_refused(pieces in prop::collection::vec(prop_oneof![
        Just("{% generation %}".to_string()), Just("{%- endgeneration -%}".to_string()), Just("{{".to_string()),
        Just("}}".to_string()), Just("{%".to_string()), Just("%}".to_string()), Just("for m in messages".to_string()),
        Just("endfor".to_string()), Just("m.content | tojson".to_string()), Just("if x".to_string()),
        Just("endif".to_string()), Just("strftime_now('%Y%').x".to_string()), "\\PC{0,6}",
    ], 0..24)) {
        let _ = outcome(&pieces.concat());
    }

    #[test]
    fn contents_come_through_unchanged(role in "\\PC{0,20}", content in any::<String>()) {
        let template = ChatTemplate::new("{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}", "", "").unwrap();
        let want = format!("{role}{content}");
        prop_assert_eq!(template.render(&[Message::new(role, content)], false).unwrap(), want);
    }
}
