//! An answer that is JSON of a schema, whatever the model would rather say.
//!
//! `cargo run --release --example schema -p quipu [MODEL.gguf]`

use quipu::sampler::{GrammarParams, SchemaMode};
use quipu::{Flow, GenerateOptions, Model, SamplerParams, SessionOptions};

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "name": { "type": "string", "maxLength": 12 },
        "kind": { "enum": ["fox", "dog", "bird"] },
        "age": { "type": "integer", "minimum": 0, "maximum": 99 }
    },
    "required": ["name", "kind", "age"],
    "additionalProperties": false
}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let mut session = model.session(&SessionOptions::default())?;
    let grammar = GrammarParams::json_schema_as(SCHEMA, SchemaMode::Exact);
    let sampling = SamplerParams { seed: 1, grammar: Some(grammar), ..SamplerParams::default() };
    let options = GenerateOptions { max_tokens: Some(200), sampling, ..GenerateOptions::default() };
    let outcome = session.generate("The animal as JSON: ", &options, |_| Flow::Continue)?;
    println!("{}", outcome.text);
    let value: serde_json::Value = serde_json::from_str(&outcome.text)?;
    println!("{} is a {} of {} years", value["name"], value["kind"], value["age"]);
    Ok(())
}
