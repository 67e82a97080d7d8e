//! A `tokenizer.json` of the Hugging Face libraries, run by the `tokenizers` crate behind the same [`crate::Tokenizer`].
//!
//! Ids are that crate's. Texts, special tokens, the end of generation and pieces are read from its vocabulary by the
//! rules for GGUF vocabularies, so that decoding and streaming do not differ from other families.

use serde_json::Value;

use crate::{Error, SpecialIds, TokenId, VocabData, VocabType};

/// Token types of GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The engine, twice: with and without an eye for special tokens written out in the text.
#[derive(Debug)]
pub(crate) struct HfJson {
    parsing: tokenizers::Tokenizer,
    plain: tokenizers::Tokenizer,
    /// Text begins with a space that is not part of it.
    pub(crate) strips_first_space: bool,
}

impl HfJson {
    pub(crate) fn encode(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let engine = if parse_special { &self.parsing } else { &self.plain };
        let text = String::from_utf8_lossy(text);
        out.extend_from_slice(engine.encode_fast(text.as_ref(), add_special).map_err(refused)?.get_ids());
        Ok(())
    }

    /// The first token of a line feed.
    pub(crate) fn line_feed(&self) -> Option<TokenId> {
        self.plain.encode_fast("\n", false).ok()?.get_ids().last().copied()
    }
}

/// What a file says.
pub(crate) struct Read {
    /// Its vocabulary.
    pub data: VocabData,
    pub model: HfJson,
    /// The family whose pieces are written like its own.
    pub like: VocabType,
}

/// Reads a `tokenizer.json`, with special tokens known from elsewhere.
pub(crate) fn read(json: &[u8], ids: &SpecialIds) -> Result<Read, Error> {
    let parsing = tokenizers::Tokenizer::from_bytes(json).map_err(refused)?;
    let mut plain = parsing.clone();
    plain.set_encode_special_tokens(true);
    // What the decoder does says how tokens are written.
    let file: Value = serde_json::from_slice(json).map_err(|error| Error::HfJson(error.to_string()))?;
    let decoder = file["decoder"].to_string();
    let byte_level = decoder.contains("ByteLevel");
    let strips_first_space = decoder.contains("Strip") || decoder.contains("Metaspace");
    let mut data = vocabulary(&parsing)?;
    data.special = special_ids(&parsing, *ids)?;
    data.add_bos = Some(data.special.bos.is_some_and(|bos| ends(&parsing).is_ok_and(|e| e.0 == Some(bos))));
    data.add_eos = Some(data.special.eos.is_some_and(|eos| ends(&parsing).is_ok_and(|e| e.1 == Some(eos))));
    let model = HfJson { parsing, plain, strips_first_space };
    Ok(Read { data, model, like: if byte_level { VocabType::Bpe } else { VocabType::Spm } })
}

/// Texts and types by id. Ids that no token has are unused tokens.
fn vocabulary(engine: &tokenizers::Tokenizer) -> Result<VocabData, Error> {
    let vocab = engine.get_vocab(true);
    let n_tokens = vocab.values().max().map_or(0, |&last| last as usize + 1);
    if n_tokens > 4 * vocab.len() + 1024 {
        let what =
            format!("the largest id is {} among {} tokens, expected few gaps", n_tokens - 1, vocab.len());
        return Err(Error::HfJson(what));
    }
    let mut tokens: Vec<Vec<u8>> = (0..n_tokens).map(|id| format!("[UNUSED_{id}]").into_bytes()).collect();
    let mut types = vec![UNUSED; n_tokens];
    for (text, id) in vocab {
        let is_byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        types[id as usize] = if is_byte { BYTE } else { NORMAL };
        tokens[id as usize] = text.into_bytes();
    }
    for (id, token) in engine.get_added_tokens_decoder() {
        types[id as usize] = if token.special { CONTROL } else { USER_DEFINED };
    }
    Ok(VocabData { model: "hf-json".to_owned(), tokens, token_types: Some(types), ..VocabData::default() })
}

/// The tokens that the post-processor puts before and behind a text.
fn ends(engine: &tokenizers::Tokenizer) -> Result<(Option<TokenId>, Option<TokenId>), Error> {
    let ids = |add_special| -> Result<Vec<TokenId>, Error> {
        Ok(engine.encode_fast("a", add_special).map_err(refused)?.get_ids().to_vec())
    };
    let (bare, full) = (ids(false)?, ids(true)?);
    let Some(at) = full.windows(bare.len().max(1)).position(|part| part == bare) else {
        return Ok((None, None));
    };
    let (before, after) = (&full[..at], &full[at + bare.len()..]);
    Ok((before.first().copied(), after.last().copied()))
}

fn special_ids(engine: &tokenizers::Tokenizer, ids: SpecialIds) -> Result<SpecialIds, Error> {
    let (first, last) = ends(engine)?;
    let named = |names: &[&str]| names.iter().find_map(|name| engine.token_to_id(name));
    Ok(SpecialIds {
        bos: ids.bos.or(first).or_else(|| named(&["<s>", "<|begin_of_text|>", "<bos>"])),
        eos: ids.eos.or(last).or_else(|| named(&["</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>"])),
        unk: ids.unk.or_else(|| named(&["<unk>", "[UNK]"])),
        pad: ids.pad.or_else(|| named(&["<pad>", "[PAD]"])),
        mask: ids.mask.or_else(|| named(&["<mask>", "[MASK]"])),
        sep: ids.sep.or_else(|| named(&["[SEP]"])),
        ..ids
    })
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(error: tokenizers::Error) -> Error {
    Error::HfJson(error.to_string())
}
