//! Any source is a template or an error, and a render keeps to its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_chat::{ChatTemplate, Limits, Variables};
use serde_json::{Map, json};

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let messages = json!([
        { "role": "system", "content": "Be brief.\r\n" },
        { "role": "user", "content": [{ "type": "text", "text": "é😀 <a>" }] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "type": "function", "function": { "name": "f", "arguments": { "x": [1, 2.5, true, null] } } },
        ]},
    ]);
    let limits = Limits { steps: 20_000, memory: 1 << 20, output: 1 << 16 };
    // As it stands, and as an expression, a statement and the body of a loop.
    for source in [
        source.to_owned(),
        format!("{{{{ {source} }}}}"),
        format!("{{% {source} %}}"),
        format!("{{% for m in messages %}}{{{{ m.content|{source} }}}}{{% endfor %}}"),
    ] {
        if let Ok(template) = ChatTemplate::new(&source, "<s>", "</s>") {
            let mut variables = Variables::new(messages.clone(), Some(json!([{ "name": "f" }])), true, Map::new());
            variables.limits = Some(limits);
            if let Ok(text) = template.render_with(&variables) {
                assert!(text.len() <= limits.output);
            }
        }
    }
});
