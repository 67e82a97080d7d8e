//! Grammars through the public API: what is parsed, what is refused and where, what is accepted, and that nothing
//! an author can write makes them run away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use quipu_sampler::{
    Candidates, Chain, Dist, Error, Gbnf, Grammar, Pieces, Sampler, TokenId, Triggers, Vocabulary,
    grammar::{Matcher, Verdict},
};

fn check(grammar: &str, text: &str) -> Verdict {
    Gbnf::parse(grammar, "root", None).unwrap().check(text).unwrap()
}

fn accepts(grammar: &str, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert_eq!(check(grammar, text), Verdict::Accepted, "{grammar}: {text:?}");
    }
    for text in no {
        assert_ne!(check(grammar, text), Verdict::Accepted, "{grammar}: {text:?}");
    }
}

fn refusal(grammar: &str) -> Error {
    Gbnf::parse(grammar, "root", None).unwrap_err()
}

#[test]
fn the_elements_of_the_language() {
    accepts("root ::= \"ab\" | \"c\"", &["ab", "c"], &["", "a", "abc"]);
    accepts("root ::= [a-cx]+ # letters\n", &["abx", "c"], &["", "d"]);
    accepts("root ::= [^a-c]", &["d", "é", "\n"], &["a", "b", "dd"]);
    accepts("root ::= . .", &["ab", "é€"], &["a", "abc"]);
    accepts("root ::= \"\\x41\\u00e9\\U0001F600\\t\\n\\r\\\\\\\"\\[\\]\"", &["Aé😀\t\n\r\\\"[]"], &["A"]);
    accepts("root ::= (\"a\" | \"b\"\n | \"c\") \"d\"", &["ad", "cd"], &["a", "dd"]);
    accepts("root ::= a b?\na ::= \"x\" | \"\"\nb ::= \"y\"\n", &["", "x", "y", "xy"], &["yx"]);
    accepts("root ::= \"a\"{2}", &["aa"], &["a", "aaa"]);
    accepts("root ::= \"a\"{ 2 , }", &["aa", "aaaaa"], &["a"]);
    accepts("root ::= \"a\"{1,3}", &["a", "aa", "aaa"], &["", "aaaa"]);
    accepts("root ::= (\"ab\"?){0,2} \"c\"*", &["", "ab", "ababccc"], &["ababab", "ca"]);
    accepts("root ::= \"a\"{0} \"b\"", &["b"], &["ab"]);
    accepts("root ::= [-a] [a-] [é-€]", &["-aé", "a-€"], &["bbé"]);
    accepts("root ::= \"\"", &[""], &["a"]);
}

#[test]
fn json_and_arithmetic() {
    let json = r#"root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair (ws "," ws pair)*)? ws "}"
pair ::= string ws ":" ws value
array ::= "[" ws (value (ws "," ws value)*)? ws "]"
string ::= "\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= [ \t\n]*"#;
    accepts(
        json,
        &["{}", "[1, -2.5e+3, {\"a\\u00e9\": [null]}]", "\"é\\n\"", "[[[[]]]]"],
        &["{", "[1,]", "01", "{\"a\" 1}", "\"\n\"", ""],
    );
    let sums = "root ::= (expr \"=\" term \"\\n\")+\nexpr ::= term ([-+*/] term)*\nterm ::= [a-z] | [0-9]+ | \"(\" expr \")\"";
    accepts(sums, &["1+2=3\n", "(a*7)/b=c\n1=1\n"], &["1+=3\n", "1=2", "=\n"]);
    assert_eq!(check(sums, "1+=3"), Verdict::RejectedAt(2));
    assert_eq!(check(sums, "1+é"), Verdict::RejectedAt(2));
    assert_eq!(check(sums, "1+2"), Verdict::Incomplete);
}

#[test]
fn errors_say_where() {
    let place = |grammar: &str| match refusal(grammar) {
        Error::GrammarSyntax { line, column, .. } => (line, column),
        other => panic!("{grammar}: {other}"),
    };
    assert_eq!(place("root ::= \"a\nb\" )"), (2, 4));
    assert_eq!(place("root ::= \"é\" )"), (1, 14));
    assert_eq!(place("root := \"a\""), (1, 6));
    assert_eq!(place("root ::= * \"a\""), (1, 10));
    assert_eq!(place("root ::= (\"a\""), (1, 14));
    assert_eq!(place("root ::= [a-"), (1, 13));
    assert_eq!(place("root ::= \"\\q\""), (1, 11));
    assert_eq!(place("root ::= \"\\x4\""), (1, 11));
    assert_eq!(place("root ::= \"a\"{b}"), (1, 14));
    assert_eq!(place("root ::= \"a\"{3,2}"), (1, 16));
    assert_eq!(place("root ::= \"a\"{2001}"), (1, 14));
    assert_eq!(place("root ::= <[1"), (1, 13));
    assert_eq!(place("root ::= <a>"), (1, 10));
    assert_eq!(place(""), (1, 1));
    assert_eq!(place("# nothing\n"), (2, 1));
    assert_eq!(place("root ::= \"a\0\""), (1, 12));
    let message = refusal("root ::= \"a\" )").to_string();
    assert_eq!(message, "grammar, line 1 column 14: ')', expected an element, a line end or the end");
}

#[test]
fn undefined_and_left_recursive_rules() {
    assert_eq!(refusal("root ::= other"), Error::GrammarUndefined { name: "other".into() });
    assert_eq!(refusal("rot ::= \"a\""), Error::GrammarUndefined { name: "root".into() });
    for grammar in [
        "root ::= root \"a\" | \"b\"",
        "root ::= a \"x\"\na ::= b | \"y\"\nb ::= root",
        "root ::= \"x\" a\na ::= empty a \"b\"\nempty ::= \"e\" |",
        "root ::= \"a\"**",
    ] {
        assert!(matches!(refusal(grammar), Error::GrammarLeftRecursion { .. }), "{grammar}");
    }
    accepts("root ::= \"a\" root | \"b\"", &["aab", "b"], &["aa"]);
}

#[test]
fn limits_are_errors_and_reached_soon() {
    let started = Instant::now();
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(refusal(&nested), Error::GrammarLimit { .. }));
    assert!(matches!(refusal("root ::= (\"a\"{1000}){3}{1000}"), Error::GrammarLimit { .. }));
    let long = format!("root ::= \"{}\"{{1999}}", "a".repeat(100_000));
    assert!(matches!(refusal(&long), Error::GrammarLimit { .. }));
    assert!(matches!(refusal(&"#".repeat(5 << 20)), Error::GrammarLimit { .. }));
    // A chain of rules as deep as the text is long must not use the call stack.
    let chain: Vec<String> = (0..50_000).map(|i| format!("r{i} ::= r{}", i + 1)).collect();
    let chain = chain.join("\n");
    accepts(&format!("root ::= r0\n{chain}\nr50000 ::= \"x\""), &["x"], &["y"]);
    // Left recursion behind a rule that is empty in two steps passes the check of the parser.
    let hidden = Gbnf::parse("root ::= a root \"z\" | \"y\"\na ::= b\nb ::= \"x\" |", "root", None).unwrap();
    assert!(matches!(Matcher::new(&hidden), Err(Error::GrammarLimit { .. })));
    // Twice as many stacks with each character.
    let doubling = Gbnf::parse("root ::= \"a\" root \"b\" | \"a\" root \"c\" |", "root", None).unwrap();
    assert!(matches!(doubling.check(&"a".repeat(100)), Err(Error::GrammarLimit { .. })));
    assert!(started.elapsed() < Duration::from_mins(1));
}

#[test]
fn deep_recursion_of_the_text() {
    let brackets = Gbnf::parse("root ::= \"[\" root \"]\" |", "root", None).unwrap();
    let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(brackets.check(&text), Ok(Verdict::Accepted));
}

#[test]
fn characters_cut_between_pieces() {
    let gbnf = Gbnf::parse("root ::= [à-ü]+ \"€\"", "root", None).unwrap();
    let text = "éü€".as_bytes();
    for cut in 0..=text.len() {
        let mut matcher = Matcher::new(&gbnf).unwrap();
        assert!(matcher.accept_bytes(&text[..cut]).unwrap() && matcher.accept_bytes(&text[cut..]).unwrap());
        assert!(matcher.may_end());
    }
}

/// Token `i` stands for `texts[i]`; the last one ends generation.
struct Texts(Vec<Vec<u8>>);

impl Vocabulary for Texts {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        self.piece(token)
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token as usize == self.0.len() - 1
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        Some(self.0.len() as TokenId - 1)
    }

    fn tokenize(&self, text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        self.0.iter().position(|t| t == text).into_iter().map(|i| i as TokenId).collect()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

fn pieces(texts: &[&[u8]]) -> Arc<Pieces> {
    Arc::new(Pieces::new(Arc::new(Texts(texts.iter().map(|t| t.to_vec()).collect()))))
}

fn allowed(grammar: &mut Grammar, n: usize) -> Vec<TokenId> {
    let mut c = Candidates::from_logits(&vec![0.0; n]);
    grammar.apply(&mut c).unwrap();
    c.data.iter().filter(|c| c.logit == 0.0).map(|c| c.id).collect()
}

#[test]
fn tokens_that_fit() {
    let texts: [&[u8]; 9] = [b"a", b"ab", b"abc", b"b", b"\xC3", b"\xA9", b"", b"\xC3\xA9b", b"</s>"];
    let vocabulary = pieces(&texts);
    let mut grammar = Grammar::new(&vocabulary, "root ::= \"a\"? (\"b\" | \"é\" \"b\")", "root").unwrap();
    assert_eq!(allowed(&mut grammar, 9), [0, 1, 3, 4, 7]);
    grammar.accept(0);
    assert_eq!(allowed(&mut grammar, 9), [3, 4, 7]);
    grammar.accept(4);
    assert_eq!(allowed(&mut grammar, 9), [5]);
    grammar.accept(5);
    assert_eq!(allowed(&mut grammar, 9), [3]);
    grammar.accept(3);
    assert!(grammar.may_end());
    assert_eq!(allowed(&mut grammar, 9), [8]);
    grammar.accept_token(8).unwrap();
    let rejected = Error::GrammarRejected { token: 0, piece: "a".into() };
    assert_eq!(grammar.accept_token(0), Err(rejected.clone()));
    assert_eq!(grammar.apply(&mut Candidates::from_logits(&[0.0])), Err(rejected));
    grammar.reset();
    assert_eq!(allowed(&mut grammar, 9), [0, 1, 3, 4, 7]);
    let mut outside = Candidates::from_logits(&[0.0; 20]);
    grammar.apply(&mut outside).unwrap();
    assert!(outside.data[9..].iter().all(|c| c.logit == f32::NEG_INFINITY));
}

#[test]
fn tokens_by_id_and_by_text() {
    let texts: [&[u8]; 5] = [b"a", b"<x>", b"b", b"ab", b"</s>"];
    let vocabulary = pieces(&texts);
    let mut grammar = Grammar::new(&vocabulary, "root ::= <x> !<[2]> \"b\"*", "root").unwrap();
    assert_eq!(allowed(&mut grammar, 5), [1]);
    grammar.accept(1);
    assert_eq!(allowed(&mut grammar, 5), [0, 1, 3]);
    grammar.accept(3);
    assert_eq!(allowed(&mut grammar, 5), [2, 4]);
    assert!(Grammar::new(&vocabulary, "root ::= <y>", "root").is_err());
}

#[test]
fn a_lazy_grammar_sleeps_until_it_is_triggered() {
    let texts: [&[u8]; 6] = [b"x", b"{", b"}", b"x{", b"!", b"</s>"];
    let vocabulary = pieces(&texts);
    let text = "root ::= \"{\" \"x\"* \"}\"";
    let lazy = |triggers: Triggers| Grammar::lazy(&vocabulary, text, "root", &triggers).unwrap();
    let by_word = || lazy(Triggers { words: vec!["{".into()], ..Triggers::default() });
    let by_token = || lazy(Triggers { tokens: vec![1], ..Triggers::default() });
    let by_pattern = || lazy(Triggers { patterns: vec!["x(\\{)".into()], ..Triggers::default() });
    for (mut grammar, tokens) in
        [(by_word(), vec![0, 3]), (by_token(), vec![3, 1]), (by_pattern(), vec![1, 0, 3])]
    {
        for token in tokens {
            assert_eq!(allowed(&mut grammar, 6).len(), 6);
            grammar.accept_token(token).unwrap();
        }
        assert!(!grammar.is_waiting());
        assert_eq!(allowed(&mut grammar, 6), [0, 2]);
        grammar.reset();
        assert_eq!(allowed(&mut grammar, 6).len(), 6);
    }
    let bad = Triggers { patterns: vec!["(".into()], ..Triggers::default() };
    assert!(matches!(Grammar::lazy(&vocabulary, text, "root", &bad), Err(Error::TriggerPattern { .. })));
}

#[test]
fn a_thousand_constrained_samples_without_a_violation() {
    let texts: Vec<Vec<u8>> = (32_u8..127)
        .map(|b| vec![b])
        .chain(
            [&b"{\""[..], b"\":", b"\", \"", b"12", b"\xC3", b"\xA9", b"\xE2\x82", b"\xAC", b"ab", b"\"}"]
                .map(<[u8]>::to_vec),
        )
        .chain([b"</s>".to_vec()])
        .collect();
    let n = texts.len();
    let vocabulary = Arc::new(Pieces::new(Arc::new(Texts(texts.clone()))));
    let text = "root ::= \"{\" pair (\", \" pair)* \"}\"\npair ::= string \":\" ([0-9]{1,3} | string)\nstring ::= \"\\\"\" [^\"\\\\]{0,6} \"\\\"\"";
    let gbnf = Gbnf::parse(text, "root", None).unwrap();
    let grammar = Grammar::new(&vocabulary, text, "root").unwrap();
    let mut ended = 0;
    for seed in 0..1000_u32 {
        let mut chain = Chain::new();
        chain.add(grammar.clone()).add(Dist::new(seed));
        let mut bytes = Vec::new();
        for step in 0..40 {
            let row: Vec<f32> =
                (0..n).map(|i| ((i * 7919 + step * 31 + seed as usize) % 97) as f32 / 20.0).collect();
            let token = chain.sample(&row).unwrap() as usize;
            if token == n - 1 {
                ended += 1;
                assert_eq!(gbnf.check(std::str::from_utf8(&bytes).unwrap()), Ok(Verdict::Accepted));
                break;
            }
            bytes.extend_from_slice(&texts[token]);
        }
        let mut matcher = Matcher::new(&gbnf).unwrap();
        assert!(matcher.accept_bytes(&bytes).unwrap(), "{}", String::from_utf8_lossy(&bytes));
    }
    assert!(ended > 100, "{ended}");
}

/// The slow way: every token on its own.
fn allowed_one_by_one(grammar: &mut Grammar, n: usize) -> Vec<TokenId> {
    let one = |token: TokenId| {
        let mut c = Candidates::from_logits(&[0.0]);
        c.data[0].id = token;
        c
    };
    let fits = |grammar: &mut Grammar, token| {
        let mut c = one(token);
        grammar.apply(&mut c).unwrap();
        c.data[0].logit == 0.0
    };
    (0..n as TokenId).filter(|&token| fits(grammar, token)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_parses_or_is_an_error(text in "[a-c:=|()\\[\\]{}*+?.,0-9\"\\\\<>!# \n^-]{0,60}") {
        for text in [text.clone(), format!("root ::= {text}")] {
            if let Ok(gbnf) = Gbnf::parse(&text, "root", None)
                && let Ok(verdict) = gbnf.check("abca")
            {
                prop_assert!(!matches!(verdict, Verdict::RejectedAt(at) if at > 3));
            }
        }
    }

    #[test]
    fn the_trie_and_single_tokens_agree(
        bytes in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\xC3\xA9\xE2\x82\xAC\x80\0 ".to_vec()), 0..5), 520..600),
        steps in prop::collection::vec(any::<u32>(), 0..6),
    ) {
        let n = bytes.len();
        let vocabulary = Arc::new(Pieces::new(Arc::new(Texts(bytes))));
        let text = "root ::= ([a-c] | \"é\" | \"€\" [ ]? | <[3]> | !<[4]> \"b\")+ \"a\" root?";
        let mut grammar = Grammar::new(&vocabulary, text, "root").unwrap();
        for step in steps {
            let fast = allowed(&mut grammar, n);
            prop_assert_eq!(&fast, &allowed_one_by_one(&mut grammar, n));
            let Some(&token) = fast.get(step as usize % fast.len().max(1)) else { break };
            if grammar.accept_token(token).is_err() {
                break;
            }
        }
    }
}
