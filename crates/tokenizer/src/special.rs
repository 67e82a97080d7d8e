//! Which tokens are special: ids from defaults and metadata, then from well-known texts, and the set of tokens
//! that end generation (the tail of `llama_vocab::impl::load`).

use std::collections::BTreeSet;

use crate::vocab::Vocab;
use crate::{Error, SpecialIds, TokenAttr, TokenId, VocabData, VocabType, reference_hash};

/// Ids of the special tokens a vocabulary has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Beginning of sequence (`llama_vocab_bos`); the class token of WPM.
    pub bos: Option<TokenId>,
    /// End of sequence (`llama_vocab_eos`).
    pub eos: Option<TokenId>,
    /// End of turn (`llama_vocab_eot`).
    pub eot: Option<TokenId>,
    /// End of message (`llama_token_eom`).
    pub eom: Option<TokenId>,
    /// Unknown.
    pub unk: Option<TokenId>,
    /// Separator (`llama_vocab_sep`).
    pub sep: Option<TokenId>,
    /// Padding (`llama_vocab_pad`).
    pub pad: Option<TokenId>,
    /// Mask (`llama_vocab_mask`).
    pub mask: Option<TokenId>,
    /// Line feed (`llama_vocab_nl`).
    pub nl: Option<TokenId>,
    /// Fill in the middle: prefix.
    pub fim_pre: Option<TokenId>,
    /// Fill in the middle: suffix.
    pub fim_suf: Option<TokenId>,
    /// Fill in the middle: middle.
    pub fim_mid: Option<TokenId>,
    /// Fill in the middle: padding.
    pub fim_pad: Option<TokenId>,
    /// Fill in the middle: repository.
    pub fim_rep: Option<TokenId>,
    /// Fill in the middle: file separator.
    pub fim_sep: Option<TokenId>,
}

const EOT_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM_TEXTS: &[&str] = &["<|eom_id|>"];
const FIM_PRE_TEXTS: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const FIM_SUF_TEXTS: &[&str] = &[
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const FIM_MID_TEXTS: &[&str] = &[
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const FIM_PAD_TEXTS: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REP_TEXTS: &[&str] = &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FIM_SEP_TEXTS: &[&str] = &["<|file_sep|>"];
const EOG_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// gpt-oss: tokens that are always rendered.
const RENDERED_TEXTS: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl SpecialTokens {
    /// The family's default ids, before the metadata is read. They may lie outside the vocabulary.
    pub(crate) fn defaults(family: VocabType, model: &str, no_default_bos: bool) -> Self {
        let none = Self::default();
        match family {
            VocabType::None | VocabType::Rwkv => none,
            #[cfg(feature = "hf-json")]
            VocabType::HfJson => none,
            VocabType::Spm => Self { bos: Some(1), eos: Some(2), unk: Some(0), ..none },
            VocabType::Bpe if model == "gemma4" => none,
            VocabType::Bpe => {
                Self { bos: if no_default_bos { None } else { Some(11) }, eos: Some(11), ..none }
            }
            VocabType::Ugm => Self { eos: Some(1), unk: Some(2), pad: Some(0), ..none },
            VocabType::Plamo2 => Self { bos: Some(1), eos: Some(2), unk: Some(0), pad: Some(3), ..none },
            VocabType::Wpm => {
                Self { bos: Some(101), unk: Some(100), sep: Some(102), pad: Some(0), mask: Some(103), ..none }
            }
        }
    }

    /// Applies the ids of the metadata: those out of range are ignored, as are defaults out of range.
    pub(crate) fn apply(&mut self, ids: &SpecialIds, n_tokens: usize, warnings: &mut Vec<String>) {
        let mut set = |key: &str, slot: &mut Option<TokenId>, id: Option<TokenId>| {
            set_special(key, slot, id, n_tokens, warnings);
        };
        for (key, slot, id) in [
            ("bos", &mut self.bos, ids.bos),
            ("eos", &mut self.eos, ids.eos),
            ("eot", &mut self.eot, ids.eot),
            ("eom", &mut self.eom, ids.eom),
            ("unknown", &mut self.unk, ids.unk),
            ("seperator", &mut self.sep, ids.sep),
            ("padding", &mut self.pad, ids.pad),
            ("mask", &mut self.mask, ids.mask),
            ("fim_pre", &mut self.fim_pre, ids.fim_pre),
            ("fim_suf", &mut self.fim_suf, ids.fim_suf),
            ("fim_mid", &mut self.fim_mid, ids.fim_mid),
            ("fim_pad", &mut self.fim_pad, ids.fim_pad),
            ("fim_rep", &mut self.fim_rep, ids.fim_rep),
            ("fim_sep", &mut self.fim_sep, ids.fim_sep),
        ] {
            set(key, slot, id);
        }
        // The older keys come last and win.
        set("prefix", &mut self.fim_pre, ids.prefix);
        set("suffix", &mut self.fim_suf, ids.suffix);
        set("middle", &mut self.fim_mid, ids.middle);
    }

    /// Finds special tokens that no id names by their text, marking them as control tokens.
    ///
    /// Where several texts of a list are in the vocabulary, the one that the reference's hash table yields first
    /// is taken (see `reference_hash`).
    pub(crate) fn detect_by_text(&mut self, vocab: &mut Vocab, warnings: &mut Vec<String>) {
        let mut order: Option<Vec<u32>> = None;
        for (slot, texts) in [
            (&mut self.eot, EOT_TEXTS),
            (&mut self.eom, EOM_TEXTS),
            (&mut self.fim_pre, FIM_PRE_TEXTS),
            (&mut self.fim_suf, FIM_SUF_TEXTS),
            (&mut self.fim_mid, FIM_MID_TEXTS),
            (&mut self.fim_pad, FIM_PAD_TEXTS),
            (&mut self.fim_rep, FIM_REP_TEXTS),
            (&mut self.fim_sep, FIM_SEP_TEXTS),
        ] {
            if slot.is_some() {
                continue;
            }
            let mut found: Vec<TokenId> =
                texts.iter().filter_map(|text| vocab.id_of(text.as_bytes())).collect();
            if found.len() > 1 {
                let order = order.get_or_insert_with(|| {
                    reference_hash::walk_order((0..vocab.len() as TokenId).map(|id| vocab.key(id)))
                        .unwrap_or_else(|| vec![0; vocab.len()])
                });
                found.sort_by_key(|&id| order[id as usize]);
            }
            *slot = found.first().copied();
            if let Some(id) = *slot {
                make_control(id, vocab, warnings);
            }
        }
    }
}

/// Sets a special token to the id that the metadata names, if that is in range; a default out of range is none.
fn set_special(
    key: &str,
    slot: &mut Option<TokenId>,
    id: Option<TokenId>,
    n_tokens: usize,
    warnings: &mut Vec<String>,
) {
    let in_range = |id: &TokenId| (*id as usize) < n_tokens;
    let key = format_args!("tokenizer.ggml.{key}_token_id");
    if let Some(default) = slot.filter(|id| !in_range(id)) {
        warnings
            .push(format!("{key}: the default {default} is not one of the {n_tokens} tokens, there is none"));
        *slot = None;
    }
    match id {
        None => {}
        Some(id) if in_range(&id) => *slot = Some(id),
        Some(id) => {
            let used = slot.map_or("none".to_owned(), |id| id.to_string());
            warnings.push(format!("{key}: {id} is not one of the {n_tokens} tokens, using {used}"));
        }
    }
}

/// Marks control tokens named "unused" as unused.
pub(crate) fn mark_unused(vocab: &mut Vocab) {
    for id in 0..vocab.len() as TokenId {
        if vocab.attr(id).intersects(TokenAttr::CONTROL) && vocab.text(id).windows(6).any(|w| w == b"unused")
        {
            vocab.attrs[id as usize] |= TokenAttr::UNUSED;
        }
    }
}

/// Marks a token that the model's file should have marked as a control token.
fn make_control(id: TokenId, vocab: &mut Vocab, warnings: &mut Vec<String>) {
    if !vocab.attr(id).intersects(TokenAttr::CONTROL) {
        let text = String::from_utf8_lossy(vocab.text(id));
        warnings.push(format!(
            "token {id} '{text}' looks like a control token and is made one, its type was another"
        ));
        vocab.attrs[id as usize] |= TokenAttr::CONTROL;
    }
}

/// The tokens that end generation, by id and by text, with the reference's exceptions; adjusts attributes.
pub(crate) fn end_of_generation(
    special: &SpecialTokens,
    vocab: &mut Vocab,
    warnings: &mut Vec<String>,
) -> BTreeSet<TokenId> {
    let mut eog: BTreeSet<TokenId> =
        [special.fim_pad, special.fim_rep, special.fim_sep].into_iter().flatten().collect();
    for text in EOG_TEXTS {
        if let Some(id) = vocab.id_of(text.as_bytes()) {
            eog.insert(id);
            make_control(id, vocab, warnings);
        }
    }
    for text in RENDERED_TEXTS {
        if let Some(id) = vocab.id_of(text.as_bytes()) {
            vocab.attrs[id as usize] = TokenAttr::USER_DEFINED;
            warnings.push(format!("token {id} '{text}' is made user-defined: it is always shown"));
        }
    }
    for (name, id) in [("eos", special.eos), ("eot", special.eot), ("eom", special.eom)] {
        if let Some(id) = id
            && eog.insert(id)
        {
            warnings.push(format!(
                "tokenizer.ggml.{name}_token_id: the text of token {id} is none that ends generation"
            ));
        }
    }

    let member = |text: &str| vocab.id_of(text.as_bytes()).filter(|id| eog.contains(id));
    // Harmony and Solar Open: <|end|> ends a channel, not the generation.
    let calls = member("<|call|>").or(member("<|calls|>")).is_some();
    let not_end =
        member("<|end|>").filter(|_| calls && (member("<|return|>").or(member("<|flush|>"))).is_some());
    // Gemma 4 and PaddleOCR: </s> is ordinary text.
    let not_eos = member("</s>").filter(|_| member("<|tool_response>").is_some());
    for (id, attr) in [(not_end, TokenAttr::USER_DEFINED), (not_eos, TokenAttr::NORMAL)] {
        if let Some(id) = id {
            eog.remove(&id);
            vocab.attrs[id as usize] = attr;
            let text = String::from_utf8_lossy(vocab.text(id));
            warnings.push(format!(
                "token {id} '{text}' does not end generation, other tokens of the vocabulary do"
            ));
        }
    }
    eog
}

/// Attributes that a few models need and their files do not carry.
///
/// `special` are the special tokens in matching order. Phi-3 must have the tokens its rule names.
pub(crate) fn fix_attributes(
    data: &VocabData,
    special: &[TokenId],
    vocab: &mut Vocab,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let mut takes_spaces_before = |text: &str| match vocab.id_of(text.as_bytes()) {
        Some(id) => vocab.attrs[id as usize].set(TokenAttr::LSTRIP, true),
        None => warnings.push(format!("the vocabulary has no token '{text}', which this model should have")),
    };
    let pre = data.pre.as_deref().unwrap_or("");
    let arch = data.architecture.as_deref().unwrap_or("");
    let name = data.general_name.as_deref().unwrap_or("").to_ascii_lowercase();
    let contains_any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));

    if contains_any(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
        || contains_any(arch, &["nomic-bert-moe", "jina-bert-v3"])
    {
        takes_spaces_before("<mask>");
    } else if contains_any(&name, &["phi-3", "phi3"]) {
        for &id in special {
            vocab.attrs[id as usize].set(TokenAttr::RSTRIP, true);
        }
        for (text, on) in [("</s>", true), ("<unk>", false), ("<s>", false), ("<|endoftext|>", false)] {
            let id = vocab.id_of(text.as_bytes()).ok_or(Error::MissingText(text))?;
            vocab.attrs[id as usize].set(TokenAttr::RSTRIP, on);
        }
    } else if name.contains("modern-bert") {
        takes_spaces_before("[MASK]");
    }
    Ok(())
}
