//! Grammars made to run away: each gives an error or an answer within the bounds that the grammar module states. A
//! limit of time stands for "never a hang"; it is generous, because tests share their machine.

mod common;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Texts;
use quipu_sampler::{
    Candidates, Error, Gbnf, Grammar, Pieces, Sampler, TokenId, Vocabulary, grammar::Matcher,
    json_schema_to_grammar,
};

/// Runs it on a small call stack, so that recursion as deep as the input would show.
fn bounded<T: Send>(name: &str, limit: Duration, work: impl FnOnce() -> T + Send) -> T {
    let started = Instant::now();
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn_scoped(scope, work).expect("a thread").join().expect("no panic")
    });
    assert!(started.elapsed() < limit, "{name} took {:?}", started.elapsed());
    done
}

const SOON: Duration = Duration::from_mins(1);

/// Parses, matches a long text, and masks a vocabulary.
fn run(name: &str, grammar: &str, text: &str) {
    bounded(name, SOON, || {
        let Ok(gbnf) = Gbnf::parse(grammar, "root", None) else { return };
        let _ = gbnf.check(text);
        let mut texts: Vec<String> = (32..127_u8).map(|b| char::from(b).to_string()).collect();
        texts.extend((0..600).map(|i| "a".repeat(i % 300 + 1)));
        texts.push("</s>".into());
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let pieces = Arc::new(Pieces::new(Texts::shared(&texts)));
        let Ok(mut grammar) = Grammar::new(&pieces, grammar, "root") else { return };
        for _ in 0..3 {
            let mut candidates = Candidates::from_logits(&vec![0.0; texts.len()]);
            if grammar.apply(&mut candidates).is_err() {
                return;
            }
            let a = TokenId::from(b'a' - 32);
            if grammar.accept_token(a).is_err() {
                return;
            }
        }
    });
}

#[test]
fn ambiguity() {
    let text = "a".repeat(5000);
    for (name, grammar) in [
        ("two ways at each character", "root ::= \"a\" root \"b\" | \"a\" root \"c\" |"),
        ("Catalan", "root ::= \"a\" root root | \"a\""),
        ("sums of one and two", "root ::= x*\nx ::= y | y y\ny ::= z | z z\nz ::= \"a\" | \"a\" \"a\""),
        ("stars within stars", "root ::= ((((((\"a\"*)*)*)*)*)*)*"),
        ("pluses within pluses", "root ::= ((((((\"a\"+)+)+)+)+)+)+"),
        ("options within options", "root ::= ((((\"a\"?){50}){2})?){2} \"b\""),
        ("many optional ones", "root ::= \"a\"{0,2000} \"a\"{0,2000} \"b\""),
        ("the same alternative often", "root ::= (\"a\" | \"a\" | \"a\" | \"a\" | [a] | [^b] | .)* \"b\""),
        ("overlapping classes", "root ::= ([a-z] [a-m] | [a-h] | [a-d] [a-f] [a-z])* \"0\""),
    ] {
        run(name, grammar, &text);
    }
}

#[test]
fn loops_of_nothing() {
    let text = "aaab".repeat(500);
    for grammar in [
        "root ::= (\"\" | root2)*\nroot2 ::= \"\"",
        "root ::= (\"\")*",
        "root ::= (\"\"*)*",
        "root ::= (\"\"+)+ \"a\"",
        "root ::= (\"\"?)*",
        "root ::= ((\"\" | \"\")* | \"\")*",
        "root ::= (\"\" | \"a\")* (\"\" | \"b\")*",
        "root ::= x y x y\nx ::= y*\ny ::= x2*\nx2 ::= |",
        "root ::= \"\"{0,2000}",
        "root ::= (\"\"{1999}){1,2}",
        "root ::= root2 | root2 root2\nroot2 ::= | |",
    ] {
        run(grammar, grammar, &text);
    }
}

#[test]
fn left_recursion_in_all_its_guises() {
    for grammar in [
        "root ::= root",
        "root ::= root | \"a\"",
        "root ::= (root)",
        "root ::= root*",
        "root ::= a\na ::= b\nb ::= c\nc ::= a",
        "root ::= (\"\" | root) \"a\"",
    ] {
        let refused = bounded(grammar, SOON, || Gbnf::parse(grammar, "root", None).err());
        let run_away = refused.is_some()
            || bounded(grammar, SOON, || Gbnf::parse(grammar, "root", None).unwrap().check("aaa").is_err());
        assert!(run_away, "{grammar}");
    }
    // Behind rules that are empty in several steps the parser does not see it (nor does the reference, which then
    // overflows its stack or never returns); the matcher's bounds do.
    for grammar in [
        "root ::= e root \"a\" | \"a\"\ne ::= f\nf ::= \"b\" |",
        "root ::= e{0,5} root \"a\" | \"a\"\ne ::= \"b\"",
        "root ::= e root e root | \"a\"\ne ::= f f\nf ::= g\ng ::= |",
        "root ::= (\"b\"? | e) (root | \"a\") \"c\"\ne ::= \"\"",
    ] {
        run(grammar, grammar, &"abc".repeat(300));
    }
    // A cycle of a hundred thousand rules.
    let mut long = String::from("root ::= r0\n");
    for i in 0..100_000 {
        writeln!(long, "r{i} ::= r{}", (i + 1) % 100_000).unwrap();
    }
    let error = bounded("a long cycle", SOON, || Gbnf::parse(&long, "root", None).unwrap_err());
    assert!(matches!(error, Error::GrammarLeftRecursion { .. }), "{error}");
}

#[test]
fn size_and_depth() {
    for (name, grammar) in [
        ("groups", format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000))),
        ("open groups", format!("root ::= {}", "(".repeat(1_000_000))),
        ("open class", format!("root ::= [{}", "a".repeat(1_000_000))),
        ("open text", format!("root ::= \"{}", "a".repeat(1_000_000))),
        ("stars", format!("root ::= \"a\"{}", "*".repeat(1_000_000))),
        ("repetitions of repetitions", format!("root ::= \"a\"{}", "{2}".repeat(1000))),
        ("a large repetition", "root ::= \"a\"{1000000000}".to_owned()),
        ("a number that is none", format!("root ::= \"a\"{{{}}}", "9".repeat(100_000))),
        ("many repetitions", format!("root ::= {}", "\"a\"{1999} ".repeat(5000))),
        ("a long text repeated", format!("root ::= (\"{}\"){{1999}}", "a".repeat(100_000))),
        ("newlines", format!("root ::= \"a\"{}", "\n".repeat(4_000_000))),
        ("comments", format!("root ::= \"a\" {}", "# a\n".repeat(1_000_000))),
        ("alternatives", format!("root ::= {}\"a\"", "|".repeat(1_000_000))),
        ("names", format!("{} ::= \"a\"", "r".repeat(1_000_000))),
        ("too much", "#".repeat(100 << 20)),
    ] {
        run(name, &grammar, "aaaa");
    }
    // Rules as deep as a grammar can hold, in both directions, and a text that goes down all of them.
    let n = 40_000;
    let mut chain = String::from("root ::= r0\n");
    for i in 0..n {
        writeln!(chain, "r{i} ::= \"a\"? r{} \"b\"?", i + 1).unwrap();
    }
    writeln!(chain, "r{n} ::= \"c\"").unwrap();
    run("a chain of options", &chain, &format!("{}c", "a".repeat(1000)));
    run(
        "deep text",
        "root ::= \"a\" root \"b\" | \"c\"",
        &format!("{}c{}", "a".repeat(200_000), "b".repeat(200_000)),
    );
}

#[test]
fn large_classes_and_many_alternatives() {
    let mut class = String::from("root ::= [");
    for i in 0..200_000_u32 {
        write!(class, "\\U{:08x}", 0x1000 + i * 2).unwrap();
    }
    class += "a]*";
    run("a class of 200,000", &class, &"a\u{1001}".repeat(2000));
    // A stack for each alternative, each with a large class on top.
    let rest: Vec<String> = (0..2000).map(|i| format!("x \"{i}\"")).collect();
    let many =
        format!("root ::= ({})*\nx ::= {}", rest.join(" | "), &class["root ::= ".len()..class.len() - 1]);
    run("many stacks under a large class", &many, "a1a2a3a1999");
    let words: Vec<String> = (0..100_000).map(|i| format!("\"w{i}\"")).collect();
    run("100,000 words", &format!("root ::= ({})*", words.join(" | ")), "w1w2w99999w100000");
}

#[test]
fn a_hundred_thousand_tokens_by_id() {
    let texts: Vec<Vec<u8>> = (0..20_000_u32).map(|i| format!("{}", i % 5000).into_bytes()).collect();
    let n = texts.len();
    let pieces = Arc::new(Pieces::new(Arc::new(Texts(texts)) as Arc<dyn Vocabulary>));
    for not in ["", "!"] {
        let by_id: Vec<String> = (0..100_000).map(|i| format!("{not}<[{i}]>")).collect();
        let grammar = format!("root ::= ({} | [0-9] | \"12\" <[7]>)+", by_id.join(" | "));
        let allowed = bounded("tokens by id", SOON, || {
            let mut grammar = Grammar::new(&pieces, &grammar, "root").unwrap();
            let mut candidates = Candidates::from_logits(&vec![0.0; n]);
            grammar.apply(&mut candidates).unwrap();
            let one_by_one = (0..50).filter(|&token| grammar.allows(token).unwrap()).count();
            grammar.accept_token(3).unwrap();
            grammar.apply(&mut candidates).unwrap();
            (candidates.data.iter().filter(|c| c.logit == 0.0).count(), one_by_one)
        });
        assert_eq!(allowed, (n, 50));
    }
}

#[test]
fn memory_is_let_go_along_a_long_text() {
    let gbnf = Gbnf::parse("root ::= ([a-c]{1,9} \" \" | \"[\" root \"]\")*", "root", None).unwrap();
    bounded("a million characters", 2 * SOON, || {
        let mut matcher = Matcher::new(&gbnf).unwrap();
        let mut random = quipu_testing::SplitMix::new(1);
        let mut depth = 0;
        let mut run = 0;
        for _ in 0..1_000_000 {
            let c = match random.below(16) {
                _ if run == 9 => ' ',
                0..=8 => 'a',
                9..=12 if run > 0 => ' ',
                13 if run == 0 && depth < 50_000 => '[',
                14 if run == 0 && depth > 0 => ']',
                _ => 'b',
            };
            run = if matches!(c, 'a' | 'b') { run + 1 } else { 0 };
            depth = match c {
                '[' => depth + 1,
                ']' => depth - 1,
                _ => depth,
            };
            assert!(matcher.accept_char(c as u32).unwrap());
        }
    });
}

#[test]
fn schemas_that_run_away() {
    let nested = format!("{}true{}", "{\"items\": ".repeat(120), "}".repeat(120));
    let wide: Vec<String> = (0..3000).map(|i| format!("\"p{i}\": {{\"type\": \"integer\"}}")).collect();
    let refs: Vec<String> = (0..60)
        .map(|i| {
            format!(
                "\"d{i}\": {{\"anyOf\": [{{\"$ref\": \"#/$defs/d{0}\"}}, {{\"$ref\": \"#/$defs/d{0}\"}}]}}",
                i + 1
            )
        })
        .collect();
    for schema in [
        nested,
        format!("{{\"type\": \"object\", \"properties\": {{{}}}}}", wide.join(", ")),
        format!("{{\"$defs\": {{{}, \"d60\": {{\"type\": \"null\"}}}}, \"$ref\": \"#/$defs/d0\"}}", refs.join(", ")),
        "{\"$ref\": \"#\"}".to_owned(),
        "{\"type\": \"string\", \"minLength\": 100000, \"maxLength\": 1000000}".to_owned(),
        "{\"type\": \"string\", \"pattern\": \"^((((a{50}){50}){50}){50})$\"}".to_owned(),
        "{\"type\": \"array\", \"items\": {\"type\": \"array\", \"minItems\": 1000, \"maxItems\": 2000}, \"minItems\": 1999}"
            .to_owned(),
    ] {
        let schema = serde_json::from_str(&schema).unwrap();
        let gbnf = bounded("a schema", SOON, || json_schema_to_grammar(&schema));
        if let Ok(gbnf) = gbnf {
            run("a schema's grammar", &gbnf, "{\"p1\": 1}");
        }
    }
}
