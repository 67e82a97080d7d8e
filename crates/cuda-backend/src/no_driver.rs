//! Stands where the real driver would: this build has none.

use crate::device::CudaDevice;

/// Why there are no CUDA devices to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Built without the feature `driver`, or for a system without CUDA drivers.
    #[error("no CUDA driver: {0}")]
    NoDriver(String),
}

/// The CUDA devices of this machine: none that this build could use.
///
/// # Errors
/// Always [`ProbeError::NoDriver`].
pub fn probe(_refused: impl FnMut(u32, String)) -> Result<Vec<CudaDevice>, ProbeError> {
    Err(ProbeError::NoDriver("this build was made without it".to_owned()))
}
