//! GPUs that layers of a model can be put on.

use std::sync::Arc;

use quipu_backend::Device;

use crate::error::Error;

/// The GPUs of this machine that can be used, best first.
///
/// # Errors
/// [`Error::NoGpu`] says why there are none: no driver, no device, or a build without the feature `cuda`.
pub fn gpu_devices() -> Result<Vec<Arc<dyn Device>>, Error> {
    #[cfg(feature = "cuda")]
    {
        let mut refusal = None;
        let found = quipu_cuda_backend::probe(|ordinal, message| {
            refusal.get_or_insert(format!("CUDA device {ordinal}: {message}"));
        });
        let found = found.map_err(|error| Error::NoGpu { message: error.to_string() })?;
        if found.is_empty() {
            let message = refusal.unwrap_or_else(|| "no CUDA device".to_owned());
            return Err(Error::NoGpu { message });
        }
        Ok(found.into_iter().map(|device| -> Arc<dyn Device> { Arc::new(device) }).collect())
    }
    #[cfg(not(feature = "cuda"))]
    {
        Err(Error::NoGpu { message: "no GPU support: built without the feature cuda".to_owned() })
    }
}
