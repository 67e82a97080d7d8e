//! Vocabularies that prepare text in their own way before BPE sees it: DNA between tags
//! (`llm_tokenizer_hybriddna_session`) and text without whitespace (`llm_tokenizer_whitespace_session`).

use crate::bpe::Bpe;
use crate::scratch::Scratch;
use crate::segment::SPACE;
use crate::unicode::class::WHITESPACE;
use crate::unicode::{class_of, decode_one, push_utf8, to_lower};
use crate::vocab::Vocab;
use crate::{TokenId, VocabData};

/// Hidden at the end of the texts of k-mers, so that they are no words of the text vocabulary.
const KMER_MARK: &str = "\u{E000}";
const KMER_LEN: usize = 6;
const DNA_BEGIN: &[u8] = b"<dna>";
const DNA_END: &[u8] = b"</dna>";
const DNA_UNKNOWN: &[u8] = b"<oov>";

/// What happens to text before BPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Nothing.
    Plain,
    /// What stands between the tags is cut into k-mers.
    Dna(DnaTokens),
    /// Whitespace is dropped, and the rest lowered if `lowercase`.
    Spaceless { lowercase: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DnaTokens {
    begin: TokenId,
    end: TokenId,
    unknown: TokenId,
}

impl Dialect {
    /// The dialect that `tokenizer.ggml.model` names; DNA needs its tags in the vocabulary.
    pub(crate) fn new(data: &VocabData, lowercase: bool, vocab: &Vocab) -> Self {
        match data.model.as_str() {
            "whitespace" => Self::Spaceless { lowercase },
            "hybriddna" => {
                let ids = [DNA_BEGIN, DNA_END, DNA_UNKNOWN].map(|text| vocab.id_of(text));
                let [Some(begin), Some(end), Some(unknown)] = ids else { return Self::Plain };
                Self::Dna(DnaTokens { begin, end, unknown })
            }
            _ => Self::Plain,
        }
    }

    /// Shows k-mers without their mark. They are the tokens after the unknown k-mer.
    pub(crate) fn hide_marks(data: &VocabData, vocab: &mut Vocab) {
        if data.model == "hybriddna"
            && let Some(unknown) = vocab.id_of(DNA_UNKNOWN)
        {
            vocab.hide_suffix(unknown + 1, KMER_MARK.as_bytes());
        }
    }

    /// Appends the tokens of `raw`, in which spaces are written as U+2581 if `escape_whitespaces`.
    pub(crate) fn encode(
        self,
        raw: &[u8],
        escape_whitespaces: bool,
        bpe: &Bpe,
        vocab: &Vocab,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) {
        let mut escaped = Vec::new();
        let mut raw = raw;
        if escape_whitespaces {
            escaped.reserve(raw.len() + raw.len() / 2);
            for &byte in raw {
                if byte == b' ' { escaped.extend_from_slice(SPACE) } else { escaped.push(byte) }
            }
            raw = &escaped;
        }
        match self {
            Self::Plain => bpe.encode(raw, vocab, scratch, out),
            Self::Spaceless { lowercase } => {
                let mut words = Vec::new();
                let mut rest = raw;
                while !rest.is_empty() {
                    let (cpt, len) = decode_one(rest);
                    rest = &rest[len..];
                    if class_of(cpt) & WHITESPACE == 0 {
                        push_utf8(if lowercase { to_lower(cpt) } else { cpt }, &mut words);
                    } else if !words.is_empty() {
                        bpe.encode(&words, vocab, scratch, out);
                        words.clear();
                    }
                }
                if !words.is_empty() {
                    bpe.encode(&words, vocab, scratch, out);
                }
            }
            Self::Dna(tokens) => {
                let mut rest = raw;
                while let Some(start) = find(rest, DNA_BEGIN) {
                    if start > 0 {
                        bpe.encode(&rest[..start], vocab, scratch, out);
                    }
                    out.push(tokens.begin);
                    rest = &rest[start + DNA_BEGIN.len()..];
                    let end = find(rest, DNA_END);
                    push_kmers(&rest[..end.unwrap_or(rest.len())], tokens.unknown, vocab, out);
                    let Some(end) = end else { return };
                    out.push(tokens.end);
                    rest = &rest[end + DNA_END.len()..];
                }
                if !rest.is_empty() {
                    bpe.encode(rest, vocab, scratch, out);
                }
            }
        }
    }
}

/// Appends one token for every six letters in upper case, the last ones filled up with A.
fn push_kmers(sequence: &[u8], unknown: TokenId, vocab: &Vocab, out: &mut Vec<TokenId>) {
    for part in sequence.chunks(KMER_LEN) {
        let mut kmer = part.to_ascii_uppercase();
        kmer.resize(KMER_LEN, b'A');
        kmer.extend_from_slice(KMER_MARK.as_bytes());
        out.push(vocab.id_of(&kmer).unwrap_or(unknown));
    }
}

fn find(text: &[u8], tag: &[u8]) -> Option<usize> {
    text.windows(tag.len()).position(|window| window == tag)
}
