//! SentencePiece models and GGUF vocabularies.
//!
//! Reading is `quipu-convert`'s. A vocabulary does not have all that a SentencePiece model has; what Gemma's models
//! have there is the same in all of them, and is written as it is: BPE with bytes as a last resort, no normalisation,
//! no space before the text. Control tokens that are not one of the four with a role are user-defined symbols there:
//! gemma.cpp finds the turns' markers in the text.

use quipu_convert::spm::{self, Piece, piece_type};
use quipu_gguf::{Array, Metadata, Value};

use crate::error::{Error, Result};

/// Roles and what Gemma's models call them: name of the key, id's field in the trainer's part, text.
const ROLES: [(&str, u64, &str); 4] =
    [("unknown", 40, "<unk>"), ("bos", 41, "<bos>"), ("eos", 42, "<eos>"), ("padding", 43, "<pad>")];
/// The type of the piece for what is unknown.
const UNKNOWN: i32 = 2;
/// Most tokens: the largest vocabulary has 262208.
const MAX_TOKENS: usize = 1 << 21;

/// Sets the vocabulary's keys from a serialised SentencePiece model.
///
/// # Errors
/// [`Error::Convert`]: what is not such a model, and where.
pub fn vocabulary_of(model: &[u8], metadata: &mut Metadata) -> Result<()> {
    let pieces =
        spm::parse(model).map_err(|what| Error::Convert { what: format!("the tokenizer: {what}") })?;
    metadata.set("tokenizer.ggml.model", Value::from("llama"));
    metadata.set("tokenizer.ggml.pre", Value::from("default"));
    let texts = pieces.iter().map(|piece| piece.text.as_bytes()).collect();
    metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    let scores = pieces.iter().map(|piece| piece.score).collect();
    metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    let kinds = pieces.iter().map(|piece| piece.kind).collect();
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    for (role, _, text) in ROLES {
        if let Some(id) = pieces.iter().position(|piece| piece.text == text) {
            metadata.set(&format!("tokenizer.ggml.{role}_token_id"), Value::U32(id as u32));
        }
    }
    metadata.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    metadata.set("tokenizer.ggml.add_eos_token", Value::Bool(false));
    metadata.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    Ok(())
}

/// A SentencePiece model with the vocabulary of a GGUF file.
///
/// # Errors
/// [`Error::Gguf`], [`Error::Convert`]: a vocabulary of another family, lists of different lengths.
pub fn sentencepiece_of(metadata: &Metadata) -> Result<Vec<u8>> {
    let refused = |what: String| Error::Convert { what };
    let family = metadata.str("tokenizer.ggml.model")?;
    if family != "llama" {
        return Err(refused(format!("the vocabulary is of the family '{family}', expected 'llama'")));
    }
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let n = texts.len();
    let (scores, kinds) = (list(metadata, "scores", n)?, list(metadata, "token_type", n)?);
    if n > MAX_TOKENS {
        return Err(refused(format!("the vocabulary has {n} tokens, expected at most {MAX_TOKENS}")));
    }
    let role = |name: &str| metadata.optional_integer(&format!("tokenizer.ggml.{name}_token_id"));
    let mut roles = Vec::new();
    for (name, field, text) in ROLES {
        let id = role(name)?.and_then(|id| usize::try_from(id).ok());
        roles.push((id.or_else(|| texts.iter().position(|t| t == text.as_bytes())), field, name));
    }
    let mut out = Message::default();
    for (i, text) in texts.iter().enumerate() {
        let text = std::str::from_utf8(text)
            .map_err(|_| refused(format!("the text of token {i} is not UTF-8")))?
            .to_owned();
        let (Array::F32(scores), Array::I32(kinds)) = (scores, kinds) else {
            return Err(refused("scores and types of tokens are not lists of f32 and i32".to_owned()));
        };
        let role = roles.iter().find(|(id, ..)| *id == Some(i)).map(|(_, _, name)| *name);
        let kind = match (kinds[i], role) {
            (_, Some("unknown")) => UNKNOWN,
            (piece_type::CONTROL, None) => piece_type::USER_DEFINED,
            (kind, _) => kind,
        };
        let special = matches!(kind, UNKNOWN | piece_type::CONTROL | piece_type::USER_DEFINED);
        let score = if special { 0.0 } else { scores[i] };
        out.message(1, &piece(&Piece { text, score, kind }));
    }
    let mut trainer = Message::default();
    trainer.number(3, 2); // BPE
    trainer.number(4, n as u64);
    trainer.number(35, 1); // bytes for what is unknown
    for (id, field, name) in roles {
        let id = id.ok_or_else(|| refused(format!("the vocabulary has no token for the role '{name}'")))?;
        trainer.number(field, id as u64);
    }
    for (place, (_, _, text)) in ROLES.iter().enumerate() {
        trainer.bytes(45 + place as u64, text.as_bytes());
    }
    out.message(2, &trainer);
    let mut normalizer = Message::default();
    normalizer.bytes(1, b"identity");
    normalizer.number(3, 0); // no space before the text
    normalizer.number(4, 0); // spaces stay
    normalizer.number(5, 1); // as U+2581
    out.message(3, &normalizer);
    Ok(out.0)
}

fn list<'a>(metadata: &'a Metadata, name: &str, n: usize) -> Result<&'a Array> {
    let key = format!("tokenizer.ggml.{name}");
    match metadata.get(&key) {
        Some(Value::Array(array)) if array.len() == n => Ok(array),
        Some(_) => {
            Err(Error::Convert { what: format!("'{key}' is no list of {n} elements, as there are tokens") })
        }
        None => Err(Error::Convert { what: format!("the file has no '{key}'") }),
    }
}

fn piece(piece: &Piece) -> Message {
    let mut out = Message::default();
    out.bytes(1, piece.text.as_bytes());
    out.float(2, piece.score);
    if piece.kind != piece_type::NORMAL {
        out.number(3, piece.kind as u64);
    }
    out
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint((field << 3) | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint((field << 3) | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }
}
