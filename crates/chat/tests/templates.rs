//! The shapes of template that models come with, through the public API.

use quipu_chat::{ChatTemplate, Error, Message};

fn talk() -> Vec<Message> {
    vec![
        Message::new("system", "Be brief."),
        Message::new("user", " Hi <b>&\"there\" "),
        Message::new("assistant", "Hello."),
        Message::new("user", "Bye?"),
    ]
}

fn render(source: &str, messages: &[Message], prompt: bool) -> Result<String, Error> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(messages, prompt)
}

#[test]
fn chatml() {
    let want = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <b>&\"there\" <|im_end|>\n\
                <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye?<|im_end|>\n";
    let template = ChatTemplate::default_chatml();
    assert_eq!(template.render(&talk(), false).unwrap(), want);
    assert_eq!(template.render(&talk(), true).unwrap(), format!("{want}<|im_start|>assistant\n"));
    assert_eq!(template.render(&[], true).unwrap(), "<|im_start|>assistant\n");
}

#[test]
fn header_style_with_trimmed_content() {
    let source = "{% set loop_messages = messages %}{% for message in loop_messages %}\
        {% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}\
        {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
    let got = render(source, &talk()[1..2], true).unwrap();
    let want = "<s><|start_header_id|>user<|end_header_id|>\n\nHi <b>&\"there\"<|eot_id|>\
                <|start_header_id|>assistant<|end_header_id|>\n\n";
    assert_eq!(got, want);
}

const INSTRUCTION: &str = r#"{%- if messages[0].role == "system" %}
    {%- set system_message = messages[0].content %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set ns = namespace(n=0) %}
{{- bos_token }}
{%- for message in turns %}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("roles must alternate, turn " ~ loop.index ~ " is " ~ message.role) }}
    {%- endif %}
    {%- if message.role == "user" %}
        {%- set ns.n = ns.n + 1 %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message.content.strip() + " [/INST]" }}
        {%- else %}
            {{- "[INST] " + message.content.strip() + " [/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
{{- ns.n }}"#;

#[test]
fn instruction_style_with_namespace_and_refusal() {
    let got = render(INSTRUCTION, &talk(), true).unwrap();
    assert_eq!(got, "<s>[INST] Hi <b>&\"there\" [/INST] Hello.</s>[INST] Be brief.\n\nBye? [/INST]2");
    let twice = [Message::new("user", "a"), Message::new("user", "b")];
    let refused = render(INSTRUCTION, &twice, true);
    assert_eq!(
        refused,
        Err(Error::Raised { line: 11, message: "roles must alternate, turn 2 is user".to_string() })
    );
}

#[test]
fn block_style_relies_on_trimmed_tags() {
    let source = "{% for message in messages %}\n    {% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n\
                  {% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n\
                  {% elif message['role'] == 'assistant' %}\n{% generation %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endgeneration %}\n{% endif %}\n\
                  {% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}\n";
    let want = "<|system|>\nBe brief.</s>\n<|user|>\n Hi <b>&\"there\" </s>\n<|assistant|>\nHello.</s>\n\
                <|user|>\nBye?</s>\n<|assistant|>\n";
    assert_eq!(render(source, &talk(), true).unwrap(), want);
}

#[test]
fn python_habits() {
    let cases = [
        ("{{ true }} {{ none }} {{ 1.0 }} {{ 3 // 2 }}", "True None 1.0 1"),
        ("{{ missing }}|{{ tools is defined }}|{{ messages[0].get('x', 'y') }}", "|False|y"),
        ("{{ 'a-b'.split('-')[1].upper() }}{{ ' x '.strip() }}{{ 'xay'.replace('a', 'b') }}", "Bxxby"),
        ("{{ 'ab'.startswith('a') }}{{ {'k': 1}.items() | list | length }}", "True1"),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
            "user",
        ),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}", "<a>"),
        ("{{ messages[-1]['content'] }}{{ messages[::-1][0].role }}", "Bye?user"),
        (
            "{% set ns = namespace(a='') %}{% for m in messages %}{% set ns.a = ns.a ~ m.role[0] %}{% endfor %}{{ ns.a }}",
            "suau",
        ),
        ("{{ strftime_now('%Y') | int > 2000 }}", "True"),
    ];
    for (source, want) in cases {
        assert_eq!(render(source, &talk(), false).as_deref(), Ok(want), "{source}");
    }
}

#[test]
fn json_is_that_of_python() {
    let cases = [
        (
            "{{ {'b': 1, 'a': [true, none, 2.5, \"<é>\\n\"]} | tojson }}",
            "{\"b\": 1, \"a\": [true, null, 2.5, \"<é>\\n\"]}",
        ),
        (
            "{{ {'b': [], 'a': {'c': 1}} | tojson(indent=2) }}",
            "{\n  \"b\": [],\n  \"a\": {\n    \"c\": 1\n  }\n}",
        ),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=[',', ':']) }}", "{\"a\":2,\"b\":1}"),
        ("{{ 'é😀' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\""),
        ("{{ messages[3] | tojson }}", "{\"role\": \"user\", \"content\": \"Bye?\"}"),
        ("{{ {1: 2, false: 3} | tojson }}", "{\"1\": 2, \"false\": 3}"),
    ];
    for (source, want) in cases {
        assert_eq!(render(source, &talk(), false).as_deref(), Ok(want), "{source}");
    }
    assert!(matches!(render("{{ missing | tojson }}", &[], false), Err(Error::Render { line: 1, .. })));
    let wide = render("{{ [1] | tojson(indent=999999999) }}", &[], false);
    assert!(matches!(wide, Err(Error::Exceeded { line: 1, .. })));
}
