//! Values of `format` as patterns (2020-12, the vocabulary of assertions).
//!
//! They are the formats' own grammars, kept to what validators agree on: no leap seconds, no year 0, domain names
//! and addresses in ASCII.

/// The pattern of a format.
pub(super) enum Format {
    Pattern(String),
    /// An assertion that no pattern can make.
    Refused,
    /// No format of the specification: it asserts nothing.
    Unknown,
}

const DATE: &str = concat!(
    "(?:(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
);
const TIME: &str = concat!(
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?",
    "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
);
const DURATION: &str = concat!(
    "P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)",
    "(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?",
    "|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))"
);
const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const UUID: &str = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";
const POINTER: &str = "(?:/(?:[^~/]|~[01])*)*";

pub(super) fn format(name: &str) -> Format {
    Format::Pattern(match name {
        "date" => whole(DATE),
        "time" => whole(TIME),
        "date-time" => whole(&format!("{DATE}[Tt]{TIME}")),
        "duration" => whole(DURATION),
        "uuid" => whole(UUID),
        "ipv4" => whole(&ipv4()),
        "ipv6" => whole(&ipv6()),
        "hostname" => whole(&hostname()),
        "email" => {
            let atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
            whole(&format!("(?=[^@]{{1,64}}@){atom}(?:\\.{atom})*@{}", hostname()))
        }
        "uri" => whole(&uri("[A-Za-z0-9._~-]")),
        "uri-reference" => whole(&reference("[A-Za-z0-9._~-]")),
        "json-pointer" => whole(POINTER),
        "relative-json-pointer" => whole(&format!("(?:0|[1-9][0-9]*)(?:#|{POINTER})")),
        "idn-email" | "idn-hostname" | "iri" | "iri-reference" | "uri-template" | "regex" => {
            return Format::Refused;
        }
        _ => return Format::Unknown,
    })
}

fn whole(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

/// Labels of at most 63 characters, 253 characters in all. To count those would take too many states, so labels are
/// counted instead: three of any length, or one between others of at most 15 characters. Longer names than that are
/// left out.
fn hostname() -> String {
    let label = |most: u32| format!("[A-Za-z0-9](?:[A-Za-z0-9-]{{0,{}}}[A-Za-z0-9])?", most - 2);
    let (short, long) = (label(15), label(63));
    format!("(?:{long}(?:\\.{long}){{0,2}}|(?:{short}\\.){{0,5}}{long}(?:\\.{short}){{0,6}})")
}

fn ipv4() -> String {
    format!("{OCTET}(?:\\.{OCTET}){{3}}")
}

fn ipv6() -> String {
    let h = "[0-9A-Fa-f]{1,4}";
    let low = format!("(?:{h}:{h}|{})", ipv4());
    let mut forms = vec![format!("(?:{h}:){{6}}{low}"), format!("::(?:{h}:){{5}}{low}")];
    for n in (0..=4).rev() {
        // Up to 5 - n parts before the gap, n parts and the low end behind it.
        let before = 4 - n;
        forms.push(format!("(?:{h}(?::{h}){{0,{before}}})?::(?:{h}:){{{n}}}{low}"));
    }
    forms.push(format!("(?:{h}(?::{h}){{0,5}})?::{h}"));
    forms.push(format!("(?:{h}(?::{h}){{0,6}})?::"));
    forms.join("|")
}

/// RFC 3986 with these unreserved characters: scheme, and what follows it.
fn uri(unreserved: &str) -> String {
    format!("[A-Za-z][A-Za-z0-9+.-]*:{}", after_scheme(unreserved, &pchar(unreserved)))
}

fn reference(unreserved: &str) -> String {
    let c = pchar(unreserved);
    let without_colon = c.replacen("[:@", "[@", 1);
    // A path without a scheme has no colon in its first part.
    let relative =
        format!("(?:{}|/(?:{c}+(?:/{c}*)*)?|{without_colon}+(?:/{c}*)*)?{}", authority(unreserved), tail(&c));
    format!("{}|{relative}", uri(unreserved))
}

fn pchar(unreserved: &str) -> String {
    let plain = unreserved.trim_start_matches('[').trim_end_matches(']');
    format!("(?:[:@!$&'()*+,;={plain}]|%[0-9A-Fa-f]{{2}})")
}

fn after_scheme(unreserved: &str, c: &str) -> String {
    format!("(?:{}|/(?:{c}+(?:/{c}*)*)?|{c}+(?:/{c}*)*)?{}", authority(unreserved), tail(c))
}

/// `//`, user, host and port, and the path behind them.
fn authority(unreserved: &str) -> String {
    let c = pchar(unreserved);
    let user = c.replacen("[:@", "[:", 1);
    let name = c.replacen("[:@", "[", 1);
    format!("//(?:{user}*@)?(?:\\[(?:{})\\]|{name}*)(?::[0-9]*)?(?:/{c}*)*", ipv6())
}

/// Query and fragment.
fn tail(c: &str) -> String {
    let c = c.replacen("[:@", "[/?:@", 1);
    format!("(?:\\?{c}*)?(?:#{c}*)?")
}

#[cfg(test)]
mod tests {
    use super::super::{language::Languages, pattern};
    use super::*;

    #[test]
    fn texts_of_formats() {
        for (name, yes, no) in [
            (
                "date",
                &["2026-01-31", "2024-02-29", "2000-02-29", "0004-02-29"][..],
                &["2026-02-29", "1900-02-29", "0000-01-01", "2026-04-31", "2026-1-1", "2026-13-01"][..],
            ),
            ("time", &["10:00:00Z", "23:59:59.5+01:30"], &["10:00:00", "24:00:00Z", "10:00Z", "10:00:60Z"]),
            (
                "date-time",
                &["2026-01-31T10:00:00Z", "2026-01-31t10:00:00.123456z"],
                &["2026-01-31 10:00:00Z"],
            ),
            (
                "duration",
                &["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P2W"],
                &["P", "PT", "P1S", "P1DT", "P1H", "P1Y3D"],
            ),
            ("uuid", &["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], &["2eb8aa08aa9811eab4aa73b441d16380"]),
            ("ipv4", &["192.168.0.1", "0.0.0.0"], &["256.1.1.1", "1.2.3", "01.2.3.4"]),
            (
                "ipv6",
                &[
                    "::",
                    "::1",
                    "1::",
                    "1:2:3:4:5:6:7:8",
                    "1::8",
                    "::ffff:1.2.3.4",
                    "1:2:3:4:5:6::8",
                    "fe80::a:b",
                ],
                &["1:2:3:4:5:6:7", "1::2::3", ":::", "12345::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8::"],
            ),
            (
                "hostname",
                &["a", "www.example.com", "xn--4gbwdl.xn--wgbh1c"],
                &["-a", "a-", "a..b", "", "a_b"],
            ),
            ("email", &["a.b+c@example.com"], &["a", "@b", "a@", ".a@b", "a b@c"]),
            (
                "uri",
                &["http://a", "mailto:x@y", "urn:a:b", "http://[::1]:80/x?q#f"],
                &["a", "//a", "http://a b", "http://a[", ":x"],
            ),
            ("uri-reference", &["/a/b?c", "#x", "", "a:b", "//h/p", "./a:b"], &["\\a", "1:b"]),
            ("json-pointer", &["", "/a~0b/~1"], &["a", "/~", "/~2"]),
            ("relative-json-pointer", &["0", "1/a", "2#"], &["-1", "01", "/a"]),
        ] {
            let Format::Pattern(text) = format(name) else { panic!("{name}") };
            let l = &mut Languages::new();
            let lang = pattern::search(l, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
            for text in yes {
                assert_eq!(l.has(lang, text), Ok(true), "{name} of {text:?}");
            }
            for text in no {
                assert_eq!(l.has(lang, text), Ok(false), "{name} of {text:?}");
            }
            let dfa = l.dfa(lang).unwrap_or_else(|_| panic!("{name}"));
            assert!(dfa.next.len() < 4000, "{name}: {}", dfa.next.len());
        }
        assert!(matches!(format("regex"), Format::Refused) && matches!(format("int32"), Format::Unknown));
    }
}
