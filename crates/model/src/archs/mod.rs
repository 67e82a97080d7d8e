//! One file per architecture: what its metadata says, what it is composed of, and what else there is to know of it.

mod afmoe;
mod apertus;
mod arcee;
mod arctic;
mod arwkv7;
mod baichuan;
mod bailingmoe;
mod bailingmoe2;
mod bert;
mod bitnet;
mod bloom;
mod chatglm;
mod codeshell;
mod cogvlm;
mod cohere2;
mod cohere2moe;
mod command_r;
mod dbrx;
mod deci;
mod deepseek;
mod deepseek2;
mod deepseek2_ocr;
mod dots1;
mod dream;
mod ernie4_5;
mod ernie4_5_moe;
mod eurobert;
mod exaone;
mod exaone4;
mod exaone_moe;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod gemma_embedding;
mod glm4;
mod glm4moe;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod granitehybrid;
mod granitemoe;
mod grok;
mod grovemoe;
mod hunyuan_dense;
mod hunyuan_moe;
mod hunyuan_vl;
mod hy_v3;
mod internlm2;
mod jais;
mod jais2;
mod jamba;
mod jina_bert_v2;
mod jina_bert_v3;
mod kimi_linear;
mod laguna;
mod lfm2;
mod lfm2moe;
mod llada;
mod llada_moe;
mod llama;
mod llama4;
mod llama_embed;
mod maincoder;
mod mamba;
mod mamba2;
mod mellum;
mod mimo2;
mod minicpm;
mod minicpm3;
mod minimax_m2;
mod mistral3;
mod mistral4;
mod modern_bert;
mod mpt;
mod nanbeige;
mod nemotron;
mod nemotron_h;
mod nemotron_h_moe;
mod neo_bert;
mod nomic_bert;
mod nomic_bert_moe;
mod olmo;
mod olmo2;
mod olmoe;
mod openelm;
mod orion;
mod paddleocr;
mod pangu_embedded;
mod phi2;
mod phi3;
mod phimoe;
mod plamo;
mod plamo2;
mod plamo3;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen2vl;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;
mod qwen3vl;
mod qwen3vlmoe;
mod refact;
mod rnd1;
mod rwkv6;
mod rwkv6qwen2;
mod rwkv7;
mod seed_oss;
mod smallthinker;
mod smollm3;
mod stablelm;
mod starcoder;
mod starcoder2;
mod step35;
mod t5;
mod t5encoder;
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
const TABLE: [Architecture; 126] = [
    afmoe::ARCH,
    apertus::ARCH,
    arcee::ARCH,
    arctic::ARCH,
    arwkv7::ARCH,
    baichuan::ARCH,
    bailingmoe::ARCH,
    bailingmoe2::ARCH,
    bert::ARCH,
    bitnet::ARCH,
    bloom::ARCH,
    chatglm::ARCH,
    codeshell::ARCH,
    cogvlm::ARCH,
    cohere2::ARCH,
    cohere2moe::ARCH,
    command_r::ARCH,
    dbrx::ARCH,
    deci::ARCH,
    deepseek::ARCH,
    deepseek2::ARCH,
    deepseek2_ocr::ARCH,
    dots1::ARCH,
    dream::ARCH,
    ernie4_5::ARCH,
    ernie4_5_moe::ARCH,
    eurobert::ARCH,
    exaone::ARCH,
    exaone_moe::ARCH,
    exaone4::ARCH,
    falcon::ARCH,
    falcon_h1::ARCH,
    gemma::ARCH,
    gemma_embedding::ARCH,
    gemma2::ARCH,
    gemma3::ARCH,
    gemma3n::ARCH,
    gemma4::ARCH,
    glm4::ARCH,
    glm4moe::ARCH,
    gpt_oss::ARCH,
    gpt2::ARCH,
    gptneox::ARCH,
    granite::ARCH,
    granitehybrid::ARCH,
    granitemoe::ARCH,
    grok::ARCH,
    grovemoe::ARCH,
    hunyuan_dense::ARCH,
    hunyuan_moe::ARCH,
    hunyuan_vl::ARCH,
    hy_v3::ARCH,
    internlm2::ARCH,
    jais::ARCH,
    jais2::ARCH,
    jamba::ARCH,
    jina_bert_v2::ARCH,
    jina_bert_v3::ARCH,
    kimi_linear::ARCH,
    laguna::ARCH,
    lfm2::ARCH,
    lfm2moe::ARCH,
    llada::ARCH,
    llada_moe::ARCH,
    llama::ARCH,
    llama_embed::ARCH,
    llama4::ARCH,
    maincoder::ARCH,
    mamba::ARCH,
    mamba2::ARCH,
    mellum::ARCH,
    mimo2::ARCH,
    minicpm::ARCH,
    minicpm3::ARCH,
    minimax_m2::ARCH,
    mistral3::ARCH,
    mistral4::ARCH,
    modern_bert::ARCH,
    mpt::ARCH,
    nanbeige::ARCH,
    nemotron::ARCH,
    nemotron_h::ARCH,
    nemotron_h_moe::ARCH,
    neo_bert::ARCH,
    nomic_bert::ARCH,
    nomic_bert_moe::ARCH,
    olmo::ARCH,
    olmo2::ARCH,
    olmoe::ARCH,
    openelm::ARCH,
    orion::ARCH,
    paddleocr::ARCH,
    pangu_embedded::ARCH,
    phi2::ARCH,
    phi3::ARCH,
    phimoe::ARCH,
    plamo::ARCH,
    plamo2::ARCH,
    plamo3::ARCH,
    qwen::ARCH,
    qwen2::ARCH,
    qwen2moe::ARCH,
    qwen2vl::ARCH,
    qwen3::ARCH,
    qwen35::ARCH,
    qwen35moe::ARCH,
    qwen3moe::ARCH,
    qwen3next::ARCH,
    qwen3vl::ARCH,
    qwen3vlmoe::ARCH,
    refact::ARCH,
    rnd1::ARCH,
    rwkv6::ARCH,
    rwkv6qwen2::ARCH,
    rwkv7::ARCH,
    seed_oss::ARCH,
    smallthinker::ARCH,
    smollm3::ARCH,
    stablelm::ARCH,
    starcoder::ARCH,
    starcoder2::ARCH,
    step35::ARCH,
    t5::ARCH,
    t5encoder::ARCH,
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
