//! Guessing what a model is called: the parts of an id like `org/Name-7B-Instruct-v0.1`, size labels, titles
//! and default file names. Answers to `get_model_id_components`, `id_to_title` and gguf-py's utility.py.

use std::sync::LazyLock;

use regex::Regex;

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a constant pattern")
}

static VERSION: LazyLock<Regex> = LazyLock::new(|| whole(r"(?i)(v|iter)?\d+([.]\d+)*"));
static TYPE: LazyLock<Regex> = LazyLock::new(|| whole(r"(?i)i?q\d(_\w)*|b?fp?(16|32)"));
static SIZE: LazyLock<Regex> =
    LazyLock::new(|| whole(r"(?i)(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)"));
static FINETUNE: LazyLock<Regex> = LazyLock::new(|| whole(r"(?i)chat|instruct|vision|lora"));
static NOT_A_WORD: LazyLock<Regex> = LazyLock::new(|| whole(r"v\d+(?:\.\d+)*|\d.*"));

/// What an id says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Components {
    /// The name without the organisation.
    pub full_name: String,
    /// Whose it is.
    pub organization: Option<String>,
    /// The name without what follows.
    pub basename: Option<String>,
    /// What it was tuned for.
    pub finetune: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its size.
    pub size_label: Option<String>,
}

/// What a part of a name may be; several at once.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // a set of five
struct Marks {
    basename: bool,
    size_label: bool,
    finetune: bool,
    version: bool,
    other: bool,
}

impl Marks {
    const fn count(self) -> u8 {
        self.basename as u8
            + self.size_label as u8
            + self.finetune as u8
            + self.version as u8
            + self.other as u8
    }
}

/// Takes an id apart; `total_params` (0 if unknown) tells sizes from context lengths.
pub(super) fn components(id: &str, total_params: i128) -> Components {
    if id.contains(' ') {
        // A sentence, not an id.
        return Components { full_name: id.to_owned(), ..Components::default() };
    }
    let (organization, full_name) = match id.split_once('/') {
        Some((organization, name)) => (Some(organization), name),
        None => (None, id),
    };
    let organization = organization.filter(|name| !name.starts_with('.'));
    let mut parts: Vec<String> =
        full_name.split('-').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut marks = vec![Marks::default(); parts.len()];
    for i in 0..parts.len() {
        mark(i, &mut parts[i], &mut marks[i], total_params);
    }
    drop_worded_sizes(&parts, &mut marks);
    let mut at_start = true;
    for (part, marks) in parts.iter().zip(&mut marks) {
        let worded = marks.count() == 0 && part.chars().next().is_some_and(char::is_alphabetic);
        if at_start && (worded || marks.version) {
            marks.basename = true;
        } else {
            at_start = false;
            if marks.count() == 0 {
                marks.finetune = true;
            }
        }
    }
    // A version at the end belongs to the model, not to its base name.
    for marks in marks.iter_mut().rev() {
        if !(marks.basename && marks.count() > 1) {
            break;
        }
        marks.basename = false;
    }
    let join = |of: fn(&Marks) -> bool, once: bool| {
        let mut chosen: Vec<&str> = Vec::new();
        for (part, marks) in parts.iter().zip(&marks) {
            if of(marks) && !(once && chosen.contains(&part.as_str())) {
                chosen.push(part);
            }
        }
        Some(chosen.join("-")).filter(|text| !text.is_empty())
    };
    let size_label = join(|marks| marks.size_label, true);
    let finetune = join(|marks| marks.finetune, false);
    let version = join(|marks| marks.version && !marks.basename, false);
    // A base name alone says nothing that the name does not say.
    let telling = size_label.is_some() || finetune.is_some() || version.is_some();
    let basename = join(|marks| marks.basename, false).filter(|_| telling);
    Components {
        full_name: full_name.to_owned(),
        organization: organization.map(str::to_owned),
        basename,
        finetune,
        version,
        size_label,
    }
}

fn mark(i: usize, part: &mut String, marks: &mut Marks, total_params: i128) {
    if VERSION.is_match(part) {
        marks.version = true;
    } else if TYPE.is_match(part) {
        marks.other = true;
        *part = part.to_uppercase();
    } else if i > 0 && SIZE.is_match(part) {
        let (size, is_context) = size_of(part, total_params);
        marks.finetune = is_context;
        marks.size_label = !is_context;
        *part = size;
    } else if i > 0 && FINETUNE.is_match(part) {
        // In an adapter's name it says nothing.
        let is_redundant = total_params < 0 && part.eq_ignore_ascii_case("lora");
        marks.finetune = !is_redundant;
        marks.other = is_redundant;
    }
}

/// The size in its usual spelling, and whether it is too far from the model's to be its size. `part`
/// matches [`SIZE`], so it is ASCII but for foreign digits.
fn size_of(part: &str, total_params: i128) -> (String, bool) {
    let mut size: Vec<char> = part.replace('_', ".").chars().collect();
    let is_digit = |c: &char| c.is_numeric();
    // `7b1` means 7.1b.
    if size.len() >= 2 && size.last().is_some_and(is_digit) {
        let n = size.len();
        let (unit, digit) = (size[n - 2], size[n - 1]);
        size.truncate(n - 2);
        size.extend(['.', digit, unit]);
    }
    let n = size.len();
    if n > 1 && is_digit(&size[n - 2]) && "kmbt".contains(size[n - 1]) {
        size[n - 1] = size[n - 1].to_ascii_uppercase();
    }
    let (number, unit) = (size[..n - 1].iter().collect::<String>(), size[n - 1]);
    let mut is_context = false;
    if total_params != 0
        && let Ok(number) = number.parse::<f64>()
    {
        let power = " KMBT".find(unit).map_or(-1, |at| at as i32);
        let label = number * 1000f64.powi(power);
        // Less than zero: an adapter's, which need not have every layer.
        let too_far = if total_params < 0 {
            label < (-total_params / 8) as f64
        } else {
            (label - total_params as f64).abs() > (total_params.saturating_mul(7) / 8) as f64
        };
        if too_far {
            is_context = true;
            size[n - 1] = size[n - 1].to_ascii_lowercase();
        }
    }
    (size.into_iter().collect(), is_context)
}

/// Sizes in words do not count beside one in numbers.
fn drop_worded_sizes(parts: &[String], marks: &mut [Marks]) {
    let numbered =
        parts.iter().zip(&*marks).any(|(part, marks)| marks.size_label && part.chars().any(char::is_numeric));
    if numbered {
        for (part, marks) in parts.iter().zip(marks) {
            marks.size_label &= !part.chars().all(char::is_alphabetic);
        }
    }
}

/// An id as a title: words in lower case get a capital, versions and acronyms stay.
pub(super) fn title(id: &str) -> String {
    let words = id.trim().replace('-', " ");
    let words: Vec<String> = words
        .split_whitespace()
        .map(|word| {
            let has_lower = word.chars().any(char::is_lowercase);
            let is_lower = has_lower && !word.chars().any(char::is_uppercase);
            if is_lower && !NOT_A_WORD.is_match(word) { capitalised(word) } else { word.to_owned() }
        })
        .collect();
    words.join(" ")
}

/// Python's `str.title`: a capital wherever a letter follows something else.
fn capitalised(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut after_letter = false;
    for c in word.chars() {
        if after_letter {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        after_letter = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// Number of parameters with two digits or more: `1.2B`, `345M`.
pub(super) fn rounded(n_params: u64) -> String {
    let n = n_params as f64;
    let (scaled, unit) = match n {
        n if n > 1e12 => (n * 1e-12, 'T'),
        n if n > 1e9 => (n * 1e-9, 'B'),
        n if n > 1e6 => (n * 1e-6, 'M'),
        n => (n * 1e-3, 'K'),
    };
    let whole = format!("{:.0}", scaled.round_ties_even());
    let digits = whole.trim_start_matches('0').len();
    format!("{scaled:.*}{unit}", 2usize.saturating_sub(digits))
}

/// What the file is called when only its folder is given (`naming_convention`).
pub(super) fn file_name(
    name: &str,
    parts: [Option<&str>; 4],
    output_type: Option<&str>,
    kind: Option<&str>,
) -> String {
    let [basename, size_label, finetune, version] = parts;
    let dashed = |text: &str| text.trim().replace(' ', "-");
    let mut out = dashed(basename.unwrap_or(name)).replace('/', "-");
    if let Some(size) = size_label {
        out.push('-');
        out.push_str(size);
    }
    for part in [finetune, version].into_iter().flatten() {
        out.push('-');
        out.push_str(&dashed(part));
    }
    for part in [output_type.map(str::to_uppercase), kind.map(str::to_owned)].into_iter().flatten() {
        out.push('-');
        out.push_str(&part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Full name, organisation, base name, finetune, version, size.
    type Parts<'a> =
        (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    #[test]
    fn ids_are_taken_apart_as_the_reference_does() {
        // Expected values from gguf-py's Metadata.get_model_id_components.
        let cases: &[(&str, u64, Parts<'_>)] = &include!("naming_cases.in");
        for (id, total, (full_name, organization, basename, finetune, version, size_label)) in cases {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let expected = Components {
                full_name: (*full_name).to_owned(),
                organization: own(*organization),
                basename: own(*basename),
                finetune: own(*finetune),
                version: own(*version),
                size_label: own(*size_label),
            };
            assert_eq!(components(id, i128::from(*total)), expected, "{id} {total}");
        }
    }

    #[test]
    fn titles_keep_acronyms_and_versions() {
        assert_eq!(title("tiny-llama3b-v0.1-GGUF-chat"), "Tiny Llama3B v0.1 GGUF Chat");
        assert_eq!(title("qwen2.5-7b"), "Qwen2.5 7b");
        assert_eq!(title(""), "");
    }

    #[test]
    fn sizes_have_two_digits() {
        for (n, label) in
            [(0, "0.00K"), (12_345, "12K"), (1_234_567, "1.2M"), (7_241_732_096, "7.2B"), (999, "1.0K")]
        {
            assert_eq!(rounded(n), label);
        }
    }

    #[test]
    fn file_names_follow_the_convention() {
        let parts = [Some("Mistral"), Some("7B"), Some("Instruct"), Some("v0.2")];
        assert_eq!(file_name("x", parts, Some("q8_0"), None), "Mistral-7B-Instruct-v0.2-Q8_0");
        assert_eq!(file_name("my model", [None; 4], None, Some("vocab")), "my-model-vocab");
    }
}
