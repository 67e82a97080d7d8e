//! Vocabularies for generated models: SentencePiece protobufs and `tokenizer.json` files.

use serde_json::{Map, Value as Json, json};

use quipu_testing::SplitMix;

/// How text is split before byte-level BPE.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alphabet {
    /// GPT-2's splitting, inside the byte-level step.
    Gpt2,
    /// Llama 3's pattern.
    Llama3,
    /// Qwen2's pattern.
    Qwen2,
}

/// A SentencePiece model of 280 pieces: the three special ones, 256 bytes and a few words.
pub(super) fn sentencepiece(random: &mut SplitMix) -> Vec<u8> {
    let mut pieces: Vec<(String, f32, u8)> =
        vec![("<unk>".to_owned(), 0.0, 2), ("<s>".to_owned(), 0.0, 3), ("</s>".to_owned(), 0.0, 3)];
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    for (i, word) in words(random, 19).into_iter().enumerate() {
        pieces.push((format!("\u{2581}{word}"), -(i as f32) - 0.25, 1));
    }
    pieces.push(("<user>".to_owned(), 0.0, 4));
    pieces.push(("<never>".to_owned(), 0.0, 5));
    let mut out = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a];
        put_varint(&mut piece, text.len());
        piece.extend_from_slice(text.as_bytes());
        piece.push(0x15);
        piece.extend_from_slice(&score.to_le_bytes());
        if kind != 1 {
            piece.extend_from_slice(&[0x18, kind]);
        }
        out.push(0x0a);
        put_varint(&mut out, piece.len());
        out.extend_from_slice(&piece);
    }
    // Trainer: BPE that falls back to bytes; normalizer: named "identity".
    out.extend_from_slice(&[0x12, 5, 0x18, 2, 0x98, 0x02, 1, 0x1a, 10, 0x0a, 8]);
    out.extend_from_slice(b"identity");
    out
}

fn put_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A WordPiece `tokenizer.json` in lower case: five special tokens, ASCII by itself and inside of words, a few words.
pub(super) fn word_pieces(random: &mut SplitMix, n_vocab: usize) -> Json {
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let mut texts: Vec<String> = specials.iter().map(|text| (*text).to_owned()).collect();
    let characters = || (0x21u8..=0x7e).filter(|byte| !byte.is_ascii_uppercase()).map(char::from);
    texts.extend(characters().map(String::from));
    texts.extend(characters().map(|character| format!("##{character}")));
    let n_words = n_vocab - texts.len();
    for (i, word) in words(random, n_words).into_iter().enumerate() {
        texts.push(if i % 3 == 0 { format!("##{word}") } else { word });
    }
    let vocab: Map<String, Json> =
        texts.iter().enumerate().map(|(id, text)| (text.clone(), json!(id))).collect();
    let added = |(id, text): (usize, &&str)| {
        json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let pair = |text: &str| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let one = |text: &str, id: usize| json!({ "id": text, "ids": [id], "tokens": [text] });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": specials.iter().enumerate().map(added).collect::<Vec<Json>>(),
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [pair("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, pair("[SEP]")],
            "pair": [
                pair("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, pair("[SEP]"),
                { "Sequence": { "id": "B", "type_id": 1 } }, { "SpecialToken": { "id": "[SEP]", "type_id": 1 } },
            ],
            "special_tokens": { "[CLS]": one("[CLS]", 2), "[SEP]": one("[SEP]", 3) },
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": vocab },
    })
}

/// Different random words.
fn words(random: &mut SplitMix, n: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    while words.len() < n {
        let length = 2 + random.below(5);
        let word: String = (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// The 256 characters that stand for bytes in byte-level BPE, in the order of their code points.
fn byte_characters() -> Vec<char> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 0x100..;
    let mut characters: Vec<char> = (0..256u32)
        .filter_map(|b| char::from_u32(if printable(b) { b } else { others.next().unwrap_or(b) }))
        .collect();
    characters.sort_unstable();
    characters
}

/// A byte-level `tokenizer.json` with `n_merges` merges; `pairs` writes them as lists of two.
pub(super) fn byte_level(
    alphabet: Alphabet,
    random: &mut SplitMix,
    n_merges: usize,
    added: &[(&str, bool)],
    pairs: bool,
) -> Json {
    let mut vocab: Vec<String> = byte_characters().into_iter().map(String::from).collect();
    let mut merges: Vec<[String; 2]> = Vec::new();
    // What the pre-tokenizers differ in: digits in runs, contractions, white space, letters after marks.
    for pair in [
        ["3", "3"],
        ["33", "3"],
        ["'", "l"],
        ["'l", "l"],
        ["'", "L"],
        ["Ġ", "Ġ"],
        ["Ċ", "Ċ"],
        ["ĊĊ", "Ċ"],
        ["Ġ", "("],
        ["n", "o"],
    ] {
        merges.push(pair.map(str::to_owned));
        vocab.push(pair.concat());
    }
    while merges.len() < n_merges {
        let mut letter = || char::from(b'a' + random.below(26) as u8).to_string();
        let pair =
            if merges.len().is_multiple_of(3) { ["Ġ".to_owned(), letter()] } else { [letter(), letter()] };
        let joined = pair.concat();
        if !vocab.contains(&joined) {
            vocab.push(joined);
            merges.push(pair);
        }
    }
    let first_added = vocab.len();
    let vocab: Map<String, Json> =
        vocab.into_iter().enumerate().map(|(id, text)| (text, json!(id))).collect();
    let merges: Vec<Json> =
        merges.into_iter().map(|pair| if pairs { json!(pair) } else { json!(pair.join(" ")) }).collect();
    let bytes =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let split = |pattern: &str| {
        let split = json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        json!({ "type": "Sequence", "pretokenizers": [split, bytes] })
    };
    let pre_tokenizer = match alphabet {
        Alphabet::Gpt2 => {
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
        }
        Alphabet::Llama3 => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        Alphabet::Qwen2 => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    };
    let normalizer = if matches!(alphabet, Alphabet::Qwen2) { json!({ "type": "NFC" }) } else { Json::Null };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(first_added, added),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    })
}

fn added_tokens(first: usize, added: &[(&str, bool)]) -> Json {
    let entry = |(i, (content, special)): (usize, &(&str, bool))| {
        json!({ "id": first + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special })
    };
    Json::Array(added.iter().enumerate().map(entry).collect())
}

/// `added_tokens_decoder` of `tokenizer_config.json` for a `tokenizer.json`.
pub(super) fn decoder_of(tokenizer: &Json) -> Json {
    let mut decoder = Map::new();
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let mut entry = token.clone();
        if let Some(fields) = entry.as_object_mut() {
            fields.remove("id");
        }
        decoder.insert(token["id"].to_string(), entry);
    }
    Json::Object(decoder)
}

/// A `tokenizer.json` as it is made from a SentencePiece model: BPE that falls back to bytes.
pub(super) fn byte_fallback(random: &mut SplitMix) -> Json {
    let mut vocab: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    vocab.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    vocab.extend(('a'..='z').map(String::from));
    vocab.push("\u{2581}".to_owned());
    let mut merges = Vec::new();
    while merges.len() < 14 {
        let pair = ["\u{2581}".to_owned(), char::from(b'a' + random.below(26) as u8).to_string()];
        if !vocab.contains(&pair.concat()) {
            vocab.push(pair.concat());
            merges.push(json!(pair.join(" ")));
        }
    }
    let n_base = vocab.len();
    let vocab: Map<String, Json> =
        vocab.into_iter().enumerate().map(|(id, text)| (text, json!(id))).collect();
    let mut added = added_tokens(0, &[("<unk>", true), ("<s>", true), ("</s>", true)]);
    if let (Json::Array(all), Json::Array(more)) =
        (&mut added, added_tokens(n_base, &[("<pad>", true), ("<extra>", false)]))
    {
        all.extend(more);
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "\u{2581}" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" },
        ] },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges,
        },
    })
}
