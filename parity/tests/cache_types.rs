//! What a cache loses by its type, and that moving positions loses no more.

use quipu_gguf::GgufFile;
use quipu_parity::cache_types::logits;
use quipu_parity::logits::{N_TOKENS, TOKEN_SEED, WEIGHT_SEED};
use quipu_parity::toy::{TOYS, tokens};
use quipu_quant::DType;
use quipu_testing::nmse;

/// Most that logits may differ from those with keys and values in f32.
const BOUNDS: [(DType, f64); 8] = [
    (DType::F16, 1e-5),
    (DType::BF16, 1e-3),
    (DType::Q8_0, 2e-3),
    (DType::Q5_1, 5e-2),
    (DType::Q5_0, 5e-2),
    (DType::Q4_1, 2e-1),
    (DType::Q4_0, 2e-1),
    (DType::IQ4_NL, 2e-1),
];

#[test]
fn smaller_types_lose_more_and_shifts_lose_little() {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    for name in ["llama-plain", "olmo2-windows"] {
        let toy = TOYS.iter().find(|toy| toy.name == name).expect("a toy");
        let bytes = toy.gguf(DType::F32, WEIGHT_SEED).expect("a file");
        let file = GgufFile::from_vec(bytes).expect("a valid file");
        let run = |dtype, shifted| logits(name, &file, &tokens, dtype, shifted).expect("logits");
        let exact = run(DType::F32, 0);
        assert!(nmse(&exact, &run(DType::F32, 40)) < 1e-6, "{name}: shifted");
        for (dtype, bound) in BOUNDS {
            let (plain, shifted) = (nmse(&exact, &run(dtype, 0)), nmse(&exact, &run(dtype, 40)));
            assert!(plain > 0.0 && plain < bound, "{name} {dtype}: {plain:.1e}");
            assert!(shifted < 4.0 * bound, "{name} {dtype}, shifted: {shifted:.1e}");
        }
    }
}
