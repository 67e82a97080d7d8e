//! Adapters that a command puts to work: LoRA files and control vectors, with llama.cpp's flags.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu::gguf::{GgufFile, Inputs};
use quipu::{ControlVector, LoraUse, Model, Session, Steering};
use quipu_server::Lora;

use crate::csv;
use crate::fail::{Failure, named};

/// Which adapters.
#[derive(Debug, clap::Args)]
pub(crate) struct AdapterArgs {
    /// LoRA adapters (GGUF).
    #[arg(long, value_name = "FILE,...", value_parser = files)]
    lora: Vec<Scaled>,
    /// LoRA adapters and how strongly each works.
    #[arg(long, value_name = "FILE:SCALE,...", value_parser = scaled_files)]
    lora_scaled: Vec<Scaled>,
    /// Control vectors (GGUF).
    #[arg(long, value_name = "FILE,...", value_parser = files)]
    control_vector: Vec<Scaled>,
    /// Control vectors and how strongly each works.
    #[arg(long, value_name = "FILE:SCALE,...", value_parser = scaled_files)]
    control_vector_scaled: Vec<Scaled>,
    /// First and last layer that control vectors are for.
    #[arg(long, value_names = ["START", "END"], num_args = 2, allow_negative_numbers = true)]
    control_vector_layer_range: Vec<i64>,
}

/// The files of one flag, each with its strength.
#[derive(Clone, Debug)]
struct Scaled(Vec<(PathBuf, f32)>);

fn files(row: &str) -> Result<Scaled, String> {
    Ok(Scaled(csv::fields(row)?.into_iter().map(|path| (path.into(), 1.0)).collect()))
}

fn scaled_files(row: &str) -> Result<Scaled, String> {
    let scaled = |field: String| {
        let parts: Vec<&str> = field.split(':').collect();
        let [path, scale] = parts[..] else { return Err(format!("'{field}', expected FILE:SCALE")) };
        let scale: f32 = scale.parse().map_err(|_| format!("scale '{scale}', expected a number"))?;
        if scale.is_finite() {
            Ok((path.into(), scale))
        } else {
            Err(format!("scale {scale}, expected a finite one"))
        }
    };
    csv::fields(row)?.into_iter().map(scaled).collect::<Result<_, _>>().map(Scaled)
}

fn all(lists: [&[Scaled]; 2]) -> impl Iterator<Item = (&Path, f32)> {
    lists.into_iter().flatten().flat_map(|list| &list.0).map(|(path, scale)| (path.as_path(), *scale))
}

impl AdapterArgs {
    /// The files that are read: no output may be one of them.
    pub fn add_inputs(&self, inputs: &mut Inputs) {
        self.loras().chain(self.vectors()).for_each(|(path, _)| inputs.add(path));
    }

    fn loras(&self) -> impl Iterator<Item = (&Path, f32)> {
        all([&self.lora, &self.lora_scaled])
    }

    fn vectors(&self) -> impl Iterator<Item = (&Path, f32)> {
        all([&self.control_vector, &self.control_vector_scaled])
    }

    /// Loads the LoRA adapters, each with its file and its strength.
    pub fn load(&self, model: &Model) -> Result<Vec<Lora>, Failure> {
        let all = self.loras().map(|(path, scale)| {
            let file = GgufFile::open(path).map_err(named(path))?;
            let adapter = model.weights().load_lora(&file, model.devices()).map_err(named(path))?;
            Ok(Lora { path: path.display().to_string(), adapter: Arc::new(adapter), scale })
        });
        all.collect()
    }

    /// Puts them to work.
    pub fn apply(&self, model: &Model, session: &mut Session) -> Result<(), Failure> {
        let loras = self.load(model)?.into_iter();
        let loras = loras.map(|lora| LoraUse { scale: lora.scale, ..LoraUse::new(lora.adapter) });
        session.context().set_loras(&loras.collect::<Vec<_>>());
        if let Some(steering) = self.steering(model)? {
            session.context().set_steering(Some(&steering));
        }
        Ok(())
    }

    /// The sum of the control vectors, for the layers that were named; `None` if there are none.
    pub fn steering(&self, model: &Model) -> Result<Option<Arc<Steering>>, Failure> {
        let open = |path: &Path| GgufFile::open(path).map_err(named(path));
        let mut sum = ControlVector::new();
        for (path, strength) in self.vectors() {
            sum.add(&open(path)?, strength).map_err(named(path))?;
        }
        if sum.n_embd() == 0 {
            return Ok(None);
        }
        let n_layer = model.hparams().n_layer();
        // Below 1: the whole model, as in the reference.
        let bound = |i: usize, default: usize| match self.control_vector_layer_range.get(i) {
            Some(il) if *il > 0 => usize::try_from(*il).unwrap_or(default),
            _ => default,
        };
        let layers = [bound(0, 1), bound(1, n_layer)];
        let steering = model.weights().steering(&sum, model.devices(), layers);
        Ok(Some(Arc::new(steering.map_err(|error| Failure::Input(error.to_string()))?)))
    }
}
