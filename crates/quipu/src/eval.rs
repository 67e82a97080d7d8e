//! Questions with expected answers: how often a model gives one, and how long it takes.
//!
//! Answers to what gemma.cpp's `evals` (TriviaQA, MMLU) do with a model. Where questions come from is not here.

use std::time::Duration;

use crate::TokenId;
use crate::error::Error;
use crate::generate::{Flow, GenerateOptions};
use crate::session::Session;
use crate::telemetry::Timings;

/// When an answer is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerMatch {
    /// An expected answer is somewhere in it, as in gemma.cpp's TriviaQA.
    #[default]
    Contains,
    /// It is an expected answer, but for white space around it.
    Exact,
    /// It begins with an expected answer, but for white space before it.
    Begins,
}

impl AnswerMatch {
    /// Whether `text` is one of the `expected` answers. Without one nothing is right.
    pub fn is_right<T: AsRef<str>>(self, text: &str, expected: &[T]) -> bool {
        let text = text.trim();
        expected.iter().map(|answer| answer.as_ref().trim()).any(|answer| match self {
            AnswerMatch::Contains => text.contains(answer),
            AnswerMatch::Exact => text == answer,
            AnswerMatch::Begins => text.starts_with(answer),
        })
    }
}

/// What a model said to a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Whether it is right.
    pub is_right: bool,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens of the answer.
    pub n_generated: usize,
    /// Time the prompt took.
    pub prompt_time: Duration,
    /// Time the answer took.
    pub eval_time: Duration,
}

/// Answers so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvalReport {
    /// Questions.
    pub n: usize,
    /// Right answers.
    pub n_right: usize,
    /// Tokens and times of all of them.
    pub timings: Timings,
}

impl EvalReport {
    /// Adds an answer.
    pub fn add(&mut self, answer: &Answer) {
        self.n += 1;
        self.n_right += usize::from(answer.is_right);
        self.timings.n_prompt += answer.n_prompt;
        self.timings.prompt += answer.prompt_time;
        self.timings.n_eval += answer.n_generated;
        self.timings.eval += answer.eval_time;
    }

    /// Share of right answers, 0 to 1; 0 if there are none.
    pub fn accuracy(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.n_right as f64 / self.n as f64 }
    }
}

impl Session {
    /// Asks a question, of which nothing was known before, and judges the answer.
    ///
    /// # Errors
    /// As [`Session::generate_from`].
    pub fn ask<T: AsRef<str>>(
        &mut self,
        prompt: &[TokenId],
        expected: &[T],
        matching: AnswerMatch,
        options: &GenerateOptions,
    ) -> Result<Answer, Error> {
        self.reset();
        let before = self.timings();
        let outcome = self.generate_from(prompt, options, |_| Flow::Continue)?;
        let after = self.timings();
        Ok(Answer {
            is_right: matching.is_right(&outcome.text, expected),
            text: outcome.text,
            n_prompt: outcome.n_prompt,
            n_generated: outcome.n_generated,
            prompt_time: after.prompt.saturating_sub(before.prompt),
            eval_time: after.eval.saturating_sub(before.eval),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_in_three_ways() {
        let right = |matching: AnswerMatch, text| matching.is_right(text, &["Paris", " B"]);
        assert!(right(AnswerMatch::Contains, "It is Paris."));
        assert!(!right(AnswerMatch::Contains, "It is paris."));
        assert!(right(AnswerMatch::Exact, "\n B\n") && !right(AnswerMatch::Exact, "B."));
        assert!(right(AnswerMatch::Begins, " B.") && !right(AnswerMatch::Begins, "(B)"));
        assert!(!AnswerMatch::Contains.is_right::<&str>("anything", &[]));
    }

    #[test]
    fn reports_add_up() {
        let mut report = EvalReport::default();
        assert_eq!(report.accuracy(), 0.0);
        for is_right in [true, false, true, true] {
            report.add(&Answer {
                text: String::new(),
                is_right,
                n_prompt: 5,
                n_generated: 2,
                prompt_time: Duration::from_millis(10),
                eval_time: Duration::from_millis(3),
            });
        }
        assert_eq!((report.n, report.n_right, report.accuracy()), (4, 3, 0.75));
        assert_eq!((report.timings.n_prompt, report.timings.n_eval), (20, 8));
        assert_eq!(report.timings.eval, Duration::from_millis(12));
    }
}
