//! Slots: asked for by number, saved to files, restored and erased.

use serde_json::json;

use crate::common::{Running, options, start};
use quipu_server::ServerOptions;

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn n_cached(server: &Running, slot: usize) -> u64 {
    let body = json!({ "prompt": "Once upon a time there was", "n_predict": 4, "id_slot": slot });
    let answer = server.post("/completion", &body).json();
    assert_eq!(answer["id_slot"], slot);
    answer["timings"]["cache_n"].as_u64().expect("a number")
}

#[test]
fn a_slot_goes_to_a_file_and_comes_back() {
    let folder = folder("slots");
    let server = start(ServerOptions { slot_save_path: Some(folder.clone()), ..options() });
    assert_eq!(n_cached(&server, 1), 0);
    let saved = server.post("/slots/1?action=save", &json!({ "filename": "a.bin" })).json();
    let n_saved = saved["n_saved"].as_u64().expect("a number");
    let n_bytes = std::fs::metadata(folder.join("a.bin")).expect("a file").len();
    assert_eq!((&saved["id_slot"], &saved["filename"]), (&json!(1), &json!("a.bin")));
    assert_eq!(saved["n_written"], n_bytes);
    assert!(n_saved >= 9 && saved["timings"]["save_ms"].is_number(), "{saved}");
    assert_eq!(n_cached(&server, 0), 0);
    let erased = server.post("/slots/0?action=erase", &json!({})).json();
    assert_eq!(erased, json!({ "id_slot": 0, "n_erased": n_saved }));
    let restored = server.post("/slots/0?action=restore", &json!({ "filename": "a.bin" })).json();
    assert_eq!((&restored["n_restored"], &restored["n_read"]), (&json!(n_saved), &json!(n_bytes)));
    assert!(n_cached(&server, 0) >= 5);
    // Nothing outside of the folder, nothing half, and no other slot than those that are there.
    for name in ["../a.bin", "/etc/passwd", "", "a/b", "none.bin"] {
        let answer = server.post("/slots/0?action=restore", &json!({ "filename": name }));
        assert_eq!(answer.status, 400, "{name}");
    }
    for path in ["/slots/4?action=erase", "/slots/x?action=erase", "/slots/0?action=eat", "/slots/0"] {
        assert_eq!(server.post(path, &json!({ "filename": "a.bin" })).status, 400, "{path}");
    }
    let whole = std::fs::read(folder.join("a.bin")).expect("a file");
    std::fs::write(folder.join("half.bin"), &whole[..whole.len() / 2]).expect("writable");
    assert_eq!(server.post("/slots/0?action=restore", &json!({ "filename": "half.bin" })).status, 400);
    assert_eq!(server.post("/slots/0?action=save", &json!({ "filename": 3 })).status, 400);
    assert_eq!(n_cached(&server, 0), 0);
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 2);
}

#[test]
fn a_busy_slot_is_waited_for() {
    let server = start(options());
    let ask = |n: usize| {
        let body = json!({ "prompt": "The fox", "n_predict": n, "id_slot": 2, "ignore_eos": true });
        server.post("/completion", &body).json()
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = [40, 30, 20].map(|n| scope.spawn(move || ask(n))).into();
        for one in asked {
            let answer = one.join().expect("an answer");
            assert_eq!((&answer["id_slot"], &answer["stop_type"]), (&json!(2), &json!("limit")));
        }
    });
}

#[test]
fn what_a_request_does_not_want_kept_is_computed_again() {
    let server = start(options());
    for (cache, expected) in [(true, false), (true, true), (false, false)] {
        let body =
            json!({ "prompt": "Once upon a time", "n_predict": 1, "cache_prompt": cache, "id_slot": 0 });
        let answer = server.post("/completion", &body).json();
        assert_eq!(answer["timings"]["cache_n"].as_u64().is_some_and(|n| n > 0), expected, "{cache}");
    }
}
