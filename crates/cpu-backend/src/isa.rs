//! Which instruction set the kernels use: detected once at run time, never assumed at compile time.
//!
//! Kernels of a higher level are only reachable through an [`Isa`] value, and the only ways to obtain one
//! are [`Isa::detect`] and [`Isa::available`], which ask the CPU first.

use std::fmt;
use std::sync::OnceLock;

/// An instruction-set level, ordered from least to most capable on its architecture.
///
/// AMX is deliberately no level: on some virtual machines CPUID announces it while the tile state is off.
/// There is no NEON level yet, so aarch64 runs (and reports) [`Level::Scalar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Portable Rust.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI, besides everything of [`Level::Avx2`].
    Avx512,
}

impl Level {
    /// The name that `QUIPU_ISA` takes and reports print.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    fn from_name(name: &str) -> Option<Level> {
        [Level::Scalar, Level::Avx2, Level::Avx512].into_iter().find(|l| l.name().eq_ignore_ascii_case(name))
    }
}

/// Proof that the running CPU supports [`Isa::level`]. Cannot be built from a level alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa {
    level: Level,
}

impl Isa {
    /// The portable path, which every CPU supports.
    pub const SCALAR: Isa = Isa { level: Level::Scalar };

    /// Whether AVX2, FMA and F16C are proven.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_avx2(self) -> bool {
        self.level >= Level::Avx2
    }

    /// The best level of this CPU, lowered by the environment variable `QUIPU_ISA`
    /// (`scalar`, `avx2` or `avx512`). The variable can only lower; an unknown name is ignored.
    /// The answer is computed once per process.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let best = Isa { level: best_level() };
            let asked = std::env::var("QUIPU_ISA").ok();
            best.lowered_to(asked.as_deref().and_then(Level::from_name))
        })
    }

    /// Every level this CPU supports, lowest first: what a test of all twins iterates over.
    pub fn available() -> impl Iterator<Item = Isa> {
        let best = best_level();
        [Level::Scalar, Level::Avx2, Level::Avx512]
            .into_iter()
            .filter(move |l| *l <= best)
            .map(|level| Isa { level })
    }

    /// The level that this value proves.
    pub const fn level(self) -> Level {
        self.level
    }

    fn lowered_to(self, cap: Option<Level>) -> Isa {
        Isa { level: cap.map_or(self.level, |c| c.min(self.level)) }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn best_level() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best_level() -> Level {
    Level::Scalar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_only_lowers() {
        let avx2 = Isa { level: Level::Avx2 };
        assert_eq!(avx2.lowered_to(Some(Level::Avx512)), avx2);
        assert_eq!(avx2.lowered_to(Some(Level::Scalar)), Isa::SCALAR);
        assert_eq!(avx2.lowered_to(None), avx2);
    }

    #[test]
    fn names_round_trip_and_unknown_names_are_ignored() {
        for level in [Level::Scalar, Level::Avx2, Level::Avx512] {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("AVX2"), Some(Level::Avx2));
        assert_eq!(Level::from_name("amx"), None);
    }

    #[test]
    fn scalar_is_always_available_and_detect_is_among_the_available() {
        assert_eq!(Isa::available().next(), Some(Isa::SCALAR));
        assert!(Isa::available().any(|isa| isa == Isa::detect()));
    }
}
