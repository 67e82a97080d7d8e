//! Chats: twenty conversations through the model's own template, answered greedily.

use quipu_gguf::GgufFile;
use serde_json::json;

use super::MODULE;
use crate::checkout::Checkout;
use crate::error::Error;
use crate::generation::{self, Request, Setting, Subject};
use crate::report::Row;

/// Conversations.
const N_CHATS: usize = 20;
/// Most ids of an answer.
const N_PREDICT: usize = 64;
/// What users begin with.
const QUESTIONS: [&str; 10] = [
    "Why is the sky blue?",
    "Write a function in Python that reverses a list.",
    "Name three rivers in Europe.",
    "What is 17 times 23?",
    "Tell me a story about a fox in two sentences.",
    "Translate 'good morning' into French.",
    "def fibonacci(n):",
    "Which planet is the largest?",
    "Summarise: The cat sat on the mat and looked at the rain.",
    "Give me a recipe with potatoes.",
];
/// What they ask then.
const MORE: [&str; 4] =
    ["Are you sure?", "Say it shorter.", "And why is that?", "Thanks! Another one, please."];

/// Both engines' answers, ids for ids; a parting is a near tie or a deviation.
pub(super) fn compare(checkout: &Checkout, name: &str, file: GgufFile) -> Result<Row, Error> {
    let subject = Subject::of_file(name, file, Setting::DEFAULT, N_PREDICT)?;
    let requests = requests(&subject)?;
    let mut row = generation::compare(checkout, &subject, &requests, N_CHATS)?;
    MODULE.clone_into(&mut row.module);
    row.case = format!("{name} chats");
    Ok(row)
}

fn requests(subject: &Subject) -> Result<Vec<Request>, Error> {
    let fail = |error: quipu::Error| Error::Engine { case: subject.name.clone(), message: error.to_string() };
    let tokenizer = subject
        .tokenizer()
        .ok_or_else(|| Error::Engine { case: subject.name.clone(), message: "no vocabulary".to_owned() })?;
    let source = subject.file.metadata().optional::<&str>("tokenizer.chat_template");
    let source = source.map_err(Error::engine(&subject.name))?;
    (0..N_CHATS)
        .map(|i| {
            let mut messages = Vec::new();
            if i % 3 == 0 {
                messages.push(json!({ "role": "system", "content": "You are a helpful assistant." }));
            }
            messages.push(json!({ "role": "user", "content": QUESTIONS[i % 10] }));
            if i >= 10 {
                messages.push(json!({ "role": "assistant", "content": QUESTIONS[(i + 3) % 10] }));
                messages.push(json!({ "role": "user", "content": MORE[i % 4] }));
            }
            let text = match source {
                Some(source) => {
                    let template = quipu::chat_template_for(source, tokenizer).map_err(fail)?;
                    let conversation = quipu::Conversation::new(messages);
                    template
                        .apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos())
                        .map_err(|error| fail(error.into()))?
                }
                // A model that was not made for chats continues the question.
                None => QUESTIONS[i % 10].to_owned(),
            };
            let prompt = tokenizer.encode(&text, true, true).map_err(Error::engine(&subject.name))?;
            Ok(Request { prompt, chain: "greedy".to_owned() })
        })
        .collect()
}
