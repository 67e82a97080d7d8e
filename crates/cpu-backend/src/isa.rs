//! Which instruction set the kernels use: detected once at run time, never assumed at compile time.
//!
//! An instruction set is a type whose values prove that the running CPU has it: the only way to one is
//! [`InstructionSet::new`], which asks the CPU. Sets are features, not levels: one that includes another says so
//! by a conversion, and two may well include nothing of each other. [`Isa`] is the proof that kernels are
//! chosen by.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions that kernels are compiled for. A value is the proof that the running CPU has them all.
///
/// # Safety
/// `new` returns a value only where the running CPU, and the operating system, allow every instruction of the set.
/// AMX would have to ask for its tile state (XCR0, then `arch_prctl`): on some virtual machines CPUID announces it while
/// the first tile instruction kills the process.
pub unsafe trait InstructionSet: Copy {
    /// The name that `QUIPU_ISA` takes and reports print.
    const NAME: &'static str;

    /// The proof, if the running CPU has the set.
    fn new() -> Option<Self>;
}

/// Portable Rust, which every CPU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar;

// SAFETY: no instruction beyond the target's.
unsafe impl InstructionSet for Scalar {
    const NAME: &'static str = "scalar";

    fn new() -> Option<Scalar> {
        Some(Scalar)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::InstructionSet;

    /// x86-64 with AVX2, FMA and F16C.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Avx2(());

    // SAFETY: every feature is asked for.
    unsafe impl InstructionSet for Avx2 {
        const NAME: &'static str = "avx2";

        fn new() -> Option<Avx2> {
            let all = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            all.then_some(Avx2(()))
        }
    }

    /// AVX-512 F, BW, DQ, VL and VNNI, besides everything of [`Avx2`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Avx512(());

    // SAFETY: every feature is asked for.
    unsafe impl InstructionSet for Avx512 {
        const NAME: &'static str = "avx512";

        fn new() -> Option<Avx512> {
            let all = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && Avx2::new().is_some();
            all.then_some(Avx512(()))
        }
    }

    impl From<Avx512> for Avx2 {
        fn from(_: Avx512) -> Avx2 {
            Avx2(())
        }
    }

    /// The products of bf16 pairs, besides everything of [`Avx512`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Avx512Bf16(());

    // SAFETY: every feature is asked for.
    unsafe impl InstructionSet for Avx512Bf16 {
        const NAME: &'static str = "avx512bf16";

        fn new() -> Option<Avx512Bf16> {
            (is_x86_feature_detected!("avx512bf16") && Avx512::new().is_some()).then_some(Avx512Bf16(()))
        }
    }

    impl From<Avx512Bf16> for Avx512 {
        fn from(_: Avx512Bf16) -> Avx512 {
            Avx512(())
        }
    }
}

/// NEON, which every aarch64 CPU has.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neon(());

#[cfg(target_arch = "aarch64")]
// SAFETY: the feature is asked for.
unsafe impl InstructionSet for Neon {
    const NAME: &'static str = "neon";

    fn new() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// The instruction set that kernels are chosen by, with its proof.
///
/// One variant for each family of kernels: a set is added here when kernels for it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// The portable kernels.
    Scalar(Scalar),
    /// The kernels of [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// The kernels of [`Avx512`].
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// The kernels of [`Neon`].
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Isa {
    /// The portable path, which every CPU supports.
    pub const SCALAR: Isa = Isa::Scalar(Scalar);

    /// The best set of this CPU, or the one that the environment variable `QUIPU_ISA` names (`scalar`, `avx2`,
    /// `avx512`, `neon`), if the CPU has it; a name that is unknown or unsupported is ignored.
    /// The answer is computed once per process.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| Isa::choose(std::env::var("QUIPU_ISA").ok().as_deref()))
    }

    /// Every set this CPU supports, the best last: what a test of all twins iterates over.
    pub fn available() -> impl Iterator<Item = Isa> {
        let all = [
            Some(Isa::SCALAR),
            #[cfg(target_arch = "x86_64")]
            Avx2::new().map(Isa::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::new().map(Isa::Avx512),
            #[cfg(target_arch = "aarch64")]
            Neon::new().map(Isa::Neon),
        ];
        all.into_iter().flatten()
    }

    /// The name that `QUIPU_ISA` takes and reports print.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar(_) => Scalar::NAME,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => Avx2::NAME,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => Avx512::NAME,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => Neon::NAME,
        }
    }

    /// The proof of AVX2, FMA and F16C, if this set includes them.
    #[cfg(target_arch = "x86_64")]
    pub fn avx2(self) -> Option<Avx2> {
        match self {
            Isa::Scalar(_) => None,
            Isa::Avx2(proof) => Some(proof),
            Isa::Avx512(proof) => Some(proof.into()),
        }
    }

    /// The set of this name if there is one, otherwise the best.
    fn choose(name: Option<&str>) -> Isa {
        let named = |name: &str| Isa::available().find(|isa| isa.name().eq_ignore_ascii_case(name));
        name.and_then(named).or_else(|| Isa::available().last()).unwrap_or(Isa::SCALAR)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_forces_a_set_and_others_are_ignored() {
        let best = Isa::available().last().unwrap();
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name())), isa);
            assert_eq!(Isa::choose(Some(&isa.name().to_uppercase())), isa);
        }
        // A name that CPUID alone may not be believed for, and one that no CPU has kernels for.
        for name in ["amx", "avx1024", ""] {
            assert_eq!(Isa::choose(Some(name)), best);
        }
        assert_eq!(Isa::choose(None), best);
    }

    #[test]
    fn scalar_is_always_available_and_detect_is_among_the_available() {
        assert_eq!(Isa::available().next(), Some(Isa::SCALAR));
        assert!(Isa::available().any(|isa| isa == Isa::detect()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_set_that_includes_another_is_not_there_without_it() {
        assert!(Avx512::new().is_none_or(|proof| Avx2::new() == Some(proof.into())));
        assert!(Avx512Bf16::new().is_none_or(|proof| Avx512::new() == Some(proof.into())));
        for isa in Isa::available() {
            assert_eq!(isa.avx2().is_some(), isa != Isa::SCALAR);
        }
    }
}
