//! Whole generations with a seed: the text that llama-completion wrote (`goldens/seeded/PROVENANCE.md`).

mod common;

use common::{generate, model, seeded, session_of};
use quipu::{ContextFull, GenerateOptions, SamplerParams, StopReason};

/// What a case changes in the default parameters.
type Change<'a> = &'a dyn Fn(&mut SamplerParams);

#[test]
fn the_same_seed_gives_llama_completions_text() {
    let model = model();
    let penalties = |sampling: &mut SamplerParams| {
        sampling.penalty_repeat = 1.3;
        // The context: 128, rounded up to 256.
        sampling.penalty_last_n = -1;
        sampling.penalty_freq = 0.1;
    };
    let dry = |sampling: &mut SamplerParams| sampling.dry_multiplier = 0.8;
    let dry_and_mirostat = |sampling: &mut SamplerParams| {
        sampling.dry_multiplier = 0.8;
        sampling.mirostat = 2;
    };
    let none = |_: &mut SamplerParams| {};
    let cases: [(u32, bool, Change<'_>, &str); 6] = [
        (2, false, &penalties, include_str!("goldens/seeded/2.txt")),
        (5, true, &penalties, include_str!("goldens/seeded/5.txt")),
        (4, false, &none, include_str!("goldens/seeded/4.txt")),
        (7, true, &none, include_str!("goldens/seeded/7.txt")),
        (9, true, &dry_and_mirostat, include_str!("goldens/seeded/9.txt")),
        (12, false, &dry, include_str!("goldens/seeded/12.txt")),
    ];
    for (seed, ignore_eog, change, expected) in cases {
        let mut options = GenerateOptions {
            context_full: ContextFull::Shift { n_keep: 3 },
            ignore_eog,
            ..seeded(seed, 400)
        };
        change(&mut options.sampling);
        let outcome =
            generate(&mut session_of(&model, 128), "Once upon a time there was a little fox", &options);
        assert_eq!(outcome.text, expected, "seed {seed}");
        let stop = if ignore_eog { StopReason::MaxTokens } else { StopReason::EndOfGeneration };
        assert_eq!(outcome.stop, stop, "seed {seed}");
    }
}
