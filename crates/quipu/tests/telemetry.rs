//! What a recorder sees of generations, and the forms it is written in.

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use common::{generate, greedy, model, seeded, session, session_of};
use quipu::telemetry::{Recorder, Summary};
use quipu::{ContextFull, GenerateOptions, Session};

const PROMPT: &str = "Once upon a time there was a little fox";

/// A file in memory that two can hold.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 10 tokens of prompt, 300 generated, a shift.
fn run(session: &mut Session) {
    let context_full = ContextFull::Shift { n_keep: 0 };
    let options = GenerateOptions { context_full, ignore_eog: true, ..greedy(300) };
    assert_eq!(generate(session, PROMPT, &options).n_shifts, 1);
}

#[test]
fn a_recorder_counts_what_the_session_counts() {
    let recorder = Recorder::new();
    let mut session = session_of(&model(), 256);
    tracing::subscriber::with_default(recorder.clone(), || run(&mut session));
    let (seen, own) = (recorder.metrics(), session.metrics());
    assert_eq!((seen.n_prompt, seen.n_eval, seen.n_decode), (10, 299, 300));
    assert_eq!((seen.prompt_tokens, seen.generated_tokens, seen.n_generations), (10, 300, 1));
    assert_eq!((seen.n_sample, seen.n_shifts, seen.n_active), (300, 1, 0));
    assert_eq!((seen.n_cells, seen.n_tokens_max), (256, 255));
    // 10 + 299 computed, 127 forgotten.
    assert_eq!(seen.kv_used, 182);
    for (seen, own) in [
        (seen.n_prompt, own.n_prompt),
        (seen.n_eval, own.n_eval),
        (seen.n_decode, own.n_decode),
        (seen.n_ubatches, own.n_ubatches),
        (seen.n_graph_builds, own.n_graph_builds),
        (seen.n_reused, own.n_reused),
        (seen.kv_used, own.kv_used),
        (seen.n_cells, own.n_cells),
        (seen.n_tokens_max, own.n_tokens_max),
        (seen.prompt_tokens, own.prompt_tokens),
        (seen.generated_tokens, own.generated_tokens),
        (seen.n_shifts, own.n_shifts),
    ] {
        assert_eq!(seen, own);
    }
    assert!(seen.n_reused > 250, "{}", seen.n_reused);
    assert!(seen.t_eval > seen.t_sample && seen.generated_time >= seen.t_eval + seen.t_sample);
    assert!(seen.prompt_time >= seen.t_prompt && !seen.t_prompt.is_zero() && !seen.t_detokenize.is_zero());
    // The same times but for the calls between the two clocks.
    let (a, b) = (seen.t_eval.as_secs_f64(), own.t_eval.as_secs_f64());
    assert!((a - b).abs() < 0.2 * b, "{a} {b}");

    let summary = Summary(own).to_string();
    assert!(summary.contains("eval time =") && summary.contains("/   299 runs   ("), "{summary}");
    assert!(summary.contains("/    10 tokens (") && summary.contains("/   309 tokens"), "{summary}");
}

#[test]
fn telemetry_changes_nothing() {
    let model = model();
    let quiet = generate(&mut session(&model), PROMPT, &seeded(5, 60));
    let recorded = tracing::subscriber::with_default(Recorder::new(), || {
        generate(&mut session(&model), PROMPT, &seeded(5, 60))
    });
    assert_eq!(quiet, recorded);
}

#[test]
fn json_lines_tell_the_whole_story() {
    let out = Shared::default();
    let recorder = Recorder::with_json_lines(out.clone());
    tracing::subscriber::with_default(recorder.clone(), || run(&mut session_of(&model(), 256)));
    recorder.flush().expect("memory");
    let text = String::from_utf8(out.0.lock().unwrap().clone()).expect("text");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    let all = |name: &str| lines.iter().filter(|line| line["name"] == name).collect::<Vec<_>>();
    for (name, n) in [
        ("load", 1),
        ("generate", 1),
        ("prefill", 1),
        ("prompt", 1),
        ("decode", 300),
        ("ubatch", 300),
        ("sample", 300),
        ("detokenize", 300),
        ("shift", 1),
        ("shift_keys", 1),
        ("generation", 1),
    ] {
        assert_eq!(all(name).len(), n, "{name}");
    }
    let shift = all("shift")[0];
    assert_eq!(
        (&shift["n_keep"], &shift["n_discard"], &shift["n_past"]),
        (&1.into(), &127.into(), &128.into())
    );
    let end = all("generation")[0];
    assert_eq!((&end["n_generated"], &end["stop"]), (&300.into(), &"max_tokens".into()));
    let decode = all("decode")[0];
    assert_eq!((&decode["n_tokens"], &decode["kv_used"]), (&10.into(), &10.into()));
    assert!(lines.iter().all(|line| line["t_us"].is_u64()));
    assert!(all("decode").iter().all(|line| line["us"].as_f64().is_some_and(|us| us > 0.0)));
    assert!(lines.windows(2).all(|pair| pair[0]["t_us"].as_u64() <= pair[1]["t_us"].as_u64()));
}

#[test]
fn levels_leave_the_details_out() {
    let out = Shared::default();
    let recorder = Recorder::with_json_lines(out.clone()).level(tracing::Level::INFO);
    tracing::subscriber::with_default(recorder.clone(), || run(&mut session_of(&model(), 256)));
    let text = String::from_utf8(out.0.lock().unwrap().clone()).expect("text");
    let names: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["name"].to_string())
        .collect();
    assert_eq!(names, ["\"load\"", "\"prompt\"", "\"shift\"", "\"generation\"", "\"generate\""]);
    assert_eq!(recorder.metrics().generated_tokens, 300);
}

#[test]
fn generations_under_way_are_counted() {
    let recorder = Recorder::new();
    tracing::subscriber::with_default(recorder.clone(), || {
        let model = model();
        let (mut one, mut two) = (session(&model), session(&model));
        let mut first = one.stream(PROMPT, &greedy(5)).expect("a generation");
        first.next();
        let second = two.stream(PROMPT, &greedy(5)).expect("a generation");
        assert_eq!(recorder.metrics().n_active, 2);
        drop(second);
        assert_eq!((recorder.metrics().n_active, recorder.metrics().n_generations), (1, 0));
        drop(first);
        assert_eq!((recorder.metrics().n_active, recorder.metrics().n_generations), (0, 1));
    });
}

/// An output that fails is given up and reported, and the generation does not notice.
#[test]
fn a_full_disk_is_no_reason_to_stop() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let recorder = Recorder::with_json_lines(Full);
    tracing::subscriber::with_default(recorder.clone(), || run(&mut session_of(&model(), 256)));
    assert_eq!(recorder.metrics().generated_tokens, 300);
    assert_eq!(recorder.flush().expect_err("full").kind(), std::io::ErrorKind::StorageFull);
}

#[cfg(feature = "prometheus")]
mod exposition {
    use std::collections::HashMap;

    use super::{common, run};
    use quipu::telemetry::{Recorder, prometheus};

    /// One sample: its kind and value.
    type Samples = HashMap<String, (String, f64)>;

    /// A parser of the text format without labels, as strict as the format's description: a name, then its HELP,
    /// TYPE and sample, each once, every line ended by a line feed.
    fn parse(text: &str) -> Samples {
        let name_ok = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        };
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let (mut help, mut kinds, mut samples) = (HashMap::new(), HashMap::new(), Samples::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').expect("a name and words");
                assert!(name_ok(name) && !words.is_empty());
                assert!(help.insert(name, words).is_none(), "{name} has two HELP lines");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert!(["counter", "gauge"].contains(&kind), "{kind}");
                assert!(!samples.contains_key(name), "TYPE of {name} comes after its sample");
                assert!(kinds.insert(name, kind).is_none(), "{name} has two TYPE lines");
            } else {
                let (name, value) = line.split_once(' ').expect("a name and a value");
                assert!(name_ok(name) && help.contains_key(name), "{name}");
                let value: f64 = value.parse().expect("a number");
                let kind = kinds[name].to_owned();
                assert!(samples.insert(name.to_owned(), (kind, value)).is_none(), "{name} twice");
            }
        }
        assert_eq!(samples.len(), kinds.len());
        samples
    }

    #[test]
    fn the_text_is_what_a_scraper_reads() {
        let recorder = Recorder::new();
        tracing::subscriber::with_default(recorder.clone(), || {
            run(&mut common::session_of(&common::model(), 256));
        });
        let metrics = recorder.metrics();
        let samples = parse(&prometheus(&metrics));
        let value = |name: &str| samples[&format!("quipu:{name}")].1;
        let kind = |name: &str| samples[&format!("quipu:{name}")].0.clone();
        // Every name of the reference's server that means something without its slots and drafts.
        for name in [
            "prompt_tokens_total",
            "prompt_seconds_total",
            "tokens_predicted_total",
            "tokens_predicted_seconds_total",
            "n_decode_total",
            "n_tokens_max",
        ] {
            assert_eq!(kind(name), "counter", "{name}");
        }
        for name in ["prompt_tokens_seconds", "predicted_tokens_seconds", "requests_processing"] {
            assert_eq!(kind(name), "gauge", "{name}");
        }
        assert_eq!(value("prompt_tokens_total"), 10.0);
        assert_eq!(value("tokens_predicted_total"), 300.0);
        assert_eq!(value("n_decode_total"), 300.0);
        assert_eq!(value("context_shifts_total"), 1.0);
        assert_eq!(value("requests_processing"), 0.0);
        assert_eq!(value("prompt_seconds_total"), metrics.prompt_time.as_secs_f64());
        assert_eq!(value("kv_cache_usage_ratio"), 182.0 / 256.0);
        let speed = 300.0 / metrics.generated_time.as_secs_f64();
        assert!((value("predicted_tokens_seconds") - speed).abs() < 1e-9 * speed);
    }

    #[test]
    fn nothing_yet_is_text_too() {
        let samples = parse(&prometheus(&quipu::telemetry::Metrics::default()));
        assert!(samples.values().all(|(_, value)| *value == 0.0));
    }
}
