//! Conversations made ready for templates that lack something.

use std::time::{Duration, SystemTime};

use quipu_chat::{ChatTemplate, Conversation, Error};
use serde_json::{Value, json};

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, "<s>", "</s>").expect("a template")
}

fn conversation(messages: Value) -> Conversation {
    let Value::Array(messages) = messages else { panic!("a list") };
    Conversation {
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_211_909),
        ..Conversation::new(messages)
    }
}

fn apply(source: &str, messages: Value) -> String {
    template(source).apply(&conversation(messages), true, false).expect("a prompt")
}

const STRINGS: &str = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}";
const PARTS: &str = "{% for m in messages %}[{{ m.role }}: {% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}]{% endfor %}";
const EITHER: &str = "{% for m in messages %}[{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endif %}]{% endfor %}";
const NO_SYSTEM: &str = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}[{{ m.role }}: {{ m.content }}]{% endfor %}";
const DROPS_SYSTEM: &str =
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}: {{ m.content }}]{% endfor %}";

#[test]
fn what_templates_can_do() {
    let strings = template(STRINGS).capabilities();
    assert!(strings.string_content && !strings.typed_content && strings.system_role);
    assert!(!strings.tools && !strings.tool_calls && !strings.thinking && !strings.preserve_reasoning);
    let parts = template(PARTS).capabilities();
    assert!(!parts.string_content && parts.typed_content && parts.system_role);
    let either = template(EITHER).capabilities();
    assert!(either.string_content && either.typed_content);
    assert!(!template(NO_SYSTEM).capabilities().system_role);
    assert!(!template(DROPS_SYSTEM).capabilities().system_role);
    let thinks = "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}";
    assert!(template(thinks).capabilities().thinking);
    let keeps = "{% for m in messages %}{{ m.reasoning_content }}{{ m.content }}{% endfor %}";
    assert!(template(keeps).capabilities().preserve_reasoning);
    let calls = "{{ tools|tojson }}{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}){% endfor %}{% endfor %}";
    let calls = template(calls).capabilities();
    assert!(calls.tools && calls.tool_calls && calls.parallel_tool_calls && calls.object_arguments);
    let first = "{{ tools|tojson }}{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{{ m.tool_calls[0].function.arguments }}{% endif %}{% endfor %}";
    let first = template(first).capabilities();
    assert!(first.tool_calls && !first.parallel_tool_calls && !first.object_arguments);
}

#[test]
fn content_takes_the_form_that_is_read() {
    let text = json!([{ "role": "user", "content": "hi" }]);
    let parts = json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }]);
    assert_eq!(apply(STRINGS, text.clone()), "[user: hi]");
    assert_eq!(apply(STRINGS, parts.clone()), "[user: a\nb]");
    assert_eq!(apply(PARTS, text.clone()), "[user: hi]");
    assert_eq!(apply(PARTS, parts.clone()), "[user: ab]");
    assert_eq!(apply(EITHER, text), "[user: hi]");
    assert_eq!(apply(EITHER, parts), "[user: <a><b>]");
    let null = json!([{ "role": "assistant", "content": null, "tool_calls": [] }]);
    assert_eq!(apply(STRINGS, null), "[assistant: ]");
}

#[test]
fn a_system_text_is_never_lost() {
    let messages = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }]);
    for source in [NO_SYSTEM, DROPS_SYSTEM] {
        assert_eq!(apply(source, messages.clone()), "[user: Be brief.\nhi]");
        let alone = json!([{ "role": "system", "content": "Be brief." }]);
        assert_eq!(apply(source, alone), "[user: Be brief.]");
        let before_answer =
            json!([{ "role": "system", "content": "a" }, { "role": "assistant", "content": "b" }]);
        assert_eq!(apply(source, before_answer), "[user: a][assistant: b]");
        let developer = json!([{ "role": "developer", "content": "a" }, { "role": "user", "content": "b" }]);
        assert_eq!(apply(source, developer), "[user: a\nb]");
    }
    assert_eq!(apply(STRINGS, messages), "[system: Be brief.][user: hi]");
}

#[test]
fn bos_and_eos_are_left_to_the_tokenizer_that_adds_them() {
    let messages = conversation(json!([{ "role": "user", "content": "<s>hi</s>" }]));
    let writes = template("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
    assert_eq!(writes.apply(&messages, true, true).as_deref(), Ok("<s>hi</s>"));
    assert_eq!(writes.apply(&messages, false, false).as_deref(), Ok("<s><s>hi</s></s>"));
    let silent = template("-{{ messages[0].content }}-");
    assert_eq!(silent.apply(&messages, true, true).as_deref(), Ok("-<s>hi</s>-"));
}

#[test]
fn the_variables_of_the_reference() {
    let source = "{{ enable_thinking }}|{{ date_string }}|{{ datetime }}|{{ functions is defined }}|{{ tools is defined }}|{{ add_generation_prompt }}|{{ preserve_thinking }}{{ clear_thinking }}";
    let mut talk = conversation(json!([{ "role": "user", "content": "hi" }]));
    let rendered = |talk: &Conversation| template(source).apply(talk, false, false).expect("a prompt");
    assert_eq!(rendered(&talk), "True|29 Feb 2024|Feb 29 2024|False|False|True|");
    talk.tools = Some(json!([{ "type": "function", "function": { "name": "f" } }]));
    talk.enable_thinking = false;
    talk.add_generation_prompt = false;
    assert_eq!(rendered(&talk), "False|29 Feb 2024|Feb 29 2024|True|True|False|");
    let Value::Object(kwargs) =
        json!({ "enable_thinking": true, "date_string": "today", "preserve_reasoning": true })
    else {
        panic!("an object")
    };
    talk.kwargs = kwargs;
    assert_eq!(rendered(&talk), "True|today|Feb 29 2024|True|True|False|TrueFalse");
}

#[test]
fn arguments_are_objects_where_they_are_wanted_as_such() {
    let source = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}({% for k, v in c.function.arguments|items %}{{ k }}={{ v }}{% endfor %}){% endfor %}{% endfor %}";
    let call = |arguments: Value| {
        json!([{ "role": "assistant", "content": "", "tool_calls": [
        { "type": "function", "function": { "name": "f", "arguments": arguments } } ] }])
    };
    assert_eq!(apply(source, call(json!({ "x": 1 }))), "f(x=1)");
    assert_eq!(apply(source, call(json!("{\"x\": 1}"))), "f(x=1)");
}

#[test]
fn messages_that_are_none_are_refused() {
    for (messages, says) in [
        (json!([1]), "message 0: expected an object"),
        (json!([{ "content": "a" }]), "'role' is missing"),
        (json!([{ "role": 1, "content": "a" }]), "'role' is missing or not a string"),
        (json!([{ "role": "user" }]), "expected 'content' or 'tool_calls'"),
        (json!([{ "role": "user", "content": 1 }]), "'content' is neither"),
        (json!([{ "role": "user", "content": [{ "text": "a" }] }]), "no 'type'"),
        (json!([{ "role": "user", "content": [{ "type": "text" }] }]), "no 'text'"),
        (json!([{ "role": "user", "content": "a", "tool_calls": {} }]), "'tool_calls' is not a list"),
    ] {
        match template(STRINGS).apply(&conversation(messages.clone()), false, false) {
            Err(Error::Messages { detail }) => assert!(detail.contains(says), "{detail}"),
            other => panic!("{messages}: {other:?}"),
        }
    }
}
