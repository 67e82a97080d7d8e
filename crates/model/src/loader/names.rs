//! Tensors that other tensors can stand in for.

/// Name, and what the loader takes if it is absent; `#` is a layer's number. As in the reference's architectures: tied embeddings, and
/// one fused projection for three.
const STAND_INS: [(&str, &str); 4] = [
    ("output.weight", "token_embd.weight"),
    ("blk.#.attn_q.weight", "blk.#.attn_qkv.weight"),
    ("blk.#.attn_k.weight", "blk.#.attn_qkv.weight"),
    ("blk.#.attn_v.weight", "blk.#.attn_qkv.weight"),
];

/// Names that would have done instead of `name`.
pub(super) fn stand_ins(name: &str) -> Vec<String> {
    let (pattern, layer) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (format!("blk.#.{rest}"), layer),
        None => (name.to_owned(), ""),
    };
    let fits = STAND_INS.iter().filter(|(wanted, _)| *wanted == pattern);
    fits.map(|(_, instead)| instead.replace('#', layer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_of_the_same_layer() {
        assert_eq!(stand_ins("blk.17.attn_k.weight"), ["blk.17.attn_qkv.weight"]);
        assert_eq!(stand_ins("output.weight"), ["token_embd.weight"]);
        assert!(stand_ins("blk.0.ffn_up.weight").is_empty());
        assert!(stand_ins("token_embd.weight").is_empty());
    }
}
