//! The cases of the reference's `test-grammar-parser.cpp`, `test-grammar-integration.cpp` and
//! `test-llama-grammar.cpp`: which grammars are refused, how many rules the others become, and which texts and
//! token runs they take. `data/grammar_verdicts.json` holds the texts; in it a number stands for a token.

use std::sync::Arc;

use quipu_sampler::{
    Candidates, Error, Gbnf, Grammar, Pieces, Sampler, TokenId, Vocabulary,
    grammar::{Matcher, Verdict},
};
use serde_json::Value;

const TERMS: &str = "root ::= (expr \"=\" term \"\\n\")+
expr ::= term ([-+*/] term)*
term ::= [0-9]+";

const IDENTIFIERS: &str = "root ::= (expr \"=\" ws term \"\\n\")+
expr ::= term ([-+*/] term)*
term ::= ident | num | \"(\" ws expr \")\" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \\t\\n]*";

#[test]
fn grammars_that_are_refused() {
    let refused = [
        "root ::= \"a\"{,}\"",
        "root ::= (((((([^x]*){0,99}){0,99}){0,99}){0,99}){0,99}){0,99}",
        "root ::= \"a\"{,10}\"",
        "root ::= \"a\"{5000}",
        "root ::= \"a\"{5000,}",
        "root ::= \"a\"{5000,6000}",
        // No rule of the root's name, and a reference to no rule.
        "rot ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= number\nnumber ::= [0-9]+",
        "root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= numero\nnumber ::= [0-9]+",
    ];
    for grammar in refused {
        assert!(Gbnf::parse(grammar, "root", None).is_err(), "{grammar}");
    }
}

#[test]
fn left_recursion_is_found() {
    let recursive = [
        "root ::= \"a\" | root \"a\"",
        "root ::= asdf\nasdf ::= \"a\" | asdf \"a\"",
        "root ::= asdf\nasdf ::= \"a\" | foo \"b\"\nfoo ::= \"c\" | asdf \"d\" | \"e\"",
        "root ::= asdf\nasdf ::= \"a\" | foo \"b\"\nfoo ::= \"c\" | empty asdf \"d\" | \"e\"\nempty ::= \"blah\" | ",
    ];
    for grammar in recursive {
        let refusal = Gbnf::parse(grammar, "root", None);
        assert!(matches!(refusal, Err(Error::GrammarLeftRecursion { .. })), "{grammar}: {refusal:?}");
    }
}

#[test]
fn the_root_can_have_any_name() {
    let parse = |name: &str, root: &str| Gbnf::parse(&format!("{name} ::= \"foobar\""), root, None);
    assert!(parse("root", "nonexistent").is_err());
    assert!(parse("foobar", "root").is_err());
    assert_eq!(parse("foobar", "foobar").unwrap().check("foobar"), Ok(Verdict::Accepted));
}

/// Groups and repetitions become rules of their own, as many as in the reference.
#[test]
fn numbers_of_rules() {
    let expected = [
        ("root ::= \"a\"{0,5000}", 2),
        ("root ::= \"a\"{3,5000}", 2),
        ("root ::= \"a\"", 1),
        ("root ::= \"a\" | [bdx-z] | [^1-3]", 1),
        ("root ::= a+\na ::= \"a\"", 3),
        ("root ::= \"a\"+", 2),
        ("root ::= a?\na ::= \"a\"", 3),
        ("root ::= \"a\"?", 2),
        ("root ::= a*\na ::= \"a\"", 3),
        ("root ::= \"a\"*", 2),
        ("root ::= \"a\"{2}", 1),
        ("root ::= \"a\"{2,}", 2),
        ("root ::= \"a\"{ 4}", 1),
        ("root ::= \"a\"{2,4}", 3),
        (TERMS, 8),
        (IDENTIFIERS, 13),
        ("root ::= <[1000]> !<[1001]> <[1001]>", 1),
    ];
    for (grammar, n_rules) in expected {
        assert_eq!(Gbnf::parse(grammar, "root", None).unwrap().n_rules(), n_rules, "{grammar}");
    }
}

/// What those rules must mean: the sentences their elements spell.
#[test]
fn meanings_of_parsed_rules() {
    let takes = |grammar: &str, text: &str| {
        Gbnf::parse(grammar, "root", None).unwrap().check(text) == Ok(Verdict::Accepted)
    };
    // Beyond the largest count a repetition has no upper end.
    let many = "a".repeat(6000);
    for (grammar, least) in [("root ::= \"a\"{0,5000}", 0), ("root ::= \"a\"{3,5000}", 3)] {
        assert!(takes(grammar, &many[..least]) && takes(grammar, &many), "{grammar}");
        assert!(least == 0 || !takes(grammar, &many[..least - 1]), "{grammar}");
    }
    let classes = "root ::= \"a\" | [bdx-z] | [^1-3]";
    assert!(["a", "b", "d", "x", "y", "z", "0", "4"].iter().all(|text| takes(classes, text)));
    assert!(!["1", "2", "3", "", "ab"].iter().any(|text| takes(classes, text)));
    let counts = |grammar: &str| -> Vec<usize> { (0..8).filter(|n| takes(grammar, &many[..*n])).collect() };
    assert_eq!(counts("root ::= a+\na ::= \"a\""), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(counts("root ::= a?\na ::= \"a\""), [0, 1]);
    assert_eq!(counts("root ::= \"a\"*"), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(counts("root ::= \"a\"{2}"), [2]);
    assert_eq!(counts("root ::= \"a\"{2,}"), [2, 3, 4, 5, 6, 7]);
    assert_eq!(counts("root ::= \"a\"{ 4}"), [4]);
    assert_eq!(counts("root ::= \"a\"{2,4}"), [2, 3, 4]);
}

/// Tokens 0 to 99 are `<[0]>` to `<[99]>`, the others are one character each.
struct Characters(Vec<String>);

impl Characters {
    fn of(texts: &[&str]) -> Characters {
        let mut pieces: Vec<String> = (0..100).map(|id| format!("<[{id}]>")).collect();
        for c in texts.iter().flat_map(|text| text.chars()) {
            let piece = c.to_string();
            if !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
        Characters(pieces)
    }

    fn id(&self, piece: &str) -> TokenId {
        self.0.iter().position(|other| other == piece).unwrap() as TokenId
    }
}

impl Vocabulary for Characters {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], |piece| piece.as_bytes())
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        self.piece(token)
    }

    fn is_eog(&self, _token: TokenId) -> bool {
        false
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        None
    }

    fn tokenize(&self, text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        self.0.iter().position(|piece| piece.as_bytes() == text).into_iter().map(|i| i as TokenId).collect()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

/// The parts of a case: texts, and numbers for tokens.
fn parts(case: &Value) -> Vec<&Value> {
    case.as_array().map_or_else(|| vec![case], |parts| parts.iter().collect())
}

/// Whether a run of tokens, one per character of the texts, is a sentence.
fn takes_tokens(grammar: &str, case: &Value) -> bool {
    let parts = parts(case);
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).collect();
    let vocabulary = Arc::new(Characters::of(&texts));
    let mut tokens = Vec::new();
    for part in parts {
        match part.as_str() {
            Some(text) => tokens.extend(text.chars().map(|c| vocabulary.id(&c.to_string()))),
            None => tokens.push(part.as_i64().unwrap() as TokenId),
        }
    }
    let mut grammar = Grammar::new(&Arc::new(Pieces::new(vocabulary)), grammar, "root").unwrap();
    tokens.iter().all(|token| grammar.accept_token(*token).is_ok()) && grammar.may_end()
}

#[test]
fn texts_and_token_runs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/grammar_verdicts.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut n = 0;
    for case in &cases {
        let grammar = case["grammar"].as_str().unwrap();
        for (key, expected) in [("accepts", true), ("rejects", false)] {
            for text in case[key].as_array().unwrap() {
                assert_eq!(takes_tokens(grammar, text), expected, "tokens of {text} by {grammar}");
                if let Some(text) = text.as_str() {
                    let taken = Gbnf::parse(grammar, "root", None).unwrap().check(text);
                    assert_eq!(taken == Ok(Verdict::Accepted), expected, "{text} by {grammar}");
                }
                n += 1;
            }
        }
    }
    assert_eq!((cases.len(), n), (14, 139));
}

/// The characters from `%` to `;` that may begin an expression: each stack of the reference rejects some, and what
/// is left is what one of them takes.
#[test]
fn first_characters_of_an_expression() {
    let texts: Vec<String> = (37..60_u8).map(|byte| char::from(byte).to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vocabulary = Arc::new(Characters::of(&texts));
    let pieces = Arc::new(Pieces::new(Arc::clone(&vocabulary) as Arc<dyn Vocabulary>));
    let mut grammar = Grammar::new(&pieces, IDENTIFIERS, "root").unwrap();
    let mut candidates = Candidates::from_logits(&vec![0.0; vocabulary.n_tokens()]);
    grammar.apply(&mut candidates).unwrap();
    let left = texts.iter().filter(|text| candidates.data[vocabulary.id(text) as usize].logit == 0.0);
    assert_eq!(left.copied().collect::<String>(), "(0123456789");
    // Letters begin identifiers.
    let gbnf = Gbnf::parse(IDENTIFIERS, "root", None).unwrap();
    for c in 'a'..='z' {
        assert_eq!(Matcher::new(&gbnf).unwrap().accept_char(c as u32), Ok(true));
    }
}
