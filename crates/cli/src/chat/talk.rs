//! What was said so far, and the prompt it becomes.

use quipu::{ChatTemplate, Conversation, Message, TokenId, Tokenizer};
use serde_json::{Map, Value};

use crate::fail::Failure;
use crate::output::note;

/// A message and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub user: String,
    pub answer: String,
    /// What the model thought before it.
    pub thoughts: Option<String>,
}

impl Turn {
    fn messages(&self) -> [Value; 2] {
        let mut answer = Message::new("assistant", &self.answer).to_json();
        if let (Some(thoughts), Value::Object(answer)) = (&self.thoughts, &mut answer) {
            answer.insert("reasoning_content".to_owned(), thoughts.clone().into());
        }
        [Message::new("user", &self.user).to_json(), answer]
    }
}

/// A conversation with one model.
#[derive(Debug)]
pub(crate) struct Talk {
    pub system: Option<String>,
    pub turns: Vec<Turn>,
    pub template: ChatTemplate,
    pub tokenizer: Tokenizer,
    pub kwargs: Map<String, Value>,
    /// Whether the model may think before it answers.
    pub enable_thinking: bool,
    /// Tokens the context holds.
    pub n_ctx: usize,
    /// Of these, tokens that an answer should have room for, as long as there is something to forget.
    pub n_reserved: usize,
}

/// What an answer continues.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub tokens: Vec<TokenId>,
    /// As the template wrote it.
    pub text: String,
}

impl Talk {
    /// The prompt for an answer to `message`. Where the context does not hold all that was said and an answer, the oldest turns are
    /// forgotten, half of them at a time; the system text stays.
    /// Otherwise, why it cannot be answered.
    pub fn say(&mut self, message: &str) -> Result<Result<Prompt, String>, Failure> {
        let mut n_forgotten = 0;
        loop {
            let prompt = self.prompt(self.system.as_deref(), &self.turns[n_forgotten..], message)?;
            let n_prompt = prompt.tokens.len();
            let is_all = n_forgotten == self.turns.len();
            if n_prompt < self.n_ctx && (is_all || n_prompt + self.n_reserved <= self.n_ctx) {
                if n_forgotten > 0 {
                    self.turns.drain(..n_forgotten);
                    note(format_args!("the context is full: {n_forgotten} turns were forgotten"));
                }
                return Ok(Ok(prompt));
            }
            if is_all {
                let error = quipu::Error::PromptTooLong { n_prompt, n_ctx: self.n_ctx };
                return Ok(Err(error.to_string()));
            }
            // Half of them at a time, so that not every message forgets one.
            n_forgotten += (self.turns.len() - n_forgotten).div_ceil(2);
        }
    }

    /// Tokens at the beginning of a prompt that come from the system text and not from what was said.
    pub fn n_kept(&self, prompt: &Prompt) -> Result<usize, Failure> {
        if self.system.is_none() {
            return Ok(0);
        }
        let other = self.prompt(self.system.as_deref(), &[], "?")?;
        Ok(prompt.tokens.iter().zip(&other.tokens).take_while(|(a, b)| a == b).count())
    }

    fn prompt(&self, system: Option<&str>, turns: &[Turn], message: &str) -> Result<Prompt, Failure> {
        let mut messages: Vec<Value> =
            system.iter().map(|text| Message::new("system", *text).to_json()).collect();
        messages.extend(turns.iter().flat_map(Turn::messages));
        messages.push(Message::new("user", message).to_json());
        let mut conversation = Conversation::new(messages);
        conversation.kwargs.clone_from(&self.kwargs);
        conversation.enable_thinking = self.enable_thinking;
        // What the tokenizer adds at the ends is not in the text, whether the template wrote it or not. An answer
        // follows, so nothing is added behind the prompt.
        let tokenizer = &self.tokenizer;
        let text = self.template.apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos())?;
        let mut tokens = tokenizer.encode(&text, true, true)?;
        if tokenizer.add_eos() && tokens.last().copied() == tokenizer.special_tokens().eos {
            tokens.pop();
        }
        Ok(Prompt { tokens, text })
    }
}
