//! One file per architecture: what its metadata says, what it is composed of, and what else there is to know of it.

mod apertus;
mod arcee;
mod arctic;
mod arwkv7;
mod baichuan;
mod bailingmoe;
mod bailingmoe2;
mod bitnet;
mod bloom;
mod chatglm;
mod codeshell;
mod command_r;
mod dbrx;
mod deci;
mod deepseek;
mod dots1;
mod ernie4_5;
mod ernie4_5_moe;
mod exaone;
mod exaone4;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod glm4;
mod glm4moe;
mod gpt2;
mod gptneox;
mod granite;
mod granitehybrid;
mod granitemoe;
mod hunyuan_dense;
mod hunyuan_moe;
mod hy_v3;
mod internlm2;
mod jais;
mod jais2;
mod jamba;
mod lfm2;
mod lfm2moe;
mod llama;
mod maincoder;
mod mamba;
mod mamba2;
mod minicpm;
mod minicpm3;
mod minimax_m2;
mod mistral3;
mod mpt;
mod nanbeige;
mod nemotron;
mod nemotron_h;
mod nemotron_h_moe;
mod olmo;
mod olmo2;
mod olmoe;
mod openelm;
mod orion;
mod pangu_embedded;
mod phi2;
mod phi3;
mod phimoe;
mod plamo;
mod plamo2;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;
mod refact;
mod rwkv6;
mod rwkv6qwen2;
mod rwkv7;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder;
mod starcoder2;
mod talkie;
mod xverse;

use crate::blocks::Network;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, SizeFacts};
use crate::loader::Loader;

/// Takes the weights from the file and composes the model.
type Load = fn(&mut Loader<'_>, &Hparams) -> Result<Box<dyn Network>, Error>;

/// What a file in this directory provides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Reads and checks the metadata.
    pub hparams: fn(&Keys<'_>) -> Result<Hparams, Error>,
    /// Takes the weights from the file and composes the model.
    pub load: Load,
    /// The size class, as the reference has it (`llm_type_name`); quantising asks it too.
    pub size_class: fn(&SizeFacts) -> &'static str,
}

/// The architectures this crate runs.
const TABLE: [Architecture; 84] = [
    apertus::ARCH,
    arcee::ARCH,
    arctic::ARCH,
    arwkv7::ARCH,
    baichuan::ARCH,
    bailingmoe::ARCH,
    bailingmoe2::ARCH,
    bitnet::ARCH,
    bloom::ARCH,
    chatglm::ARCH,
    codeshell::ARCH,
    command_r::ARCH,
    dbrx::ARCH,
    deci::ARCH,
    deepseek::ARCH,
    dots1::ARCH,
    ernie4_5::ARCH,
    ernie4_5_moe::ARCH,
    exaone::ARCH,
    exaone4::ARCH,
    falcon::ARCH,
    falcon_h1::ARCH,
    gemma::ARCH,
    gemma2::ARCH,
    gemma3::ARCH,
    glm4::ARCH,
    glm4moe::ARCH,
    gpt2::ARCH,
    gptneox::ARCH,
    granite::ARCH,
    granitehybrid::ARCH,
    granitemoe::ARCH,
    hunyuan_dense::ARCH,
    hunyuan_moe::ARCH,
    hy_v3::ARCH,
    internlm2::ARCH,
    jais::ARCH,
    jais2::ARCH,
    jamba::ARCH,
    lfm2::ARCH,
    lfm2moe::ARCH,
    llama::ARCH,
    maincoder::ARCH,
    mamba::ARCH,
    mamba2::ARCH,
    minicpm::ARCH,
    minicpm3::ARCH,
    minimax_m2::ARCH,
    mistral3::ARCH,
    mpt::ARCH,
    nanbeige::ARCH,
    nemotron::ARCH,
    nemotron_h::ARCH,
    nemotron_h_moe::ARCH,
    olmo::ARCH,
    olmo2::ARCH,
    olmoe::ARCH,
    openelm::ARCH,
    orion::ARCH,
    pangu_embedded::ARCH,
    phi2::ARCH,
    phi3::ARCH,
    phimoe::ARCH,
    plamo::ARCH,
    plamo2::ARCH,
    qwen::ARCH,
    qwen2::ARCH,
    qwen2moe::ARCH,
    qwen3::ARCH,
    qwen35::ARCH,
    qwen35moe::ARCH,
    qwen3moe::ARCH,
    qwen3next::ARCH,
    refact::ARCH,
    rwkv6::ARCH,
    rwkv6qwen2::ARCH,
    rwkv7::ARCH,
    seed_oss::ARCH,
    smollm3::ARCH,
    stablelm::ARCH,
    starcoder::ARCH,
    starcoder2::ARCH,
    talkie::ARCH,
    xverse::ARCH,
];

/// A size class nobody has named.
const UNKNOWN_SIZE: &str = "?B";

/// Names of the architectures this crate runs, as they stand in `general.architecture`.
pub const ARCHITECTURES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = TABLE[i].name;
        i += 1;
    }
    names
};

/// The architecture of that name, if this crate runs it.
pub(crate) fn get(name: &str) -> Option<Architecture> {
    TABLE.into_iter().find(|arch| arch.name == name)
}

/// The architecture of that name.
pub(crate) fn find(name: &str) -> Result<Architecture, Error> {
    get(name).ok_or_else(|| Error::UnknownArchitecture {
        found: name.to_owned(),
        expected: ARCHITECTURES.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_are_unique() {
        assert!(ARCHITECTURES.windows(2).all(|pair| pair[0] < pair[1]), "{ARCHITECTURES:?}");
    }

    #[test]
    fn size_classes_are_the_references() {
        let class = |name: &str, n_layer: usize, change: fn(&mut SizeFacts)| {
            let mut size = SizeFacts { n_layer, ..SizeFacts::default() };
            change(&mut size);
            (get(name).expect("it is in the table").size_class)(&size)
        };
        let plain = |name, n_layer| class(name, n_layer, |_| ());
        assert_eq!(plain("llama", 16), "1B");
        assert_eq!(class("llama", 32, |size| size.n_vocab = 49152), "3B");
        assert_eq!(class("llama", 32, |size| size.n_vocab = 32000), "7B");
        assert_eq!(class("llama", 32, |size| size.n_vocab = 128_256), "8B");
        assert_eq!(class("llama", 32, |size| size.n_expert = 8), "8x7B");
        assert_eq!(class("llama", 80, |size| size.n_head = 64), "70B");
        assert_eq!(class("qwen2", 24, |size| size.n_embd = 1024), "0.5B");
        assert_eq!(class("qwen3", 36, |size| size.n_embd = 2560), "4B");
        assert_eq!((plain("gemma", 18), plain("phi3", 40), plain("olmo2", 64)), ("2B", "14B", "32B"));
        assert_eq!((plain("gemma2", 42), plain("gemma3", 18), plain("gemma3", 62)), ("9B", "270M", "27B"));
        assert_eq!((plain("stablelm", 40), plain("starcoder2", 88), plain("gpt2", 1)), ("12B", "34B", "?B"));
    }
}
