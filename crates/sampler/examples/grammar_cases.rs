//! Seeded grammars, token runs and JSON schemas for the parity audit, and this crate's answers to them.
//!
//!     grammar_cases gen text|tokens|schema SEED N
//!     grammar_cases run text|schema < cases
//!     grammar_cases run tokens VOCAB.gguf < cases
//!
//! The reference answers the same lines through `parity/probes/grammar.cpp`. Fields are bytes in hexadecimal.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use quipu_sampler::{
    Candidates, Error, Gbnf, Grammar, Pieces, Sampler as _, Triggers, grammar::Matcher,
    json_schema_to_grammar,
};
use quipu_testing::SplitMix;

fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("x");
    for b in bytes {
        write!(out, "{b:02x}").expect("to a string");
    }
    out
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim_start_matches('x');
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hexadecimal"))
        .collect()
}

/// What a random grammar is made of.
enum Expr {
    Literal(String),
    /// The class as written, and characters of it.
    Class(&'static str, &'static str),
    Sequence(Vec<Expr>),
    Choice(Vec<Expr>),
    Repeat(Box<Expr>, usize, Option<usize>, String),
    Rule(usize),
}

const LITERALS: [&str; 12] = ["a", "b", "ab", "c", "ba", "é", "€", "😀", "\\n", "\\x41", "\\u00e9b", "aa"];
const CLASSES: [(&str, &str); 12] = [
    ("[ab]", "ab"),
    ("[a-c]", "abc"),
    ("[^a]", "bcé"),
    ("[^a-b]", "c€\n"),
    (".", "abcé€"),
    ("[a-zA-Z0-9]", "aZ5"),
    ("[é-€]", "é€ж"),
    ("[\\x00-\\x7f]", "ab\n"),
    ("[-a]", "-a"),
    ("[a-]", "-a"),
    ("[^\\n\"]", "ab"),
    ("[\\u0400-\\u04FF😀]", "ж😀"),
];

fn expr(g: &mut SplitMix, depth: usize, rule: usize, n_rules: usize) -> Expr {
    match g.index(if depth == 0 { 5 } else { 11 }) {
        0..3 => Expr::Literal((g.pick(&LITERALS)).to_owned()),
        3 | 4 => {
            let (written, chars) = g.pick(&CLASSES);
            Expr::Class(written, chars)
        }
        5 | 6 => Expr::Sequence((0..=g.index(3)).map(|_| expr(g, depth - 1, rule, n_rules)).collect()),
        7 => Expr::Choice((0..=g.index(3)).map(|_| expr(g, depth - 1, rule, n_rules)).collect()),
        8 | 9 => {
            let inner = Box::new(expr(g, depth - 1, rule, n_rules));
            let (least, most, sign) = match g.index(9) {
                0 | 1 => (0, None, "*".to_owned()),
                2 => (1, None, "+".to_owned()),
                3 | 4 => (0, Some(1), "?".to_owned()),
                5 => {
                    let n = g.index(4);
                    (n, Some(n), format!("{{{n}}}"))
                }
                6 => {
                    let n = g.index(3);
                    (n, None, format!("{{{n},}}"))
                }
                7 => {
                    let (n, more) = (g.index(3), g.index(3));
                    (n, Some(n + more), format!("{{ {n} , {} }}", n + more))
                }
                _ => {
                    let n = g.pick(&[44, 1000, 1999, 2000, 2001, 3000]);
                    (0, Some(3), format!("{{0,{n}}}"))
                }
            };
            Expr::Repeat(inner, least, most, sign)
        }
        // Later rules freely; earlier ones behind a character, so that the text must advance.
        _ if rule + 1 < n_rules && g.index(4) > 0 => Expr::Rule(rule + 1 + g.index(n_rules - rule - 1)),
        _ => Expr::Sequence(vec![Expr::Literal("a".to_owned()), Expr::Rule(g.index(n_rules))]),
    }
}

fn render(e: &Expr, out: &mut String) {
    match e {
        Expr::Literal(text) => write!(out, "\"{text}\"").expect("to a string"),
        Expr::Class(text, _) => out.push_str(text),
        Expr::Sequence(parts) => {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                let choice = matches!(part, Expr::Choice(_));
                out.push_str(if choice { "(" } else { "" });
                render(part, out);
                out.push_str(if choice { ")" } else { "" });
            }
        }
        Expr::Choice(parts) => {
            for (i, part) in parts.iter().enumerate() {
                out.push_str(if i > 0 { " | " } else { "" });
                render(part, out);
            }
        }
        Expr::Repeat(inner, _, _, sign) => {
            out.push('(');
            render(inner, out);
            write!(out, "){sign}").expect("to a string");
        }
        Expr::Rule(n) => write!(out, "{}", name(*n)).expect("to a string"),
    }
}

fn name(rule: usize) -> String {
    if rule == 0 { "root".to_owned() } else { format!("r-{rule}") }
}

fn derive(g: &mut SplitMix, rules: &[Expr], e: &Expr, fuel: &mut usize, out: &mut String) {
    if *fuel == 0 || out.len() > 12 {
        return;
    }
    *fuel -= 1;
    match e {
        Expr::Literal(text) => {
            let plain = text.replace("\\n", "\n").replace("\\x41", "A").replace("\\u00e9", "é");
            out.push_str(&plain);
        }
        Expr::Class(_, chars) => {
            let all: Vec<char> = chars.chars().collect();
            out.push(g.pick(&all));
        }
        Expr::Sequence(parts) => parts.iter().for_each(|part| derive(g, rules, part, fuel, out)),
        Expr::Choice(parts) => {
            let part = &parts[g.index(parts.len())];
            derive(g, rules, part, fuel, out);
        }
        Expr::Repeat(inner, least, most, _) => {
            let n = least + g.index(most.map_or(3, |most| most - least + 1));
            (0..n).for_each(|_| derive(g, rules, inner, fuel, out));
        }
        Expr::Rule(n) => derive(g, rules, &rules[*n], fuel, out),
    }
}

fn mutate(g: &mut SplitMix, text: &str, alphabet: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let alphabet: Vec<char> = alphabet.chars().collect();
    for _ in 0..=g.index(2) {
        let at = g.index(chars.len() + 1);
        match g.index(3) {
            0 => chars.insert(at, g.pick(&alphabet)),
            1 if at < chars.len() => chars[at] = g.pick(&alphabet),
            _ if at < chars.len() => drop(chars.remove(at)),
            _ => {}
        }
    }
    chars.into_iter().collect()
}

/// A grammar, and texts some of which it accepts.
fn grammar(g: &mut SplitMix) -> (String, Vec<String>) {
    let n_rules = 1 + g.index(4);
    let rules: Vec<Expr> = (0..n_rules).map(|rule| expr(g, 3, rule, n_rules)).collect();
    let mut text = String::new();
    for (i, rule) in rules.iter().enumerate() {
        write!(text, "{} ::= ", name(i)).expect("to a string");
        if g.index(60) == 0 {
            write!(text, "{} \"b\" | ", name(i)).expect("to a string");
        }
        render(rule, &mut text);
        text.push_str(g.pick(&["\n", "\n", "\r\n", " # comment\n", "\n\n"]));
    }
    let texts = (0..6)
        .map(|_| {
            let mut out = String::new();
            derive(g, &rules, &rules[0], &mut 60, &mut out);
            if g.index(2) == 0 { mutate(g, &out, "abcé€A\n😀-") } else { out }
        })
        .collect();
    if g.index(5) == 0 {
        text = mutate(g, &text, "()[]{}*+?|\"\\.:= -ab1,\n#^<>!");
    }
    (text, texts)
}

/// Whether the reference can be asked: it never comes back from what this crate bounds.
fn can_be_asked(text: &str) -> bool {
    match Gbnf::parse(text, "root", None) {
        Ok(gbnf) => Matcher::new(&gbnf).is_ok(),
        Err(Error::GrammarLimit { what, .. }) => what.contains("repetition"),
        Err(Error::GrammarSyntax { expected, .. }) => !expected.contains("not below"),
        Err(_) => true,
    }
}

fn gen_text(g: &mut SplitMix, n: usize) {
    let mut done = 0;
    while done < n {
        let (text, texts) = grammar(g);
        if !can_be_asked(&text) {
            continue;
        }
        done += 1;
        let fields: Vec<String> = std::iter::once(&text).chain(&texts).map(|t| hex(t.as_bytes())).collect();
        println!("{}", fields.join(" "));
    }
}

fn run_text(line: &str) -> String {
    let mut fields = line.split(' ').map(|field| String::from_utf8(unhex(field)).expect("UTF-8"));
    let text = fields.next().expect("a grammar");
    let Ok(gbnf) = Gbnf::parse(&text, "root", None) else {
        return "refused".to_owned();
    };
    let mut out = String::from("parsed");
    for text in fields {
        let mut matcher = Matcher::new(&gbnf).expect("within the bounds");
        let n =
            text.chars().take_while(|c| matcher.accept_char(*c as u32).expect("within the bounds")).count();
        write!(out, " {n}:{}", u8::from(matcher.may_end())).expect("to a string");
    }
    out
}

const TOKEN_GRAMMARS: [&str; 9] = [
    r#"root ::= [a-z ]+ "." root | "!""#,
    r#"root ::= "{" ws "\"" [^"\\\x7F\x00-\x1F]* "\"" ws ":" ws num "}"
ws ::= [ \n]{0,3}
num ::= "-"? [0-9]+ ("." [0-9]+)?"#,
    r#"root ::= .* "\n" root?"#,
    r#"root ::= [^a]{3,40} <[13]>? "é"*"#,
    r"root ::= !<[29871]> [а-я ]+ <[2]>",
    r#"root ::= ("é" | "ß" | "€" | "日本" | "😀")+ ([0-9] | <[278]> | "x")"#,
    r#"root ::= (<[306]> | !<[400]> .) [a-z]* root | "end""#,
    r#"root ::= [\U00000000-\U0010FFFF]{2,9} "</s>"?"#,
    r#"root ::= "Hello" " world"? ("!" | "?")+ | [A-Z] root"#,
];

fn gen_tokens(g: &mut SplitMix, n: usize) {
    for _ in 0..n {
        let (text, lazy) = if g.index(3) > 0 {
            let text = (g.pick(&TOKEN_GRAMMARS)).to_owned();
            let lazy = match g.index(8) {
                0 => "^[\\s\\S]*?(<tool>|a b)[\\s\\S]*$",
                1 => "x+(y?)[aeiou]",
                _ => "",
            };
            (text, lazy)
        } else {
            (grammar(g).0, "")
        };
        if can_be_asked(&text) {
            println!(
                "{} {} {} {}",
                hex(text.as_bytes()),
                g.next_u64() % 1_000_000,
                1 + g.index(12),
                hex(lazy.as_bytes())
            );
        } else {
            println!("{} 1 1 x", hex(b"root ::= \"a\""));
        }
    }
}

/// Tokens whose logits survive, hashed, then one of them is accepted, and again.
fn run_tokens(line: &str, pieces: &Arc<Pieces>) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let text = String::from_utf8(unhex(fields[0])).expect("UTF-8");
    let mut g = SplitMix::new(fields[1].parse().expect("a seed"));
    let pattern = String::from_utf8(unhex(fields[3])).expect("UTF-8");
    let grammar = if pattern.is_empty() {
        Grammar::new(pieces, &text, "root")
    } else {
        let triggers = Triggers { patterns: vec![pattern], tokens: vec![13], ..Triggers::default() };
        Grammar::lazy(pieces, &text, "root", &triggers)
    };
    let Ok(mut grammar) = grammar else {
        return "refused".to_owned();
    };
    let row = vec![0.0; pieces.vocabulary().n_tokens()];
    let mut c = Candidates::new();
    let mut out = String::new();
    for _ in 0..fields[2].parse().expect("a number of steps") {
        c.load(&row);
        if grammar.apply(&mut c).is_err() {
            out.push_str("stuck");
            break;
        }
        let allowed: Vec<u32> = c.data.iter().filter(|c| c.logit == 0.0).map(|c| c.id).collect();
        let hash = allowed
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
        write!(out, "{}:{hash:016x} ", allowed.len()).expect("to a string");
        if allowed.is_empty() {
            break;
        }
        let token = allowed[g.index(allowed.len())];
        if grammar.accept_token(token).is_err() {
            out.push_str("threw");
            break;
        }
        if pieces.vocabulary().is_eog(token) {
            break;
        }
    }
    out.trim_end().to_owned()
}

fn schema(g: &mut SplitMix, depth: usize) -> String {
    let string = |text: &str| serde_json::Value::from(text).to_string();
    let keys = ["a", "b", "name", "abc", "also", "and", "x y", "\"q\"", "number", "root", "", "*"];
    let patterns = [
        "^a$",
        "^a*b+$",
        "^(foo|bar)?$",
        "^[a-z]{2,5}$",
        "^\\\\d{3}$",
        "^a{2}(bc){1,}$",
        "^.$",
        "^a.b|c$",
        "a",
        "^(?:x)(?=y)z$",
        "^\\\\(\\\\)$",
        "^ab\\\\.c\\\"d$",
        "^(a(b)c){,3}$",
        "^[^\\\\]]+$",
        "^a)b$",
        "^[a$",
        "^a{x}$",
        "^x{1,2,3}$",
        "^$",
        "^(a|b)*c?$",
    ];
    let bound = |g: &mut SplitMix| {
        let n = [0, 1, 3, 9, 10, 12, 99, 100, 101, 999, 1234, 100_000, 123_456_789][g.index(13)];
        if g.index(3) == 0 { -n } else { n }
    };
    let leaf = g.index(if depth == 0 { 11 } else { 20 });
    match leaf {
        0 => format!(
            r#"{{"type":{}}}"#,
            string(g.pick(&[
                "string", "number", "integer", "boolean", "null", "array", "object", "float", "uuid"
            ]))
        ),
        1 => format!(
            r#"{{"type":"string","format":{}}}"#,
            string(g.pick(&["date", "time", "date-time", "uuid", "uuid4", "uuid9", "email"]))
        ),
        2 => format!(r#"{{"type":"string","pattern":"{}"}}"#, g.pick(&patterns)),
        3 => format!(r#"{{"const":{}}}"#, value(g, 2)),
        4 => {
            let values: Vec<String> = (0..=g.index(4)).map(|_| value(g, 1)).collect();
            format!(r#"{{"enum":[{}]}}"#, values.join(","))
        }
        5 | 6 => {
            let (low, high) = (bound(g), bound(g));
            let (low, high) = (low.min(high), low.max(high));
            let low = format!(r#","{}":{low}"#, g.pick(&["minimum", "exclusiveMinimum"]));
            let high = format!(r#","{}":{high}"#, g.pick(&["maximum", "exclusiveMaximum"]));
            let (with_low, with_high) = (g.index(3) > 0, g.index(3) > 0);
            format!(
                r#"{{"type":"integer"{}{}}}"#,
                if with_low { low } else { String::new() },
                if with_high { high } else { String::new() }
            )
        }
        7 => {
            let (n, more) = (g.index(4), g.index(4));
            [
                format!(r#"{{"type":"string","minLength":{n}}}"#),
                format!(r#"{{"type":"string","maxLength":{}}}"#, n + more),
                format!(r#"{{"type":"string","minLength":{n},"maxLength":{}}}"#, n + more),
            ][g.index(3)]
            .clone()
        }
        8 => format!(
            r##"{{"$ref":"#/$defs/{}"}}"##,
            g.pick(&["one", "two", "none", "list/items", "pair/prefixItems/1"])
        ),
        9 => (g.pick(&["{}", "true", "null", "{\"description\":\"d\"}", "3", "[]"])).to_owned(),
        10 => format!(r#"{{"type":["string",{}]}}"#, string(g.pick(&["null", "integer", "object"]))),
        11..15 => {
            let n = g.index(5);
            let members: Vec<String> =
                (0..n).map(|_| format!("{}:{}", string(g.pick(&keys)), schema(g, depth - 1))).collect();
            let required: Vec<String> = (0..g.index(3)).map(|_| string(g.pick(&keys))).collect();
            let additional = match g.index(5) {
                0 => r#","additionalProperties":true"#.to_owned(),
                1 => r#","additionalProperties":false"#.to_owned(),
                2 => format!(r#","additionalProperties":{}"#, schema(g, depth - 1)),
                _ => String::new(),
            };
            format!(
                r#"{{"type":"object","properties":{{{}}},"required":[{}]{additional}}}"#,
                members.join(","),
                required.join(",")
            )
        }
        15 | 16 => {
            let (n, more) = (g.index(3), g.index(3));
            let bounds = [
                String::new(),
                format!(r#","minItems":{n}"#),
                format!(r#","maxItems":{}"#, n + more),
                format!(r#","minItems":{n},"maxItems":{}"#, n + more),
            ];
            format!(r#"{{"type":"array","items":{}{}}}"#, schema(g, depth - 1), bounds[g.index(4)])
        }
        17 => format!(
            r#"{{"{}":[{},{}]}}"#,
            g.pick(&["prefixItems", "items"]),
            schema(g, depth - 1),
            schema(g, depth - 1)
        ),
        18 => format!(
            r#"{{"{}":[{},{}]}}"#,
            g.pick(&["anyOf", "oneOf"]),
            schema(g, depth - 1),
            schema(g, depth - 1)
        ),
        _ => {
            let any = if g.index(3) == 0 {
                format!(r#",{{"anyOf":[{},{}]}}"#, schema(g, depth - 1), schema(g, depth - 1))
            } else {
                String::new()
            };
            format!(r#"{{"allOf":[{},{}{any}]}}"#, schema(g, depth - 1), schema(g, depth - 1))
        }
    }
}

fn value(g: &mut SplitMix, depth: usize) -> String {
    match g.index(if depth == 0 { 8 } else { 10 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => format!("{}", g.next_u64() as i64 >> g.index(63)),
        3 => format!("{}", (g.next_u64() % 100_000) as f64 / 64.0),
        4 => format!("{:e}", (g.next_u64() % 1000) as f64 * 10_f64.powi(g.index(16) as i32 - 8)),
        5..8 => (g.pick(&["\"a\"", "\"x\\ny\"", "\"é\\\"\\\\\"", "\"\\u0001\\u007f\"", "\"\""])).to_owned(),
        8 => format!("[{},{}]", value(g, depth - 1), value(g, depth - 1)),
        _ => format!("{{\"k\":{}}}", value(g, depth - 1)),
    }
}

/// Whether the reference can be asked: it crashes on some schemas that this crate refuses.
fn schema_can_be_asked(text: &str) -> bool {
    let crashes = ["circular", "nothing to repeat", "nested deeper"];
    match serde_json::from_str(text).ok().map(|schema| json_schema_to_grammar(&schema)) {
        Some(Err(error)) => !crashes.iter().any(|what| error.to_string().contains(what)),
        _ => true,
    }
}

fn gen_schema(g: &mut SplitMix, n: usize) {
    let mut done = 0;
    while done < n {
        let mut text = schema(g, 3);
        if text.starts_with('{') && text.len() > 2 {
            let definitions = format!(
                r##","$defs":{{"one":{},"two":{},"list":{{"items":{}}},"pair":{{"prefixItems":[{{"type":"null"}},{{"$ref":"#/$defs/two"}}]}}}}}}"##,
                schema(g, 1).replace("$ref", "ref"),
                schema(g, 1).replace("allOf", "anyOf"),
                schema(g, 1).replace("allOf", "anyOf")
            );
            text.truncate(text.len() - 1);
            text.push_str(&definitions);
        }
        if schema_can_be_asked(&text) {
            done += 1;
            println!("{}", hex(text.as_bytes()));
        }
    }
}

fn run_schema(line: &str) -> String {
    let Ok(schema) = serde_json::from_slice(&unhex(line)) else {
        return "no json".to_owned();
    };
    json_schema_to_grammar(&schema).map_or_else(|_| "refused".to_owned(), |text| hex(text.as_bytes()))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match args[..] {
        ["gen", kind, seed, n] => {
            let (mut g, n) = (SplitMix::new(number(seed)), number(n) as usize);
            match kind {
                "text" => gen_text(&mut g, n),
                "tokens" => gen_tokens(&mut g, n),
                _ => gen_schema(&mut g, n),
            }
        }
        ["run", kind, ref rest @ ..] => {
            let pieces = rest.first().map(|path| {
                let file = quipu_gguf::GgufFile::open(std::path::Path::new(path)).expect("a vocabulary file");
                let tokenizer = quipu_tokenizer::Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
                Arc::new(Pieces::new(Arc::new(tokenizer)))
            });
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            for line in std::io::stdin().lock().lines().map(|line| line.expect("text")) {
                let answer = match (kind, &pieces) {
                    ("tokens", Some(pieces)) => run_tokens(&line, pieces),
                    ("schema", _) => run_schema(&line),
                    _ => run_text(&line),
                };
                writeln!(out, "{answer}").expect("stdout");
            }
        }
        _ => panic!("usage: grammar_cases gen text|tokens|schema SEED N | run text|tokens|schema [VOCAB]"),
    }
}
