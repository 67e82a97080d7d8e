//! Reads [`VocabData`] from the metadata of a GGUF file. Interpretation is left to [`Tokenizer::new`].

use quipu_gguf::{Array, Metadata, StringArray, Value};

use crate::{Error, SpecialIds, Tokenizer, VocabData};

impl VocabData {
    /// The vocabulary that the keys `tokenizer.ggml.*` (and a few of `general.*`) describe.
    ///
    /// Texts end at their first NUL byte, as the reference reads them.
    ///
    /// # Errors
    /// A key with another type than the reference reads, a missing model or token list.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        let ggml = |name: &str| format!("tokenizer.ggml.{name}");
        let id = |name: &str| metadata.optional::<u32>(&ggml(name));
        let flag = |name: &str| metadata.optional::<bool>(&ggml(name));

        let model = text(metadata, &ggml("model"))?.ok_or(Error::MissingKey("tokenizer.ggml.model"))?;
        let architecture = text(metadata, "general.architecture")?;
        let vocab_size = match &architecture {
            Some(arch) => metadata.optional::<u32>(&format!("{arch}.vocab_size"))?,
            None => None,
        };
        let mut data = Self {
            pre: text(metadata, &ggml("pre"))?,
            general_name: text(metadata, "general.name")?,
            token_type_count: id("token_type_count")?,
            architecture,
            vocab_size,
            model,
            ..Self::default()
        };
        if matches!(data.model.as_str(), "none" | "no_vocab") {
            return Ok(data);
        }
        data.tokens = metadata
            .optional::<&StringArray>(&ggml("tokens"))?
            .map(texts)
            .ok_or(Error::MissingKey("tokenizer.ggml.tokens"))?;
        data.merges = metadata.optional::<&StringArray>(&ggml("merges"))?.map(texts);
        data.scores = metadata.optional::<&[f32]>(&ggml("scores"))?.map(<[f32]>::to_vec);
        data.token_types = integers(metadata, &ggml("token_type"))?;
        data.precompiled_charsmap = bytes(metadata, &ggml("precompiled_charsmap"))?;
        data.suppress_tokens = integers(metadata, &ggml("suppress_tokens"))?.unwrap_or_default();
        data.special = SpecialIds {
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unk: id("unknown_token_id")?,
            sep: id("seperator_token_id")?,
            pad: id("padding_token_id")?,
            mask: id("mask_token_id")?,
            fim_pre: id("fim_pre_token_id")?,
            fim_suf: id("fim_suf_token_id")?,
            fim_mid: id("fim_mid_token_id")?,
            fim_pad: id("fim_pad_token_id")?,
            fim_rep: id("fim_rep_token_id")?,
            fim_sep: id("fim_sep_token_id")?,
            prefix: id("prefix_token_id")?,
            suffix: id("suffix_token_id")?,
            middle: id("middle_token_id")?,
        };
        data.add_bos = flag("add_bos_token")?;
        data.add_eos = flag("add_eos_token")?;
        data.add_sep = flag("add_sep_token")?;
        data.add_space_prefix = flag("add_space_prefix")?;
        data.remove_extra_whitespaces = flag("remove_extra_whitespaces")?;
        data.lowercase = flag("normalizer.lowercase")?;
        data.strip_accents = flag("normalizer.strip_accents")?;
        Ok(data)
    }
}

impl Tokenizer {
    /// The tokenizer of a GGUF file.
    ///
    /// # Errors
    /// As [`VocabData::from_gguf`] and [`Tokenizer::new`].
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        Self::new(&VocabData::from_gguf(metadata)?)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn text(metadata: &Metadata, key: &str) -> Result<Option<String>, Error> {
    match metadata.get(key) {
        Some(Value::String(bytes)) => Ok(Some(String::from_utf8_lossy(until_nul(bytes)).into_owned())),
        _ => Ok(metadata.optional::<&str>(key)?.map(str::to_owned)),
    }
}

fn texts(array: &StringArray) -> Vec<Vec<u8>> {
    array.iter().map(|text| until_nul(text).to_vec()).collect()
}

/// An array of bytes, whichever their sign.
fn bytes(metadata: &Metadata, key: &str) -> Result<Option<Vec<u8>>, Error> {
    if let Some(Value::Array(Array::I8(values))) = metadata.get(key) {
        return Ok(Some(values.iter().map(|&value| value.cast_unsigned()).collect()));
    }
    Ok(metadata.optional::<&[u8]>(key)?.map(<[u8]>::to_vec))
}

/// An array of 32-bit integers, whichever their sign.
fn integers(metadata: &Metadata, key: &str) -> Result<Option<Vec<i32>>, Error> {
    if let Some(Value::Array(Array::U32(values))) = metadata.get(key) {
        return Ok(Some(values.iter().map(|&value| value.cast_signed()).collect()));
    }
    Ok(metadata.optional::<&[i32]>(key)?.map(<[i32]>::to_vec))
}
