//! What a template can do, found by rendering small conversations with marks in them.
//!
//! Counterpart of `common/jinja/caps.cpp`, which watches what a template reads; a mark in the output says whether what
//! was read also arrives.

use serde_json::{Map, Value, json};

use crate::capabilities::Capabilities;
use crate::template::{ChatTemplate, Variables};

const MARK: &str = "qUIPUmARK";
const OTHER_MARK: &str = "oTHERmARK";

impl ChatTemplate {
    /// What the template can do; found by rendering small conversations, once.
    pub fn capabilities(&self) -> Capabilities {
        *self.capabilities.get_or_init(|| Capabilities::probe(self))
    }
}

impl Capabilities {
    fn probe(template: &ChatTemplate) -> Self {
        let probe = Probe { template };
        let typed = probe.text_of(&json!([user(json!([{ "type": "text", "text": MARK }]))]), None);
        // A list that is printed as it is holds its keys too.
        let typed_content =
            typed.as_ref().is_some_and(|text| text.contains(MARK) && !text.contains("'type'"))
                && !typed.as_ref().is_some_and(|text| text.contains("\"type\""));
        let string = probe.text_of(&json!([user(json!(MARK))]), None);
        let string_content = string.as_ref().is_some_and(|text| text.contains(MARK));
        let content = |text: &str| {
            if typed_content && !string_content {
                json!([{ "type": "text", "text": text }])
            } else {
                json!(text)
            }
        };
        let system = json!([{ "role": "system", "content": content(MARK) }, user(content("hello"))]);
        let system_role = probe.text_of(&system, None).is_some_and(|text| text.contains(MARK));
        let (object_tools, object_calls, object) = probe.calls(&content, &json!({ "argument": MARK }));
        let (text_tools, text_calls, _) =
            probe.calls(&content, &json!(format!("{{\"argument\": \"{MARK}\"}}")));
        let object_arguments = object_calls && (object || !text_calls);
        let arguments = if object_arguments {
            json!({ "argument": MARK })
        } else {
            json!(format!("{{\"argument\": \"{MARK}\"}}"))
        };
        let parallel = json!([
            user(content("hello")),
            { "role": "assistant", "content": "", "tool_calls": [
                call("first_tool", "call00001", &arguments),
                call(OTHER_MARK, "call00002", &arguments),
            ]},
            { "role": "tool", "content": content("answer"), "tool_call_id": "call00001", "name": "first_tool" },
            { "role": "tool", "content": content("answer"), "tool_call_id": "call00002", "name": OTHER_MARK },
            { "role": "assistant", "content": content("answer") },
            user(content("hello")),
        ]);
        let parallel_tool_calls = probe
            .text_of(&parallel, Some(tools("first_tool")))
            .is_some_and(|text| text.matches(OTHER_MARK).count() >= 1 && text.contains("first_tool"));
        let reasoning = json!([
            user(content("hello")),
            { "role": "assistant", "content": content("answer"), "reasoning_content": MARK },
            user(content("hello")),
            { "role": "assistant", "content": content("answer"), "reasoning_content": "other" },
            user(content("hello")),
        ]);
        let mut kwargs = preserve_reasoning(true);
        kwargs.insert("enable_thinking".to_owned(), Value::Bool(true));
        let preserve = probe.render(&reasoning, None, kwargs).is_some_and(|text| text.contains(MARK));
        let turn = json!([user(content("hello"))]);
        let with = |on: bool| {
            let kwargs = Map::from_iter([("enable_thinking".to_owned(), Value::Bool(on))]);
            probe.render(&turn, None, kwargs)
        };
        Self {
            string_content: string_content || !typed_content,
            typed_content,
            system_role,
            tools: object_tools || text_tools,
            tool_calls: object_calls || text_calls,
            parallel_tool_calls,
            object_arguments,
            preserve_reasoning: preserve,
            thinking: with(true) != with(false),
        }
    }
}

/// The variables by which templates are told to keep the reasoning of earlier turns.
pub(crate) fn preserve_reasoning(on: bool) -> Map<String, Value> {
    Map::from_iter([
        ("preserve_thinking".to_owned(), Value::Bool(on)),
        ("clear_thinking".to_owned(), Value::Bool(!on)),
        ("truncate_history_thinking".to_owned(), Value::Bool(!on)),
        ("drop_thinking".to_owned(), Value::Bool(!on)),
    ])
}

struct Probe<'a> {
    template: &'a ChatTemplate,
}

impl Probe<'_> {
    fn render(&self, messages: &Value, tools: Option<Value>, kwargs: Map<String, Value>) -> Option<String> {
        let mut variables = Variables::new(messages.clone(), tools, true, kwargs);
        variables.now = std::time::UNIX_EPOCH;
        self.template.render_with(&variables).ok()
    }

    fn text_of(&self, messages: &Value, tools: Option<Value>) -> Option<String> {
        self.render(messages, tools, Map::new())
    }

    /// Whether tools and calls arrive, with these arguments, and whether the arguments were taken apart.
    fn calls(&self, content: &dyn Fn(&str) -> Value, arguments: &Value) -> (bool, bool, bool) {
        let messages = json!([
            user(content("hello")),
            { "role": "assistant", "content": "", "tool_calls": [call("called_tool", "call00001", arguments)] },
            { "role": "tool", "content": content("answer"), "tool_call_id": "call00001", "name": "called_tool" },
            { "role": "assistant", "content": content("answer") },
            user(content("hello")),
        ]);
        let Some(text) = self.text_of(&messages, Some(tools(OTHER_MARK))) else {
            return (false, false, false);
        };
        let escaped = text.contains("\\\"argument") || text.contains("'argument'");
        (text.contains(OTHER_MARK), text.contains("called_tool") && text.contains(MARK), !escaped)
    }
}

fn user(content: impl Into<Value>) -> Value {
    let content: Value = content.into();
    json!({ "role": "user", "content": content })
}

fn call(name: &str, id: &str, arguments: &Value) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn tools(name: &str) -> Value {
    json!([{ "type": "function", "function": {
        "name": name,
        "description": "what it does",
        "parameters": {
            "type": "object",
            "properties": { "argument": { "type": "string", "description": "what it is" } },
            "required": ["argument"],
        },
    }}])
}
