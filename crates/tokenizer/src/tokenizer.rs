//! [`Tokenizer`]: a vocabulary put together, and what can be asked of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bpe::Bpe;
use crate::dialect::Dialect;
use crate::partition::{Fragment, SpecialMatcher, matching_order};
use crate::pieces::{Pieces, clean_spaces};
use crate::plamo2::Plamo2;
use crate::pre::{Flags, PreTokenizer, family};
use crate::rwkv::Rwkv;
use crate::scratch::{Pool, Scratch};
use crate::spm::{Spm, byte_token};
use crate::ugm::Ugm;
use crate::vocab::Vocab;
use crate::wpm::Wpm;
use crate::{Error, SpecialTokens, TokenAttr, TokenId, VocabData, VocabType, special};

/// Longest text in bytes: three times as much, which escaping can make of it, still has 32-bit offsets.
const MAX_TEXT: usize = 1 << 30;

/// A ready tokenizer (`llama_vocab`). Clones share it and may be used from any thread.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) family: VocabType,
    pub(crate) flags: Flags,
    pub(crate) n_tokens: usize,
    pub(crate) n_token_types: u32,
    pub(crate) vocab: Vocab,
    pub(crate) special: SpecialTokens,
    pub(crate) eog: BTreeSet<TokenId>,
    pub(crate) suppressed: Vec<TokenId>,
    matcher: SpecialMatcher,
    pieces: Pieces,
    model: Model,
    pub(crate) warnings: Vec<String>,
    /// Buffers and remembered words, the only thing that changes.
    pool: Pool,
}

/// What a family keeps besides the token table.
#[derive(Debug)]
enum Model {
    None,
    Spm(Spm),
    Bpe(Bpe, Dialect),
    Wpm(Wpm),
    Ugm(Ugm),
    Rwkv(Rwkv),
    Plamo2(Plamo2),
    #[cfg(feature = "hf-json")]
    HfJson(Box<crate::hf_json::HfJson>),
}

/// What every family is told besides the text.
#[derive(Clone, Copy)]
struct Known<'a> {
    flags: Flags,
    unk: Option<TokenId>,
    vocab: &'a Vocab,
}

impl Model {
    fn new(
        family: VocabType,
        flags: Flags,
        pre: Option<&PreTokenizer>,
        data: &VocabData,
        vocab: &Vocab,
    ) -> Result<Self, Error> {
        Ok(match family {
            VocabType::None => Self::None,
            VocabType::Spm => Self::Spm(Spm::new(vocab)),
            VocabType::Bpe => {
                let pre = pre.ok_or(Error::MissingKey("tokenizer.ggml.pre"))?;
                let merges = match &data.merges {
                    Some(merges) => merges.as_slice(),
                    // Kimi K2 comes without.
                    None if data.pre.as_deref() == Some("kimi-k2") && data.model != "gemma4" => &[],
                    None => return Err(Error::MissingKey("tokenizer.ggml.merges")),
                };
                Self::Bpe(Bpe::new(pre, merges, vocab), Dialect::new(data, flags.lowercase, vocab))
            }
            VocabType::Wpm => Self::Wpm(Wpm::new(flags.lowercase, flags.strip_accents, vocab)),
            VocabType::Ugm => {
                Self::Ugm(Ugm::new(data, flags.add_space_prefix, flags.remove_extra_whitespaces, vocab)?)
            }
            VocabType::Rwkv => Self::Rwkv(Rwkv::new(vocab)),
            VocabType::Plamo2 => Self::Plamo2(Plamo2::new(vocab)?),
            #[cfg(feature = "hf-json")]
            VocabType::HfJson => return Err(Error::UnknownModel(data.model.clone())),
        })
    }

    /// Appends the tokens of raw text; `space_prefix`: nothing or a special token comes before it.
    fn encode(
        &self,
        raw: &[u8],
        space_prefix: bool,
        known: Known<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let Known { flags, unk, vocab } = known;
        match self {
            Self::None => return Err(Error::NoVocab),
            Self::Spm(spm) => {
                spm.encode(raw, flags.add_space_prefix && space_prefix, vocab, scratch, out)?;
            }
            Self::Bpe(bpe, dialect) => {
                dialect.encode(raw, flags.escape_whitespaces, bpe, vocab, scratch, out);
            }
            Self::Wpm(wpm) => wpm.encode(raw, unk, scratch, out)?,
            Self::Ugm(ugm) => ugm.encode(raw, unk, scratch, out)?,
            Self::Rwkv(rwkv) => rwkv.encode(raw, unk, out)?,
            Self::Plamo2(plamo2) => plamo2.encode(raw, scratch, out),
            // Takes whole texts, see `Inner::encode`.
            #[cfg(feature = "hf-json")]
            Self::HfJson(_) => {}
        }
        Ok(())
    }

    /// The line feed token. It is looked for before the metadata's special ids are known, hence the defaults.
    fn line_feed(
        &self,
        flags: Flags,
        special: &SpecialTokens,
        vocab: &Vocab,
    ) -> Result<Option<TokenId>, Error> {
        Ok(match self {
            Self::Spm(_) => byte_token(b'\n', vocab).ok().or(special.pad),
            Self::Wpm(_) | Self::None => special.pad,
            #[cfg(feature = "hf-json")]
            Self::HfJson(_) => None,
            // The reference refuses a vocabulary without one.
            Self::Rwkv(rwkv) => {
                let mut ids = Vec::new();
                rwkv.encode(b"\n", Some(TokenId::MAX), &mut ids)?;
                ids.first().copied().filter(|&id| id != TokenId::MAX)
            }
            Self::Bpe(..) | Self::Ugm(_) | Self::Plamo2(_) => {
                let mut ids = Vec::new();
                let known = Known { flags, unk: special.unk, vocab };
                self.encode(b"\n", true, known, &mut Scratch::default(), &mut ids)?;
                ids.first().copied().or(special.pad)
            }
        })
    }
}

impl Tokenizer {
    /// Checks `data` and builds its tokenizer (`llama_vocab::impl::load`).
    ///
    /// # Errors
    /// An unknown family or pre-tokenizer, missing or short arrays, duplicate tokens, malformed byte tokens, a
    /// malformed character map.
    pub fn new(data: &VocabData) -> Result<Self, Error> {
        let family = family(&data.model)?;
        let pre_name = if data.model == "gemma4" { Some("gemma4") } else { data.pre.as_deref() };
        let pre = match family {
            VocabType::Bpe => Some(PreTokenizer::by_name(pre_name)?),
            _ => None,
        };
        let flags = Flags::new(family, pre.as_ref(), data);
        if family == VocabType::None {
            return Ok(Self::without_vocab(data, flags));
        }
        let mut warnings = Vec::new();
        if pre.is_some() && pre_name.unwrap_or("").is_empty() {
            warnings.push(
                "tokenizer.ggml.pre: missing, the default pre-tokenizer may not fit the model".to_owned(),
            );
        }
        if pre.is_some_and(|pre| pre.gemma4) && data.add_bos != Some(true) {
            warnings
                .push("tokenizer.ggml.add_bos_token: not true, but gemma4 needs BOS and gets it".to_owned());
        }
        for id in (0..data.tokens.len()).filter(|&id| data.tokens[id].is_empty()) {
            warnings.push(format!("tokenizer.ggml.tokens: token {id} is empty, it is called [EMPTY_{id}]"));
        }

        let mut vocab = Vocab::new(data)?;
        Dialect::hide_marks(data, &mut vocab);
        let model = Model::new(family, flags, pre.as_ref(), data, &vocab)?;
        let no_default_bos = pre.is_some_and(|pre| pre.no_default_bos);
        let mut special = SpecialTokens::defaults(family, &data.model, no_default_bos);
        special.nl = model.line_feed(flags, &special, &vocab)?;
        if special.nl.is_none() || (special.nl == special.pad && family != VocabType::Wpm) {
            warnings.push("the vocabulary has no line feed token".to_owned());
        }
        special.apply(&data.special, vocab.len(), &mut warnings);
        special.detect_by_text(&mut vocab, &mut warnings);
        special::mark_unused(&mut vocab);
        let eog = special::end_of_generation(&special, &mut vocab, &mut warnings);
        let order = matching_order(&vocab);
        // Pieces come before the fix-ups of attributes: they must not depend on them.
        let pieces = Pieces::new(family, flags.escape_whitespaces, &vocab)?;
        special::fix_attributes(data, &order, &mut vocab, &mut warnings)?;

        let in_range = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < vocab.len());
        let suppressed =
            data.suppress_tokens.iter().copied().filter(in_range).map(|id| id as TokenId).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                family,
                flags,
                n_tokens: vocab.len(),
                n_token_types: data.token_type_count.unwrap_or(0),
                special,
                eog,
                suppressed,
                matcher: SpecialMatcher::new(order, &vocab),
                vocab,
                pieces,
                model,
                warnings,
                pool: Pool::default(),
            }),
        })
    }

    /// The tokenizer of a `tokenizer.json`. `ids` are special tokens known from elsewhere; what it leaves open is found by
    /// what the file's post-processor adds and by text.
    ///
    /// # Errors
    /// A file that the `tokenizers` crate refuses, a vocabulary with equal texts.
    #[cfg(feature = "hf-json")]
    pub fn from_hf_json(json: &[u8], ids: &crate::SpecialIds) -> Result<Self, Error> {
        let crate::hf_json::Read { data, model, like } = crate::hf_json::read(json, ids)?;
        Self::with_hf_json(&data, model, like)
    }

    /// As [`Tokenizer::from_hf_json`], of a file whose vocabulary `data` repeats; `like`: the family whose pieces are written
    /// like its own.
    #[cfg(feature = "hf-json")]
    fn with_hf_json(data: &VocabData, model: crate::hf_json::HfJson, like: VocabType) -> Result<Self, Error> {
        let mut flags = Flags::new(like, None, data);
        (flags.add_space_prefix, flags.clean_spaces) = (model.strips_first_space, false);
        let mut warnings = Vec::new();
        let mut vocab = Vocab::new(data)?;
        let mut special = SpecialTokens::default();
        special.apply(&data.special, vocab.len(), &mut warnings);
        special.detect_by_text(&mut vocab, &mut warnings);
        special.nl = model.line_feed();
        let eog = special::end_of_generation(&special, &mut vocab, &mut warnings);
        let pieces = Pieces::new(like, like != VocabType::Bpe, &vocab)?;
        Ok(Self {
            inner: Arc::new(Inner {
                family: VocabType::HfJson,
                flags,
                n_tokens: vocab.len(),
                n_token_types: 0,
                special,
                eog,
                suppressed: Vec::new(),
                matcher: SpecialMatcher::default(),
                vocab,
                pieces,
                model: Model::HfJson(Box::new(model)),
                warnings,
                pool: Pool::default(),
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
                warnings: Vec::new(),
                pool: Pool::default(),
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
    /// unknown, a byte); a character map that leads outside itself.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<TokenId>, Error> {
        self.encode_bytes(text.as_bytes(), add_special, parse_special)
    }

    /// As [`encode`](Self::encode), for text that need not be valid UTF-8.
    ///
    /// SPM passes stray bytes on to byte tokens, RWKV matches them like any others, the other families read each
    /// as U+FFFD.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_bytes(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        let mut out = Vec::new();
        self.encode_into(text, add_special, parse_special, &mut out)?;
        Ok(out)
    }

    /// As [`encode_bytes`](Self::encode_bytes), appending to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_into(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        if text.len() > MAX_TEXT {
            return Err(Error::TextTooLong(text.len()));
        }
        out.reserve(text.len() / 4 + 2);
        let before = out.len();
        let result =
            self.inner.pool.with(|scratch| self.inner.encode(text, add_special, parse_special, scratch, out));
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Token ids of many texts, in their order, worked out by up to `n_threads` threads.
    ///
    /// # Errors
    /// As [`encode`](Self::encode): that of the first text that has one.
    pub fn encode_batch<T: AsRef<[u8]> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
        n_threads: usize,
    ) -> Result<Vec<Vec<TokenId>>, Error> {
        let encode = |text: &T| self.encode_bytes(text.as_ref(), add_special, parse_special);
        let n_threads = n_threads.clamp(1, texts.len().max(1));
        if n_threads == 1 {
            return texts.iter().map(encode).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((i, text)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| texts.get(i).map(|text| (i, text)))
            {
                done.push((i, encode(text)));
            }
            done
        };
        let mut results: Vec<(usize, Result<Vec<TokenId>, Error>)> = std::thread::scope(|scope| {
            // Where no further thread is to be had, those that are there do the work.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let threads: Vec<_> = (1..n_threads).map_while(spawn).collect();
            let mut results = work();
            for thread in threads {
                results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        });
        results.sort_unstable_by_key(|result| result.0);
        results.into_iter().map(|result| result.1).collect()
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

    fn check(&self, id: TokenId) -> Result<usize, Error> {
        let n_tokens = self.inner.n_tokens;
        if (id as usize) < n_tokens { Ok(id as usize) } else { Err(Error::TokenOutOfRange { id, n_tokens }) }
    }
}

impl Inner {
    fn encode(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let Self { family, flags, vocab, special, .. } = self;
        if *family == VocabType::None {
            return Err(Error::NoVocab);
        }
        #[cfg(feature = "hf-json")]
        if let Model::HfJson(model) = &self.model {
            return model.encode(text, add_special, parse_special, out);
        }
        let wpm = *family == VocabType::Wpm;
        // RWKV and PLaMo-2 never add anything.
        let add_special = add_special && !matches!(family, VocabType::Rwkv | VocabType::Plamo2);
        if add_special && (wpm || flags.add_bos) {
            out.push(special.bos.ok_or(Error::MissingSpecialToken("BOS"))?);
        }
        let known = Known { flags: *flags, unk: special.unk, vocab };
        let mut after_special = true;
        for fragment in self.matcher.partition(text, vocab, parse_special) {
            match fragment {
                Fragment::Token(id) => out.push(id),
                Fragment::Raw(ref range) => {
                    let raw = &text[range.clone()];
                    self.model.encode(raw, after_special, known, scratch, out)?;
                }
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        if add_special && wpm {
            out.push(special.sep.ok_or(Error::MissingSpecialToken("separator"))?);
        } else if add_special && flags.add_eos {
            out.push(special.eos.ok_or(Error::MissingSpecialToken("EOS"))?);
        }
        Ok(())
    }
}
