//! The names under which samplers are listed on a command line.

use crate::Error;

/// A sampler that `SamplerParams::samplers` can list (the reference's `common_sampler_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamplerKind {
    /// [`crate::Penalties`].
    Penalties,
    /// [`crate::Dry`].
    Dry,
    /// [`crate::TopNSigma`].
    TopNSigma,
    /// [`crate::TopK`].
    TopK,
    /// [`crate::Typical`].
    TypicalP,
    /// [`crate::TopP`].
    TopP,
    /// [`crate::MinP`].
    MinP,
    /// [`crate::Xtc`].
    Xtc,
    /// [`crate::TempExt`].
    Temperature,
    /// [`crate::Infill`].
    Infill,
    /// [`crate::AdaptiveP`], in place of the final draw.
    AdaptiveP,
}

/// Every kind with its name and its letter: the registration of a sampler for the command line.
const TABLE: [(SamplerKind, &str, char); 11] = [
    (SamplerKind::Penalties, "penalties", 'e'),
    (SamplerKind::Dry, "dry", 'd'),
    (SamplerKind::TopNSigma, "top_n_sigma", 's'),
    (SamplerKind::TopK, "top_k", 'k'),
    (SamplerKind::TypicalP, "typ_p", 'y'),
    (SamplerKind::TopP, "top_p", 'p'),
    (SamplerKind::MinP, "min_p", 'm'),
    (SamplerKind::Xtc, "xtc", 'x'),
    (SamplerKind::Temperature, "temperature", 't'),
    (SamplerKind::Infill, "infill", 'i'),
    (SamplerKind::AdaptiveP, "adaptive_p", 'a'),
];

impl SamplerKind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| entry.0)
    }

    /// The order of the reference's command line.
    pub fn default_order() -> Vec<Self> {
        TABLE[..9].iter().map(|entry| entry.0).collect()
    }

    /// Name (`common_sampler_type_to_str`).
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|entry| entry.0 == self).map_or("", |entry| entry.1)
    }

    /// Letter (`common_sampler_type_to_chr`).
    pub fn letter(self) -> char {
        TABLE.iter().find(|entry| entry.0 == self).map_or('?', |entry| entry.2)
    }

    /// By name in any case, written with `_`, `-` or nothing between the words, or `nucleus`, `temp`, `typ`
    /// (`common_sampler_types_from_names`; the reference skips what it does not know).
    ///
    /// # Errors
    /// [`Error::UnknownSampler`].
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let lower = name.to_ascii_lowercase();
        let alias = match lower.as_str() {
            "nucleus" => "top_p",
            "temp" => "temperature",
            "typ" => "typ_p",
            other => other,
        };
        let is = |known: &str| {
            alias == known || alias == known.replace('_', "-") || alias == known.replace('_', "")
        };
        TABLE.iter().find(|entry| is(entry.1)).map(|entry| entry.0).ok_or_else(|| Error::UnknownSampler {
            found: name.to_owned(),
            expected: TABLE.map(|entry| entry.1).join(", "),
        })
    }

    /// By letter (`common_sampler_types_from_chars`).
    ///
    /// # Errors
    /// [`Error::UnknownSampler`].
    pub fn from_letter(letter: char) -> Result<Self, Error> {
        TABLE.iter().find(|entry| entry.2 == letter).map(|entry| entry.0).ok_or_else(|| {
            Error::UnknownSampler {
                found: letter.to_string(),
                expected: TABLE.map(|entry| entry.2.to_string()).join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_letters_lead_back() {
        for kind in SamplerKind::all() {
            assert_eq!(SamplerKind::from_name(kind.name()), Ok(kind));
            assert_eq!(SamplerKind::from_name(&kind.name().replace('_', "").to_uppercase()), Ok(kind));
            assert_eq!(SamplerKind::from_name(&kind.name().replace('_', "-")), Ok(kind));
            assert_eq!(SamplerKind::from_letter(kind.letter()), Ok(kind));
        }
        assert_eq!(SamplerKind::from_name("nucleus"), Ok(SamplerKind::TopP));
        assert!(SamplerKind::from_name("top").is_err() && SamplerKind::from_letter('z').is_err());
        let letters: String = SamplerKind::default_order().iter().map(|k| k.letter()).collect();
        assert_eq!(letters, "edskypmxt");
    }
}
