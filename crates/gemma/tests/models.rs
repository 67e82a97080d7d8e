//! Configurations and tensors of all models against what gemma.cpp says (`goldens/`).

use std::fmt::Write as _;

use quipu_gemma::fields;
use quipu_gemma::{
    FieldError, LayerConfig, Model, ModelConfig, PromptWrapping, TensorInfo, TensorInfos, Type, config_of,
};

const CONFIGS: &str = include_str!("goldens/configs.txt");
const TENSORS: &str = include_str!("goldens/tensors.txt");

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// The golden's lines with their comments gone.
fn lines(golden: &str) -> impl Iterator<Item = &str> {
    golden.lines().filter(|line| !line.starts_with('#'))
}

fn words(config: &ModelConfig) -> Vec<u32> {
    let mut words = Vec::new();
    fields::write(config, &mut words).expect("a known model can be written");
    words
}

/// The probe's line.
fn config_line(model: Model, weight: Type, wrapping: PromptWrapping) -> String {
    let config = config_of(model, weight, wrapping).expect("a known model");
    let mut line = format!("{} {} {} {}", model as u32, weight as u32, wrapping as u32, config.specifier());
    for word in words(&config) {
        write!(line, " {word:x}").expect("a string");
    }
    line.push('\n');
    line
}

#[test]
fn every_config_is_serialised_as_the_reference_does() {
    let mut all = String::new();
    for model in Model::ALL {
        for wrapping in PromptWrapping::ALL {
            for weight in [Type::F32, Type::Bf16, Type::Sfp, Type::Nuq, Type::I8] {
                all += &config_line(model, weight, wrapping);
            }
        }
    }
    let mut golden = lines(CONFIGS);
    let mut seen = 0;
    let hash = golden.next().expect("a first line").split(' ').nth(2).expect("a hash");
    for line in golden {
        let number = line.split(' ').next().and_then(|number| number.parse::<u32>().ok());
        let model = Model::ALL.into_iter().find(|model| Some(*model as u32) == number).expect("a model");
        assert_eq!(config_line(model, Type::Sfp, model.wrapping(None)).trim_end(), line);
        seen += 1;
    }
    assert_eq!(seen, Model::ALL.len());
    assert_eq!(format!("{:016x}", fnv(all.as_bytes())), hash);
}

#[test]
fn configs_are_read_as_they_were_written_and_known_again() {
    for model in Model::ALL {
        let config = config_of(model, Type::Sfp, model.wrapping(None)).expect("a known model");
        let words = words(&config);
        let mut read = ModelConfig::default();
        let result = fields::read(&mut read, &words, 0).expect("valid");
        assert_eq!((result.end, result.missing_fields, result.extra_u32), (words.len(), 0, 0));
        assert_eq!(read, config);
        assert_eq!(ModelConfig::from_specifier(&config.specifier()).expect("its own name"), config);
        read.display_name = "something else".to_owned();
        read.eos_id = 5;
        assert_eq!(read.canonical().as_ref(), Some(&config));
        assert!(config.is_global_layer(config.layer_configs.len() / 6 * 6 - 1));
    }
    for wrong in
        ["", "gemma3-270m", "gemma3-270m-", "gemma3-270m-q4-it", "gemma1-2b-sfp", "gemma3-270m-sfp-xx"]
    {
        assert!(ModelConfig::from_specifier(wrong).is_err(), "{wrong}");
    }
}

/// The probe's line.
fn tensor_line(info: &TensorInfo) -> String {
    let (rows, cols) = info.extents();
    let extra = u32::from(info.cols_take_extra_dims);
    let mut line = format!("{} {rows} {cols} {} {extra} {}", info.name, info.min_size, info.concat_axis);
    info.axes.iter().for_each(|axis| write!(line, " a{axis}").expect("a string"));
    info.preshape.iter().for_each(|n| write!(line, " p{n}").expect("a string"));
    info.concat_names.iter().for_each(|name| write!(line, " c{name}").expect("a string"));
    info.source_names.iter().for_each(|name| write!(line, " s{name}").expect("a string"));
    info.layer_source_names.iter().for_each(|name| write!(line, " s{name}").expect("a string"));
    line
}

/// The order in which the probe asks for names.
const NAMES: [&str; 49] = [
    "c_embedding",
    "c_final_norm",
    "enc_norm_bias",
    "enc_norm_scale",
    "img_emb_bias",
    "img_emb_kernel",
    "img_head_bias",
    "img_head_kernel",
    "img_pos_emb",
    "mm_embed_norm",
    "attn_out_w",
    "attn_out_b",
    "q_ein_w",
    "k_ein_w",
    "v_ein_w",
    "qkv_ein_w",
    "q_ein_b",
    "k_ein_b",
    "v_ein_b",
    "qkv_ein_b",
    "linear_0_w",
    "linear_0_b",
    "linear_1_w",
    "linear_1_b",
    "ln_0_bias",
    "ln_0_scale",
    "ln_1_bias",
    "ln_1_scale",
    "key_norm",
    "query_norm",
    "qkv1_w",
    "qkv2_w",
    "q_ein",
    "k_ein",
    "v_ein",
    "qkv_ein",
    "attn_ob",
    "gating_ein",
    "gating1_w",
    "gating2_w",
    "linear_w",
    "pre_att_ns",
    "pre_ff_ns",
    "post_att_ns",
    "post_ff_ns",
    "ffw_gat_b",
    "ffw_out_b",
    "att_ein",
    "att_w",
];

#[test]
fn every_tensor_of_every_model_is_the_references() {
    let described = |specifier: &str| {
        let config = ModelConfig::from_specifier(specifier).expect("a specifier");
        let infos = TensorInfos::new(&config);
        let mut found = Vec::new();
        for base in NAMES {
            found.extend(infos.find(base).map(tensor_line));
            found.extend((0..64).filter_map(|il| infos.find(&format!("{base}_{il}"))).map(tensor_line));
        }
        assert_eq!(found.len(), infos.infos().len(), "{specifier}: every tensor has a name in the list");
        found
    };
    let large = described("gemma3-4b-sfp");
    let mut seen = 0;
    for line in lines(TENSORS) {
        let Some(all) = line.strip_prefix("all ") else {
            assert!(large.iter().any(|own| own == line), "{line}");
            continue;
        };
        let [specifier, count, hash] = all.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let own = described(specifier);
        assert_eq!(own.len().to_string(), count, "{specifier}");
        assert_eq!(format!("{:016x}", fnv((own.join("\n") + "\n").as_bytes())), hash, "{specifier}");
        seen += 1;
    }
    assert_eq!(seen, Model::ALL.len());
}

#[test]
fn a_source_path_names_its_tensor() {
    let config = ModelConfig::from_specifier("gemma3-4b-sfp").expect("a specifier");
    let infos = TensorInfos::new(&config);
    let found = infos.by_source_path("params/img/Transformer/encoder_norm/bias", None).expect("known");
    assert_eq!((found.name.as_str(), &found.shape[..]), ("enc_norm_bias", &[1152][..]));
    let found = infos.by_source_path("transformer/layer_3/attn/attn_vec_einsum/w", Some(3)).expect("known");
    assert_eq!(found.name, "att_ein_3");
    assert!(infos.by_source_path("nothing/of/the/kind", None).is_none());
}

/// An old program's `LayerConfig`: the first fields.
fn shortened(words: &[u32], n: usize) -> Vec<u32> {
    let mut out = words[..=n].to_vec();
    out[0] = n as u32;
    out
}

#[test]
fn old_data_leaves_defaults_and_new_data_is_skipped() {
    let layer = LayerConfig { model_dim: 7, heads: 4, use_qk_norm: true, ..LayerConfig::default() };
    let mut all = Vec::new();
    fields::write(&layer, &mut all).expect("a layer can be written");
    for n in 0..all.len() {
        let mut read = LayerConfig::default();
        let result = fields::read(&mut read, &shortened(&all, n), 0).expect("older data are valid");
        assert_eq!(result.missing_fields as usize, all.len() - 1 - n);
        assert_eq!(read.model_dim, if n == 0 { 0 } else { 7 });
        assert!(!read.use_qk_norm || n + 1 == all.len());
    }
    // Two fields more, and another struct behind it.
    let mut newer = all.clone();
    newer[0] += 2;
    newer.extend([1, 2]);
    let end = newer.len();
    newer.extend(&all);
    let mut read = LayerConfig::default();
    let result = fields::read(&mut read, &newer, 0).expect("newer data are valid");
    assert_eq!((result.end, result.extra_u32, &read), (end, 2, &layer));
    assert_eq!(fields::read(&mut read, &newer, end).expect("the next one").extra_u32, 0);
}

/// Both directions within a list: what follows stays in its place.
#[test]
fn nested_structs_of_other_ages_do_not_shift_what_follows() {
    let config = config_of(Model::Gemma3_270M, Type::Sfp, PromptWrapping::GemmaIt).expect("known");
    let mut all = words(&config);
    // The first layer: behind 5 words of name, and 13 more fields with the list's length.
    let first = (0..all.len()).find(|&i| all[i] == 15 && all[i + 1] == 640).expect("a layer's length");
    all.splice(first + 16..first + 16, [9, 9, 9]);
    all[first] += 3;
    all[0] += 3;
    let mut read = ModelConfig::default();
    let result = fields::read(&mut read, &all, 0).expect("newer data are valid");
    assert_eq!((result.extra_u32, result.missing_fields), (3, 0));
    assert_eq!(read, config);
    all.drain(first + 15..first + 19);
    all[first] -= 4;
    all[0] -= 4;
    let mut read = ModelConfig::default();
    let result = fields::read(&mut read, &all, 0).expect("older data are valid");
    assert_eq!((result.extra_u32, result.missing_fields), (0, 1));
    assert!(!read.layer_configs[0].use_qk_norm && read.layer_configs[1].use_qk_norm);
    assert_eq!(read.scale_base_names, config.scale_base_names);
}

#[test]
fn invalid_fields_say_where_they_are() {
    let layer = LayerConfig::default();
    let mut all = Vec::new();
    fields::write(&layer, &mut all).expect("writable");
    let with = |at: usize, value: u32| {
        let mut words = all.clone();
        words[at] = value;
        fields::read(&mut LayerConfig::default(), &words, 0)
    };
    assert_eq!(with(8, 2), Err(FieldError::Bool { pos: 8, found: 2 }));
    assert!(matches!(with(11, 7), Err(FieldError::Enum { pos: 11, found: 7, .. })));
    assert!(matches!(with(0, 99), Err(FieldError::TooLong { needed: 99, remaining: 15, .. })));
    let mut config = config_of(Model::Gemma3_270M, Type::Sfp, PromptWrapping::GemmaIt).expect("known");
    config.att_cap = f32::INFINITY;
    assert!(matches!(fields::write(&config, &mut Vec::new()), Err(FieldError::Float { .. })));
    config.att_cap = 0.0;
    config.display_name = "é".to_owned();
    assert!(matches!(fields::write(&config, &mut Vec::new()), Err(FieldError::StringBytes { .. })));
    config.display_name = "x".repeat(257);
    assert!(matches!(
        fields::write(&config, &mut Vec::new()),
        Err(FieldError::StringLength { found: 65, .. })
    ));
    assert!(matches!(fields::u32s(&[1, 2, 3]), Err(FieldError::NotU32 { found: 3 })));
}
