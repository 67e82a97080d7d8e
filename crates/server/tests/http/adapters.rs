//! LoRA adapters: of the server, and of single requests beside each other.

use std::sync::Arc;

use quipu::Model;
use quipu::gguf::{GgufFile, GgufWriter, Value};
use quipu_server::{Lora, ServerOptions};
use serde_json::json;

use crate::common::{options, start};

const RANK: usize = 2;

/// An adapter that changes the output of the first layer's attention.
fn adapter(model: &Model) -> Lora {
    let n_embd = model.hparams().n_embd;
    let mut writer = GgufWriter::new();
    for (key, value) in [
        ("general.type", Value::from("adapter")),
        ("general.architecture", Value::from("llama")),
        ("adapter.type", Value::from("lora")),
        ("adapter.lora.alpha", Value::F32(4.0)),
    ] {
        writer.metadata.set(key, value);
    }
    let shapes = [("a", [n_embd, RANK]), ("b", [RANK, n_embd])];
    for (which, [k, n]) in shapes {
        let name = format!("blk.0.attn_output.weight.lora_{which}");
        writer.add_tensor(&name, quipu::DType::F32, &[k as u64, n as u64]).expect("a tensor");
    }
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        let [k, n] = shapes[i].1;
        let rows: Vec<u8> =
            (0..k * n).flat_map(|j| (((j * 7 % 13) as f32 - 6.0) * 0.3).to_le_bytes()).collect();
        sink.write_all(&rows)
    });
    written.expect("writing to memory");
    let file = GgufFile::from_vec(bytes).expect("a file");
    let adapter = model.weights().load_lora(&file, model.devices()).expect("an adapter that fits");
    Lora { path: "a.gguf".to_owned(), adapter: Arc::new(adapter), scale: 0.0 }
}

#[test]
fn each_request_has_its_adapters() {
    let model = Model::embedded().expect("the demo model");
    let plain = start(options());
    let server = start(ServerOptions { loras: vec![adapter(&model)], ..options() });
    let body = |scale: Option<f32>| {
        let mut body = json!({ "prompt": "Once upon a time", "n_predict": 16 });
        if let Some(scale) = scale {
            body["lora"] = json!([{ "id": 0, "scale": scale }]);
        }
        body
    };
    let of = |scale| {
        server.post("/completion", &body(scale)).json()["content"].as_str().expect("a text").to_owned()
    };
    let without =
        plain.post("/completion", &body(None)).json()["content"].as_str().expect("a text").to_owned();
    assert_eq!(server.get("/lora-adapters").json()[0]["scale"], 0.0);
    assert_eq!((of(None), of(Some(0.0))), (without.clone(), without.clone()));
    let changed = of(Some(1.0));
    assert_ne!(changed, without);
    // What others have does not show.
    std::thread::scope(|scope| {
        let asked: Vec<_> = [Some(1.0), None, Some(1.0), Some(0.0)]
            .map(|scale| (scale, scope.spawn(move || of(scale))))
            .into();
        for (scale, one) in asked {
            let expected = if scale == Some(1.0) { &changed } else { &without };
            assert_eq!(&one.join().expect("an answer"), expected, "{scale:?}");
        }
    });
    let set = server.post("/lora-adapters", &json!([{ "id": 0, "scale": 1.0 }]));
    assert_eq!((set.status, set.json()), (200, json!({ "success": true })));
    assert_eq!(of(None), changed);
    assert_eq!(of(Some(0.0)), without);
    let settings = server.post("/completion", &body(None)).json();
    assert_eq!(settings["generation_settings"]["lora"], json!([{ "id": 0, "scale": 1.0 }]));
    for bad in [
        json!([{ "id": 1, "scale": 1 }]),
        json!({}),
        json!([{ "id": 0 }]),
        json!([{ "id": 0, "scale": 1e39 }]),
    ] {
        let answer = server.post("/completion", &json!({ "prompt": "x", "lora": bad }));
        assert_eq!(answer.status, 400, "{bad}");
    }
    assert_eq!(server.post("/lora-adapters", &json!({})).status, 400);
}
