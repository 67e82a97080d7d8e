//! Python's `textwrap.wrap`, as `wordwrap` uses it.

use crate::jinja::unicode::{is_alnum, is_alpha, is_space};

pub(super) struct Wrap {
    /// Characters of a line, at least 1.
    pub width: usize,
    pub break_long_words: bool,
    pub break_on_hyphens: bool,
}

/// The lines of a paragraph.
pub(super) fn wrap(text: &str, options: &Wrap) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let chunks = if options.break_on_hyphens { chunks(&chars) } else { words(&chars) };
    let blank = |(from, to): (usize, usize)| chars[from..to].iter().all(|c| is_space(*c));
    let mut lines: Vec<String> = Vec::new();
    let mut chunks = chunks.into_iter().peekable();
    // What is left of a word that was broken.
    let mut rest: Option<(usize, usize)> = None;
    loop {
        let mut line: Vec<(usize, usize)> = Vec::new();
        let mut len = 0;
        if rest.is_none()
            && !lines.is_empty()
            && let Some(next) = chunks.peek()
            && blank(*next)
        {
            chunks.next();
        }
        let mut long = None;
        loop {
            let Some(next) = rest.or_else(|| chunks.peek().copied()) else { break };
            let size = next.1 - next.0;
            if len + size > options.width {
                long = (size > options.width).then_some(next);
                break;
            }
            line.push(next);
            len += size;
            if rest.take().is_none() {
                chunks.next();
            }
        }
        if let Some((from, to)) = long {
            let room = options.width - len;
            if options.break_long_words {
                let mut end = room;
                if options.break_on_hyphens && to - from > room {
                    let hyphen = chars[from..from + room].iter().rposition(|c| *c == '-');
                    if let Some(hyphen) = hyphen
                        && hyphen > 0
                        && chars[from..from + hyphen].iter().any(|c| *c != '-')
                    {
                        end = hyphen + 1;
                    }
                }
                line.push((from, from + end));
                if rest.is_none() {
                    chunks.next();
                }
                rest = Some((from + end, to));
            } else if line.is_empty() {
                line.push((from, to));
                if rest.take().is_none() {
                    chunks.next();
                }
            }
        }
        if line.last().is_some_and(|last| blank(*last)) {
            line.pop();
        }
        let text: String = line.iter().flat_map(|(from, to)| &chars[*from..*to]).collect();
        if !line.is_empty() {
            lines.push(text);
        }
        if rest.is_none() && chunks.peek().is_none() {
            return lines;
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Runs of whitespace and of everything else.
fn words(chars: &[char]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut from = 0;
    while from < chars.len() {
        let blank = is_blank(chars[from]);
        let len = chars[from..].iter().take_while(|c| is_blank(**c) == blank).count();
        out.push((from, from + len));
        from += len;
    }
    out
}

/// The pieces between which a line may break: also behind a hyphen within a word and around dashes.
fn chunks(chars: &[char]) -> Vec<(usize, usize)> {
    let word = |at: usize| chars.get(at).is_some_and(|c| is_alnum(*c) || *c == '_');
    let letter = |at: usize| chars.get(at).is_some_and(|c| is_alpha(*c) || *c == '_');
    let punctuated =
        |at: usize| word(at) || matches!(chars.get(at), Some('!' | '"' | '\'' | '&' | '.' | ',' | '?'));
    let hyphen = |at: usize| chars.get(at) == Some(&'-');
    // Two hyphens or more and a word behind them: their end.
    let dashes = |at: usize| {
        let len = chars[at..].iter().take_while(|c| **c == '-').count();
        (len >= 2 && word(at + len)).then_some(at + len)
    };
    let mut out = Vec::new();
    let mut from = 0;
    while from < chars.len() {
        let end = if is_blank(chars[from]) {
            from + chars[from..].iter().take_while(|c| is_blank(**c)).count()
        } else if from > 0
            && punctuated(from - 1)
            && let Some(end) = dashes(from)
        {
            end
        } else {
            let mut at = from + 1;
            loop {
                if at >= chars.len() || is_blank(chars[at]) {
                    break at;
                }
                if hyphen(at) {
                    let two_letters = at >= 2 && letter(at - 1) && letter(at - 2);
                    let initial = at >= 3 && letter(at - 3) && hyphen(at - 2) && punctuated(at - 1);
                    let follows = letter(at + 1) && (letter(at + 2) || (hyphen(at + 2) && letter(at + 3)));
                    if (two_letters || initial) && follows {
                        break at + 1;
                    }
                    if punctuated(at - 1) && dashes(at).is_some() {
                        break at;
                    }
                }
                at += 1;
            }
        };
        out.push((from, end));
        from = end;
    }
    out
}
