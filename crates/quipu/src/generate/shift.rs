//! Room in a full context, made by forgetting (the context shift of the reference's completion tool).

use quipu_tokenizer::Tokenizer;

use crate::error::Error;
use crate::generate::options::ContextFull;
use crate::model::Model;

/// How one generation makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Tokens that stay at the beginning.
    n_keep: usize,
}

impl Shift {
    /// The rule for a prompt of `n_prompt` tokens; `None` if a full context ends the generation.
    pub fn new(
        options: ContextFull,
        n_prompt: usize,
        model: &Model,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Shift>, Error> {
        let ContextFull::Shift { n_keep } = options else { return Ok(None) };
        if !model.weights().can_shift() {
            return Err(Error::CannotShift { name: model.name().to_owned() });
        }
        Ok(Some(Shift { n_keep: n_kept(n_keep, n_prompt, tokenizer.add_bos()) }))
    }

    /// Tokens kept, and tokens discarded after them, of a context that holds `n_past`.
    pub fn split(self, n_past: usize) -> (usize, usize) {
        (self.n_keep, n_past.saturating_sub(self.n_keep) / 2)
    }
}

/// Tokens that stay: those asked for and the one that begins every text, or the whole prompt.
fn n_kept(n_keep: i32, n_prompt: usize, add_bos: bool) -> usize {
    match usize::try_from(n_keep) {
        Ok(n_keep) if n_keep <= n_prompt => n_keep + usize::from(add_bos),
        _ => n_prompt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_kept_besides() {
        assert_eq!(n_kept(0, 10, true), 1);
        assert_eq!(n_kept(4, 10, true), 5);
        assert_eq!(n_kept(4, 10, false), 4);
    }

    #[test]
    fn the_whole_prompt_is_kept_as_it_is() {
        assert_eq!(n_kept(-1, 10, true), 10);
        assert_eq!(n_kept(11, 10, true), 10);
        // As in the reference, which adds the token here too.
        assert_eq!(n_kept(10, 10, true), 11);
    }

    #[test]
    fn half_of_the_rest_goes() {
        assert_eq!(Shift { n_keep: 5 }.split(255), (5, 125));
        assert_eq!(Shift { n_keep: 10 }.split(255), (10, 122));
        assert_eq!(Shift { n_keep: 255 }.split(255), (255, 0));
        assert_eq!(Shift { n_keep: 300 }.split(255), (300, 0));
    }
}
