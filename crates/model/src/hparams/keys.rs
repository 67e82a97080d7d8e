//! Typed access to the metadata keys of one architecture, as strict as the reference's loader.

use std::fmt::Display;

use quipu_gguf::{Array, Metadata, Value};

use super::{MAX_DIM, MAX_LENGTH, RopeScaling};
use crate::error::Error;

/// The keys that begin with an architecture's name. Answers to `llama_model_loader::get_key` and its kin: a number must have the type
/// that the reference reads it as, and an array must have one value for each layer.
pub(crate) struct Keys<'a> {
    pub metadata: &'a Metadata,
    /// `general.architecture`.
    pub architecture: &'a str,
}

impl<'a> Keys<'a> {
    /// Of the file's own architecture.
    pub fn new(metadata: &'a Metadata) -> Result<Keys<'a>, Error> {
        Ok(Keys { metadata, architecture: metadata.str("general.architecture")? })
    }

    /// The whole key.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A number from 1 to `max` that must be there.
    pub fn dim(&self, name: &str, max: u32) -> Result<usize, Error> {
        let key = self.key(name);
        let value = self.metadata.u32(&key)?;
        within(key, value, 1, max)
    }

    /// A number up to `MAX_LENGTH` that may be absent.
    pub fn optional_dim(&self, name: &str) -> Result<Option<usize>, Error> {
        let key = self.key(name);
        let value = self.metadata.optional::<u32>(&key)?;
        value.map(|value| within(key, value, 0, MAX_LENGTH)).transpose()
    }

    /// Any u32 that must be there.
    pub fn u32(&self, name: &str) -> Result<usize, Error> {
        Ok(self.metadata.u32(&self.key(name))? as usize)
    }

    /// Any u32 that may be absent.
    pub fn optional_u32(&self, name: &str) -> Result<Option<usize>, Error> {
        Ok(self.metadata.optional::<u32>(&self.key(name))?.map(|value| value as usize))
    }

    /// A number for which an array does as if the key were absent (the scalar form of `get_key_or_arr`).
    pub fn scalar_u32(&self, name: &str) -> Result<Option<usize>, Error> {
        match self.metadata.get(&self.key(name)) {
            Some(Value::Array(_)) => Ok(None),
            _ => self.optional_u32(name),
        }
    }

    /// A truth value that may be absent.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        Ok(self.metadata.optional(&self.key(name))?)
    }

    /// `general.name` is a text, if it is there: the reference reads it first of all.
    pub fn check_name(&self) -> Result<(), Error> {
        const KEY: &str = "general.name";
        match self.metadata.get(KEY) {
            None | Some(Value::String(_)) => Ok(()),
            Some(value) => {
                let (key, found) = (KEY.to_owned(), value.type_name());
                Err(quipu_gguf::Error::WrongValueType { key, found, expected: "str" }.into())
            }
        }
    }

    /// Keys that nothing here depends on, and that the reference reads all the same for every architecture: their types, and that
    /// they ask for nothing that is not computed.
    pub fn check_unused(&self, n_embd: usize) -> Result<(), Error> {
        self.check_name()?;
        if let Some(n) = self.optional_u32("embedding_length_out")?.filter(|n| ![0, n_embd].contains(n)) {
            return Err(self.error(
                "embedding_length_out",
                &n,
                format!("0 or {n_embd}, the width of the rows"),
            ));
        }
        self.bool("rope.scaling.finetuned")?;
        self.metadata.optional::<f32>(&self.key("rope.scaling.alpha"))?;
        Ok(())
    }

    /// A finite number that may be absent.
    pub fn f32(&self, name: &str) -> Result<Option<f32>, Error> {
        let key = self.key(name);
        match self.metadata.optional::<f32>(&key)? {
            Some(value) if !value.is_finite() => {
                Err(Error::Hparam { key, found: value.to_string(), expected: "a finite number".to_owned() })
            }
            value => Ok(value),
        }
    }

    /// A finite number that must be there.
    pub fn required_f32(&self, name: &str) -> Result<f32, Error> {
        self.f32(name)?.ok_or_else(|| self.error(name, &"missing", "a number"))
    }

    /// The finite numbers of all layers, one for each or one for all, at `key`, which has no architecture before it.
    pub fn floats_of_layers(&self, key: &str, n_layer: usize) -> Result<Vec<f32>, Error> {
        let wrong = |found: String| {
            let expected = format!("a finite f32 for each of {n_layer} layers");
            Error::Hparam { key: key.to_owned(), found, expected }
        };
        let values = match self.metadata.get(key) {
            Some(Value::Array(Array::F32(values))) if values.len() == n_layer => values.clone(),
            Some(Value::Array(array)) => return Err(wrong(format!("{} values", array.len()))),
            _ => vec![self.metadata.f32(key)?; n_layer],
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(wrong("not finite".to_owned()));
        }
        Ok(values)
    }

    /// Up to four numbers, the rest 0; a single one stands for all (`get_key_or_arr` with `rope_sections`).
    pub fn sections(&self, name: &str) -> Result<Option<[i64; 4]>, Error> {
        let key = self.key(name);
        let array = match self.metadata.get(&key) {
            None => return Ok(None),
            Some(Value::Array(array)) => array,
            Some(_) => return Ok(Some([i64::from(self.metadata.u32(&key)?); 4])),
        };
        let value = |i: usize| array.integer(i).map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
        Ok(Some([0, 1, 2, 3].map(value)))
    }

    /// One number for all layers, or an array with one for each (`get_key_or_arr`).
    pub fn per_layer(&self, name: &str, n_layer: usize) -> Result<Option<Vec<usize>>, Error> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Array(array)) => match one_each(array, n_layer) {
                Some(values) => Ok(Some(values)),
                None => Err(Error::Hparam {
                    key,
                    found: format!("{} values of type {}", array.len(), array.element_type().name()),
                    expected: format!("a u32 or i32 up to {MAX_DIM} for each of {n_layer} layers"),
                }),
            },
            Some(_) => {
                let value = self.metadata.u32(&key)?;
                Ok(Some(vec![within(key, value, 0, MAX_DIM)?; n_layer]))
            }
        }
    }

    /// The length of the token list, or else the explicit size.
    pub fn n_vocab(&self) -> Result<usize, Error> {
        if self.metadata.contains("tokenizer.ggml.tokens") {
            return Ok(self.metadata.strings("tokenizer.ggml.tokens")?.len());
        }
        self.dim("vocab_size", MAX_LENGTH)
    }

    /// Kind of rotary scaling; linear if the file says nothing.
    pub fn rope_scaling(&self) -> Result<RopeScaling, Error> {
        let key = self.key("rope.scaling.type");
        let Some(name) = self.metadata.optional::<&str>(&key)? else { return Ok(RopeScaling::Linear) };
        RopeScaling::from_name(name).ok_or_else(|| Error::Hparam {
            key,
            found: name.to_owned(),
            expected: "none, linear, yarn or longrope".to_owned(),
        })
    }

    /// The error of a key whose value `found` breaks the rule `expected`.
    pub fn error(&self, name: &str, found: &dyn Display, expected: impl Into<String>) -> Error {
        Error::Hparam { key: self.key(name), found: found.to_string(), expected: expected.into() }
    }
}

/// The values of an array of a type that per-layer numbers may have, if there is one for each layer.
fn one_each(array: &Array, n_layer: usize) -> Option<Vec<usize>> {
    let values: Vec<usize> = match array {
        Array::U32(values) => values.iter().map(|v| *v as usize).collect(),
        Array::I32(values) => values.iter().map(|v| usize::try_from(*v).ok()).collect::<Option<_>>()?,
        Array::Bool(values) => values.iter().map(|v| usize::from(*v)).collect(),
        _ => return None,
    };
    (values.len() == n_layer && values.iter().all(|v| *v <= MAX_DIM as usize)).then_some(values)
}

/// `value` of `key`, if it lies in `min..=max`.
fn within(key: String, value: u32, min: u32, max: u32) -> Result<usize, Error> {
    if value < min || value > max {
        let expected = format!("a number from {min} to {max}");
        return Err(Error::Hparam { key, found: value.to_string(), expected });
    }
    Ok(value as usize)
}
