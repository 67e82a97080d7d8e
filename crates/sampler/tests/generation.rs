//! The order in which chain, grammar and reasoning budget act on a token.

mod common;

use std::sync::Arc;

use common::Texts;
use quipu_sampler::{
    BudgetState, Chain, Dist, Error, GenerationSampler, Grammar, GrammarParams, GrammarTrigger, Greedy,
    Pieces, ReasoningParams, Sampler, SamplerParams, TokenId, TopK, Vocabulary,
};

const A: TokenId = 0;
const B: TokenId = 1;
const THINK: TokenId = 2;
const UNTHINK: TokenId = 3;
const CALL: TokenId = 4;
const END: TokenId = 5;
const N: usize = 6;

fn vocabulary() -> Arc<dyn Vocabulary> {
    Texts::shared(&["a", "b", "<think>", "<unthink>", "<call>", "</s>"])
}

/// Logits that fall from the first of `order` to the last.
fn row(order: [TokenId; N]) -> [f32; N] {
    let mut row = [0.0; N];
    for (i, token) in order.into_iter().enumerate() {
        row[token as usize] = (N - i) as f32 * 10.0;
    }
    row
}

fn greedy(grammar: Option<GrammarParams>) -> SamplerParams {
    SamplerParams { temp: 0.0, grammar, ..SamplerParams::default() }
}

fn new(params: &SamplerParams) -> GenerationSampler {
    GenerationSampler::new(params, &vocabulary()).unwrap()
}

fn step(sampler: &mut GenerationSampler, logits: &[f32]) -> TokenId {
    let token = sampler.sample(logits).unwrap();
    sampler.accept(token, true).unwrap();
    token
}

#[test]
fn without_grammar_it_is_the_chain() {
    let params = SamplerParams { seed: 9, ..SamplerParams::default() };
    let mut chain = Chain::with_vocabulary(&params, &vocabulary()).unwrap();
    let mut sampler = new(&params);
    let logits = [0.0, 0.5, 1.0, 0.25, 0.75, 1.5];
    for _ in 0..100 {
        assert_eq!(step(&mut sampler, &logits), chain.sample(&logits).unwrap());
        assert_eq!(sampler.candidates().data, chain.candidates().data);
    }
    assert_eq!((sampler.seed(), sampler.history().len()), (Some(9), 64));
    assert_eq!(
        sampler.describe(),
        "logits -> ?penalties -> ?dry -> ?top-n-sigma -> top-k -> ?typical -> top-p -> min-p -> ?xtc -> temp-ext -> dist "
    );
}

#[test]
fn a_token_that_fits_is_kept_and_another_is_drawn_again() {
    let mut sampler = new(&greedy(Some(GrammarParams::gbnf("root ::= \"b\" \"a\""))));
    // `b` is likeliest: no look at the others, all of which the chain has seen.
    assert_eq!(step(&mut sampler, &row([B, A, THINK, CALL, UNTHINK, END])), B);
    // `b` does not fit any more.
    assert_eq!(step(&mut sampler, &row([B, END, THINK, CALL, UNTHINK, A])), A);
    assert!(sampler.grammar().unwrap().may_end());
    assert_eq!(step(&mut sampler, &row([B, A, THINK, CALL, UNTHINK, END])), END);
    assert_eq!(sampler.history().collect::<Vec<_>>(), [B, A, END]);
}

/// The chain draws twice for a token that does not fit, once on each set of candidates.
#[test]
fn drawing_again_uses_the_generator_again() {
    let grammar = "root ::= [ab]*";
    let logits = [1.0, 1.0, 6.0, 0.0, 0.0, 0.0];
    let vocabulary = vocabulary();
    let pieces = Arc::new(Pieces::new(Arc::clone(&vocabulary)));
    let chain = || {
        let mut chain = Chain::new();
        chain.add(Dist::new(4));
        chain
    };
    let mut sampler =
        GenerationSampler::from_chain(chain()).with_grammar(Grammar::new(&pieces, grammar, "root").unwrap());
    let mut by_hand = chain();
    let mut mask = Grammar::new(&pieces, grammar, "root").unwrap();
    let mut again = 0;
    for _ in 0..200 {
        let mut want = by_hand.choose(&logits).unwrap();
        if want != A && want != B && want != END {
            again += 1;
            let mut candidates = quipu_sampler::Candidates::from_logits(&logits);
            mask.apply(&mut candidates).unwrap();
            by_hand.apply(&mut candidates).unwrap();
            want = candidates.selected_token().unwrap();
        }
        assert_eq!(sampler.sample(&logits).unwrap(), want);
    }
    assert!(again > 150, "{again}");

    // With the grammar first there is one draw for each token.
    let mut first = GenerationSampler::from_chain(chain())
        .with_grammar(Grammar::new(&pieces, grammar, "root").unwrap())
        .grammar_first(true);
    let mut by_hand = chain();
    for _ in 0..50 {
        let mut candidates = quipu_sampler::Candidates::from_logits(&logits);
        mask.apply(&mut candidates).unwrap();
        by_hand.apply(&mut candidates).unwrap();
        assert_eq!(first.sample(&logits).unwrap(), candidates.selected_token().unwrap());
    }
}

#[test]
fn top_k_acts_after_the_grammar_when_drawing_again() {
    let mut chain = Chain::new();
    chain.add(TopK::new(1)).add(Greedy);
    let pieces = Arc::new(Pieces::new(vocabulary()));
    let grammar = Grammar::new(&pieces, "root ::= \"a\"", "root").unwrap();
    let mut sampler = GenerationSampler::from_chain(chain).with_grammar(grammar);
    assert_eq!(sampler.sample(&row([B, CALL, END, THINK, A, UNTHINK])).unwrap(), A);
    assert_eq!(sampler.candidates().data.len(), 1);
}

#[test]
fn nothing_allowed_is_an_error() {
    let mut sampler = new(&greedy(Some(GrammarParams::gbnf("root ::= \"z\""))));
    assert_eq!(sampler.sample(&[0.0; N]), Err(Error::NoTokenAllowed));
    assert!(matches!(sampler.accept(A, true), Err(Error::GrammarRejected { token: A, .. })));
    assert!(matches!(sampler.sample(&[0.0; N]), Err(Error::GrammarRejected { .. })));
    sampler.restart();
    assert_eq!(sampler.sample(&[0.0; N]), Err(Error::NoTokenAllowed));
    // Tokens of a prompt are none of the grammar's business.
    sampler.accept(A, false).unwrap();
    assert_eq!(sampler.last(), Some(A));
}

#[test]
fn a_lazy_grammar_wakes_and_constrains() {
    let mut grammar = GrammarParams::gbnf("root ::= \"<call>\" \"b\"");
    grammar.lazy = true;
    grammar.triggers = vec![GrammarTrigger::Word("<call>".into())];
    let mut sampler = new(&greedy(Some(grammar)));
    let a_first = row([A, CALL, B, END, THINK, UNTHINK]);
    assert_eq!(step(&mut sampler, &a_first), A);
    assert_eq!(step(&mut sampler, &row([CALL, A, B, END, THINK, UNTHINK])), CALL);
    assert_eq!(step(&mut sampler, &a_first), B);
    assert_eq!(step(&mut sampler, &a_first), END);
}

fn reasoning(n_tokens: i32) -> ReasoningParams {
    ReasoningParams::from_tags(n_tokens, "<think>", &["<unthink>"], "", vocabulary().as_ref())
}

#[test]
fn a_budget_forces_the_end_of_thoughts() {
    let mut sampler = new(&SamplerParams { reasoning: reasoning(2), ..greedy(None) });
    let a_first = row([A, CALL, B, END, THINK, UNTHINK]);
    sampler.accept(THINK, true).unwrap();
    let tokens: Vec<TokenId> = (0..5).map(|_| step(&mut sampler, &a_first)).collect();
    assert_eq!(tokens, [A, A, UNTHINK, A, A]);
    assert_eq!(sampler.reasoning_budget().unwrap().state(), BudgetState::Done);
    assert!(!sampler.force_reasoning_end());
    sampler.accept(THINK, true).unwrap();
    assert!(sampler.force_reasoning_end());
    assert_eq!(step(&mut sampler, &a_first), UNTHINK);

    // A token of the prompt does not start the budget.
    let mut sampler = new(&SamplerParams { reasoning: reasoning(0), ..greedy(None) });
    sampler.accept(THINK, false).unwrap();
    assert_eq!(step(&mut sampler, &a_first), A);
    // The prompt's end that is the beginning of the answer does.
    let generation_prompt = "<think>".to_owned();
    let mut sampler = new(&SamplerParams { reasoning: reasoning(0), generation_prompt, ..greedy(None) });
    assert_eq!(step(&mut sampler, &a_first), UNTHINK);
    // No bound, no lazy grammar, no control: no budget.
    assert!(new(&SamplerParams { reasoning: reasoning(-1), ..greedy(None) }).reasoning_budget().is_none());
}

#[test]
fn a_lazy_grammar_rests_while_the_model_thinks() {
    let mut grammar = GrammarParams::gbnf("root ::= \"<unthink>\" \"b\"");
    grammar.lazy = true;
    grammar.triggers = vec![GrammarTrigger::Token(UNTHINK), GrammarTrigger::Token(A)];
    let mut sampler = new(&SamplerParams { reasoning: reasoning(-1), ..greedy(Some(grammar)) });
    let a_first = row([A, CALL, B, END, THINK, UNTHINK]);
    sampler.accept(THINK, true).unwrap();
    // `a` would be a trigger.
    assert_eq!(step(&mut sampler, &a_first), A);
    assert!(sampler.grammar().unwrap().is_waiting());
    // The end of the thoughts is the trigger, and is taken by the grammar though it was said while thinking.
    sampler.accept(UNTHINK, true).unwrap();
    assert!(!sampler.grammar().unwrap().is_waiting());
    assert_eq!(step(&mut sampler, &a_first), B);
}

#[test]
fn a_grammar_of_a_schema_takes_the_generation_prompt() {
    let mut grammar = GrammarParams::gbnf("root ::= \"<think>a\" \"b\"");
    grammar.prefill = true;
    let params = SamplerParams { generation_prompt: "<think>a".into(), ..greedy(Some(grammar.clone())) };
    assert_eq!(step(&mut new(&params), &row([A, CALL, B, END, THINK, UNTHINK])), B);
    let wrong = SamplerParams { generation_prompt: "b".into(), ..params.clone() };
    assert!(matches!(
        GenerationSampler::new(&wrong, &vocabulary()),
        Err(Error::GrammarRejected { token: B, .. })
    ));
    grammar.prefill = false;
    let params = SamplerParams { grammar: Some(grammar), ..params };
    assert_eq!(step(&mut new(&params), &row([A, CALL, B, END, THINK, UNTHINK])), THINK);
}

#[test]
fn ends_can_be_ignored() {
    let end_first = row([END, B, A, CALL, THINK, UNTHINK]);
    assert_eq!(step(&mut new(&greedy(None)), &end_first), END);
    assert_eq!(step(&mut new(&SamplerParams { ignore_eos: true, ..greedy(None) }), &end_first), B);
}

#[test]
fn drafts_are_taken_as_far_as_they_agree() {
    let rows = [row([A, B, CALL, END, THINK, UNTHINK]), row([B, A, CALL, END, THINK, UNTHINK])];
    let rows = [&rows[0][..], &rows[1], &rows[0]];
    let mut sampler = new(&greedy(None));
    assert_eq!(sampler.sample_and_accept_n(&rows, &[A, B]).unwrap(), [A, B, A]);
    assert_eq!(sampler.sample_and_accept_n(&rows, &[A, CALL]).unwrap(), [A, B]);
    assert_eq!(sampler.sample_and_accept_n(&rows, &[B, B]).unwrap(), [A]);
    assert_eq!(sampler.sample_and_accept_n(&rows, &[B]), Err(Error::DraftLength { n_rows: 3, n_draft: 1 }));
    assert_eq!(sampler.history().len(), 6);
    sampler.reset();
    assert_eq!((sampler.last(), sampler.history().len()), (None, 0));
}

#[test]
fn candidates_sorted_by_probability() {
    let mut chain = Chain::new();
    chain.add(Dist::new(1));
    let mut sampler = GenerationSampler::from_chain(chain);
    let token = sampler.sample(&[0.0, 3.0, 1.0, 2.0]).unwrap();
    let sorted = sampler.sorted_candidates();
    assert_eq!(sorted.data.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 3, 2, 0]);
    assert_eq!((sorted.selected_token(), sorted.sorted), (Some(token), true));
}

#[test]
fn bad_parameters_are_errors() {
    let of = |grammar| GenerationSampler::new(&greedy(Some(grammar)), &vocabulary()).unwrap_err();
    assert!(matches!(of(GrammarParams::gbnf("root ::= )")), Error::GrammarSyntax { .. }));
    assert!(matches!(of(GrammarParams::gbnf("rot ::= \"a\"")), Error::GrammarUndefined { .. }));
    assert!(matches!(of(GrammarParams::json_schema("{\"type\": 3}")), Error::Schema { .. }));
    #[cfg(not(feature = "llguidance"))]
    assert_eq!(of(GrammarParams::gbnf("%llguidance {}\nstart: \"a\"")), Error::NoLlguidance);
    let mut params = greedy(None);
    params.grammar = Some(GrammarParams::gbnf(""));
    assert!(new(&params).grammar().is_none());
}
