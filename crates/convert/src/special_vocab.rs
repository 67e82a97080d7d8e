//! Special tokens, merges and the chat template, gathered from `tokenizer.json`, `tokenizer_config.json` and
//! `config.json`. Answers to gguf-py's `SpecialVocab`.

use std::path::Path;

use quipu_gguf::Value;
use serde_json::{Map, Value as Json, json};

use super::error::{ConvertError, Result};
use super::json::{JsonFile, read_text, read_text_lines};
use super::kv::KeyValues;

/// The kinds looked for, in their order, and their keys; `eot` and `eom` join when an end token is replaced.
const TYPES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct SpecialVocab {
    types: Vec<&'static str>,
    n_vocab: Option<usize>,
    merges: Vec<String>,
    ids: Vec<(&'static str, u32)>,
    add: Vec<(&'static str, bool)>,
    chat_template: Option<Json>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
}

impl SpecialVocab {
    /// Reads the directory. Ids of `n_vocab` and above are passed over if it is given.
    pub(super) fn load(dir: &Path, load_merges: bool, n_vocab: Option<usize>) -> Result<SpecialVocab> {
        SpecialVocab::load_types(dir, load_merges, n_vocab, &TYPES)
    }

    /// As [`SpecialVocab::load`], looking for other kinds of tokens.
    pub(super) fn load_types(
        dir: &Path,
        load_merges: bool,
        n_vocab: Option<usize>,
        types: &[&'static str],
    ) -> Result<SpecialVocab> {
        let mut vocab = SpecialVocab { types: types.to_vec(), n_vocab, ..SpecialVocab::default() };
        let tokenizer = JsonFile::read_optional(&dir.join("tokenizer.json"))?;
        let mut config = JsonFile::read_optional(&dir.join("tokenizer_config.json"))?;
        if let Some(tokenizer) = &tokenizer {
            if load_merges {
                vocab.merges = merges(tokenizer)?;
            }
            if let Some(normalizer) = tokenizer.get("normalizer") {
                vocab.read_normalizer(normalizer);
            }
            if !tokenizer.map.is_empty() {
                vocab.read_post_processor(tokenizer, config.as_mut().map(|file| &mut file.map));
            }
        }
        if let Some(config) = &config
            && !config.map.is_empty()
        {
            vocab.chat_template = chat_template(dir, config)?;
            let added = tokenizer.as_ref().and_then(|file| file.get("added_tokens"));
            vocab.read_tokens(config, added)?;
        }
        vocab.read_config(dir)?;
        if load_merges && vocab.merges.is_empty() {
            vocab.merges = merges_txt(dir)?;
        }
        Ok(vocab)
    }

    /// Without the template, where it is written already.
    pub(super) fn without_template(self) -> SpecialVocab {
        SpecialVocab { chat_template: None, ..self }
    }

    /// Gives a kind its id, unless it has one.
    pub(super) fn or_id(&mut self, kind: &'static str, id: u32) {
        if !self.ids.iter().any(|(known, _)| *known == kind) {
            self.ids.push((kind, id));
        }
    }

    /// Writes the keys.
    pub(super) fn add(&self, kv: &mut KeyValues) {
        kv.strings("tokenizer.ggml.merges", self.merges.iter().map(String::as_bytes));
        for (kind, id) in &self.ids {
            if let Some(key) = id_key(kind) {
                kv.set(&format!("tokenizer.ggml.{key}_token_id"), Value::U32(*id));
            }
        }
        for (kind, flag) in &self.add {
            if matches!(*kind, "bos" | "eos" | "sep") {
                kv.set(&format!("tokenizer.ggml.add_{kind}_token"), Value::Bool(*flag));
            }
        }
        if let Some(template) = &self.chat_template {
            add_chat_template(kv, template);
        }
        if let Some(flag) = self.lowercase {
            kv.set("tokenizer.ggml.normalizer.lowercase", Value::Bool(flag));
        }
        if let Some(flag) = self.strip_accents {
            kv.set("tokenizer.ggml.normalizer.strip_accents", Value::Bool(flag));
        }
    }

    fn set_add(&mut self, kind: &'static str, flag: bool) {
        match self.add.iter_mut().find(|(known, _)| *known == kind) {
            Some(entry) => entry.1 = flag,
            None => self.add.push((kind, flag)),
        }
    }

    fn set_id(&mut self, kind: &'static str, id: Option<&Json>, file: &JsonFile) -> Result<()> {
        let Some(id) = id.filter(|id| super::json::integer(id).is_some()) else { return Ok(()) };
        let found = super::kv::u32_of(file, &format!("{kind}_token_id"), id)?;
        let in_range = self.n_vocab.is_none_or(|n_vocab| (found as usize) < n_vocab);
        if in_range {
            self.or_id(kind, found);
        }
        Ok(())
    }

    fn read_normalizer(&mut self, normalizer: &Json) {
        match normalizer.get("type").and_then(Json::as_str) {
            Some("Lowercase") => self.lowercase = Some(true),
            Some("StripAccents") => self.strip_accents = Some(true),
            Some("BertNormalizer") => {
                self.lowercase = normalizer.get("lowercase").and_then(Json::as_bool).or(self.lowercase);
                let strip = normalizer.get("strip_accents");
                self.strip_accents = strip.and_then(Json::as_bool).or(self.strip_accents);
            }
            Some("Sequence") => {
                // serde_json limits how deep this nests.
                let parts = normalizer.get("normalizers").and_then(Json::as_array);
                parts.into_iter().flatten().for_each(|part| self.read_normalizer(part));
            }
            _ => {}
        }
    }

    /// Which tokens the post-processor puts around a text, and what that says about the special tokens.
    fn read_post_processor(&mut self, tokenizer: &JsonFile, config: Option<&mut Map<String, Json>>) {
        let has_config = config.as_ref().is_some_and(|map| !map.is_empty());
        let mut no_config = Map::new();
        let config = config.unwrap_or(&mut no_config);
        let token =
            |config: &Map<String, Json>, key: &str| config.get(key).cloned().filter(super::json::truthy);
        let mut bos = token(config, "bos_token");
        let mut cls = token(config, "cls_token");
        let mut eos = token(config, "eos_token");
        let mut sep = token(config, "sep_token");
        if bos.is_none() && cls.is_some() && has_config {
            config.insert("bos_token".to_owned(), json!(cls));
            bos.clone_from(&cls);
        }
        if eos.is_none() && sep.is_some() && has_config {
            config.insert("eos_token".to_owned(), json!(sep));
            eos.clone_from(&sep);
        }
        let Some(post) = tokenizer.get("post_processor") else { return };
        let one = [post.clone()];
        let processors = post.get("processors").and_then(Json::as_array).map_or(&one[..], Vec::as_slice);
        for processor in processors {
            match processor.get("type").and_then(Json::as_str) {
                Some("RobertaProcessing") => {
                    for kind in ["bos", "eos", "sep"] {
                        self.set_add(kind, true);
                    }
                    if has_config {
                        for (name, known, other) in [("cls", &mut cls, &bos), ("sep", &mut sep, &eos)] {
                            if known.is_none() {
                                *known = processor
                                    .get(name)
                                    .and_then(|pair| pair.get(0))
                                    .cloned()
                                    .or_else(|| other.clone());
                                config.insert(format!("{name}_token"), json!(known));
                            }
                        }
                    }
                }
                Some("TemplateProcessing") => {
                    let mut state = Template {
                        config: &mut *config,
                        has_config,
                        bos: &mut bos,
                        cls: &mut cls,
                        eos: &mut eos,
                        sep: &sep,
                    };
                    self.read_template(processor, &mut state);
                }
                _ => {}
            }
        }
    }

    fn read_template(&mut self, processor: &Json, state: &mut Template<'_>) {
        let entries = |key: &str| processor.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let special = |entry: &Json| entry.get("SpecialToken").and_then(|token| token.get("id")).cloned();
        let special = |entry: &Json| special(entry).filter(super::json::truthy);
        let sequence = |entry: &Json| {
            entry.get("Sequence").and_then(|s| s.get("id")).and_then(Json::as_str).map(str::to_owned)
        };
        let (single, mut pair) = (entries("single"), entries("pair"));
        let (mut first, mut last) = (None, None);
        if single.len() > 1 {
            first = special(&single[0]);
            if first.is_some() {
                let known = |state: &Template<'_>| first == *state.bos || first == *state.cls;
                if !state.has_config {
                    state.bos.clone_from(&first);
                } else if !known(state) {
                    if state.bos.is_none() {
                        state.config.insert("bos_token".to_owned(), json!(first));
                        state.bos.clone_from(&first);
                    }
                    if state.cls.is_none() {
                        state.config.insert("cls_token".to_owned(), json!(first));
                        state.cls.clone_from(&first);
                    }
                }
                let known = known(state);
                self.set_add("bos", known);
            }
            last = special(&single[single.len() - 1]);
            if last.is_some() {
                if state.has_config && last != *state.eos {
                    let spare = ["eot", "eom"].into_iter().find(|kind| !self.types.contains(kind));
                    if let Some(spare) = spare {
                        self.types.push(spare);
                        state.config.insert(format!("{spare}_token"), json!(*state.eos));
                    }
                    state.config.insert("eos_token".to_owned(), json!(last));
                }
                // In either case it is the end token from here on.
                state.eos.clone_from(&last);
                self.set_add("eos", true);
            }
        }
        if pair.is_empty() {
            return;
        }
        if first.is_some() && special(&pair[0]) == first {
            pair = &pair[1..];
        }
        if last.is_some() && pair.last().is_some_and(|entry| special(entry) == last) {
            pair = &pair[..pair.len() - 1];
        }
        let (Some(a), Some(b)) = (pair.first(), pair.last()) else { return };
        if sequence(a).as_deref() != Some("A") || sequence(b).as_deref() != Some("B") || pair.len() < 3 {
            return;
        }
        let between = &pair[1..pair.len() - 1];
        let separates = |entry: &Json| {
            let token = special(entry);
            token.is_some() && (token == *state.sep || token == *state.eos)
        };
        let mut add_sep = separates(&between[0]) && last.is_none();
        if between.len() == 2 {
            add_sep |= separates(&between[1]);
        }
        self.set_add("sep", add_sep);
        if add_sep && state.sep.is_none() && state.has_config {
            state.config.insert("sep_token".to_owned(), json!(*state.eos));
        }
    }

    /// The `add_*_token` and `*_token` of `tokenizer_config.json`.
    fn read_tokens(&mut self, config: &JsonFile, added: Option<&Json>) -> Result<()> {
        for kind in self.types.clone() {
            if let Some(Json::Bool(flag)) = config.get(&format!("add_{kind}_token")) {
                self.set_add(kind, *flag);
            }
            let entry = config.get(&format!("{kind}_token"));
            let content = entry.and_then(|entry| entry.as_str().or_else(|| entry.get("content")?.as_str()));
            let Some(content) = content else { continue };
            let is_it = |token: &&Json| token.get("content").and_then(Json::as_str) == Some(content);
            let token = added.and_then(Json::as_array).and_then(|tokens| tokens.iter().find(is_it));
            self.set_id(kind, token.and_then(|token| token.get("id")), config)?;
        }
        Ok(())
    }

    /// The `*_token_id` of `config.json`.
    fn read_config(&mut self, dir: &Path) -> Result<()> {
        let Some(config) = JsonFile::read_optional(&dir.join("config.json"))? else { return Ok(()) };
        for kind in self.types.clone() {
            self.set_id(kind, config.get(&format!("{kind}_token_id")), &config)?;
        }
        Ok(())
    }
}

/// Special tokens while a post-processor is read.
struct Template<'a> {
    config: &'a mut Map<String, Json>,
    has_config: bool,
    bos: &'a mut Option<Json>,
    cls: &'a mut Option<Json>,
    eos: &'a mut Option<Json>,
    sep: &'a Option<Json>,
}

/// The middle of a special token's key; kinds without a key are not written.
fn id_key(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "bos" => "bos",
        "eos" => "eos",
        "unk" => "unknown",
        // The format's spelling.
        "sep" => "seperator",
        "pad" => "padding",
        "mask" => "mask",
        "eot" => "eot",
        "eom" => "eom",
        _ => return None,
    })
}

/// The merges of a BPE model, written as pairs of words or as lists of two.
fn merges(tokenizer: &JsonFile) -> Result<Vec<String>> {
    let wrong = |found: &Json| tokenizer.wrong("model.merges", found, "strings, or pairs of strings");
    let Some(Json::Array(items)) = tokenizer.get("model").and_then(|model| model.get("merges")) else {
        return Ok(Vec::new());
    };
    // A space inside a part would read as the border: it becomes the byte-level alphabet's space.
    let encoded = |part: &Json| part.as_str().map(|text| text.replace(' ', "\u{120}"));
    let merge = |item: &Json| match item {
        Json::String(text) => Some(text.clone()),
        Json::Array(pair) if pair.len() == 2 => {
            Some(format!("{} {}", encoded(&pair[0])?, encoded(&pair[1])?))
        }
        _ => None,
    };
    items.iter().map(|item| merge(item).ok_or_else(|| wrong(item))).collect()
}

/// `merges.txt`: lines of two words; a first line with `#` is a comment.
fn merges_txt(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("merges.txt");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = read_text(&path)?;
    let skip = usize::from(text.lines().next().is_some_and(|line| line.trim().starts_with('#')));
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(a), Some(b), None) => Some(format!("{a} {b}")),
            _ => None,
        }
    };
    Ok(text.lines().skip(skip).filter_map(pair).collect())
}

/// The template of `tokenizer_config.json`, or else of a file of its own.
fn chat_template(dir: &Path, config: &JsonFile) -> Result<Option<Json>> {
    // A null there hides the files.
    if let Some(template) = config.map.get("chat_template") {
        return Ok(usable(template.clone()));
    }
    let jinja = dir.join("chat_template.jinja");
    if jinja.is_file() {
        let text = read_text_lines(&jinja)?;
        let more = additional_templates(&dir.join("additional_chat_templates"))?;
        if more.is_empty() {
            return Ok(Some(Json::String(text)));
        }
        let mut all = vec![json!({ "name": "default", "template": text })];
        all.extend(more);
        return Ok(Some(Json::Array(all)));
    }
    let file = JsonFile::read_optional(&dir.join("chat_template.json"))?;
    Ok(file.and_then(|file| file.map.get("chat_template").cloned()).and_then(usable))
}

fn usable(template: Json) -> Option<Json> {
    matches!(template, Json::String(_) | Json::Array(_)).then_some(template)
}

/// Named templates beside the default one, by name.
fn additional_templates(dir: &Path) -> Result<Vec<Json>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |source| ConvertError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "jinja") {
            paths.push(path);
        }
    }
    paths.sort();
    let template = |path: &std::path::PathBuf| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(json!({ "name": name, "template": read_text_lines(path)? }))
    };
    paths.iter().map(template).collect()
}

fn add_chat_template(kv: &mut KeyValues, template: &Json) {
    let choices = match template {
        Json::String(text) => return kv.string("tokenizer.chat_template", text),
        Json::Array(choices) => choices,
        _ => return,
    };
    let mut default = None;
    let mut names: Vec<String> = Vec::new();
    for choice in choices {
        let text = choice.get("template").and_then(Json::as_str);
        let name = choice.get("name").and_then(Json::as_str).unwrap_or_default();
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        match text {
            Some(text) if name == "default" => default = Some(text),
            Some(text) if !name.is_empty() => {
                kv.string(&format!("tokenizer.chat_template.{name}"), text);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            _ => {}
        }
    }
    // The reference writes them in the order of a hash table.
    names.sort();
    kv.strings("tokenizer.chat_templates", names.iter().map(String::as_bytes));
    if let Some(text) = default {
        kv.string("tokenizer.chat_template", text);
    }
}
