//! Every route with the demo model: what it gives, and what it refuses in which words.

use crate::common::{Running, options, start};
use quipu::Pooling;
use quipu_server::ServerOptions;
use serde_json::{Value, json};

const FIELDS: [&str; 16] = [
    "index",
    "content",
    "tokens",
    "id_slot",
    "stop",
    "model",
    "tokens_predicted",
    "tokens_evaluated",
    "generation_settings",
    "prompt",
    "has_new_line",
    "truncated",
    "stop_type",
    "stopping_word",
    "tokens_cached",
    "timings",
];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_completion_is_what_the_engine_generates() {
    let server = start(options());
    let answer = server.post(
        "/completion",
        &json!({ "prompt": "Once upon a time", "n_predict": 16, "return_tokens": true }),
    );
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(keys(&answer), FIELDS);
    let model = quipu::Model::embedded().expect("the demo model");
    let mut session = model.session(&quipu::SessionOptions::default()).expect("a session");
    let wanted = quipu::GenerateOptions {
        max_tokens: Some(16),
        sampling: options().defaults.sampling,
        ..Default::default()
    };
    let outcome = session.generate("Once upon a time", &wanted, |_| quipu::Flow::Continue).expect("a text");
    assert_eq!(answer["content"], outcome.text);
    assert_eq!(answer["tokens"], json!(outcome.tokens));
    assert_eq!((&answer["tokens_predicted"], &answer["stop_type"]), (&json!(16), &json!("limit")));
    assert_eq!(answer["tokens_evaluated"], outcome.n_prompt);
    assert_eq!(answer["timings"]["predicted_n"], 16);
    assert!(answer["prompt"].as_str().is_some_and(|prompt| prompt.ends_with("Once upon a time")), "{answer}");

    // What is told in a stream is the same text.
    let stream =
        server.post("/completion", &json!({ "prompt": "Once upon a time", "n_predict": 16, "stream": true }));
    assert!(
        stream.head.contains("text/event-stream") && stream.head.contains("x-accel-buffering: no"),
        "{}",
        stream.head
    );
    let events: Vec<Value> =
        stream.events().iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let text: String = events.iter().filter_map(|event| event["content"].as_str()).collect();
    assert_eq!(text, outcome.text);
    let last = events.last().expect("an end");
    assert_eq!(
        (&last["stop"], &last["content"], &last["tokens_predicted"]),
        (&json!(true), &json!(""), &json!(16))
    );
    assert!(events[..events.len() - 1].iter().all(|event| event["stop"] == false && event["id_slot"] == -1));
}

#[test]
fn several_prompts_and_several_texts_of_one() {
    let server = start(options());
    let answer = server
        .post("/completion", &json!({ "prompt": ["The fox", [1, 403, 263], "The dog"], "n_predict": 4 }))
        .json();
    let answers = answer.as_array().expect("a list");
    assert_eq!(answers.iter().map(|one| one["index"].clone()).collect::<Vec<_>>(), [0, 1, 2]);
    let body = json!({ "prompt": "The fox", "n": 3, "max_tokens": 6, "temperature": 1.0, "seed": 7 });
    let answer = server.post("/v1/completions", &body).json();
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.iter().map(|one| one["index"].clone()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(
        choices[0]["text"] != choices[1]["text"] || choices[1]["text"] != choices[2]["text"],
        "{choices:?}"
    );
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["finish_reason"]),
        (&json!("text_completion"), &json!("length"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    let refused = server.post("/completion", &json!({ "prompt": "x", "n": 5 }));
    assert_eq!(
        (refused.status, refused.message()),
        (400, "Field 'n': Value must be between 1 <= value <= 4, but got 5".into())
    );
}

#[test]
fn a_chat_as_one_answer_and_as_a_stream() {
    let server = start(options());
    let body = json!({ "messages": [{ "role": "user", "content": "Tell me a story" }], "max_tokens": 12 });
    let answer = server.post("/v1/chat/completions", &body).json();
    assert_eq!(
        keys(&answer),
        ["choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings"]
    );
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");
    let text = message["content"].as_str().expect("a text");
    assert!(!text.is_empty());
    assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    let mut body = body;
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    let stream = server.post("/v1/chat/completions", &body);
    let events = stream.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let events: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": null }));
    let told: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(told, text);
    let n = events.len();
    assert_eq!(events[n - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(
        (&events[n - 1]["choices"], &events[n - 1]["usage"]["completion_tokens"]),
        (&json!([]), &json!(12))
    );
}

#[test]
fn probabilities_in_each_style() {
    let server = start(options());
    let native = server.post("/completion", &json!({ "prompt": "The", "n_predict": 3, "n_probs": 2 })).json();
    let entries = native["completion_probabilities"].as_array().expect("entries");
    assert_eq!((entries.len(), entries[0]["top_logprobs"].as_array().map(Vec::len)), (3, Some(2)));
    // Greedy: the chosen token is the likeliest.
    assert_eq!(entries[0]["id"], entries[0]["top_logprobs"][0]["id"]);
    assert!(entries[0]["logprob"].as_f64().is_some_and(|p| p < 0.0));
    let body = json!({ "prompt": "The", "n_predict": 3, "n_probs": 2, "post_sampling_probs": true });
    let post = server.post("/completion", &body).json();
    assert_eq!(post["completion_probabilities"][0]["prob"], 1.0);
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let body = json!({ "messages": messages, "max_tokens": 2, "logprobs": true, "top_logprobs": 3 });
    let chat = server.post("/v1/chat/completions", &body).json();
    assert_eq!(
        chat["choices"][0]["logprobs"]["content"][0]["top_logprobs"].as_array().map(Vec::len),
        Some(3)
    );
    let refused = server.post("/v1/chat/completions", &json!({ "messages": messages, "top_logprobs": 3 }));
    assert_eq!(
        (refused.status, refused.message()),
        (400, "top_logprobs requires logprobs to be set to true".into())
    );
}

#[test]
fn stops_grammars_schemas_and_biases_hold() {
    let server = start(options());
    let whole = server.post("/completion", &json!({ "prompt": "Once upon a time", "n_predict": 24 })).json();
    let whole = whole["content"].as_str().expect("a text").to_owned();
    let stop = &whole[8..12];
    let body = json!({ "prompt": "Once upon a time", "n_predict": 24, "stop": [stop] });
    let stopped = server.post("/completion", &body).json();
    assert_eq!((&stopped["stop_type"], &stopped["stopping_word"]), (&json!("word"), &json!(stop)));
    assert_eq!(stopped["content"], whole[..whole.find(stop).expect("it is in it")]);
    let body = json!({ "prompt": "x", "n_predict": 8, "grammar": "root ::= \"yes\" | \"no\"" });
    let text = server.post("/completion", &body).json()["content"].clone();
    assert!(text == "yes" || text == "no", "{text}");
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
    let body = json!({ "messages": messages, "max_tokens": 64, "response_format": format });
    let answer = server.post("/v1/chat/completions", &body).json();
    let content = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    let value: Value = serde_json::from_str(&content).expect(&content);
    assert!(value["ok"].is_boolean(), "{value}");
    // A token that may not be is not.
    let first = server
        .post("/completion", &json!({ "prompt": "The", "n_predict": 1, "return_tokens": true }))
        .json()["tokens"][0]
        .clone();
    let body =
        json!({ "prompt": "The", "n_predict": 1, "return_tokens": true, "logit_bias": [[first, false]] });
    assert_ne!(server.post("/completion", &body).json()["tokens"][0], first);
    for (body, words) in [
        (json!({ "prompt": "x", "grammar": "root ::= (" }), "Failed to initialize samplers"),
        (json!({ "prompt": "x", "grammar": "%llguidance {}" }), "Failed to initialize samplers"),
        (json!({ "prompt": "x", "json_schema": { "type": "no such" } }), "Field 'json_schema'"),
        (json!({ "prompt": "x", "repeat_penalty": 0 }), "Failed to initialize samplers"),
        (json!({ "prompt": "x", "samplers": ["no such"] }), "Field 'samplers'"),
        (json!({ "prompt": "x", "stop": 3 }), "Field 'stop'"),
    ] {
        let refused = server.post("/completion", &body);
        assert!(
            refused.status == 400 && refused.message().starts_with(words),
            "{body}: {}",
            refused.message()
        );
    }
}

#[test]
fn ids_of_texts_and_back() {
    let server = start(options());
    let ids = server.post("/tokenize", &json!({ "content": "Once upon a time", "add_special": true })).json();
    let text = server.post("/detokenize", &ids).json();
    assert!(text["content"].as_str().is_some_and(|text| text.contains("Once upon a time")), "{text}");
    let pieces = server.post("/tokenize", &json!({ "content": "Once é", "with_pieces": true })).json();
    assert!(pieces["tokens"][0]["piece"].is_string() && pieces["tokens"][0]["id"].is_u64(), "{pieces}");
    assert_eq!(server.post("/tokenize", &json!({})).json(), json!({ "tokens": [] }));
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let prompt = server.post("/apply-template", &json!({ "messages": messages })).json();
    assert!(prompt["prompt"].as_str().is_some_and(|prompt| prompt.contains("Hi")), "{prompt}");
    let n = server.post("/v1/chat/completions/input_tokens", &json!({ "messages": messages })).json();
    assert!(n["input_tokens"].as_u64().is_some_and(|n| n > 1), "{n}");
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [1, -1] })).status, 400);
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [4294967295u32] })).status, 400);
}

#[test]
fn what_the_server_says_of_itself() {
    let server =
        start(ServerOptions { aliases: vec!["tales".to_owned(), "stories".to_owned()], ..options() });
    assert_eq!(server.get("/health").json(), json!({ "status": "ok" }));
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["id"], &models["object"]), (&json!("stories"), &json!("list")));
    assert_eq!(models["data"][0]["aliases"], json!(["tales", "stories"]));
    assert!(models["data"][0]["meta"]["n_params"].as_u64().is_some_and(|n| n > 100_000));
    let props = server.get("/props").json();
    assert_eq!((&props["total_slots"], &props["model_alias"]), (&json!(4), &json!("stories")));
    assert_eq!(props["default_generation_settings"]["params"]["top_k"], 40);
    server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 5 }));
    let slots = server.get("/slots").json();
    let used: Vec<&Value> =
        slots.as_array().expect("slots").iter().filter(|slot| slot.get("id_task").is_some()).collect();
    assert_eq!((slots.as_array().map(Vec::len), used.len()), (Some(4), 1));
    assert_eq!(
        (&used[0]["is_processing"], &used[0]["next_token"][0]["n_decoded"]),
        (&json!(false), &json!(5))
    );
    let metrics = server.get("/metrics");
    let text = String::from_utf8(metrics.body).expect("text");
    assert!(text.contains("\nllamacpp:tokens_predicted_total 5\n"), "{text}");
    assert!(metrics.head.to_lowercase().contains("process-start-time-unix"), "{}", metrics.head);
    assert_eq!(server.get("/lora-adapters").json(), json!([]));
    assert_eq!(server.get("/v1/loads").json()["num_reqs"], 0);
    for (answer, status) in
        [(server.post("/props", &json!({})), 501), (server.post("/slots/0?action=save", &json!({})), 501)]
    {
        assert_eq!(
            (answer.status, answer.json()["error"]["type"].as_str()),
            (status, Some("not_supported_error"))
        );
    }
    let quiet = start(ServerOptions { metrics: false, slots: false, ..options() });
    assert_eq!((quiet.get("/metrics").status, quiet.get("/slots").status), (501, 501));
}

#[test]
fn embeddings_in_both_words() {
    let mut with = ServerOptions { embeddings: true, ..options() };
    with.engine.context.pooling = Some(Pooling::Mean);
    let server = start(with);
    let answer = server.post("/v1/embeddings", &json!({ "input": ["a fox", "a dog"], "model": "m" })).json();
    assert_eq!(
        (&answer["model"], &answer["object"], &answer["data"][1]["index"]),
        (&json!("m"), &json!("list"), &json!(1))
    );
    let row: Vec<f64> = serde_json::from_value(answer["data"][0]["embedding"].clone()).expect("a row");
    let length: f64 = row.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    let coded =
        server.post("/v1/embeddings", &json!({ "input": "a fox", "encoding_format": "base64" })).json();
    let text = coded["data"][0]["embedding"].as_str().expect("a text");
    assert_eq!(text.len(), (row.len() * 4).div_ceil(3) * 4);
    let native = server.post("/embedding", &json!({ "content": "a fox" })).json();
    assert_eq!(native[0]["embedding"][0].as_array().map(Vec::len), Some(row.len()));
    let long = "word ".repeat(5000);
    let refused = server.post("/v1/embeddings", &json!({ "input": long }));
    assert!(refused.status >= 400, "{}", refused.status);
    assert_eq!(server.post("/completion", &json!({ "prompt": "x" })).status, 501);
    assert_eq!(start(options()).post("/v1/embeddings", &json!({ "input": "x" })).status, 501);
}

#[test]
fn what_is_refused_and_how() {
    let server = start(options());
    for (method, path, body, status) in [
        ("GET", "/nothing", &b""[..], 404),
        ("GET", "/completion", b"", 404),
        ("DELETE", "/v1/models", b"", 404),
        ("POST", "/completion", b"", 400),
        ("POST", "/completion", b"{\"prompt\":\"\xff\"}", 400),
        ("POST", "/completion", b"{}", 400),
        ("POST", "/completion", b"{\"prompt\":[]}", 400),
        ("POST", "/completion", b"{\"prompt\":{\"prompt_string\":1}}", 400),
        ("POST", "/completion", b"{\"prompt\":[1,99999999]}", 400),
        ("POST", "/completion", b"{\"prompt\":\"x\",\"temperature\":1e999}", 400),
        ("POST", "/completion", b"{\"prompt\":\"x\",\"n_predict\":\"8\"}", 400),
        ("POST", "/v1/chat/completions", b"{}", 400),
        ("POST", "/v1/chat/completions", b"{\"messages\":[{\"role\":\"user\"}]}", 400),
        (
            "POST",
            "/v1/chat/completions",
            b"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
            500,
        ),
        (
            "POST",
            "/v1/chat/completions",
            b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]}",
            501,
        ),
        ("POST", "/infill", b"{\"input_prefix\":\"a\",\"input_suffix\":\"b\"}", 501),
    ] {
        let answer = server.request(method, path, "", body);
        assert_eq!(answer.status, status, "{method} {path} {}", String::from_utf8_lossy(body));
        assert_eq!(answer.json()["error"]["code"], status);
        assert!(answer.head.to_lowercase().contains("application/json; charset=utf-8"), "{}", answer.head);
    }
    let long = server.post("/completion", &json!({ "prompt": "word ".repeat(20_000) })).json();
    assert_eq!(long["error"]["type"], "exceed_context_size_error");
    assert!(
        long["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("exceeds the available context size"))
    );
    assert!(long["error"]["n_prompt_tokens"].as_u64() > long["error"]["n_ctx"].as_u64());
    let nested = server.request("POST", "/completion", "", "[".repeat(1 << 20).as_bytes());
    assert_eq!(nested.status, 400);
    let small = start(ServerOptions { max_body: 1000, max_texts: 2, ..options() });
    assert_eq!(small.post("/completion", &json!({ "prompt": "x".repeat(2000) })).status, 413);
    assert_eq!(small.post("/completion", &json!({ "prompt": ["a", "b", "c"] })).status, 400);
    assert_eq!(small.get("/health").status, 200);
}

#[test]
fn keys_prefixes_and_pages() {
    let with =
        ServerOptions { api_keys: vec!["one".into(), "two".into()], api_prefix: "/llm".into(), ..options() };
    let server = start(with);
    assert_eq!((server.get("/llm/health").status, server.get("/llm/v1/models").status), (200, 200));
    assert_eq!((server.get("/llm/props").status, server.get("/props").status), (401, 401));
    for header in ["Authorization: Bearer two\r\n", "Authorization: one\r\n", "X-Api-Key: one\r\n"] {
        assert_eq!(server.request("GET", "/llm/props", header, b"").status, 200, "{header}");
    }
    let wrong = server.request("GET", "/llm/props", "Authorization: Bearer three\r\n", b"");
    assert_eq!((wrong.status, wrong.message()), (401, "Invalid API Key".to_owned()));
    let page = server.request("OPTIONS", "/llm/completion", "Origin: http://a.example\r\n", b"");
    assert_eq!(page.status, 200);
    let head = page.head.to_lowercase();
    assert!(head.contains("access-control-allow-origin: http://a.example"), "{head}");
    assert!(head.contains("server: llama.cpp"), "{head}");
    assert!(
        quipu_server::Server::new(
            &quipu::Model::embedded().expect("the demo model"),
            ServerOptions { api_prefix: "llm/".into(), ..options() }
        )
        .is_err()
    );
}

#[test]
fn what_is_odd_is_answered_as_the_reference_does() {
    let server = start(options());
    // One token is chosen before anybody asks how many are wanted.
    let none = server.post("/completion", &json!({ "prompt": "Once", "n_predict": 0 })).json();
    assert_eq!((&none["tokens_predicted"], &none["stop_type"]), (&json!(1), &json!("limit")));
    assert_eq!(none["generation_settings"]["n_predict"], 0);
    // The token that begins every text is a prompt.
    let empty = server.post("/completion", &json!({ "prompt": "", "n_predict": 3 }));
    assert_eq!((empty.status, &empty.json()["tokens_evaluated"]), (200, &json!(1)));
    let nothing = server.post("/completion", &json!({ "prompt": [[]], "n_predict": 3 }));
    assert_eq!(nothing.status, 200);
    let nothing = nothing.json();
    assert_eq!(
        (&nothing["content"], &nothing["stop_type"], &nothing["tokens_predicted"]),
        (&json!(""), &json!("none"), &json!(0))
    );
}

#[test]
fn a_json_object_is_one() {
    let server = start(options());
    let message = json!([{ "role": "user", "content": "Tell me" }]);
    for seed in 0..4 {
        let body = json!({
            "messages": message, "max_tokens": 60, "seed": seed, "temperature": 1.5,
            "response_format": { "type": "json_object" },
        });
        let text = server.post("/v1/chat/completions", &body).json();
        let text = text["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
        assert!(text.starts_with('{'), "{text}");
    }
    let body = json!({ "prompt": "Once", "n_predict": 4, "json_schema": {} });
    let text = server.post("/completion", &body).json()["content"].as_str().expect("a text").to_owned();
    assert!(text.starts_with('{'), "{text}");
}

#[test]
fn an_answer_that_had_begun_comes_back_whole() {
    let server = start(options());
    let messages = json!([
        { "role": "user", "content": "Tell" }, { "role": "assistant", "content": "Once upon" },
    ]);
    let body = json!({ "messages": messages, "max_tokens": 6 });
    let whole = server.post("/v1/chat/completions", &body).json();
    let whole = whole["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    assert!(whole.starts_with("Once upon") && whole.len() > 9, "{whole}");
    let stream = server
        .post("/v1/chat/completions", &json!({ "messages": messages, "max_tokens": 6, "stream": true }));
    let told: String = stream
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(told, whole);
    let both = json!({ "messages": messages, "continue_final_message": true });
    assert_eq!(server.post("/v1/chat/completions", &both).status, 400);
    let asked = json!({
        "messages": messages, "max_tokens": 6, "continue_final_message": true, "add_generation_prompt": false,
    });
    let asked = server.post("/v1/chat/completions", &asked).json();
    assert_eq!(asked["choices"][0]["message"]["content"], whole);
    let ended = start(ServerOptions { prefill_assistant: false, ..options() });
    let ended = ended.post("/v1/chat/completions", &body).json();
    assert!(ended["usage"]["prompt_tokens"].as_u64() > asked["usage"]["prompt_tokens"].as_u64());
}

#[test]
fn what_the_server_was_started_with_counts_where_a_request_says_nothing() {
    let mut with = options();
    with.defaults.special = true;
    let (shows, hides) = (start(with), start(options()));
    let bos = hides.get("/props").json()["bos_token"].as_str().expect("a text").to_owned();
    let id = hides.post("/tokenize", &json!({ "content": bos })).json()["tokens"][0].clone();
    let body = json!({ "prompt": "The fox", "n_predict": 1, "logit_bias": [[id, 1000.0]] });
    let text = |server: &Running| server.post("/completion", &body).json()["content"].clone();
    assert_eq!((text(&shows), text(&hides)), (json!(bos), json!("")));
    let mut with = options();
    with.defaults.time_limit = Some(std::time::Duration::from_millis(1));
    let body = json!({ "prompt": "The fox", "n_predict": -1, "ignore_eos": true });
    let cut = start(with).post("/completion", &body).json();
    assert_eq!((&cut["stop_type"], &cut["truncated"]), (&json!("limit"), &json!(false)));
}
