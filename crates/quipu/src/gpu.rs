//! GPUs that layers of a model can be put on, and which of them to use.

use std::str::FromStr;
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

/// How a model is split over several devices (`--split-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitMode {
    /// It is not: one device has all of it that is not the CPU's.
    None,
    /// Each device has whole layers, and their cache.
    #[default]
    Layer,
}

impl FromStr for SplitMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<SplitMode, Error> {
        match text {
            "none" => Ok(SplitMode::None),
            "layer" => Ok(SplitMode::Layer),
            other => {
                let is_known = matches!(other, "row" | "tensor");
                let hint = if is_known { " (matrices are not split here)" } else { "" };
                Err(Error::SplitMode { found: other.to_owned(), hint })
            }
        }
    }
}

/// Which devices to put layers on. Answers to `--device`, `--split-mode` and `--main-gpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// Their names, in the order in which layers go to them; `None`: all there are.
    pub names: Option<Vec<String>>,
    /// Whether one or all of them.
    pub split_mode: SplitMode,
    /// Which one, counted among those named; below 0: none.
    pub main_gpu: i32,
}

impl DeviceChoice {
    /// Reads a list of names, `a,b,...`; `none` is no device.
    pub fn names(list: &str) -> Vec<String> {
        if list == "none" { Vec::new() } else { list.split(',').map(str::to_owned).collect() }
    }

    /// The devices to use of those that are `there` (`llama_prepare_model_devices`).
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], [`Error::MainDevice`].
    pub fn choose(&self, there: &[Arc<dyn Device>]) -> Result<Vec<Arc<dyn Device>>, Error> {
        let named = |name: &String| {
            let found = there.iter().find(|device| device.name() == name).cloned();
            found.ok_or_else(|| {
                let known: Vec<&str> = there.iter().map(|device| device.name()).collect();
                let expected = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Error::UnknownDevice { found: name.clone(), expected }
            })
        };
        let mut devices = match &self.names {
            Some(names) => names.iter().map(named).collect::<Result<Vec<_>, _>>()?,
            None => there.to_vec(),
        };
        if self.split_mode == SplitMode::None && !devices.is_empty() {
            let (found, n_devices) = (self.main_gpu, devices.len());
            let Ok(main) = usize::try_from(found) else { return Ok(Vec::new()) };
            if main >= n_devices {
                return Err(Error::MainDevice { found, n_devices });
            }
            devices = vec![devices.swap_remove(main)];
        }
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use quipu_backend::{Backend, Buffer, BufferType, DeviceKind, DeviceMemory, HostBytes};
    use quipu_cpu_backend::CpuDevice;

    use super::*;

    /// The processor under another name.
    #[derive(Debug)]
    struct Named(CpuDevice, &'static str);

    impl Device for Named {
        fn name(&self) -> &str {
            self.1
        }

        fn description(&self) -> String {
            self.0.description()
        }

        fn kind(&self) -> DeviceKind {
            DeviceKind::Gpu
        }

        fn memory(&self) -> DeviceMemory {
            self.0.memory()
        }

        fn buffer_type(&self) -> Arc<dyn BufferType> {
            self.0.buffer_type()
        }

        fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
            self.0.weight_buffer_types()
        }

        fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
            self.0.buffer_from_host(bytes)
        }

        fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, quipu_backend::Error> {
            self.0.backend(n_threads)
        }
    }

    #[test]
    fn devices_are_chosen_by_name_order_and_number() {
        let there: Vec<Arc<dyn Device>> = ["G0", "G1", "G2"]
            .map(|name| Arc::new(Named(CpuDevice::default(), name)) as Arc<dyn Device>)
            .to_vec();
        let choose = |list: Option<&str>, split_mode, main_gpu| {
            let names = list.map(DeviceChoice::names);
            let chosen = DeviceChoice { names, split_mode, main_gpu }.choose(&there);
            chosen.map(|devices| devices.iter().map(|device| device.name().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(choose(None, SplitMode::Layer, 0).unwrap(), ["G0", "G1", "G2"]);
        assert_eq!(choose(Some("G2,G0"), SplitMode::Layer, 7).unwrap(), ["G2", "G0"]);
        assert_eq!(choose(Some("none"), SplitMode::Layer, 0).unwrap(), [""; 0]);
        assert_eq!(choose(None, SplitMode::None, 0).unwrap(), ["G0"]);
        assert_eq!(choose(Some("G2,G0"), SplitMode::None, 1).unwrap(), ["G0"]);
        assert_eq!(choose(None, SplitMode::None, -1).unwrap(), [""; 0]);
        assert_eq!(choose(Some("none"), SplitMode::None, 3).unwrap(), [""; 0]);
        let error = |list, mode, main| choose(list, mode, main).unwrap_err().to_string();
        assert_eq!(error(Some("G0,G7"), SplitMode::Layer, 0), "no device G7, expected one of: G0, G1, G2");
        assert_eq!(
            error(None, SplitMode::None, 3),
            "main device 3, expected a number below 3, or below 0 for none"
        );
        let none = DeviceChoice { names: Some(vec!["G0".to_owned()]), ..DeviceChoice::default() };
        assert_eq!(none.choose(&[]).unwrap_err().to_string(), "no device G0, expected one of: none");
    }

    #[test]
    fn modes_that_cut_matrices_are_refused_by_name() {
        assert_eq!("none".parse::<SplitMode>().unwrap(), SplitMode::None);
        assert_eq!("layer".parse::<SplitMode>().unwrap(), SplitMode::default());
        let error = |text: &str| text.parse::<SplitMode>().unwrap_err().to_string();
        for known in ["row", "tensor"] {
            let expected = "expected one of: none, layer (matrices are not split here)";
            assert_eq!(error(known), format!("split mode '{known}', {expected}"));
        }
        assert_eq!(error("rows"), "split mode 'rows', expected one of: none, layer");
    }
}
