//! One line for each small model.

use super::recipe::Value::{A, B, F, N, S, T, U};
use super::recipe::{Key, Small, key, live, small};
use crate::encoders::Seen::{Decoder, LogitsAtOnce, Pooled, Rows};
use quipu_decoder::Pooling::{Cls, Last, Mean, Rank};

const ATTN: &str = "attn_norm attn_q attn_k attn_v attn_output";
const ATTN_BIASED: &str = "attn_norm+ attn_q+ attn_k+ attn_v+ attn_output+";
const QKV_BIASED: &str = "attn_norm attn_q+ attn_k+ attn_v+ attn_output";
const BARE_ATTN: &str = "attn_q attn_k attn_v attn_output";
const FUSED: &str = "attn_norm attn_qkv attn_output";
const FUSED_BIASED: &str = "attn_norm+ attn_qkv+ attn_output+";
const HEAD_NORMS: &str = "attn_q_norm attn_k_norm";
const WHOLE_NORMS: &str = "attn_q_norm:Q attn_k_norm:K";
const GATED: &str = "ffn_norm ffn_gate ffn_up ffn_down";
const BARE_GATED: &str = "ffn_gate ffn_up ffn_down";
const PLAIN_BIASED: &str = "ffn_norm+ ffn_up+ ffn_down+";
const EXPERTS: &str = "ffn_norm ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps";
const BARE_EXPERTS: &str = "ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps";
const SHARED: &str = "ffn_gate_shexp ffn_up_shexp ffn_down_shexp";
const CHOICE: &str = "exp_probs_b.bias";
const BIASED_TOP: &str = "output_norm+ output";
const TIED: &str = "output_norm";

/// Layers of BERT and its kin: norms behind every sum.
const SUMS: &str = "attn_output_norm+ layer_output_norm+";
const POST_ATTN: &str = "attn_q+ attn_k+ attn_v+ attn_output+";
const POST_FFN: &str = "ffn_up+ ffn_down+";
const BERT_TOP: &str = "token_types token_embd_norm+";
const TYPED: &[Key] = &[key("!tokenizer.ggml.token_type_count", U(2))];
const LABELLED: &[Key] = &[
    key("!tokenizer.ggml.token_type_count", U(2)),
    key("classifier.output_labels", S(&["no", "perhaps", "yes"])),
];
const BOTH_SIDES: &[Key] = &[
    live("attention.sliding_window", U(16), U(400)),
    live("rope.freq_base_swa", F(1e2), F(1e4)),
    key("attention.sliding_window_pattern", U(3)),
];
const T5_KEYS: &[Key] = &[key("attention.relative_buckets_count", U(32))];
const ENC: &str = "enc/attn_norm enc/attn_q enc/attn_k enc/attn_v enc/attn_o enc/ffn_norm";
const DEC: &str = "dec/attn_norm dec/attn_q dec/attn_k dec/attn_v dec/attn_o dec/cross_attn_norm dec/cross_attn_q \
                   dec/cross_attn_k dec/cross_attn_v dec/cross_attn_o dec/ffn_norm";
const ENC_GATED: &str = "enc/ffn_gate enc/ffn_up enc/ffn_down";
const DEC_GATED: &str = "dec/ffn_gate dec/ffn_up dec/ffn_down";
const T5_NORMS: &str = "!enc.output_norm.weight !dec.output_norm.weight";

const MOE: &[Key] = &[key("expert_count", U(8)), key("expert_used_count", U(3))];
const MOE_FF: &[Key] =
    &[key("expert_count", U(8)), key("expert_used_count", U(3)), key("expert_feed_forward_length", U(96))];
const GROUPED_MOE: &[Key] = &[
    key("expert_count", U(8)),
    key("expert_used_count", U(3)),
    live("expert_group_count", U(4), U(1)),
    key("expert_group_used_count", U(2)),
    key("expert_feed_forward_length", U(96)),
    key("expert_shared_count", U(1)),
    key("leading_dense_block_count", U(1)),
    live("expert_weights_scale", F(1.7), F(1.0)),
    live("expert_weights_norm", B(true), B(false)),
    live("expert_gating_func", U(2), U(1)),
];
const GRANITE: &[Key] = &[
    live("logit_scale", F(0.5), F(1.0)),
    live("residual_scale", F(0.6), F(1.0)),
    live("embedding_scale", F(3.0), F(1.0)),
    live("attention.scale", F(0.3), F(0.0)),
];

/// All of them, by architecture.
pub const SMALL: &[Small] = &[
    small("apertus", &[ATTN, HEAD_NORMS, "ffn_norm ffn_up ffn_down"])
        .top("output_norm output rope_freqs")
        .keys(&[
            live("!xielu.alpha_n", N(&[0.3, 0.8]), N(&[0.3, 0.3])),
            live("!xielu.alpha_p", N(&[0.8, -0.2]), N(&[0.3, 0.3])),
            live("!xielu.beta", N(&[0.5, 0.4]), N(&[0.0, 0.0])),
            key("!xielu.eps", N(&[-1e-6, -1e-6])),
        ]),
    small("arcee", &[ATTN, "ffn_norm ffn_up ffn_down"]).top("output_norm output rope_freqs"),
    small("arctic", &[ATTN, "ffn_norm ffn_gate:E,E ffn_up:E,E ffn_down:E,E ffn_norm_exps", BARE_EXPERTS])
        .wide_experts()
        .keys(MOE),
    small("baichuan", &[ATTN, GATED]).named("baichuan-alibi").deep(40).still(),
    small("baichuan", &[ATTN, GATED]).named("baichuan-rope").deep(32),
    small("bailingmoe", &[ATTN, EXPERTS, SHARED]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_count", U(1)),
        live("expert_weights_scale", F(1.7), F(1.0)),
        live("expert_weights_norm", B(true), B(false)),
    ]),
    small("bailingmoe2", &[FUSED, HEAD_NORMS, EXPERTS, SHARED, CHOICE])
        .layers(3)
        .rotating(16)
        .lead(1, &[FUSED, HEAD_NORMS, GATED])
        .keys(GROUPED_MOE),
    small("bitnet", &[BARE_ATTN, "attn_norm attn_sub_norm ffn_sub_norm", GATED, SCALES]).top(TIED),
    small("bloom", &[FUSED_BIASED, PLAIN_BIASED]).still().top("output_norm+ output token_embd_norm+"),
    small("chatglm", &[QKV_BIASED, "ffn_norm ffn_up:E,2F ffn_down"]).rotating(16),
    small("codeshell", &[ATTN_BIASED, PLAIN_BIASED]).top(BIASED_TOP),
    small("command-r", &[ATTN, BARE_GATED]).top(TIED).keys(&[live("logit_scale", F(0.5), F(1.0))]),
    small("command-r", &["attn_q_norm:D,H attn_k_norm:D,J", ATTN, BARE_GATED])
        .named("command-r-large")
        .deep(64)
        .top(TIED),
    small("dbrx", &[FUSED, "attn_output_norm", BARE_EXPERTS]).wide_experts().keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        live("attention.clamp_kqv", F(1.0), F(100.0)),
    ]),
    small("deci", &[ATTN, GATED])
        .layers(4)
        .top("output_norm output rope_freqs")
        .special(&[(1, &["attn_norm attn_output:E,E", GATED]), (2, &[GATED])])
        .keys(&[
            key("attention.head_count", A(&[4, 4, 0, 4])),
            key("attention.head_count_kv", A(&[2, 0, 0, 2])),
        ]),
    small("deepseek", &[ATTN, EXPERTS, SHARED]).layers(3).lead(1, &[ATTN, GATED]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_count", U(1)),
        key("leading_dense_block_count", U(1)),
        live("expert_weights_scale", F(1.7), F(1.0)),
    ]),
    small("dots1", &[ATTN, HEAD_NORMS, EXPERTS, SHARED, CHOICE])
        .layers(3)
        .ungrouped()
        .lead(1, &[ATTN, HEAD_NORMS, GATED])
        .keys(GROUPED_MOE),
    small("ernie4_5", &[ATTN, GATED]),
    small("ernie4_5-moe", &[ATTN, EXPERTS, SHARED, CHOICE]).layers(3).lead(1, &[ATTN, GATED]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
        key("interleave_moe_layer_step", U(1)),
        key("leading_dense_block_count", U(1)),
    ]),
    small("exaone", &[ATTN, GATED]).top("output_norm output rope_freqs"),
    small("exaone4", &[BARE_ATTN, HEAD_NORMS, "post_attention_norm post_ffw_norm", BARE_GATED])
        .top("output_norm output rope_freqs"),
    small("falcon", &["attn_norm+ attn_qkv attn_output ffn_up ffn_down"]).top("output_norm+"),
    small("falcon", &["attn_norm+ attn_norm_2+ attn_qkv attn_output ffn_up ffn_down"])
        .named("falcon-two-norms")
        .top(BIASED_TOP),
    small("glm4", &[QKV_BIASED, "post_attention_norm ffn_norm ffn_up:E,2F ffn_down post_ffw_norm"])
        .rotating(16),
    small("glm4moe", &[QKV_BIASED, HEAD_NORMS, "post_attention_norm", BARE_EXPERTS, SHARED, CHOICE])
        .layers(3)
        .rotating(16)
        .lead(1, &[QKV_BIASED, HEAD_NORMS, "post_attention_norm", BARE_GATED])
        .keys(GROUPED_MOE),
    small("gptneox", &[FUSED_BIASED, PLAIN_BIASED]).rotating(8).top(BIASED_TOP).keys(&[live(
        "use_parallel_residual",
        B(true),
        B(false),
    )]),
    small("gptneox", &[FUSED_BIASED, PLAIN_BIASED])
        .named("gptneox-sequential")
        .rotating(8)
        .top(BIASED_TOP)
        .keys(&[live("use_parallel_residual", B(false), B(true))]),
    small("granite", &[ATTN, GATED]).top("output_norm output rope_freqs").embeddings(0.33).keys(GRANITE),
    small("granite", &[ATTN, GATED])
        .named("granite-no-positions")
        .still()
        .top(TIED)
        .keys(&[live("logit_scale", F(0.5), F(1.0)), live("rope.scaling.finetuned", B(false), B(true))]),
    small("granitemoe", &[ATTN, EXPERTS, SHARED]).embeddings(0.33).wide_experts().keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_shared_feed_forward_length", U(96)),
        live("logit_scale", F(0.5), F(1.0)),
        live("residual_scale", F(0.6), F(1.0)),
        live("embedding_scale", F(3.0), F(1.0)),
        live("attention.scale", F(0.3), F(0.0)),
    ]),
    small("hunyuan-dense", &[ATTN, HEAD_NORMS, GATED]).keys(&[live("rope.scaling.alpha", F(50.0), F(0.0))]),
    small("hunyuan-moe", &[ATTN, HEAD_NORMS, EXPERTS, SHARED]).wide_experts().keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(192)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small("hy_v3", &[ATTN, HEAD_NORMS, EXPERTS, SHARED, "!exp_probs_b:X"])
        .layers(3)
        .lead(1, &[ATTN, HEAD_NORMS, GATED])
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            live("expert_weights_scale", F(1.7), F(1.0)),
            live("expert_weights_norm", B(true), B(false)),
        ]),
    small("hy_v3", &[ATTN, HEAD_NORMS, MERGED, SHARED, "!exp_probs_b:X"]).named("hy_v3-merged").keys(MOE_FF),
    small("internlm2", &[ATTN, GATED]),
    small("jais", &[FUSED_BIASED, "ffn_norm+ ffn_gate+ ffn_up+ ffn_down+"])
        .still()
        .top(BIASED_TOP)
        .keys(&[live("attention.max_alibi_bias", F(8.0), F(0.0))]),
    small("jais2", &[ATTN_BIASED, PLAIN_BIASED]).ungrouped().top(BIASED_TOP),
    small("llama", &[ATTN, EXPERTS]).named("llama-experts").wide_experts().keys(MOE),
    small("maincoder", &[ATTN, HEAD_NORMS, GATED]).top(TIED),
    small("minicpm", &[ATTN, GATED])
        .top("output_norm output rope_freqs")
        .embeddings(0.08)
        .keys(&[live("logit_scale", F(0.5), F(1.0)), live("residual_scale", F(0.6), F(1.0))]),
    small("minicpm", &[ATTN, GATED]).named("minicpm-defaults").embeddings(0.08).top(TIED),
    small(
        "minicpm3",
        &[
            "attn_norm attn_q_a:E,64 attn_q_a_norm:64 attn_q_b:64,Q attn_kv_a_mqa:E,48 attn_kv_a_norm:32 \
             attn_kv_b:32,128 attn_output:64,E",
            GATED,
        ],
    )
    .ungrouped()
    .rotating(16)
    .embeddings(0.08)
    .top("output_norm output rope_factors_long rope_factors_short")
    .keys(&[
        key("attention.q_lora_rank", U(64)),
        key("attention.kv_lora_rank", U(32)),
        key("attention.value_length", U(16)),
    ]),
    small("minimax-m2", &[ATTN, WHOLE_NORMS, EXPERTS, CHOICE]).rotating(16).wide_experts().keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(192)),
        live("expert_gating_func", U(2), U(1)),
    ]),
    small("mistral3", &[ATTN, GATED]).keys(&[
        live("attention.temperature_scale", F(0.4), F(0.0)),
        key("rope.scaling.original_context_length", U(16)),
    ]),
    small("mistral3", &[ATTN, EXPERTS]).named("mistral3-experts").wide_experts().keys(MOE),
    small("mpt", &[FUSED, "ffn_norm ffn_up ffn_down"]).still().top(TIED).keys(&[
        live("attention.max_alibi_bias", F(8.0), F(0.0)),
        live("attention.clamp_kqv", F(1.0), F(0.0)),
    ]),
    small("mpt", &[FUSED_BIASED, PLAIN_BIASED, "ffn.act.scales:F"])
        .named("mpt-positions")
        .still()
        .top("output_norm+ output position_embd"),
    small("nanbeige", &[ATTN, GATED])
        .top("output_norm output rope_freqs")
        .keys(&[live("num_loops", U(3), U(1)), live("skip_loop_final_norm", B(false), B(true))]),
    small("nemotron", &[ATTN_BIASED, PLAIN_BIASED]).rotating(16).top(BIASED_TOP),
    small("olmo", &[BARE_ATTN, BARE_GATED]).top("output").keys(&[live(
        "attention.clamp_kqv",
        F(1.0),
        F(0.0),
    )]),
    small("olmoe", &[ATTN, WHOLE_NORMS, EXPERTS]).ungrouped().wide_experts().keys(MOE),
    small("openelm", &[FUSED, HEAD_NORMS, GATED]).rotating(16).top(TIED),
    small("orion", &["attn_norm+ attn_q attn_k attn_v attn_output ffn_norm+", BARE_GATED]).top(BIASED_TOP),
    small("pangu-embedded", &["attn_norm attn_q+ attn_k+ attn_v+ attn_output+", GATED]),
    small("phi2", &[ATTN_BIASED, "ffn_up+ ffn_down+"]).rotating(16).top("output_norm+ output+"),
    small("phimoe", &[ATTN_BIASED, "ffn_norm+", BARE_EXPERTS])
        .wide_experts()
        .top("output_norm+ output+ rope_factors_long rope_factors_short")
        .keys(MOE),
    small("plamo", &[ATTN, BARE_GATED]),
    // plm: the reference stops at it, in every form it can have (values reach its cache as one long row).
    small("qwen", &["attn_norm attn_qkv+ attn_output ffn_norm ffn_gate:E,96 ffn_up:E,96 ffn_down:96,E"])
        .ungrouped(),
    small("qwen2moe", &[QKV_BIASED, EXPERTS, SHARED, "ffn_gate_inp_shexp"]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small("qwen3moe", &[ATTN, HEAD_NORMS, EXPERTS]).top(TIED).keys(MOE_FF),
    small("refact", &[ATTN, GATED]).still(),
    small("seed_oss", &[QKV_BIASED, "post_attention_norm", BARE_GATED]),
    small("smollm3", &[ATTN, GATED]).layers(5).top(TIED),
    small("starcoder", &[FUSED_BIASED, PLAIN_BIASED]).still().top("output_norm+ position_embd"),
    small("talkie", &[BARE_ATTN, "attn_q_norm:1,H layer_output_scale:1", BARE_GATED])
        .top("output")
        .keys(&[live("logit_scale", F(0.5), F(1.0))]),
    small("xverse", &[ATTN, GATED]),
    small("bert", &[POST_ATTN, SUMS, POST_FFN])
        .still()
        .top("token_types position_embd token_embd_norm+")
        .keys(TYPED)
        .seen(Rows),
    small("bert", &[FUSED_QKV, SUMS, POST_FFN])
        .named("bert-mean")
        .still()
        .ungrouped()
        .top("token_types position_embd token_embd_norm+")
        .keys(TYPED)
        .seen(Pooled(Mean)),
    small("bert", &[POST_ATTN, SUMS, POST_FFN])
        .named("bert-cls")
        .still()
        .top("position_embd token_embd_norm+")
        .keys(TYPED)
        .seen(Pooled(Cls)),
    small("bert", &[POST_ATTN, SUMS, POST_FFN])
        .named("bert-last")
        .still()
        .top("position_embd token_embd_norm+")
        .keys(TYPED)
        .seen(Pooled(Last)),
    small("bert", &[POST_ATTN, SUMS, POST_FFN])
        .named("bert-rank")
        .still()
        .top(BERT_RANK_TOP)
        .keys(LABELLED)
        .seen(Pooled(Rank)),
    small("dream", &[QKV_BIASED, GATED]).seen(LogitsAtOnce),
    small("eurobert", &[ATTN, GATED]).top(TIED).seen(Rows),
    small("gemma-embedding", GEMMA).layers(4).embeddings(0.088).top(TIED).keys(BOTH_SIDES).seen(Rows),
    small(
        "jina-bert-v2",
        &[POST_ATTN, SUMS, "attn_q_norm:Q+ attn_k_norm:K+ attn_norm_2+ ffn_up:E,2F ffn_down+"],
    )
    .still()
    .ungrouped()
    .top(BERT_TOP)
    .keys(TYPED)
    .seen(Rows),
    small("jina-bert-v2", &[POST_ATTN, SUMS, "ffn_gate ffn_up ffn_down+"])
        .named("jina-bert-v2-rank")
        .still()
        .top("token_types token_embd_norm+ cls:E,1+")
        .keys(TYPED)
        .seen(Pooled(Rank)),
    small("jina-bert-v2", &[POST_ATTN, SUMS, POST_FFN])
        .named("jina-bert-v2-gelu")
        .still()
        .top(BERT_TOP)
        .keys(TYPED)
        .seen(Rows),
    small("jina-bert-v3", &[POST_ATTN, SUMS, POST_FFN]).top(BERT_TOP).keys(TYPED).seen(Rows),
    small("llada", &[ATTN, GATED]).seen(LogitsAtOnce),
    small("llada-moe", &[ATTN, HEAD_NORMS, EXPERTS]).keys(MOE_FF).seen(LogitsAtOnce),
    small("llama-embed", &[ATTN, GATED])
        .top("output_norm rope_freqs")
        .keys(&[live("attention.causal", B(false), B(true))])
        .seen(Rows),
    small("modern-bert", &["attn_norm", FUSED_QKV_BARE, "ffn_norm ffn_up:E,2F ffn_down"])
        .layers(4)
        .ungrouped()
        .special(&[(0, &[FUSED_QKV_BARE, "ffn_norm ffn_up:E,2F ffn_down"])])
        .top("token_embd_norm output_norm")
        .keys(BOTH_SIDES)
        .seen(Rows),
    small("modern-bert", &["attn_norm", FUSED_QKV_BARE, "ffn_norm ffn_up:E,2F ffn_down"])
        .named("modern-bert-rank")
        .ungrouped()
        .top("token_embd_norm output_norm cls !cls.norm.weight !cls.output.weight:E,3 !cls.output.bias:3")
        .keys(&[
            live("hidden_activation", T("silu"), T("gelu")),
            key("classifier.output_labels", S(&["no", "perhaps", "yes"])),
        ])
        .seen(Pooled(Rank)),
    small("neo-bert", &["attn_norm", FUSED_QKV_BARE, "ffn_norm ffn_up:E,2F ffn_down"])
        .top("!enc.output_norm.weight")
        .seen(Rows),
    small("nomic-bert", &[BARE_ATTN, SUMS, BARE_GATED]).top(BERT_TOP).keys(TYPED).seen(Rows),
    small("nomic-bert-moe", &[POST_ATTN, SUMS, POST_FFN])
        .wide_experts()
        .special(&[(1, &[POST_ATTN, SUMS, "ffn_gate_inp ffn_up_exps ffn_down_exps"])])
        .top(BERT_TOP)
        .keys(&[
            key("!tokenizer.ggml.token_type_count", U(2)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("moe_every_n_layers", U(2)),
        ])
        .seen(Rows),
    small("rnd1", &[ATTN, HEAD_NORMS, EXPERTS]).top(TIED).keys(MOE_FF).seen(LogitsAtOnce),
    small("t5", &[ENC, ENC_GATED, DEC, DEC_GATED])
        .still()
        .ungrouped()
        .special(&[(0, &["enc/attn_rel_b dec/attn_rel_b", ENC, ENC_GATED, DEC, DEC_GATED])])
        .top("!enc.output_norm.weight !dec.output_norm.weight output")
        .keys(T5_KEYS)
        .seen(Decoder),
    small("t5", &[ENC, "enc/ffn_up enc/ffn_down", DEC, "dec/ffn_up dec/ffn_down"])
        .named("t5-relu")
        .still()
        .ungrouped()
        .special(&[(
            0,
            &[
                "enc/attn_rel_b dec/attn_rel_b",
                ENC,
                "enc/ffn_up enc/ffn_down",
                DEC,
                "dec/ffn_up dec/ffn_down",
            ],
        )])
        .top(T5_NORMS)
        .keys(T5_KEYS)
        .seen(Decoder),
    small("t5encoder", &[ENC, ENC_GATED])
        .still()
        .ungrouped()
        .special(&[(0, &["enc/attn_rel_b", ENC, ENC_GATED])])
        .top("!enc.output_norm.weight")
        .keys(T5_KEYS)
        .seen(Rows),
];

const FUSED_QKV: &str = "attn_qkv+ attn_output+";
const FUSED_QKV_BARE: &str = "attn_qkv attn_output";
const BERT_RANK_TOP: &str =
    "token_types position_embd token_embd_norm+ cls+ !cls.output.weight:E,3 !cls.output.bias:3";
const GEMMA: &[&str] = &[ATTN, HEAD_NORMS, "post_attention_norm", GATED, "post_ffw_norm"];

const MERGED: &str = "ffn_norm ffn_gate_inp ffn_gate_up_exps ffn_down_exps";
const SCALES: &str = "!attn_q.scale:1 !attn_k.scale:1 !attn_v.scale:1 !attn_output.scale:1 !ffn_gate.scale:1 !ffn_up.scale:1 !ffn_down.scale:1";
