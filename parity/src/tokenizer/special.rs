//! Vocabularies that differ in what surrounds ordinary text: special tokens by id and by text, flags, names of models;
//! and vocabularies that neither engine takes.

use quipu_testing::SplitMix;
use quipu_tokenizer::{SpecialIds, Tokenizer, VocabData, pre_tokenizer_names};

use super::compose;

/// Vocabularies of [`mixed`].
const N_MIXED: usize = 60;

/// Texts by which tokens are found to be special, texts that fixes of attributes name, and texts that overlap.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]",
    "<｜end▁of▁sentence｜>", "<end_of_utterance>", "<|eom_id|>", "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>",
    "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
    "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>", "<|fim_middle|>", "<fim-middle>", "<fim_middle>",
    "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>",
    "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>", "<|return|>", "<|call|>",
    "<|flush|>", "<|calls|>", "</s>", "[EOS]", "<eos>", "<turn|>", "<|tool_response>", "[e~[", "<|channel|>", "<|message|>",
    "<|start|>", "<|constrain|>", "<mask>", "[MASK]", "<s>", "<unk>", "<unused0>", "[unused7]", "", "<|a|>", "<|a|><|b|>",
    "|><|", "<|b|>", "b|>", "aa", "aaa", "the", " the ", "\n\n", "  ", "\t", "é", "<|EOT|>", "<fim_repo>",
];

const NAMES: &[Option<&str>] = &[
    None,
    Some("plain"),
    Some("Phi-3 mini"),
    Some("x-PHI3-y"),
    Some("modern-bert base"),
    Some("ModernBERT"),
    Some("Modern-BERT large"),
];

const ARCHITECTURES: &[&str] =
    &["llama", "llama", "llama", "bert", "nomic-bert-moe", "jina-bert-v3", "qwen2"];

/// SPM and WPM vocabularies out of those that are composed for other families.
fn spm(seed: u64) -> VocabData {
    let data = compose::character_bpe(seed, "llama");
    let scores = (0..data.tokens.len()).map(|id| -(id as f32)).collect();
    VocabData { merges: None, scores: Some(scores), ..data }
}

fn wpm(seed: u64) -> VocabData {
    let data = compose::unigram(&compose::words(seed), 2500, false, false);
    VocabData { model: "bert".to_owned(), add_space_prefix: None, remove_extra_whitespaces: None, ..data }
}

/// One vocabulary of each family, the base of all others.
fn bases() -> Vec<VocabData> {
    let words = compose::words;
    vec![
        spm(21),
        compose::byte_bpe(22),
        wpm(23),
        compose::unigram(&words(24), 1500, true, true),
        compose::rwkv(&words(25), 1000),
        compose::plamo2(&words(26), 1500),
        compose::character_bpe(27, "gemma4"),
    ]
}

/// Vocabularies of all families with special tokens, ids, flags and names drawn at random, none of which makes the
/// reference abort.
pub(super) fn mixed() -> Vec<(String, VocabData)> {
    let bases = bases();
    let cases = (0..N_MIXED).map(|i| {
        let mut random = SplitMix::new(0x051E_C1A1 + i as u64);
        let data = mix(&bases[i % bases.len()], &mut random);
        (format!("special {i} {}", data.model), sound(data))
    });
    cases.collect()
}

fn mix(base: &VocabData, random: &mut SplitMix) -> VocabData {
    let mut data = base.clone();
    let mut texts: Vec<&str> = TEXTS.iter().copied().filter(|_| random.index(2) == 0).collect();
    for i in (1..texts.len()).rev() {
        texts.swap(i, random.index(i + 1));
    }
    for text in texts {
        if data.tokens.iter().any(|token| token == text.as_bytes()) {
            continue;
        }
        data.tokens.push(text.as_bytes().to_vec());
        if let Some(types) = &mut data.token_types {
            types.push([1, 1, 3, 3, 3, 4, 4, 2, 5, 0, 7][random.index(11)]);
        }
        if let Some(scores) = &mut data.scores {
            scores.push(-(random.index(1000) as f32) / 64.0);
        }
    }
    if random.index(3) == 0 {
        data = compose::shuffled(&data, random.next_u64());
    }
    let n = data.tokens.len();
    let mut id = |old: Option<u32>| match random.index(8) {
        0 | 1 => Some(random.index(n) as u32),
        2 => Some([n, n + 1, u32::MAX as usize, 1 << 31][random.index(4)] as u32),
        3 => None,
        _ => old,
    };
    let old = data.special;
    data.special = SpecialIds {
        bos: id(old.bos),
        eos: id(old.eos),
        eot: id(None),
        eom: id(None),
        unk: id(old.unk),
        sep: id(None),
        pad: id(old.pad),
        mask: id(None),
        fim_pre: id(None),
        fim_suf: id(None),
        fim_mid: id(None),
        fim_pad: id(None),
        fim_rep: id(None),
        fim_sep: id(None),
        prefix: id(None),
        suffix: id(None),
        middle: id(None),
    };
    let mut flag = |old: Option<bool>| [old, None, Some(false), Some(true)][random.index(4)];
    data.add_bos = flag(None);
    data.add_eos = flag(None);
    data.add_sep = flag(None);
    data.add_space_prefix = flag(data.add_space_prefix);
    data.remove_extra_whitespaces = flag(data.remove_extra_whitespaces);
    data.lowercase = flag(None);
    data.strip_accents = flag(None);
    data.general_name = NAMES[random.index(NAMES.len())].map(str::to_owned);
    data.architecture = Some(ARCHITECTURES[random.index(ARCHITECTURES.len())].to_owned());
    if data.model == "gpt2" {
        let names = pre_tokenizer_names();
        let pre = match random.index(3) {
            0 => ["jina-v2-de", "jina-v2-es", "jina-v2-code"][random.index(3)],
            _ => names[random.index(names.len())],
        };
        // These join characters, for which `gemma4` stands here, or drop whitespace.
        let apart = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"];
        data.pre = Some(if apart.contains(&pre) { "gpt-2" } else { pre }.to_owned());
    }
    data
}

/// Gives the vocabulary what the reference would abort without: tokens that its flags ask for, tokens that fixes for a
/// model name.
fn sound(mut data: VocabData) -> VocabData {
    if Tokenizer::new(&data).is_err() {
        data.general_name = None;
    }
    let missing = |data: &VocabData| {
        let tokenizer = Tokenizer::new(data).ok()?;
        let special = tokenizer.special_tokens();
        Some((
            tokenizer.add_bos() && special.bos.is_none(),
            tokenizer.add_eos() && special.eos.is_none(),
            special.unk.is_none(),
        ))
    };
    if let Some((bos, eos, unk)) = missing(&data) {
        // In range of every vocabulary here.
        let id = |missing: bool, id: Option<u32>| if missing { Some(5) } else { id };
        data.special.bos = id(bos, data.special.bos);
        data.special.eos = id(eos, data.special.eos);
        data.special.unk = id(unk, data.special.unk);
    }
    data
}

/// Vocabularies that the reference refuses to load, or aborts on.
pub(super) fn refused() -> Vec<(&'static str, VocabData)> {
    let bpe = VocabData { pre: Some("gpt-2".to_owned()), ..compose::byte_bpe(31) };
    let unigram = compose::unigram(&compose::words(32), 300, true, true);
    let plamo2 = compose::plamo2(&compose::words(33), 300);
    let with = |change: &dyn Fn(&mut VocabData), base: &VocabData| {
        let mut data = base.clone();
        change(&mut data);
        data
    };
    let renamed = |data: &mut VocabData, from: &str, to: &str| {
        for token in &mut data.tokens {
            if token == from.as_bytes() {
                *token = to.as_bytes().to_vec();
            }
        }
    };
    let phi_3 = |data: &mut VocabData| {
        data.general_name = Some("Phi-3".to_owned());
        renamed(data, "<|endoftext|>", "<|gone|>");
    };
    let header = |size: u32| Some([&size.to_le_bytes()[..], &[0; 8]].concat());
    vec![
        ("no merges", with(&|data| data.merges = None, &bpe)),
        ("unknown pre-tokenizer", with(&|data| data.pre = Some("gpt-3".to_owned()), &bpe)),
        ("unknown model", with(&|data| "gpt3".clone_into(&mut data.model), &bpe)),
        ("short scores", with(&|data| data.scores = Some(vec![0.0; 9]), &bpe)),
        ("short types", with(&|data| data.token_types = Some(vec![1; 9]), &bpe)),
        ("duplicate token", with(&|data| renamed(data, "Hello", "a"), &bpe)),
        ("phi-3 without its tokens", with(&phi_3, &bpe)),
        ("charsmap of three bytes", with(&|data| data.precompiled_charsmap = Some(vec![0; 3]), &unigram)),
        ("charsmap longer than it is", with(&|data| data.precompiled_charsmap = header(9), &unigram)),
        ("charsmap without replacements", with(&|data| data.precompiled_charsmap = header(8), &unigram)),
        ("plamo2 without a byte", with(&|data| renamed(data, "<0x41>", "<0x041>"), &plamo2)),
    ]
}

/// A model without vocabulary.
pub(super) fn none(n_tokens: u32) -> VocabData {
    VocabData {
        model: "none".to_owned(),
        vocab_size: Some(n_tokens),
        architecture: Some("llama".to_owned()),
        ..VocabData::default()
    }
}

#[cfg(test)]
mod tests {
    use quipu_gguf::GgufFile;
    use quipu_tokenizer::Tokenizer;

    use super::*;

    #[test]
    fn what_the_reference_refuses_is_refused() {
        for (name, data) in refused() {
            let file = compose::gguf(&data).expect("written");
            let file = GgufFile::from_vec(file).expect("a sound file");
            assert!(Tokenizer::from_gguf(file.metadata()).is_err(), "{name}");
        }
    }
}
