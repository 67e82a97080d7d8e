//! Quantising through the public API: what is written, what is refused, and that failures leave nothing behind.

use std::collections::BTreeMap;
use std::path::Path;

use quipu_gguf::{GgufFile, GgufSet, Inputs};
use quipu_model::quantize::{Error, FileType, QuantizeParams, plan, quantize};
use quipu_parity::toy::TOYS;
use quipu_quant::DType;

fn set(dtype: DType) -> GgufSet {
    let bytes = TOYS[0].gguf(dtype, 1).expect("whole blocks");
    GgufSet::from(&GgufFile::from_vec(bytes).expect("a toy"))
}

fn run(set: &GgufSet, params: &QuantizeParams, output: &Path) -> Result<GgufFile, Error> {
    let plan = plan(set, params)?;
    quantize(set, &plan, params, &[output.to_owned()], &Inputs::new(), |_, _| true)?;
    Ok(GgufFile::open(output)?)
}

fn refusal(set: &GgufSet, params: &QuantizeParams) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let error = run(set, params, &dir.path().join("out.gguf")).expect_err("refused");
    let left = std::fs::read_dir(dir.path()).expect("the folder").count();
    assert_eq!(left, 0, "{error}");
    error.to_string()
}

#[test]
fn the_file_says_what_it_is_and_threads_do_not_matter() {
    let dir = tempfile::tempdir().expect("a folder");
    let set = set(DType::F32);
    let mut files = Vec::new();
    for n_threads in [1, 2, 5] {
        let params = QuantizeParams { file_type: FileType::Q4_K_M, n_threads, ..QuantizeParams::default() };
        let path = dir.path().join(format!("{n_threads}.gguf"));
        let file = run(&set, &params, &path).expect("quantises");
        assert_eq!(file.metadata().u32("general.file_type").expect("a number"), FileType::Q4_K_M.id());
        assert_eq!(file.tensor("output.weight").expect("there").dtype, DType::Q6_K);
        assert_eq!(file.tensor("output_norm.weight").expect("there").dtype, DType::F32);
        files.push(std::fs::read(path).expect("readable"));
    }
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn refusals_name_the_tensor_and_leave_no_file() {
    let params = |file_type| QuantizeParams { file_type, ..QuantizeParams::default() };
    assert_eq!(
        refusal(&set(DType::Q8_0), &params(FileType::Q4_0)),
        "tensor output.weight is quantised (q8_0) already, expected a float type or permission to requantise"
    );
    assert_eq!(
        refusal(&set(DType::F32), &params(FileType::IQ1_S)),
        "tensor blk.0.attn_k.weight cannot become iq1_s without an importance matrix for it"
    );
    let short = BTreeMap::from([("blk.0.attn_q.weight".to_owned(), vec![1.0; 3])]);
    let with = |imatrix| QuantizeParams { imatrix: Some(imatrix), ..params(FileType::Q4_K_S) };
    assert_eq!(
        refusal(&set(DType::F32), &with(short)),
        "importance matrix of tensor blk.0.attn_q.weight has 3 values, expected 256"
    );
    let infinite = BTreeMap::from([("blk.0.attn_q.weight".to_owned(), vec![f32::INFINITY; 256])]);
    assert!(refusal(&set(DType::F32), &with(infinite)).contains("weight 0 is inf, expected a finite number"));
    let patterns = vec![("(".to_owned(), DType::Q8_0)];
    let unclosed = QuantizeParams { tensor_types: patterns, ..params(FileType::Q8_0) };
    assert!(refusal(&set(DType::F32), &unclosed).contains("tensor pattern '(' is not a regular expression"));
}

#[test]
fn a_run_can_be_cancelled_at_any_tensor() {
    let set = set(DType::F16);
    let params = QuantizeParams { file_type: FileType::Q8_0, ..QuantizeParams::default() };
    let plan = plan(&set, &params).expect("a plan");
    for stop in 0..plan.tensors.len() {
        let dir = tempfile::tempdir().expect("a folder");
        let output = [dir.path().join("out.gguf")];
        let error =
            quantize(&set, &plan, &params, &output, &Inputs::new(), |i, _| i < stop).expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 0);
    }
}

#[test]
fn left_out_layers_close_the_gap_with_their_own_weights() {
    let dir = tempfile::tempdir().expect("a folder");
    let set = set(DType::F32);
    let params = QuantizeParams { only_copy: true, prune_layers: [0].into(), ..QuantizeParams::default() };
    let file = run(&set, &params, &dir.path().join("out.gguf")).expect("quantises");
    assert_eq!(file.metadata().u32("llama.block_count").expect("a number"), 1);
    let second = set.position("blk.1.attn_q.weight").expect("a second layer");
    let kept = file.tensor_bytes("blk.0.attn_q.weight").expect("in memory");
    assert_eq!(kept, set.tensor_bytes(second).expect("in memory"));
    assert!(file.tensor("blk.1.attn_q.weight").is_err());
}
