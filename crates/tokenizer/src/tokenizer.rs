//! [`Tokenizer`]: a vocabulary put together, and what can be asked of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bpe::Bpe;
use crate::partition::{Fragment, SpecialMatcher};
use crate::pieces::{Pieces, clean_spaces};
use crate::pre::{Flags, PreTokenizer, family};
use crate::spm::{Spm, byte_token};
use crate::vocab::Vocab;
use crate::wpm::Normalizer;
use crate::{Error, SpecialTokens, StreamDecoder, TokenAttr, TokenId, VocabData, VocabType, special, wpm};

/// Longest text in bytes: three times as much, which escaping can make of it, still has 32-bit offsets.
const MAX_TEXT: usize = 1 << 30;

/// A ready tokenizer (`llama_vocab`). Immutable; clones share it and may be used from any thread.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    family: VocabType,
    flags: Flags,
    n_tokens: usize,
    n_token_types: u32,
    vocab: Vocab,
    special: SpecialTokens,
    eog: BTreeSet<TokenId>,
    suppressed: Vec<TokenId>,
    matcher: SpecialMatcher,
    pieces: Pieces,
    model: Model,
}

/// What a family keeps besides the token table.
#[derive(Debug)]
enum Model {
    None,
    Spm(Spm),
    Bpe(Bpe),
    Wpm(Normalizer),
}

impl Tokenizer {
    /// Checks `data` and builds its tokenizer (`llama_vocab::impl::load`).
    ///
    /// # Errors
    /// A family or pre-tokenizer that is unknown or unsupported, missing or short arrays, duplicate tokens,
    /// malformed byte tokens.
    pub fn new(data: &VocabData) -> Result<Self, Error> {
        let family = family(&data.model)?;
        let pre = match family {
            VocabType::Bpe => Some(PreTokenizer::by_name(data.pre.as_deref())?),
            _ => None,
        };
        let flags = Flags::new(family, pre.as_ref(), data);
        if family == VocabType::None {
            return Ok(Self::without_vocab(data, flags));
        }

        let mut vocab = Vocab::new(data)?;
        let model = match (family, &pre) {
            (VocabType::Bpe, Some(pre)) => {
                let merges = data.merges.as_ref().ok_or(Error::MissingKey("tokenizer.ggml.merges"))?;
                Model::Bpe(Bpe::new(pre.stages, pre.ignore_merges, merges, &vocab))
            }
            (VocabType::Wpm, _) => {
                Model::Wpm(Normalizer { lowercase: flags.lowercase, strip_accents: flags.strip_accents })
            }
            _ => Model::Spm(Spm::new(&vocab)),
        };
        let mut special = SpecialTokens::defaults(family, pre.is_some_and(|pre| pre.no_default_bos));
        special.nl = line_feed(&special, &model, &vocab);
        special.apply(&data.special, vocab.len());
        special.detect_by_text(&mut vocab);
        special::mark_unused(&mut vocab);
        let eog = special::end_of_generation(&special, &mut vocab);
        let matcher = SpecialMatcher::new(&vocab);
        // Pieces come before the fix-ups of attributes: they must not depend on them.
        let pieces = Pieces::new(family, &vocab)?;
        special::fix_attributes(data, &matcher.order, &mut vocab)?;

        let in_range = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < vocab.len());
        let suppressed =
            data.suppress_tokens.iter().copied().filter(in_range).map(|id| id as TokenId).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                family,
                flags,
                n_tokens: vocab.len(),
                n_token_types: data.token_type_count.unwrap_or(0),
                vocab,
                special,
                eog,
                suppressed,
                matcher,
                pieces,
                model,
            }),
        })
    }

    /// A model without vocabulary: ids have no texts.
    fn without_vocab(data: &VocabData, flags: Flags) -> Self {
        Self {
            inner: Arc::new(Inner {
                family: VocabType::None,
                flags,
                n_tokens: data.vocab_size.unwrap_or(0) as usize,
                n_token_types: data.token_type_count.unwrap_or(0),
                vocab: Vocab::default(),
                special: SpecialTokens::default(),
                eog: BTreeSet::new(),
                suppressed: Vec::new(),
                matcher: SpecialMatcher::default(),
                pieces: Pieces::default(),
                model: Model::None,
            }),
        }
    }

    /// Token ids of `text` (`llama_tokenize`).
    ///
    /// `add_special` adds the tokens that begin and end a sequence where the vocabulary wants them.
    /// `parse_special` reads special tokens written out in the text; user-defined tokens are always read.
    ///
    /// # Errors
    /// No vocabulary, a text of more than 2^30 bytes, or a token the vocabulary lacks (BOS, EOS, separator,
    /// unknown, a byte).
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<TokenId>, Error> {
        self.encode_bytes(text.as_bytes(), add_special, parse_special)
    }

    /// As [`encode`](Self::encode), for text that need not be valid UTF-8.
    ///
    /// SPM passes stray bytes on to byte tokens, the other families read each as U+FFFD.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_bytes(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        let Inner { family, flags, vocab, special, matcher, model, .. } = &*self.inner;
        if *family == VocabType::None {
            return Err(Error::NoVocab);
        }
        if text.len() > MAX_TEXT {
            return Err(Error::TextTooLong(text.len()));
        }
        let wpm = *family == VocabType::Wpm;
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        if add_special && (wpm || flags.add_bos) {
            out.push(special.bos.ok_or(Error::MissingSpecialToken("BOS"))?);
        }
        let mut after_special = true;
        for fragment in matcher.partition(text, vocab, parse_special) {
            let range = match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    after_special = true;
                    continue;
                }
                Fragment::Raw(range) => range,
            };
            let raw = &text[range];
            match model {
                Model::None => return Err(Error::NoVocab),
                Model::Spm(spm) => {
                    spm.encode(raw, flags.add_space_prefix && after_special, vocab, &mut out)?;
                }
                Model::Bpe(bpe) => bpe.encode(raw, vocab, &mut out),
                Model::Wpm(normalizer) => wpm::encode(raw, *normalizer, special.unk, vocab, &mut out)?,
            }
            after_special = false;
        }
        if add_special && wpm {
            out.push(special.sep.ok_or(Error::MissingSpecialToken("separator"))?);
        } else if add_special && flags.add_eos {
            out.push(special.eos.ok_or(Error::MissingSpecialToken("EOS"))?);
        }
        Ok(out)
    }

    /// Bytes that `token` stands for; control and unknown tokens show their text only with `special`.
    ///
    /// Need not be valid UTF-8: a token may be a part of a character. Empty for a model without vocabulary.
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`].
    pub fn piece(&self, token: TokenId, special: bool) -> Result<&[u8], Error> {
        let index = self.check(token)?;
        if self.inner.family == VocabType::None {
            return Ok(&[]);
        }
        let hidden = TokenAttr::CONTROL | TokenAttr::UNKNOWN;
        if !special && self.inner.vocab.attr(token).intersects(hidden) {
            return Ok(&[]);
        }
        Ok(self.inner.pieces.get(index))
    }

    /// As [`piece`](Self::piece), without up to `lstrip` leading spaces (`llama_token_to_piece`).
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`].
    pub fn token_to_piece(&self, token: TokenId, lstrip: usize, special: bool) -> Result<&[u8], Error> {
        let piece = self.piece(token, special)?;
        let spaces = piece.iter().take(lstrip).take_while(|&&byte| byte == b' ').count();
        Ok(&piece[spaces..])
    }

    /// Text of `tokens` (`llama_detokenize`), as bytes: the end may lie within a character.
    ///
    /// `remove_special` drops the BOS and EOS that [`encode`](Self::encode) would add; `unparse_special` shows
    /// special tokens by their text.
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`].
    pub fn detokenize(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
    ) -> Result<Vec<u8>, Error> {
        let Inner { family, flags, special, .. } = &*self.inner;
        for &token in tokens {
            self.check(token)?;
        }
        if *family == VocabType::None {
            return Ok(Vec::new());
        }
        let mut rest = tokens;
        let mut strip = flags.add_space_prefix;
        if remove_special && flags.add_bos && !rest.is_empty() && rest.first().copied() == special.bos {
            strip = false;
            rest = &rest[1..];
        }
        if remove_special && flags.add_eos && !rest.is_empty() && rest.last().copied() == special.eos {
            rest = &rest[..rest.len() - 1];
        }
        let mut text = Vec::new();
        for &token in rest {
            text.extend_from_slice(self.token_to_piece(token, usize::from(strip), unparse_special)?);
            strip = false;
        }
        Ok(if flags.clean_spaces { clean_spaces(&text) } else { text })
    }

    /// A decoder for tokens that come one by one; `special` shows control tokens by their text.
    pub fn stream(&self, special: bool) -> StreamDecoder {
        StreamDecoder::new(self.clone(), special)
    }

    /// The family.
    pub fn vocab_type(&self) -> VocabType {
        self.inner.family
    }

    /// Number of token ids (`llama_vocab_n_tokens`).
    pub fn n_tokens(&self) -> usize {
        self.inner.n_tokens
    }

    /// Number of segment types of BERT-like models, 0 for others.
    pub fn n_token_types(&self) -> u32 {
        self.inner.n_token_types
    }

    /// Ids of special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.inner.special
    }

    /// Whether `token` ends generation (`llama_vocab_is_eog`); ids out of range do not.
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.inner.eog.contains(&token)
    }

    /// The tokens that end generation, ascending.
    pub fn eog_tokens(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.inner.eog.iter().copied()
    }

    /// Tokens that the model's file asks never to sample.
    pub fn suppressed_tokens(&self) -> &[TokenId] {
        &self.inner.suppressed
    }

    /// Text of a token as the vocabulary writes it (`llama_vocab_get_text`); may be invalid UTF-8.
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn text(&self, token: TokenId) -> Result<&[u8], Error> {
        self.in_vocab(token).map(|vocab| vocab.text(token))
    }

    /// Score of a token (`llama_vocab_get_score`); 0 where the file has none.
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn score(&self, token: TokenId) -> Result<f32, Error> {
        self.in_vocab(token).map(|vocab| vocab.score(token))
    }

    /// Attributes of a token (`llama_vocab_get_attr`).
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn attr(&self, token: TokenId) -> Result<TokenAttr, Error> {
        self.in_vocab(token).map(|vocab| vocab.attr(token))
    }

    /// Id of the token with exactly this text.
    pub fn id_of(&self, text: &[u8]) -> Option<TokenId> {
        self.inner.vocab.id_of(text)
    }

    /// Whether sequences begin with BOS (`llama_vocab_get_add_bos`).
    pub fn add_bos(&self) -> bool {
        self.inner.flags.add_bos
    }

    /// Whether sequences end with EOS (`llama_vocab_get_add_eos`).
    pub fn add_eos(&self) -> bool {
        self.inner.flags.add_eos
    }

    /// Whether a separator stands between segments (`llama_vocab_get_add_sep`).
    pub fn add_sep(&self) -> bool {
        self.inner.flags.add_sep
    }

    /// Whether raw text is prefixed with a space.
    pub fn add_space_prefix(&self) -> bool {
        self.inner.flags.add_space_prefix
    }

    /// Whether [`detokenize`](Self::detokenize) removes spaces before punctuation.
    pub fn clean_spaces(&self) -> bool {
        self.inner.flags.clean_spaces
    }

    /// Whether whole words in the vocabulary skip the merges.
    pub fn ignore_merges(&self) -> bool {
        self.inner.flags.ignore_merges
    }

    /// The file's flag to collapse whitespace, which none of the families here acts on.
    pub fn remove_extra_whitespaces(&self) -> bool {
        self.inner.flags.remove_extra_whitespaces
    }

    fn check(&self, id: TokenId) -> Result<usize, Error> {
        let n_tokens = self.inner.n_tokens;
        if (id as usize) < n_tokens { Ok(id as usize) } else { Err(Error::TokenOutOfRange { id, n_tokens }) }
    }

    fn in_vocab(&self, id: TokenId) -> Result<&Vocab, Error> {
        if self.inner.family == VocabType::None {
            return Err(Error::NoVocab);
        }
        self.inner.vocab.check(id).map(|_| &self.inner.vocab)
    }
}

/// The line feed token. It is looked for before the metadata's special ids are known, hence the default padding.
fn line_feed(special: &SpecialTokens, model: &Model, vocab: &Vocab) -> Option<TokenId> {
    match model {
        Model::Spm(_) => byte_token(b'\n', vocab).ok().or(special.pad),
        Model::Bpe(bpe) => {
            let mut ids = Vec::new();
            bpe.encode(b"\n", vocab, &mut ids);
            ids.first().copied().or(special.pad)
        }
        Model::Wpm(_) | Model::None => special.pad,
    }
}
