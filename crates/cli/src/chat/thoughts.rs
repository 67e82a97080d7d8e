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
}

/// Tells them apart, whatever pieces a text comes in. Thoughts stand at its beginning or nowhere: a tag that an answer
/// speaks of is part of the answer.
#[derive(Debug)]
pub(crate) struct Thoughts {
    tags: Tags,
    /// Tags that are tokens and not text.
    tokens: [Option<TokenId>; 2],
    state: State,
    /// What may be the beginning of a tag.
    held: String,
    inner: String,
    answer: String,
}

impl Thoughts {
    /// For an answer to a prompt: one that ends with the opening tag has begun the thoughts.
    pub fn new(tags: Tags, tokenizer: &Tokenizer, prompt: &str) -> Thoughts {
        let token = |tag| control_token(tokenizer, tag);
        let state = if prompt.trim_end().ends_with(tags.start) { State::Inside } else { State::Begin };
        let (held, inner, answer) = Default::default();
        Thoughts { tags, tokens: [token(tags.start), token(tags.end)], state, held, inner, answer }
    }

    /// Takes note of a token, before the text that became certain by it.
    pub fn token(&mut self, id: TokenId) {
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
                State::Answer => {
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
        let (held, inner, answer) = Default::default();
        Thoughts { tags: KNOWN[0], tokens: [Some(7), Some(8)], state, held, inner, answer }
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
    fn tags_are_those_of_the_template() {
        assert_eq!(Tags::of("{{ content.split('[/THINK]') }}").start, "[THINK]");
        assert_eq!(Tags::of("").start, "<think>");
    }
}
