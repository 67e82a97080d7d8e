//! The first inputs of the fuzz targets: `cargo run -p quipu-gguf --example fuzz_seeds` writes `fuzz/corpus/TARGET`.

use quipu_gguf::{Array, GgufWriter, Value};
use quipu_quant::DType;

#[path = "../tests/support/malformed.rs"]
mod malformed;

fn valid() -> Vec<Vec<u8>> {
    let mut files = vec![malformed::valid().0, GgufWriter::new().header().expect("empty")];
    for alignment in [1u32, 32, 256] {
        let mut w = GgufWriter::new();
        w.metadata.set("general.architecture", Value::from("llama"));
        w.metadata.set("general.alignment", Value::U32(alignment));
        w.metadata.set("a.u8", Value::U8(1));
        w.metadata.set("a.f64", Value::F64(0.5));
        w.metadata.set("a.bools", Value::Array(Array::Bool(vec![true, false])));
        w.metadata.set("a.tokens", Value::Array(Array::String(["a", "", "bcd"].into_iter().collect())));
        w.metadata.set("a.scores", Value::Array(Array::F32(vec![0.0, -1.0])));
        let shapes: [(&str, DType, &[u64], usize); 4] = [
            ("token_embd.weight", DType::Q8_0, &[32, 2], 68),
            ("blk.0.attn_q.weight", DType::F16, &[4, 4, 1, 2], 64),
            ("blk.0.attn_norm.weight", DType::F32, &[4], 16),
            ("output.weight", DType::Q4_K, &[256], 144),
        ];
        for (name, dtype, dims, _) in shapes {
            w.add_tensor(name, dtype, dims).expect("a new name");
        }
        let mut out = Vec::new();
        w.write_to(&mut out, |i, sink| sink.write_all(&vec![7; shapes[i].3])).expect("memory");
        files.push(out);
    }
    files
}

fn main() -> std::io::Result<()> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let write = |target: &str, files: Vec<Vec<u8>>| -> std::io::Result<()> {
        let dir = corpus.join(target);
        std::fs::create_dir_all(&dir)?;
        for (i, bytes) in files.iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{i:03}")), bytes)?;
        }
        println!("{} in {}", files.len(), dir.display());
        Ok(())
    };
    let mut open = valid();
    open.extend(malformed::files().into_iter().map(|(_, bytes)| bytes));
    write("open", open)?;
    let kinds = (0..=13u8).map(|kind| [&[kind, 0x23], &b"key"[..], &[0x31; 16]].concat());
    let mut metadata: Vec<Vec<u8>> = kinds.collect();
    metadata.push(metadata.concat());
    metadata.push(b"key=int:3,a=bool:true,b=float:1.5,c=str:text".to_vec());
    write("metadata", metadata)?;
    let sets = (0..6u8).map(|n| [&[n, 0, 0][..], &[255; 24]].concat());
    let wrong = (0..24).map(|i| {
        let mut set = [&[3, 0, 0][..], &[255; 12]].concat();
        set[3 + i % 12] = if i < 12 { 0x12 } else { 0x21 };
        set
    });
    write("split_set", sets.chain(wrong).collect())
}
