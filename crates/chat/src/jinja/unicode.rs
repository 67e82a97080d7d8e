//! What Python's `str` knows of characters.

use unicode_general_category::{GeneralCategory, get_general_category};

/// `str.isspace` for one character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.rstrip()`.
pub(crate) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Whether `str.splitlines` ends a line here.
pub(crate) fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// `str.isprintable` for one character.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    !matches!(
        get_general_category(c),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
    )
}

/// `str.isalpha` for one character.
pub(crate) fn is_alpha(c: char) -> bool {
    use GeneralCategory::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        get_general_category(c),
        LowercaseLetter | ModifierLetter | OtherLetter | TitlecaseLetter | UppercaseLetter
    )
}

/// `str.isdecimal` for one character.
pub(crate) fn is_decimal(c: char) -> bool {
    get_general_category(c) == GeneralCategory::DecimalNumber
}

/// The digit that a decimal character stands for. Decimal digits come in runs of ten.
pub(crate) fn decimal_value(c: char) -> Option<u32> {
    if let Some(digit) = c.to_digit(10) {
        return Some(digit);
    }
    if !is_decimal(c) {
        return None;
    }
    // The mathematical digits are five runs in a row.
    if ('\u{1d7ce}'..='\u{1d7ff}').contains(&c) {
        return Some((c as u32 - 0x1d7ce) % 10);
    }
    let mut first = c as u32;
    while c as u32 - first < 9 && char::from_u32(first - 1).is_some_and(is_decimal) {
        first -= 1;
    }
    Some(c as u32 - first)
}

/// `str.isdigit` for one character: decimals, superscripts, circled digits and the like.
pub(crate) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c as u32,
            0xb2 | 0xb3 | 0xb9 | 0x1369..=0x1371 | 0x19da | 0x2070 | 0x2074..=0x2079 | 0x2080..=0x2089
            | 0x2460..=0x2468 | 0x2474..=0x247c | 0x2488..=0x2490 | 0x24ea | 0x24f5..=0x24fd | 0x24ff
            | 0x2776..=0x277e | 0x2780..=0x2788 | 0x278a..=0x2792 | 0x10a40..=0x10a43 | 0x10e60..=0x10e68
            | 0x11052..=0x1105a | 0x1f100..=0x1f10a)
}

/// `str.isnumeric` for one character: every number, and the ideographs that are.
pub(crate) fn is_numeric(c: char) -> bool {
    use GeneralCategory::{DecimalNumber, LetterNumber, OtherNumber};
    matches!(get_general_category(c), DecimalNumber | LetterNumber | OtherNumber)
        || matches!(
            c,
            '㐅' | '㒃'
                | '㠪'
                | '㭍'
                | '一'
                | '七'
                | '万'
                | '三'
                | '九'
                | '二'
                | '五'
                | '亖'
                | '亿'
                | '什'
                | '仟'
                | '仨'
                | '伍'
                | '佰'
                | '億'
                | '兆'
                | '兩'
                | '八'
                | '六'
                | '十'
                | '千'
                | '卄'
                | '卅'
                | '卌'
                | '叁'
                | '参'
                | '參'
                | '叄'
                | '四'
                | '壱'
                | '壹'
                | '幺'
                | '廾'
                | '廿'
                | '弌'
                | '弍'
                | '弎'
                | '弐'
                | '拾'
                | '捌'
                | '柒'
                | '漆'
                | '玖'
                | '百'
                | '肆'
                | '萬'
                | '貮'
                | '貳'
                | '贰'
                | '阡'
                | '陆'
                | '陌'
                | '陸'
                | '零'
                | '〇'
        )
}

/// `str.isalnum` for one character.
pub(crate) fn is_alnum(c: char) -> bool {
    is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c)
}

fn is_titlecase(c: char) -> bool {
    get_general_category(c) == GeneralCategory::TitlecaseLetter
}

/// Whether a character has case.
pub(crate) fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || is_titlecase(c)
}

/// Upper case or title case.
pub(crate) fn is_upper_or_title(c: char) -> bool {
    c.is_uppercase() || is_titlecase(c)
}

pub(crate) fn is_title(c: char) -> bool {
    is_titlecase(c)
}

/// The title case of a character, which is not its upper case for a few.
pub(crate) fn push_title(out: &mut String, c: char) {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => out.push('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => out.push('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => out.push('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => out.push('ǲ'),
        // Georgian letters and Greek ones with an iota beside them are their own title case.
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => out.push(c),
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            out.extend(char::from_u32(c as u32 + 8));
        }
        '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}' => out.push(c),
        '\u{1fb3}' | '\u{1fbc}' => out.push('\u{1fbc}'),
        '\u{1fc3}' | '\u{1fcc}' => out.push('\u{1fcc}'),
        '\u{1ff3}' | '\u{1ffc}' => out.push('\u{1ffc}'),
        '\u{1fb2}' => out.push_str("\u{1fba}\u{345}"),
        '\u{1fb4}' => out.push_str("\u{386}\u{345}"),
        '\u{1fb7}' => out.push_str("\u{391}\u{342}\u{345}"),
        '\u{1fc2}' => out.push_str("\u{1fca}\u{345}"),
        '\u{1fc4}' => out.push_str("\u{389}\u{345}"),
        '\u{1fc7}' => out.push_str("\u{397}\u{342}\u{345}"),
        '\u{1ff2}' => out.push_str("\u{1ffa}\u{345}"),
        '\u{1ff4}' => out.push_str("\u{38f}\u{345}"),
        '\u{1ff7}' => out.push_str("\u{3a9}\u{342}\u{345}"),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            for more in upper {
                out.extend(more.to_lowercase());
            }
        }
    }
}

/// `str.casefold` for one character.
pub(crate) fn push_folded(out: &mut String, c: char) {
    match c {
        'ẞ' => out.push_str("ss"),
        'ı' => out.push(c),
        // Cherokee folds to its upper case.
        '\u{13a0}'..='\u{13f5}' => out.push(c),
        '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => out.extend(c.to_uppercase()),
        c => {
            for upper in c.to_uppercase() {
                out.extend(upper.to_lowercase());
            }
        }
    }
}
