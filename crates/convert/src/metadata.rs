//! `general.*`: what the model card, the configuration, the generation settings and the folder's name say
//! about a model. Answers to gguf-py's metadata.py.

use std::path::{Component, Path};

use quipu_gguf::Value;
use serde_json::{Map, Value as Json};

use super::error::{ConvertError, Result};
use super::json::{JsonFile, read_text_lines, truthy};
use super::kv::{KeyValues, f32_of, i32_of};
use super::naming::{self, Components};

/// Fields of a card that are taken over: metadata field, then the card's keys in order of preference.
const CARD_FIELDS: [(&str, &[&str]); 12] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("description", &["description", "model_description"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("size_label", &["size_label", "model_size_label"]),
    ("source.url", &["url", "model_url"]),
    ("source.doi", &["doi", "model_doi"]),
    ("source.uuid", &["uuid", "model_uuid"]),
    ("source.repo_url", &["repo_url", "model_repo_url"]),
];

/// Sampling settings: GGUF key, key of `generation_config.json`, whether it is an integer.
const SAMPLING: [(&str, &str, bool); 11] = [
    ("top_k", "top_k", true),
    ("top_p", "top_p", false),
    ("min_p", "min_p", false),
    ("xtc_probability", "xtc_probability", false),
    ("xtc_threshold", "xtc_threshold", false),
    ("temp", "temperature", false),
    ("penalty_last_n", "penalty_last_n", true),
    ("penalty_repeat", "penalty_repeat", false),
    ("mirostat", "mirostat", true),
    ("mirostat_tau", "mirostat_tau", false),
    ("mirostat_eta", "mirostat_eta", false),
];

/// What is known about a model.
#[derive(Debug)]
pub(super) struct ModelInfo {
    /// Fields by their names in GGUF, without `general.`.
    fields: Map<String, Json>,
    base_models: Option<Vec<Json>>,
    datasets: Option<Vec<Json>>,
    tags: Option<Vec<Json>>,
    languages: Option<Vec<Json>>,
    generation: Option<JsonFile>,
    card: std::path::PathBuf,
}

impl ModelInfo {
    /// Collects what the directory says. `total_params` is 0 for a vocabulary alone; `size_label` is what
    /// stands where nothing else names the size.
    pub(super) fn load(
        dir: &Path,
        config: &JsonFile,
        model_name: Option<&str>,
        total_params: i128,
        size_label: Option<String>,
    ) -> Result<ModelInfo> {
        let path = dir.join("README.md");
        let card = JsonFile { map: model_card(&path)?, path };
        let mut info = from_card(&card, total_params);
        let name_or_path = config.map.get("_name_or_path").filter(|value| !value.is_null());
        if let Some(value) = name_or_path {
            let id = value.as_str().ok_or_else(|| config.wrong("_name_or_path", value, "a string"))?;
            // More slashes make it a path on somebody's computer.
            if id.matches('/').count() <= 1 {
                info.fill(&naming::components(id, total_params));
            }
        }
        let folder = folder_name(dir);
        info.fill(&naming::components(&folder, total_params));
        if let Some(name) = model_name {
            info.fields.insert("name".to_owned(), name.into());
        }
        if let Some(label) = size_label
            && !info.has("size_label")
        {
            info.fields.insert("size_label".to_owned(), label.into());
        }
        info.generation = generation_config(dir)?;
        Ok(info)
    }

    fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }

    /// A field that is text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Json::as_str)
    }

    fn fill(&mut self, parts: &Components) {
        let mut set = |field: &str, value: Option<String>| {
            if let Some(value) = value
                && !self.has(field)
            {
                self.fields.insert(field.to_owned(), value.into());
            }
        };
        set("name", Some(naming::title(&parts.full_name)));
        set("organization", parts.organization.as_deref().map(naming::title));
        set("basename", parts.basename.clone());
        set("finetune", parts.finetune.clone());
        set("version", parts.version.clone());
        set("size_label", parts.size_label.clone());
    }

    /// Writes the keys (`set_gguf_meta_model`).
    ///
    /// # Errors
    /// A value of the card that is no text where text is written.
    pub(super) fn add(&self, kv: &mut KeyValues) -> Result<()> {
        if let Some(generation) = &self.generation {
            if let Some(sequence) = generation.get("sequence") {
                let text =
                    sequence.as_str().ok_or_else(|| generation.wrong("sequence", sequence, "a string"))?;
                kv.string("general.sampling.sequence", text);
            }
            for (name, key, is_integer) in SAMPLING {
                let Some(value) = generation.get(key) else { continue };
                let value = if is_integer {
                    Value::I32(i32_of(generation, key, value)?)
                } else {
                    Value::F32(f32_of(generation, key, value)?)
                };
                kv.set(&format!("general.sampling.{name}"), value);
            }
        }
        for field in
            ["name", "author", "version", "organization", "finetune", "basename", "description", "size_label"]
        {
            self.add_field(kv, field)?;
        }
        match self.fields.get("license") {
            Some(Json::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
                let texts = texts.ok_or_else(|| self.wrong("license", &Json::Array(items.clone())))?;
                kv.string("general.license", &texts.join(","));
            }
            _ => self.add_field(kv, "license")?,
        }
        for field in
            ["license.name", "license.link", "source.url", "source.doi", "source.uuid", "source.repo_url"]
        {
            self.add_field(kv, field)?;
        }
        for (what, entries) in [("base_model", &self.base_models), ("dataset", &self.datasets)] {
            let Some(entries) = entries else { continue };
            kv.set(&format!("general.{what}.count"), Value::U32(entries.len() as u32));
            let fields = [
                "name",
                "author",
                "version",
                "organization",
                "description",
                "url",
                "doi",
                "uuid",
                "repo_url",
            ];
            for (i, entry) in entries.iter().enumerate() {
                for field in fields {
                    let Some(value) = entry.get(field) else { continue };
                    self.add_text(kv, &format!("general.{what}.{i}.{field}"), value)?;
                }
            }
        }
        for (what, items) in [("tags", &self.tags), ("languages", &self.languages)] {
            let Some(items) = items else { continue };
            let texts: Option<Vec<&[u8]>> =
                items.iter().map(|item| item.as_str().map(str::as_bytes)).collect();
            let texts = texts.ok_or_else(|| self.wrong(what, &Json::Array(items.clone())))?;
            kv.strings(&format!("general.{what}"), texts.into_iter());
        }
        Ok(())
    }

    fn add_field(&self, kv: &mut KeyValues, field: &str) -> Result<()> {
        match self.fields.get(field) {
            None | Some(Json::Null) => Ok(()),
            Some(value) => self.add_text(kv, &format!("general.{field}"), value),
        }
    }

    fn add_text(&self, kv: &mut KeyValues, key: &str, value: &Json) -> Result<()> {
        match value.as_str() {
            Some(text) => kv.string(key, text),
            // What Python takes for false is left out like empty text.
            None if !truthy(value) => {}
            None => return Err(self.wrong(key, value)),
        }
        Ok(())
    }

    fn wrong(&self, key: &str, found: &Json) -> ConvertError {
        ConvertError::Field {
            path: self.card.clone(),
            key: key.to_owned(),
            found: super::json::shown(found),
            expected: "text",
        }
    }
}

/// The last part of the path as Python's `Path.name` has it: empty for `.`, `..` for itself.
pub(super) fn folder_name(dir: &Path) -> String {
    match dir.components().next_back() {
        Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
        Some(Component::ParentDir) => "..".to_owned(),
        _ => String::new(),
    }
}

fn generation_config(dir: &Path) -> Result<Option<JsonFile>> {
    match JsonFile::read_optional(&dir.join("generation_config.json")) {
        // The reference passes over a broken file.
        Err(ConvertError::Json { .. }) => Ok(None),
        other => other,
    }
}

/// The front matter of `README.md`; empty without one.
fn model_card(path: &Path) -> Result<Map<String, Json>> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    let text = read_text_lines(path)?;
    let mut lines = text.lines();
    if lines.next() != Some("---") {
        return Ok(Map::new());
    }
    let mut yaml = String::new();
    for line in lines.take_while(|line| *line != "---") {
        yaml.push_str(line);
        yaml.push('\n');
    }
    // The reference's repairs: Norwegian is not a boolean, and tabs are spaces.
    let yaml = yaml.replace("- no\n", "- \"no\"\n").replace('\t', "  ");
    match super::yaml::parse(&yaml) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(message) => Err(ConvertError::Yaml { path: path.to_owned(), message }),
    }
}

fn from_card(card: &JsonFile, total_params: i128) -> ModelInfo {
    let mut fields = Map::new();
    for (field, keys) in CARD_FIELDS {
        if let Some(value) = keys.iter().find_map(|key| card.get(key)) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    for (field, key) in
        [("license", "license"), ("license.name", "license_name"), ("license.link", "license_link")]
    {
        if let Some(value) = card.get(key) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    let related = |keys: [&str; 3]| {
        let key = keys.iter().find(|key| card.map.contains_key(**key))?;
        let items = match &card.map[*key] {
            Json::String(text) => vec![Json::String(text.clone())],
            Json::Array(items) => items.clone(),
            _ => Vec::new(),
        };
        Some(items.into_iter().map(|item| described(item, total_params)).collect())
    };
    let list = |keys: [&str; 2]| {
        let mut all: Option<Vec<Json>> = None;
        for value in keys.iter().filter_map(|key| card.get(key)) {
            let items = all.get_or_insert_default();
            match value {
                Json::String(text) => items.push(Json::String(text.clone())),
                Json::Array(more) => items.extend(more.iter().cloned()),
                _ => {}
            }
        }
        all
    };
    ModelInfo {
        base_models: related(["base_model", "base_models", "base_model_sources"]),
        datasets: related(["datasets", "dataset", "dataset_sources"]),
        tags: list(["tags", "pipeline_tag"]),
        languages: list(["languages", "language"]),
        fields,
        generation: None,
        card: card.path.clone(),
    }
}

/// A base model or data set: what its id or address says, or the object that the card holds.
fn described(item: Json, total_params: i128) -> Json {
    let id = match item {
        Json::String(id) => id,
        Json::Object(map) => return Json::Object(map),
        _ => return Json::Object(Map::new()),
    };
    let mut entry = Map::new();
    let is_address = ["http://", "https://", "ssh://"].iter().any(|scheme| id.starts_with(scheme));
    let hub_id = if is_address {
        entry.insert("repo_url".to_owned(), id.clone().into());
        hub_id(&id)
    } else {
        Some(id.as_str())
    };
    if let Some(hub_id) = hub_id {
        let parts = naming::components(hub_id, total_params);
        entry.insert("name".to_owned(), naming::title(&parts.full_name).into());
        if let Some(organization) = &parts.organization {
            entry.insert("organization".to_owned(), naming::title(organization).into());
        }
        if let Some(version) = parts.version {
            entry.insert("version".to_owned(), version.into());
        }
        if let Some(organization) = parts.organization.filter(|_| !is_address) {
            let address = format!("https://huggingface.co/{organization}/{}", parts.full_name);
            entry.insert("repo_url".to_owned(), address.into());
        }
    }
    Json::Object(entry)
}

/// `org/name` of an address on the hub.
fn hub_id(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
    let id = rest.strip_prefix("huggingface.co/")?;
    let (organization, name) = id.split_once('/')?;
    (!organization.is_empty() && !name.is_empty() && !name.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info_of(readme: &str, folder: &str, total_params: i128) -> Vec<(String, Value)> {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = root.path().join(folder);
        std::fs::create_dir(&dir).expect("writable");
        std::fs::write(dir.join("README.md"), readme).expect("writable");
        let config = JsonFile { path: dir.join("config.json"), map: Map::new() };
        let info =
            ModelInfo::load(&dir, &config, None, total_params, Some(naming::rounded(total_params as u64)))
                .expect("a valid card");
        let mut kv = KeyValues::default();
        info.add(&mut kv).expect("text");
        kv.into_metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }

    fn text(entries: &[(String, Value)], key: &str) -> Option<String> {
        entries.iter().find(|(name, _)| name == key).and_then(|(_, value)| match value {
            Value::String(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }

    #[test]
    fn the_folder_names_the_model() {
        let entries = info_of("no front matter", "acme-tiny-7B-chat-v1.2", 7_000_000_000);
        let expected = [
            ("general.name", "Acme Tiny 7B Chat v1.2"),
            ("general.version", "v1.2"),
            ("general.finetune", "chat"),
            ("general.basename", "acme-tiny"),
            ("general.size_label", "7B"),
        ];
        assert_eq!(entries.len(), expected.len());
        for ((key, value), found) in expected.iter().zip(&entries) {
            assert_eq!(*key, found.0);
            assert_eq!(text(&entries, key).as_deref(), Some(*value));
        }
    }

    #[test]
    fn the_card_comes_first() {
        let card = "---\nlicense: [mit, apache-2.0]\nlanguage:\n- en\n- no\ntags: [a, b]\npipeline_tag: text-generation\n\
                    base_model: org/base-2B-v3\ndatasets: https://huggingface.co/datasets/x\nauthor: null\n\
                    model_creator: Someone\n---\n# Title\n";
        let entries = info_of(card, "x", 10);
        assert_eq!(text(&entries, "general.license").as_deref(), Some("mit,apache-2.0"));
        assert_eq!(text(&entries, "general.author").as_deref(), Some("Someone"));
        assert_eq!(text(&entries, "general.base_model.0.name").as_deref(), Some("Base 2B v3"));
        assert_eq!(text(&entries, "general.base_model.0.organization").as_deref(), Some("Org"));
        assert_eq!(text(&entries, "general.base_model.0.version").as_deref(), Some("v3"));
        assert_eq!(
            text(&entries, "general.base_model.0.repo_url").as_deref(),
            Some("https://huggingface.co/org/base-2B-v3")
        );
        assert_eq!(
            text(&entries, "general.dataset.0.repo_url").as_deref(),
            Some("https://huggingface.co/datasets/x")
        );
        assert_eq!(text(&entries, "general.size_label").as_deref(), Some("0.01K"));
    }

    #[test]
    fn values_that_are_no_text_are_refused_by_name() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("README.md"), "---\nversion: 1.5\n---\n").expect("writable");
        let config = JsonFile { path: root.path().join("config.json"), map: Map::new() };
        let info = ModelInfo::load(root.path(), &config, None, 0, None).expect("a valid card");
        let error = info.add(&mut KeyValues::default()).expect_err("a number").to_string();
        assert!(error.contains("general.version is 1.5, expected text"), "{error}");
    }

    #[test]
    fn paths_have_pythons_names() {
        for (path, name) in [(".", ""), ("..", ".."), ("a/b/", "b"), ("a/.", "a"), ("/", "")] {
            assert_eq!(folder_name(Path::new(path)), name, "{path}");
        }
    }
}
