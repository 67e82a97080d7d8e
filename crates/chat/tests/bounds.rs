//! Whatever a template does, a render ends: with a text, or with an error that says which bound was met.

use proptest::prelude::*;
use quipu_chat::{Bound, ChatTemplate, Error, Limits, Message, Variables};
use serde_json::{Map, json};

const LIMITS: Limits = Limits { steps: 2_000_000, memory: 8 << 20, output: 4 << 20 };

fn outcome(source: &str) -> Result<String, Error> {
    let messages = json!([Message::new("user", "hi").to_json()]);
    let mut variables = Variables::new(messages, None, true, Map::new());
    variables.limits = Some(LIMITS);
    ChatTemplate::new(source, "<s>", "</s>")?.render_with(&variables)
}

fn bound(source: &str) -> Bound {
    match outcome(source) {
        Err(Error::Exceeded { bound, .. }) => bound,
        Err(other) => panic!("{source}: {other}"),
        Ok(text) => panic!("{source}: {} bytes", text.len()),
    }
}

#[test]
fn texts_that_do_not_fit_are_refused_before_they_are_made() {
    for source in [
        "{{ 'a'|indent(4000000000000, true) }}",
        "{{ 'a\nb'|indent('x' * 4000000000000) }}",
        "{{ '%2000000000000d'|format(1) }}",
        "{{ '%-2000000000000s' % 'a' }}",
        "{{ '%.2000000000000f' % 1.5 }}",
        "{{ '%*d' % (2000000000000, 1) }}",
        "{{ '%.2000000000000d' % 1 }}",
        "{{ '{:2000000000000}'.format(1) }}",
        "{{ '{:02000000000000,}'.format(1) }}",
        "{{ '{:.2000000000000f}'.format(1.5) }}",
        "{{ 'a'.center(4000000000000) }}{{ 'a'|center(4000000000000) }}",
        "{{ 'a'.ljust(4000000000000) }}",
        "{{ 'a'.rjust(4000000000000, 'é') }}",
        "{{ '1'.zfill(4000000000000) }}",
        "{{ '\t'.expandtabs(4000000000000) }}",
        "{{ 'x' * 99999999999 }}",
        "{{ [0] * 99999999999 }}",
        "{{ (0, 1) * 99999999999 }}",
        "{{ [[1]|batch(4000000000000, 'x')] }}",
        "{{ [1]|slice(4000000000000)|first }}",
        "{{ {'a': [1]}|tojson(indent=4000000000000) }}",
        "{{ ('x' * 100000)|replace('x', 'y' * 1000) }}",
        "{{ ('x' * 100000).replace('', 'y' * 1000) }}",
        "{{ ('x' * 100000)|join('y' * 1000) }}",
        "{{ ('y' * 1000).join('x' * 100000) }}",
        "{{ ('x\n' * 100000)|indent(1000) }}",
        "{{ ('%s' * 10000) % (('y' * 10000,) * 10000) }}",
        "{{ ('<' * 3000000)|e }}",
        "{% set x = namespace(s='ab') %}{% for i in range(64) %}{% set x.s = x.s ~ x.s %}{% endfor %}",
        "{% set x = namespace(s='ab') %}{% for i in range(64) %}{% set x.s = x.s + x.s %}{% endfor %}",
        "{% set x = namespace(s=[1]) %}{% for i in range(64) %}{% set x.s = x.s + x.s %}{% endfor %}",
        "{% set x = namespace(s='ab') %}{% for i in range(64) %}{% set x.s = '%s%s'|format(x.s, x.s) %}{% endfor %}",
        "{% set x = namespace(s='ab') %}{% for i in range(64) %}{% set y %}{{ x.s }}{{ x.s }}{% endset %}{% set x.s = y %}{% endfor %}",
    ] {
        let met = bound(source);
        assert!(matches!(met, Bound::Memory(_) | Bound::Steps(_) | Bound::Output(_)), "{source}: {met}");
    }
}

#[test]
fn endless_work_is_stopped() {
    for source in [
        &("{% for a in range(9999) %}".repeat(4) + &"{% endfor %}".repeat(4)),
        "{% for a in range(99999) %}{{ range(99999)|list|length }}{% endfor %}",
        "{% for a in range(99999) %}{{ ('x' * 100000) is upper }}{% endfor %}",
        "{% for a in range(99999) %}{{ ('x' * 100000)|wordwrap(3)|length }}{% endfor %}",
    ] {
        assert_eq!(bound(source), Bound::Steps(LIMITS.steps), "{source}");
    }
}

/// Lists in which every level holds the one below twice: 2^40 leaves in 40 lists.
fn doubled(name: &str) -> String {
    format!(
        "{{% set {name} = namespace(v=[1]) %}}{{% for i in range(40) %}}{{% set {name}.v = [{name}.v, {name}.v] %}}{{% endfor %}}"
    )
}

#[test]
fn values_that_share_their_parts_do_not_multiply_the_work() {
    let two = doubled("a") + &doubled("b");
    for end in [
        "{{ a.v == b.v }}",
        "{{ a.v != b.v }}",
        "{{ a.v < b.v }}",
        "{{ a.v in [b.v] }}",
        "{{ [a.v, b.v]|sort|length }}",
        "{{ [a.v, b.v]|min|length }}",
        "{{ [a.v].count(b.v) }}",
        "{{ [b.v].index(a.v) }}",
        "{{ a.v ~ '' }}",
        "{{ a.v }}",
        "{{ a.v|string|length }}",
        "{{ a.v|tojson }}",
        "{{ a.v|join }}",
        "{{ '%s' % [a.v] }}",
        "{{ '{}'.format(a.v) }}",
        "{{ a.v is eq b.v }}",
        "{{ [a.v]|groupby(0)|length }}{{ [a.v]|select('equalto', b.v)|list }}",
        "{{ {1: a.v} == {1: b.v} }}",
    ] {
        bound(&format!("{two}{end}"));
    }
    // The same object is equal to itself, as in Python.
    assert_eq!(outcome(&format!("{two}{{{{ [a.v] == [a.v] }}}}")).as_deref(), Ok("True"));
    // As keys, too.
    let keys =
        two.replace("[1]", "(1,)").replace("[a.v, a.v]", "(a.v, a.v)").replace("[b.v, b.v]", "(b.v, b.v)");
    for end in ["{{ {a.v: 1} }}", "{{ [a.v, b.v]|unique|list }}", "{{ a.v in {} }}", "{{ {}.get(a.v) }}"] {
        bound(&format!("{keys}{end}"));
    }
}

#[test]
fn an_object_that_holds_itself_is_no_danger() {
    let own = "{% set ns = namespace() %}{% set ns.a = ns %}";
    assert_eq!(outcome(&format!("{own}{{{{ ns }}}}")).as_deref(), Ok("<Namespace {'a': <Namespace {...}>}>"));
    assert_eq!(
        outcome(&format!("{own}{{{{ ns == ns.a }}}}{{{{ ns.a.a is sameas ns }}}}")).as_deref(),
        Ok("TrueTrue")
    );
    let listed = "{% set ns = namespace() %}{% set ns.a = [ns, {'b': ns}] %}";
    assert!(outcome(&format!("{listed}{{{{ ns }}}}")).is_ok());
    assert!(matches!(outcome(&format!("{listed}{{{{ ns.a|tojson }}}}")), Err(Error::Render { .. })));
    let looped = "{% set ns = namespace() %}{% for i in [1, 2] if ns is defined %}{% set ns.l = loop %}{{ ns.l.last }}{{ ns.l }}{% endfor %}";
    assert!(outcome(looped).is_ok());
    let macros = "{% macro f() %}{{ ns.f }}{% endmacro %}{% set ns = namespace(f=f) %}{{ ns.f() }}";
    assert!(outcome(macros).is_ok());
}

#[test]
fn recursion_ends_with_an_error_of_its_own() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{% for i in [1] %}{% if true %}{{ ((f(x + 1)))|trim|upper }}{% endif %}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{% call f() %}x{% endcall %}{{ caller is defined and caller() }}{% endmacro %}{{ f() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(20000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
        "{% set ns = namespace(x=()) %}{% for i in range(20000) %}{% set ns.x = (ns.x, 1) %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(20000) %}{% set ns.x = {1: ns.x}.items() %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x.copy] %}{% endfor %}",
    ] {
        let met = bound(source);
        assert!(matches!(met, Bound::Depth(_)), "{source}: {met}");
    }
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(400) %}{% set ns.x = [ns.x] %}{% endfor %}";
    assert!(outcome(&format!("{deep}{{{{ ns.x }}}}{{{{ ns.x|tojson }}}}{{{{ ns.x == [ns.x] }}}}")).is_ok());
}

#[test]
fn integers_stay_small() {
    for source in [
        "{{ 2**(2**40) }}",
        "{{ (2**60000) * (2**60000) }}",
        "{{ 10**99999999999999999999 }}",
        "{% set n = namespace(x=3) %}{% for i in range(64) %}{% set n.x = n.x * n.x %}{% endfor %}",
    ] {
        assert!(matches!(bound(source), Bound::Integer(_)), "{source}");
    }
    assert_eq!(outcome("{{ (-1)**(2**70) }}{{ 0**(2**70) }}{{ 1**(2**70 + 1) }}").as_deref(), Ok("101"));
    // Python writes no more than 4300 digits.
    assert!(matches!(outcome("{{ 10**5000 }}"), Err(Error::Render { .. })));
}

#[test]
fn endless_output_is_stopped() {
    let source = "{% set x = 'xxxxxxxxxxxxxxxx' * 6000 %}{% for i in range(9999) %}{{ x }}{% endfor %}";
    assert_eq!(bound(source), Bound::Output(LIMITS.output));
    let long = "x".repeat((1 << 18) + 1);
    assert!(matches!(outcome(&long), Err(Error::SourceTooLong { .. })));
}

#[test]
fn what_goes_gives_its_bytes_back() {
    // More texts than fit into 8 MiB, one after another.
    let source = "{% for i in range(100) %}{% set x = 'x' * 40000 %}{% set y = x ~ x %}{% endfor %}done";
    assert_eq!(outcome(source).as_deref(), Ok("done"));
    let growing = "{% set n = namespace(s='') %}{% for i in range(200) %}{% set n.s = n.s + 'x' * 2000 %}{% endfor %}{{ n.s|length }}";
    assert_eq!(outcome(growing).as_deref(), Ok("400000"));
}

#[test]
fn deep_sources_do_not_end_the_process() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{'a':", "}"), ("x(", ")"), ("x[", "]"), ("x|default(", ")")]
    {
        let deep = open.repeat(20_000) + "1" + &close.repeat(20_000);
        assert!(matches!(outcome(&format!("{{{{ {deep} }}}}")), Err(Error::Syntax { .. })), "{open}");
    }
    assert!(outcome(&("{% if true %}".repeat(5_000) + &"{% endif %}".repeat(5_000))).is_err());
    assert!(outcome(&("{% for a in b %}".repeat(5_000) + &"{% endfor %}".repeat(5_000))).is_err());
    let targets = "(".repeat(20_000);
    assert!(outcome(&format!("{{% set {targets}a = 1 %}}")).is_err());
    // As long as a source may be.
    let most = (1 << 18) - 32;
    for piece in ["not ", "-", "1 if 1 else ", "x is ", "1 + ", "1 ~ ", "1 < ", "1 and "] {
        let _ = outcome(&format!("{{{{ {} 1 }}}}", piece.repeat(most / piece.len())));
    }
    for piece in ["+1", ".a", "|e", "[1]", "()", "**2", "('a')"] {
        let _ = outcome(&format!("{{{{ 1{} }}}}", piece.repeat(most / piece.len())));
    }
    let piece = "{% elif 1 %}";
    assert!(outcome(&format!("{{% if 0 %}}{}{{% endif %}}", piece.repeat(most / piece.len()))).is_ok());
    let nested = "{{ ".to_owned() + &"(".repeat(80) + "1" + &")".repeat(80) + " }}";
    assert_eq!(outcome(&nested).as_deref(), Ok("1"));
}

#[test]
fn a_long_conversation_has_work_enough() {
    let messages: Vec<Message> = (0..2_000).map(|i| Message::new("user", format!("turn {i}"))).collect();
    let text = ChatTemplate::default_chatml().render(&messages, true).unwrap();
    assert_eq!(text.matches("<|im_start|>").count(), 2_001);
}

#[test]
fn errors_say_what_was_exceeded() {
    let text = |source: &str| outcome(source).unwrap_err().to_string();
    assert_eq!(
        text("\n{{ 'x' * 99999999 }}"),
        "chat template, line 2: needs more than 8388608 bytes of memory"
    );
    assert_eq!(
        text("{% for a in range(9999) %}{% for a in range(9999) %}{% endfor %}{% endfor %}"),
        "chat template, line 1: stopped after 2000000 steps"
    );
    assert_eq!(
        text("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        "chat template, line 1: nested more than 250 levels deep"
    );
}

proptest! {
    #[test]
    fn any_source_is_accepted_or_refused(pieces in prop::collection::vec(prop_oneof![
        Just("{% generation %}".to_string()), Just("{%- endgeneration -%}".to_string()), Just("{{".to_string()),
        Just("}}".to_string()), Just("{%".to_string()), Just("%}".to_string()), Just("for m in messages".to_string()),
        Just("endfor".to_string()), Just("m.content | tojson".to_string()), Just("if x".to_string()),
        Just("endif".to_string()), Just("strftime_now('%Y%').x".to_string()), Just("{% raw %}".to_string()),
        Just("{% endraw %}".to_string()), Just("{#".to_string()), Just("#}".to_string()), Just("'".to_string()),
        Just("\\".to_string()), Just("[::2]".to_string()), Just("|batch(2)".to_string()), "\\PC{0,6}",
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
