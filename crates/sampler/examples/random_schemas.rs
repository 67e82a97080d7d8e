//! Random JSON schemas: `cargo run --release -p quipu-sampler --example random_schemas -- SEED N` makes N of them from the keywords, some with
//! values of the wrong kind, converts each in both ways and reads the grammars. A panic is the end; so is a grammar of ours
//! that does not parse, or that takes a text which is no JSON.

use std::time::Instant;

use quipu_sampler::grammar::Verdict;
use quipu_sampler::{Error, Gbnf, WhiteSpace, json_schema_to_grammar, schema_to_grammar};
use quipu_testing::SplitMix;
use serde_json::{Map, Value, json};

const TYPES: [&str; 8] = ["object", "array", "string", "number", "integer", "boolean", "null", "nothing"];
const NAMES: [&str; 8] = ["a", "b", "c d", "é", "a\"b", "", "$ref", "x~/%"];
const PATTERNS: [&str; 22] = [
    "^a+$",
    "[^\"]{2,3}",
    "\\d{3}",
    "(a|b)*c?",
    ".",
    "^$",
    "\\w+\\s",
    "[a-z&&b]",
    "(?=x)",
    "\\1",
    "a{1000}",
    "[[:alpha:]]",
    "\\u00e9",
    "^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$",
    "\\p{L}",
    "[\\]\\\\-]",
    "(",
    "^x",
    "y$",
    "(?:ab){2,}",
    "\\.",
    "é|😀",
];
const FORMATS: [&str; 12] = [
    "date",
    "time",
    "date-time",
    "uuid",
    "email",
    "ipv4",
    "ipv6",
    "hostname",
    "uri",
    "regex",
    "duration",
    "nothing",
];
const REFS: [&str; 9] = [
    "#",
    "#/$defs/a",
    "#/$defs/b~1c",
    "#/properties/a",
    "#/nowhere",
    "#/allOf/0",
    "https://x.y/z",
    "#anchor",
    "#/items",
];
const KEYWORDS: [&str; 46] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "enum",
    "const",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$ref",
    "$defs",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "title",
    "default",
    "$dynamicRef",
    "nullable",
    "definitions",
    "$anchor",
];

/// Makes schemas and values.
struct Random(SplitMix);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0.index(n)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.0.pick(of)
    }

    fn number(&mut self) -> Value {
        match self.below(12) {
            0..=5 => json!(self.below(6)),
            6 => json!(-(self.below(100) as i64)),
            7 => json!(self.below(1000) as f64 / 8.0),
            8 => json!(0.1),
            9 => json!(2000),
            10 => json!(1e300),
            _ => json!(i64::MAX),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 | 3 => self.number(),
            4 | 5 => json!(self.one(&NAMES)),
            6 => (0..self.below(3)).map(|_| self.value(depth - 1)).collect(),
            _ => self.map(depth, Random::value),
        }
    }

    fn map(&mut self, depth: usize, item: fn(&mut Random, usize) -> Value) -> Value {
        let mut map = Map::new();
        for _ in 0..self.below(4) {
            let name = self.one(&NAMES).to_owned();
            map.insert(name, item(self, depth.saturating_sub(1)));
        }
        Value::Object(map)
    }

    fn schemas(&mut self, depth: usize) -> Value {
        (0..=self.below(3)).map(|_| self.schema(depth)).collect()
    }

    fn schema(&mut self, depth: usize) -> Value {
        if depth == 0 {
            return match self.below(4) {
                0 => json!(true),
                1 => json!(false),
                2 => json!({}),
                _ => json!({ "type": self.one(&TYPES) }),
            };
        }
        let mut map = Map::new();
        for _ in 0..=self.below(4) {
            let keyword = self.one(&KEYWORDS);
            map.insert(keyword.to_owned(), self.keyword(keyword, depth - 1));
        }
        Value::Object(map)
    }

    fn keyword(&mut self, keyword: &str, depth: usize) -> Value {
        // Now and then something else than belongs there.
        if self.below(40) == 0 {
            return self.value(2);
        }
        match keyword {
            "type" if self.below(4) == 0 => (0..self.below(4)).map(|_| json!(self.one(&TYPES))).collect(),
            "type" => json!(self.one(&TYPES)),
            "properties" | "$defs" | "definitions" | "dependentSchemas" => self.map(depth, Random::schema),
            "patternProperties" => {
                let pattern = self.one(&PATTERNS).to_owned();
                let schema = self.schema(depth);
                json!({ pattern: schema })
            }
            "required" => (0..self.below(3)).map(|_| json!(self.one(&NAMES))).collect(),
            "dependentRequired" => json!({ self.one(&NAMES): [self.one(&NAMES)] }),
            "prefixItems" | "allOf" | "anyOf" | "oneOf" => self.schemas(depth),
            "minProperties" | "maxProperties" | "minContains" | "maxContains" | "minItems" | "maxItems"
            | "minLength" | "maxLength" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
            | "multipleOf" => self.number(),
            "uniqueItems" | "nullable" => json!(self.below(2) == 0),
            "pattern" => json!(self.one(&PATTERNS)),
            "format" => json!(self.one(&FORMATS)),
            "enum" => (0..=self.below(3)).map(|_| self.value(2)).collect(),
            "const" | "default" | "title" => self.value(2),
            "$ref" | "$dynamicRef" => json!(self.one(&REFS)),
            "$anchor" => json!("anchor"),
            _ => self.schema(depth),
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let (seed, n) = (args.next().unwrap_or(1), args.next().unwrap_or(10_000));
    let mut random = Random(SplitMix::new(seed));
    let start = Instant::now();
    let [mut exact, mut empty, mut refused, mut llama] = [0u64; 4];
    let mut slowest = 0.0f64;
    for i in 0..n {
        let depth = 1 + random.below(3);
        let schema = random.schema(depth);
        let begun = Instant::now();
        match schema_to_grammar(&schema, WhiteSpace::Any) {
            Ok(grammar) => {
                exact += 1;
                let gbnf =
                    Gbnf::parse(&grammar, "root", None).unwrap_or_else(|error| panic!("{schema}: {error}"));
                for text in [" ", "{\"a\" 1}", "[1,]", "\"\u{1}\""] {
                    assert!(!matches!(gbnf.check(text), Ok(Verdict::Accepted)), "{schema}: {text}");
                }
            }
            Err(Error::SchemaEmpty) => empty += 1,
            // What a panic of the conversion's thread becomes.
            Err(error) if error.to_string().contains("could not be run") => panic!("{schema}: {error}"),
            Err(_) => refused += 1,
        }
        if let Ok(grammar) = json_schema_to_grammar(&schema) {
            llama += 1;
            let _ = Gbnf::parse(&grammar, "root", None);
        }
        slowest = slowest.max(begun.elapsed().as_secs_f64());
        if (i + 1) % 1_000_000 == 0 || i + 1 == n {
            println!(
                "seed {seed}: {} schemas: {exact} exact, {empty} empty, {refused} refused, {llama} as llama; {:.0} s, slowest {slowest:.2} s; {}",
                i + 1,
                start.elapsed().as_secs_f64(),
                peak()
            );
        }
    }
}

/// The most memory the process had, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown").to_owned()
}
