//! Kinds of pooling: how the rows of a text become one.

/// How the rows of a sequence become one embedding (`llama_pooling_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// One embedding per token.
    #[default]
    None,
    /// The mean of the sequence's rows.
    Mean,
    /// The row of the first position.
    Cls,
    /// The row of the last position.
    Last,
    /// The scores that a classification head makes of one row.
    Rank,
}

impl Pooling {
    /// From its number in metadata; `None` for other numbers.
    pub fn from_id(id: u32) -> Option<Pooling> {
        let known = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank];
        known.into_iter().nth(id as usize)
    }
}
