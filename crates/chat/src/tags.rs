//! The `generation` tag, which marks the assistant's text for training.
//!
//! Rendering ignores it, and the engine does not know it. Each pair becomes an `if true`, which keeps the whitespace
//! control and the line numbers of the tags.

use std::borrow::Cow;

/// Rewrites `{% generation %}` and `{% endgeneration %}` in a template's source.
pub(crate) fn neutralise_generation(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let body = tag[2..].strip_prefix(['-', '+']).unwrap_or(&tag[2..]).trim_start();
        let word_at = tag.len() - body.len();
        let word = body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let after = body[word.len()..].trim_start();
        let closed = after.strip_prefix(['-', '+']).unwrap_or(after).starts_with("%}");
        let replacement = match word {
            "generation" if closed => "if true",
            "endgeneration" if closed => "endif",
            _ => word,
        };
        out.push_str(&tag[..word_at]);
        out.push_str(replacement);
        rest = &tag[word_at + word.len()..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_is_rewritten() {
        for (source, want) in [
            ("{% generation %}x{% endgeneration %}", "{% if true %}x{% endif %}"),
            ("{%- generation -%}x{%-endgeneration+%}", "{%- if true -%}x{%-endif+%}"),
            ("{%\n generation\n%}", "{%\n if true\n%}"),
            ("{% if add_generation_prompt %}", "{% if add_generation_prompt %}"),
            ("{% set generation = 1 %}", "{% set generation = 1 %}"),
            ("{% generation = 1 %}", "{% generation = 1 %}"),
            ("generation {%", "generation {%"),
            ("é{%é generation %}", "é{%é generation %}"),
        ] {
            assert_eq!(neutralise_generation(source), want);
        }
    }
}
