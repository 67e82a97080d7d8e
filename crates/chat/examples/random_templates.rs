//! Random templates: `cargo run --release -p quipu-chat --example random_templates -- SEED N` makes N of them from the language's own
//! parts, spoils one in eight, renders each, and says how it went. A panic is the end; so is an output beyond its bound.

use std::time::Instant;

use quipu_chat::{ChatTemplate, Error, FILTERS, Limits, Variables};
use quipu_testing::SplitMix;
use serde_json::{Map, Value, json};

/// Bounds small enough that a template which runs into them takes a millisecond.
const LIMITS: Limits = Limits { steps: 20_000, memory: 1 << 20, output: 1 << 16 };

const NAMES: [&str; 16] = [
    "messages",
    "m",
    "loop",
    "x",
    "ns",
    "bos_token",
    "eos_token",
    "tools",
    "add_generation_prompt",
    "none",
    "true",
    "false",
    "nothing",
    "caller",
    "varargs",
    "kwargs",
];
const ATTRIBUTES: [&str; 14] = [
    "role",
    "content",
    "a",
    "index0",
    "first",
    "last",
    "length",
    "items",
    "0",
    "__class__",
    "cycle",
    "changed",
    "previtem",
    "arguments",
];
const METHODS: [&str; 34] = [
    "strip",
    "lstrip",
    "rstrip",
    "split",
    "rsplit",
    "splitlines",
    "join",
    "replace",
    "upper",
    "lower",
    "title",
    "capitalize",
    "startswith",
    "endswith",
    "find",
    "rfind",
    "count",
    "index",
    "zfill",
    "center",
    "ljust",
    "rjust",
    "partition",
    "rpartition",
    "removeprefix",
    "removesuffix",
    "format",
    "items",
    "keys",
    "values",
    "get",
    "copy",
    "append",
    "isdigit",
];
const TESTS: [&str; 27] = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "even",
    "odd",
    "lower",
    "upper",
    "true",
    "false",
    "divisibleby(3)",
    "equalto(1)",
    "in [1]",
    "sameas none",
    "eq 1",
    "ne 1",
    "lt 2",
    "ge x",
    "filter",
];
const OPERATORS: [&str; 17] =
    ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">", "<=", ">=", "and", "or", "in"];
const FUNCTIONS: [&str; 10] =
    ["range", "dict", "namespace", "joiner", "cycler", "lipsum", "raise_exception", "strftime_now", "f", "x"];
const TEXTS: [&str; 12] = [
    "''",
    "'a'",
    "\"b c\"",
    "'\\n\\t\\\\'",
    "'é😀'",
    "'%s %d %5.2f'",
    "'{} {0} {a!r:>5}'",
    "'<a&b>'",
    "'\\u00e9\\x41'",
    "'  pad  '",
    "'A,B,,C'",
    "'%Y-%m-%d'",
];
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "7",
    "1_000",
    "1.5",
    "1e3",
    "9223372036854775807",
    "99999999999999999999999",
    "1e308",
    "0.1",
    "3",
];

/// Writes a template.
struct Maker {
    random: SplitMix,
    out: String,
}

impl Maker {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn list(&mut self, depth: usize, between: &str, item: fn(&mut Maker, usize)) {
        for i in 0..self.random.index(4) {
            if i > 0 {
                self.put(between);
            }
            item(self, depth);
        }
    }

    fn pair(&mut self, depth: usize) {
        let key = self.random.pick(&TEXTS);
        self.put(key);
        self.put(": ");
        self.expression(depth);
    }

    fn argument(&mut self, depth: usize) {
        match self.random.index(40) {
            0..4 => {
                let name = self.random.pick(&["attribute", "default", "width", "sep", "a", "n", "reverse"]);
                self.put(name);
                self.put("=");
            }
            4 => self.put("*"),
            5 => self.put("**"),
            _ => {}
        }
        self.expression(depth);
    }

    fn arguments(&mut self, depth: usize) {
        self.put("(");
        self.list(depth, ", ", Maker::argument);
        self.put(")");
    }

    fn atom(&mut self) {
        let text = match self.random.index(3) {
            0 => self.random.pick(&NUMBERS),
            1 => self.random.pick(&TEXTS),
            _ => self.random.pick(&NAMES),
        };
        self.put(text);
    }

    fn expression(&mut self, depth: usize) {
        if depth == 0 {
            return self.atom();
        }
        let depth = depth - 1;
        match self.random.index(16) {
            0 | 1 => self.atom(),
            2 => {
                self.put("[");
                self.list(depth, ", ", Maker::expression);
                self.put("]");
            }
            3 => {
                self.put("{");
                self.list(depth, ", ", Maker::pair);
                self.put("}");
            }
            4 => {
                self.put("(");
                self.list(depth, ", ", Maker::expression);
                self.put(",)");
            }
            5 | 6 => {
                self.expression(depth);
                let operator = self.random.pick(&OPERATORS);
                self.put(&format!(" {operator} "));
                self.expression(depth);
            }
            7 => {
                let unary = self.random.pick(&["not ", "-", "+", "("]);
                self.put(unary);
                self.expression(depth);
                if unary == "(" {
                    self.put(")");
                }
            }
            8 | 9 => {
                self.expression(depth);
                let known = self.random.index(200) > 0;
                let filter = if known { self.random.pick(&FILTERS) } else { "nosuchfilter" };
                self.put("|");
                self.put(filter);
                if self.random.index(2) == 0 {
                    self.arguments(depth);
                }
            }
            10 => {
                self.expression(depth);
                let known = self.random.index(200) > 0;
                let test = if known { self.random.pick(&TESTS) } else { "nosuchtest" };
                let is = self.random.pick(&[" is ", " is not "]);
                self.put(is);
                self.put(test);
            }
            11 => {
                self.expression(depth);
                let method = self.random.pick(&METHODS);
                self.put(".");
                self.put(method);
                self.arguments(depth);
            }
            12 => {
                self.expression(depth);
                let attribute = self.random.pick(&ATTRIBUTES);
                self.put(".");
                self.put(attribute);
            }
            13 => {
                self.expression(depth);
                self.put("[");
                self.expression(depth);
                if self.random.index(2) == 0 {
                    self.put(":");
                    self.expression(depth);
                    let step = self.random.pick(&["", ":", ":-1", ":2"]);
                    self.put(step);
                }
                self.put("]");
            }
            14 => {
                let function = self.random.pick(&FUNCTIONS);
                self.put(function);
                self.arguments(depth);
            }
            _ => {
                self.expression(depth);
                self.put(" if ");
                self.expression(depth);
                if self.random.index(3) > 0 {
                    self.put(" else ");
                    self.expression(depth);
                }
            }
        }
    }

    fn open(&mut self) {
        let mark = self.random.pick(&["{% ", "{%- ", "{%+ "]);
        self.put(mark);
    }

    fn close(&mut self) {
        let mark = self.random.pick(&[" %}", " -%}", " %}\n"]);
        self.put(mark);
    }

    fn tag(&mut self, text: &str) {
        self.open();
        self.put(text);
        self.close();
    }

    fn body(&mut self, depth: usize) {
        for _ in 0..self.random.index(4) {
            self.part(depth);
        }
    }

    fn part(&mut self, depth: usize) {
        let kind = if depth == 0 { self.random.index(3) } else { self.random.index(12) };
        let depth = depth.saturating_sub(1);
        match kind {
            0 => {
                let text = self.random.pick(&["text ", "\n", "  \r\n", "{ % } #", "é😀", "<|im_start|>"]);
                self.put(text);
            }
            1 | 2 => {
                let marks = [("{{ ", " }}"), ("{{- ", " -}}")][self.random.index(2)];
                self.put(marks.0);
                self.expression(3);
                self.put(marks.1);
            }
            3 | 4 => {
                self.open();
                self.put("if ");
                self.expression(2);
                self.close();
                self.body(depth);
                if self.random.index(2) == 0 {
                    self.open();
                    self.put("elif ");
                    self.expression(2);
                    self.close();
                    self.body(depth);
                }
                if self.random.index(2) == 0 {
                    self.tag("else");
                    self.body(depth);
                }
                self.tag("endif");
            }
            5 | 6 => {
                let target = self.random.pick(&["m", "x", "k, v", "m, (x, y)"]);
                self.open();
                self.put(&format!("for {target} in "));
                if self.random.index(2) == 0 {
                    self.put("messages");
                } else {
                    self.expression(2);
                }
                if self.random.index(4) == 0 {
                    self.put(" if ");
                    self.expression(1);
                }
                if self.random.index(8) == 0 {
                    self.put(" recursive");
                }
                self.close();
                self.body(depth);
                if self.random.index(4) == 0 {
                    let jump = self.random.pick(&["break", "continue"]);
                    self.tag(jump);
                }
                if self.random.index(4) == 0 {
                    self.tag("else");
                    self.body(depth);
                }
                self.tag("endfor");
            }
            7 => {
                let target = self.random.pick(&["x", "ns.a", "x, m", "ns"]);
                self.open();
                self.put(&format!("set {target}"));
                if self.random.index(4) == 0 {
                    self.close();
                    self.body(depth);
                    self.tag("endset");
                } else {
                    self.put(" = ");
                    self.expression(3);
                    self.close();
                }
            }
            8 => {
                self.open();
                self.put("macro f(a, n=");
                self.expression(1);
                self.put(")");
                self.close();
                self.body(depth);
                self.tag("endmacro");
            }
            9 => {
                self.open();
                self.put("call(x) f");
                self.arguments(1);
                self.close();
                self.body(depth);
                self.tag("endcall");
            }
            10 => {
                let filter = self.random.pick(&FILTERS);
                self.tag(&format!("filter {filter}"));
                self.body(depth);
                self.tag("endfilter");
            }
            _ => {
                let text = self.random.pick(&[
                    "{# note -#}",
                    "{% raw %}\n{{ x }}{% endraw %}",
                    "{% generation %}y{% endgeneration %}",
                ]);
                self.put(text);
            }
        }
    }

    /// Takes a character out, or puts one in.
    fn spoil(&mut self) {
        for _ in 0..=self.random.index(3) {
            let chars: Vec<(usize, char)> = self.out.char_indices().collect();
            if chars.is_empty() {
                return;
            }
            let (at, c) = chars[self.random.index(chars.len())];
            if self.random.index(2) == 0 {
                self.out.replace_range(at..at + c.len_utf8(), "");
            } else {
                let new = self
                    .random
                    .pick(&["{", "}", "%", "'", "\"", "(", ")", "|", "\\", "\n", "-", "\u{0}", "𝕏"]);
                self.out.insert_str(at, new);
            }
        }
    }

    fn template(&mut self) -> String {
        self.out.clear();
        let parts = 1 + self.random.index(4);
        (0..parts).for_each(|_| self.part(3));
        if self.random.index(8) == 0 {
            self.spoil();
        }
        std::mem::take(&mut self.out)
    }
}

fn messages() -> Value {
    json!([
        { "role": "system", "content": "Be brief.\r\n" },
        { "role": "user", "content": [{ "type": "text", "text": "é😀 <a>" }] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "type": "function", "function": { "name": "f", "arguments": { "x": [1, 2.5, true, null] } } },
        ]},
    ])
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let (seed, n) = (args.next().unwrap_or(1), args.next().unwrap_or(10_000));
    let mut maker = Maker { random: SplitMix::new(seed), out: String::new() };
    let mut variables = Variables::new(messages(), Some(json!([{ "name": "f" }])), true, Map::new());
    variables.limits = Some(LIMITS);
    let start = Instant::now();
    let [mut rendered, mut failed, mut bounded, mut unparsed] = [0u64; 4];
    for i in 0..n {
        let source = maker.template();
        match ChatTemplate::new(&source, "<s>", "</s>") {
            Ok(template) => match template.render_with(&variables) {
                Ok(text) => {
                    assert!(text.len() <= LIMITS.output, "{source}");
                    rendered += 1;
                }
                Err(Error::Exceeded { .. }) => bounded += 1,
                Err(_) => failed += 1,
            },
            Err(_) => unparsed += 1,
        }
        if (i + 1) % 1_000_000 == 0 || i + 1 == n {
            println!(
                "seed {seed}: {} templates: {rendered} rendered, {failed} errors, {bounded} at a bound, {unparsed} do not parse; {:.0} s; {}",
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
