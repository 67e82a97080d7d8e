//! Thoughts apart from answers in a stream of text.

use quipu::{TokenId, Tokenizer};

/// What surrounds a model's thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub start: &'static str,
    pub end: &'static str,
}

/// Those of templates that are known, the usual one first.
const KNOWN: [Tags; 5] = [
    Tags { start: "<think>", end: "</think>" },
    Tags { start: "[THINK]", end: "[/THINK]" },
    Tags { start: "<seed:think>", end: "</seed:think>" },
    Tags { start: "<thinking>", end: "</thinking>" },
    Tags { start: "<reasoning>", end: "</reasoning>" },
];

impl Tags {
    /// Those that a template mentions, or the usual ones.
    pub fn of(template: &str) -> Tags {
        KNOWN.into_iter().find(|tags| template.contains(tags.end)).unwrap_or(KNOWN[0])
    }
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A tag, or what stands between two.
    Thought,
    Answer,
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far: thoughts may begin.
    Begin,
    Inside,
    Answer,
    /// In the name of a channel, which is not shown.
    Header,
}

/// Tokens of models that speak in channels (gpt-oss): `<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...`
#[derive(Clone, Copy, Debug)]
struct Channels {
    channel: TokenId,
    message: TokenId,
    end: TokenId,
}

impl Channels {
    fn of(tokenizer: &Tokenizer) -> Option<Channels> {
        let token = |text| control_token(tokenizer, text);
        Some(Channels {
            channel: token("<|channel|>")?,
            message: token("<|message|>")?,
            end: token("<|end|>")?,
        })
    }
}

/// The channel of what a person is to read.
const FINAL: &str = "final";

/// Tells them apart, whatever pieces a text comes in. Thoughts stand at its beginning or nowhere: a tag that an answer
/// speaks of is part of the answer.
#[derive(Debug)]
pub(crate) struct Thoughts {
    tags: Tags,
    /// Tags that are tokens and not text.
    tokens: [Option<TokenId>; 2],
    channels: Option<Channels>,
    state: State,
    /// What may be the beginning of a tag.
    held: String,
    header: String,
    inner: String,
    answer: String,
}

impl Thoughts {
    /// For an answer to a prompt: one that ends with the opening tag has begun the thoughts.
    pub fn new(tags: Tags, tokenizer: &Tokenizer, prompt: &str) -> Thoughts {
        let token = |tag| control_token(tokenizer, tag);
        let state = if prompt.trim_end().ends_with(tags.start) { State::Inside } else { State::Begin };
        let (held, header, inner, answer) = Default::default();
        let (tokens, channels) = ([token(tags.start), token(tags.end)], Channels::of(tokenizer));
        Thoughts { tags, tokens, channels, state, held, header, inner, answer }
    }

    /// Takes note of a token, before the text that became certain by it.
    pub fn token(&mut self, id: TokenId) {
        if let Some(Channels { channel, message, end }) = self.channels {
            if id == channel || id == end {
                self.header.clear();
                self.state = State::Header;
            } else if id == message && self.state == State::Header {
                self.state = if self.header.trim() == FINAL { State::Answer } else { State::Inside };
            }
        }
        let [start, end] = self.tokens;
        if self.state == State::Begin && start == Some(id) {
            self.state = State::Inside;
        } else if self.state != State::Answer && end == Some(id) {
            self.state = State::Answer;
        }
    }

    /// Takes the next piece of text and gives what is certain of it, in order.
    pub fn push(&mut self, text: &str) -> Vec<(Part, String)> {
        let mut out = Vec::new();
        self.held.push_str(text);
        loop {
            match self.state {
                State::Begin => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(self.tags.start) {
                        let at = self.held.len() - rest.len();
                        out.push((Part::Thought, self.held.drain(..at).collect()));
                        self.state = State::Inside;
                    } else if self.tags.start.starts_with(begun) {
                        return out;
                    } else {
                        self.state = State::Answer;
                    }
                }
                State::Inside => {
                    if let Some(at) = self.held.find(self.tags.end) {
                        self.inner.push_str(&self.held[..at]);
                        out.push((Part::Thought, self.held.drain(..at + self.tags.end.len()).collect()));
                        self.state = State::Answer;
                        continue;
                    }
                    let n_certain = self.held.len() - overlap(&self.held, self.tags.end);
                    let certain: String = self.held.drain(..n_certain).collect();
                    self.inner.push_str(&certain);
                    out.push((Part::Thought, certain));
                    break;
                }
                State::Header => {
                    self.header.push_str(&std::mem::take(&mut self.held));
                    break;
                }
                State::Answer => {
                    if !self.header.is_empty() && !self.inner.is_empty() && self.answer.is_empty() {
                        // Nothing else stands between the two.
                        out.push((Part::Thought, "\n\n".to_owned()));
                    }
                    self.answer.push_str(&self.held);
                    out.push((Part::Answer, std::mem::take(&mut self.held)));
                    break;
                }
            }
        }
        out.retain(|(_, text)| !text.is_empty());
        out
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> Option<(Part, String)> {
        let rest = std::mem::take(&mut self.held);
        let (part, place) = match self.state {
            State::Inside => (Part::Thought, &mut self.inner),
            State::Header => return None,
            State::Begin | State::Answer => (Part::Answer, &mut self.answer),
        };
        place.push_str(&rest);
        (!rest.is_empty()).then_some((part, rest))
    }

    /// The answer and the thoughts before it, if there were any; then both without white space around them, as the
    /// reference keeps them.
    pub fn split(self) -> (String, Option<String>) {
        if self.inner.trim().is_empty() && self.state != State::Inside {
            return (self.answer, None);
        }
        (self.answer.trim().to_owned(), Some(self.inner.trim().to_owned()))
    }
}

/// The token that a tag is, if it is one that text does not show.
fn control_token(tokenizer: &Tokenizer, tag: &str) -> Option<TokenId> {
    let [token] = tokenizer.encode(tag, false, true).ok()?[..] else { return None };
    tokenizer.piece(token, false).is_ok_and(<[u8]>::is_empty).then_some(token)
}

/// Bytes at the end of `text` that `tag` may begin with.
fn overlap(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|n| text.ends_with(&tag[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thoughts(inside: bool) -> Thoughts {
        let state = if inside { State::Inside } else { State::Begin };
        let (held, header, inner, answer) = Default::default();
        let tokens = [Some(7), Some(8)];
        Thoughts { tags: KNOWN[0], tokens, channels: None, state, held, header, inner, answer }
    }

    /// The parts of a text in pieces of `n` bytes, neighbours of a kind joined, and what is kept.
    fn parts(text: &str, n: usize, mut thoughts: Thoughts) -> (Vec<(Part, String)>, String, Option<String>) {
        let mut found: Vec<(Part, String)> = Vec::new();
        let bytes: Vec<&str> =
            text.as_bytes().chunks(n).map(|b| std::str::from_utf8(b).expect("ASCII")).collect();
        let mut all = Vec::new();
        for piece in bytes {
            all.extend(thoughts.push(piece));
        }
        all.extend(thoughts.finish());
        for (part, text) in all {
            match found.last_mut() {
                Some((last, joined)) if *last == part => joined.push_str(&text),
                _ => found.push((part, text)),
            }
        }
        let (answer, thought) = thoughts.split();
        (found, answer, thought)
    }

    #[test]
    fn thoughts_are_told_in_pieces_of_any_length() {
        let text = "\n<think>\nWell <b>.\n</think>\n\nYes: <think>.";
        for n in 1..text.len() {
            let (found, answer, thought) = parts(text, n, thoughts(false));
            let expected = [
                (Part::Thought, "\n<think>\nWell <b>.\n</think>".to_owned()),
                (Part::Answer, "\n\nYes: <think>.".to_owned()),
            ];
            assert_eq!(found, expected, "{n}");
            assert_eq!((answer.as_str(), thought.as_deref()), ("Yes: <think>.", Some("Well <b>.")));
        }
    }

    #[test]
    fn texts_without_thoughts_are_answers_as_they_are() {
        for text in [" No tags </think> here ", "<thin", "", "a <think> b </think>"] {
            for n in 1..=text.len().max(1) {
                let (found, answer, thought) = parts(text, n, thoughts(false));
                assert!(found.iter().all(|(part, _)| *part == Part::Answer), "{text}");
                assert_eq!((answer.as_str(), thought), (text, None));
            }
        }
    }

    #[test]
    fn prompts_and_tokens_open_thoughts() {
        let (found, answer, thought) = parts("Hm.</think>Yes", 3, thoughts(true));
        assert_eq!(found[0], (Part::Thought, "Hm.</think>".to_owned()));
        assert_eq!((answer.as_str(), thought.as_deref()), ("Yes", Some("Hm.")));
        // Cut off within.
        assert_eq!(parts("Hm.</th", 2, thoughts(true)).2.as_deref(), Some("Hm.</th"));
        let mut by_token = thoughts(false);
        by_token.token(7);
        assert_eq!(by_token.push("Hm."), [(Part::Thought, "Hm.".to_owned())]);
        by_token.token(8);
        assert_eq!(by_token.push("Yes"), [(Part::Answer, "Yes".to_owned())]);
        assert_eq!(by_token.split(), ("Yes".to_owned(), Some("Hm.".to_owned())));
    }

    #[test]
    fn channels_are_thoughts_but_for_the_final_one() {
        let mut spoken = thoughts(false);
        spoken.channels = Some(Channels { channel: 1, message: 2, end: 3 });
        let mut shown = Vec::new();
        for (token, text) in [
            (Some(1), "ana"),
            (None, "lysis"),
            (Some(2), "Hm."),
            (Some(3), ""),
            (Some(4), "assistant"),
            (Some(1), "final"),
            (Some(2), "Yes"),
            (None, "."),
        ] {
            if let Some(token) = token {
                spoken.token(token);
            }
            shown.extend(spoken.push(text));
        }
        let expected =
            [(Part::Thought, "Hm."), (Part::Thought, "\n\n"), (Part::Answer, "Yes"), (Part::Answer, ".")];
        assert_eq!(shown, expected.map(|(part, text)| (part, text.to_owned())));
        assert_eq!(spoken.finish(), None);
        assert_eq!(spoken.split(), ("Yes.".to_owned(), Some("Hm.".to_owned())));
    }

    #[test]
    fn tags_are_those_of_the_template() {
        assert_eq!(Tags::of("{{ content.split('[/THINK]') }}").start, "[THINK]");
        assert_eq!(Tags::of("").start, "<think>");
    }
}
