//! Numbers as sets of their texts.
//!
//! A bound compares values, and the texts above or below a bound are a regular set as long as they have no exponent.
//! So numbers with bounds, steps or listed values are written without one.

use serde_json::Number;

use super::charset::CharSet;
use super::language::{EMPTY, Lang, Languages};
use super::pattern;

/// The largest step of `multipleOf`, in units of its last digit.
const MAX_STEP: u64 = 10_000;

/// A decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits without leading zeros, at least one.
    whole: String,
    /// Digits without trailing zeros.
    fraction: String,
}

impl Decimal {
    pub(super) fn new(number: &Number) -> Self {
        let text = match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let digits = text.trim_start_matches('-');
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0').to_owned();
        let whole = if whole.is_empty() { "0" } else { whole }.to_owned();
        let is_zero = whole == "0" && fraction.is_empty();
        Self { negative: text.starts_with('-') && !is_zero, whole, fraction }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.whole == "0" && self.fraction.is_empty()
    }

    fn is_whole(&self) -> bool {
        self.fraction.is_empty()
    }

    /// The nearest larger (or smaller) number of those that a double can hold: a text between the two is taken for
    /// one of them by who reads it.
    fn beyond(&self, up: bool) -> Option<Self> {
        let sign = if self.negative { "-" } else { "" };
        let float: f64 = format!("{sign}{}.{}", self.whole, self.fraction).parse().ok()?;
        let next = if up { float.next_up() } else { float.next_down() };
        next.is_finite().then(|| Self::parse(&next.to_string()))
    }
}

fn digit(l: &mut Languages) -> Lang {
    l.class(pattern::digits())
}

fn digits(l: &mut Languages, min: u64, max: Option<u64>) -> Lang {
    let digit = digit(l);
    l.repeat(digit, min, max)
}

fn range(l: &mut Languages, low: u8, high: u8) -> Lang {
    l.class(CharSet::new(vec![(u32::from(low), u32::from(high))]))
}

fn optional(l: &mut Languages, lang: Lang) -> Lang {
    l.or(&[lang, EMPTY])
}

/// A point and any digits, or nothing.
fn any_fraction(l: &mut Languages) -> Lang {
    let (point, digits) = (l.text("."), digits(l, 1, None));
    let fraction = l.concat(point, digits);
    optional(l, fraction)
}

fn signed(l: &mut Languages, magnitude: Lang) -> Lang {
    let minus = l.text("-");
    let sign = optional(l, minus);
    l.concat(sign, magnitude)
}

/// A whole number's digits, with at most so many behind the first.
fn whole_digits(l: &mut Languages, most: Option<u64>) -> Lang {
    let (zero, first, rest) = (l.text("0"), range(l, b'1', b'9'), digits(l, 0, most));
    let many = l.concat(first, rest);
    l.or(&[zero, many])
}

/// Numbers without fraction and exponent.
pub(super) fn integers(l: &mut Languages) -> Lang {
    let whole = whole_digits(l, None);
    signed(l, whole)
}

/// Numbers without exponent.
pub(super) fn decimals(l: &mut Languages) -> Lang {
    let (whole, fraction) = (whole_digits(l, None), any_fraction(l));
    let magnitude = l.concat(whole, fraction);
    signed(l, magnitude)
}

/// All numbers; with an exponent only such as a double can hold.
pub(super) fn numbers(l: &mut Languages) -> Lang {
    let (whole, fraction) = (whole_digits(l, Some(8)), any_fraction(l));
    let e = l.class(CharSet::new(vec![(69, 69), (101, 101)]));
    let sign = l.class(CharSet::new(vec![(43, 43), (45, 45)]));
    let sign = optional(l, sign);
    let hundreds = range(l, b'0', b'2');
    let hundreds = optional(l, hundreds);
    let rest = digits(l, 1, Some(2));
    let magnitude = l.sequence(&[whole, fraction, e, sign, hundreds, rest]);
    let with_exponent = signed(l, magnitude);
    let without = decimals(l);
    l.or(&[with_exponent, without])
}

/// Decimals that are no whole numbers, also for who reads them as doubles.
pub(super) fn broken(l: &mut Languages) -> Lang {
    let (whole, zeros) = (whole_digits(l, Some(8)), digits(l, 0, Some(5)));
    let near = with_digits_behind(l, whole, zeros);
    let (whole, zeros) = (l.text("0"), digits(l, 0, Some(200)));
    let small = with_digits_behind(l, whole, zeros);
    let magnitude = l.or(&[near, small]);
    signed(l, magnitude)
}

/// Decimals with a digit other than 0 behind the point.
pub(super) fn with_fraction(l: &mut Languages) -> Lang {
    let (whole, any) = (whole_digits(l, None), digits(l, 0, None));
    let magnitude = with_digits_behind(l, whole, any);
    signed(l, magnitude)
}

/// A whole part, a point, some digits, one that is not 0, and others.
fn with_digits_behind(l: &mut Languages, whole: Lang, some: Lang) -> Lang {
    let (point, digit, any) = (l.text("."), range(l, b'1', b'9'), digits(l, 0, None));
    l.sequence(&[whole, point, some, digit, any])
}

/// Digits behind a point that make at least (or more than) these.
fn fraction_from(l: &mut Languages, fraction: &str, strict: bool) -> Lang {
    let any = digits(l, 0, None);
    let mut parts = Vec::new();
    for (i, digit) in fraction.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
        let (same, more) = (l.text(&fraction[..i]), range(l, digit + 1, b'9'));
        parts.push(l.sequence(&[same, more, any]));
    }
    let same = l.text(fraction);
    parts.push(if strict {
        let some = range(l, b'1', b'9');
        l.sequence(&[same, any, some, any])
    } else {
        l.concat(same, any)
    });
    l.or(&parts)
}

/// Texts without a sign of at least (or more than) this.
fn magnitude_from(l: &mut Languages, bound: &Decimal, strict: bool) -> Lang {
    let fraction = any_fraction(l);
    let n = bound.whole.len() as u64;
    let (first, rest) = (range(l, b'1', b'9'), digits(l, n, None));
    let mut parts = vec![l.sequence(&[first, rest, fraction])];
    for (i, digit) in bound.whole.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
        let (same, more) = (l.text(&bound.whole[..i]), range(l, digit + 1, b'9'));
        let rest = digits(l, n - 1 - i as u64, Some(n - 1 - i as u64));
        parts.push(l.sequence(&[same, more, rest, fraction]));
    }
    let (whole, point) = (l.text(&bound.whole), l.text("."));
    let behind = fraction_from(l, &bound.fraction, strict);
    parts.push(l.sequence(&[whole, point, behind]));
    if bound.fraction.is_empty() && !strict {
        parts.push(whole);
    }
    l.or(&parts)
}

/// Texts with an exponent count as well where only the sign decides.
fn with_exponent(l: &mut Languages, lang: Lang) -> Lang {
    let e = l.class(CharSet::new(vec![(69, 69), (101, 101)]));
    let tail = l.sequence(&[e, super::language::EVERYTHING]);
    let tail = optional(l, tail);
    l.concat(lang, tail)
}

/// Texts of numbers above the bound, or at it unless `strict`; compared as exact numbers.
fn above(l: &mut Languages, bound: &Decimal, strict: bool) -> Lang {
    let minus = l.text("-");
    let magnitude = |l: &mut Languages, strict| {
        let lang = magnitude_from(l, bound, strict);
        if bound.is_zero() { with_exponent(l, lang) } else { lang }
    };
    if bound.negative || (bound.is_zero() && !strict) {
        // All but what lies further down.
        let below = magnitude(l, !strict);
        let below = l.concat(minus, below);
        l.not(below)
    } else {
        magnitude(l, strict)
    }
}

/// Texts of numbers that are at least (or more than) the bound, or with `up` false at most (or less).
pub(super) fn bounded(l: &mut Languages, bound: &Decimal, strict: bool, up: bool) -> Lang {
    let side = |l: &mut Languages, bound: &Decimal, strict: bool| {
        if up {
            above(l, bound, strict)
        } else {
            let above = above(l, bound, !strict);
            l.not(above)
        }
    };
    let exact = side(l, bound, strict);
    if !strict || bound.is_zero() {
        return exact;
    }
    // A fraction may come so close to the bound that whoever reads it takes it for the bound.
    let Some(next) = bound.beyond(up) else { return exact };
    let apart = side(l, &next, false);
    let integers = integers(l);
    let apart = l.or(&[apart, integers]);
    l.and(&[exact, apart])
}

/// Decimals that are another number than this, also for who reads them as doubles.
pub(super) fn unequal(l: &mut Languages, number: &Decimal) -> Lang {
    let all = decimals(l);
    let (above, below) = (bounded(l, number, true, true), bounded(l, number, true, false));
    let other = l.or(&[above, below]);
    l.and(&[all, other])
}

/// Texts of this number.
pub(super) fn equal(l: &mut Languages, number: &Decimal) -> Lang {
    let (whole, point) = (l.text(&number.whole), l.text("."));
    let zero = l.text("0");
    let zeros = l.repeat(zero, u64::from(number.is_whole()), None);
    let digits = l.text(&number.fraction);
    let fraction = l.sequence(&[point, digits, zeros]);
    let fraction = if number.is_whole() { optional(l, fraction) } else { fraction };
    let magnitude = l.concat(whole, fraction);
    if number.is_zero() {
        return signed(l, magnitude);
    }
    let minus = if number.negative { l.text("-") } else { EMPTY };
    l.concat(minus, magnitude)
}

/// Decimals that a double holds so exactly that multiples of any step in [`multiples`] can be told.
pub(super) fn short_decimals(l: &mut Languages) -> Lang {
    // No step has more than 6 digits behind the point.
    let (whole, fraction) = (whole_digits(l, Some(8)), any_fraction(l));
    let with_fraction = l.concat(whole, fraction);
    let whole = whole_digits(l, Some(14));
    let magnitude = l.or(&[with_fraction, whole]);
    signed(l, magnitude)
}

/// Texts of multiples; `None` for steps that validators do not agree on, or that need too many states.
pub(super) fn multiples(l: &mut Languages, step: &Decimal) -> Option<Lang> {
    // Halves, quarters and so on are exact in binary; tenths are not, and are divided differently everywhere.
    let scale = u32::try_from(step.fraction.len()).ok().filter(|scale| *scale <= 6)?;
    let units: u64 = format!("{}{}", step.whole, step.fraction).parse().ok()?;
    let is_binary = units.is_multiple_of(5u64.pow(scale));
    let plain = !step.negative && (1..=MAX_STEP).contains(&units) && is_binary;
    plain.then(|| l.multiple(units, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text)
    }

    #[test]
    fn bounds_compare_values() {
        let texts = [
            "0",
            "-0",
            "0.0",
            "-0.00",
            "1",
            "-1",
            "0.5",
            "0.50",
            "-0.5",
            "0.49",
            "0.500001",
            "9",
            "10",
            "10.0",
            "99",
            "100",
            "100.1",
            "-99.9",
            "-100",
            "-100.01",
            "1234567",
            "0.05",
            "-12.75",
            "12.75",
            "12.7",
            "12.750001",
        ];
        let bounds =
            ["0", "1", "-1", "0.5", "-0.5", "10", "99", "100", "-100", "12.75", "-12.75", "0.05", "-99.9"];
        let l = &mut Languages::new();
        let base = decimals(l);
        for bound in bounds {
            let value: f64 = bound.parse().unwrap();
            for (strict, up) in [(false, true), (true, true), (false, false), (true, false)] {
                let lang = bounded(l, &decimal(bound), strict, up);
                let lang = l.and(&[base, lang]);
                for text in texts {
                    let number: f64 = text.parse().unwrap();
                    let want = match (strict, up) {
                        (false, true) => number >= value,
                        (true, true) => number > value,
                        (false, false) => number <= value,
                        (true, false) => number < value,
                    };
                    assert_eq!(l.has(lang, text), Ok(want), "{text} by {bound}, {strict}, {up}");
                }
            }
            let lang = equal(l, &decimal(bound));
            for text in texts {
                let want = text.parse::<f64>().unwrap() == value;
                assert_eq!(l.has(lang, text), Ok(want), "{text} is {bound}");
                let other = unequal(l, &decimal(bound));
                assert_eq!(l.has(other, text), Ok(!want), "{text} is not {bound}");
            }
        }
    }

    #[test]
    fn a_fraction_is_not_taken_for_the_bound() {
        let l = &mut Languages::new();
        let lang = bounded(l, &decimal("0.1"), true, true);
        assert_eq!(l.has(lang, "0.1000000000000000000001"), Ok(false));
        assert_eq!(l.has(lang, "0.10000000000000002"), Ok(true));
        let large = bounded(l, &decimal("9007199254740993"), true, true);
        assert_eq!(l.has(large, "9007199254740994"), Ok(true));
        assert_eq!(l.has(large, "9007199254740993"), Ok(false));
    }

    #[test]
    fn numbers_of_json() {
        let l = &mut Languages::new();
        let numbers = numbers(l);
        for (text, want) in [
            ("1e5", true),
            ("1E+5", true),
            ("-1.5e-299", true),
            ("1e300", false),
            ("1.", false),
            (".5", false),
            ("01", false),
            ("-0", true),
            ("12345678901234567890", true),
            ("1e", false),
        ] {
            assert_eq!(l.has(numbers, text), Ok(want), "{text}");
        }
        let positive = bounded(l, &decimal("0"), false, true);
        let positive = l.and(&[numbers, positive]);
        for (text, want) in
            [("1e5", true), ("-1e5", false), ("-0e5", true), ("-0.0", true), ("-0.01e-7", false)]
        {
            assert_eq!(l.has(positive, text), Ok(want), "{text}");
        }
        assert!(multiples(l, &decimal("0.1")).is_none() && multiples(l, &decimal("20000")).is_none());
        assert!(multiples(l, &decimal("0.25")).is_some() && multiples(l, &decimal("-1")).is_none());
        assert_eq!(Decimal::new(&Number::from_f64(1e21).unwrap()), decimal("1000000000000000000000"));
    }
}
