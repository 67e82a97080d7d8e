//! Vector arithmetic of the ops that are not matrix products.
//!
//! A kernel is written once, in plain Rust over sixteen lanes, and compiled once per instruction set by
//! [`with_isa`]. Lanes, tails and reductions are the same everywhere, so a result depends neither on the
//! position of an element in its row nor on the instruction set, save for the fusing of multiply-adds,
//! which the portable build does without.

pub(crate) mod lanes;
pub(crate) mod linear;
pub(crate) mod rows;

use crate::isa::Isa;

/// A piece of work that [`with_isa`] compiles for each instruction set.
pub(crate) trait Kernel {
    type Out;

    /// Does the work. Must be `#[inline(always)]`, as must all it calls that is worth vectorising. `FMA`:
    /// multiply-adds are fused.
    ///
    /// # Safety
    /// What the kernel's constructor or fields demand of its pointers.
    unsafe fn run<const FMA: bool>(self) -> Self::Out;
}

/// Runs `kernel` compiled for `isa`.
///
/// # Safety
/// The kernel's own demands.
#[inline]
pub(crate) unsafe fn with_isa<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match isa {
        // SAFETY: the proof is there; the kernel's demands are the caller's.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => unsafe { avx2(kernel) },
        // SAFETY: NEON is part of the target; the kernel's demands are the caller's.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => unsafe { kernel.run::<true>() },
        // SAFETY: the kernel's demands are the caller's.
        Isa::Scalar(_) => unsafe { kernel.run::<false>() },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn avx512<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: the kernel's demands are the caller's.
    unsafe { kernel.run::<true>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: the kernel's demands are the caller's.
    unsafe { kernel.run::<true>() }
}
