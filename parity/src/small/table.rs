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

const LAGUNA: &[Key] = &[
    key("expert_count", U(8)),
    key("expert_used_count", U(3)),
    key("expert_feed_forward_length", U(96)),
    key("leading_dense_block_count", U(1)),
    key("attention.head_count", A(&[4, 4, 8, 4, 4])),
    live("rope.dimension_count_swa", U(16), U(32)),
    live("rope.freq_base_swa", F(1e3), F(1e6)),
    live("expert_weights_scale", F(1.7), F(1.0)),
    live("expert_weights_norm", B(true), B(false)),
    WINDOW,
];
const WINDOW: Key = live("attention.sliding_window", U(8), U(512));
const ROUND_NORMS: &str = "post_attention_norm post_ffw_norm";

const ABSORBED: &str = "attn_norm attn_q_a:E,64 attn_q_a_norm:64 attn_q_b:64,192 attn_kv_a_mqa:E,48 attn_kv_a_norm:32 \
                        attn_k_b:32,32,4 attn_v_b:32,24,4 attn_output:96,E";
const SECTIONS: Key = live("rope.dimension_sections", A(&[6, 4, 3, 3]), A(&[16, 0, 0, 0]));
const TURNS: Key = live("rope.dimension_sections", A(&[5, 4, 4, 3]), A(&[16, 0, 0, 0]));
const OF_TOKENS: &str = "inp_gate:E,32 proj:32,E post_norm layer_output_scale:1";
const WINDOWED: &str = "attn_norm attn_q:E,64 attn_q_norm:16 attn_output:64,E post_attention_norm";
const WINDOWED_KV: &str = "attn_k:E,32 attn_v:E,32 attn_k_norm:16";
const SANDWICHED: &str = "ffn_norm ffn_gate ffn_up ffn_down post_ffw_norm";

/// All of them, by architecture.
pub const SMALL: &[Small] = &[
    small("afmoe", &[ATTN, HEAD_NORMS, ROUND_NORMS, "attn_gate:E,Q", EXPERTS, SHARED, CHOICE])
        .layers(5)
        .embeddings(0.09)
        .lead(1, &[ATTN, HEAD_NORMS, ROUND_NORMS, "attn_gate:E,Q", GATED])
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("expert_shared_count", U(1)),
            key("leading_dense_block_count", U(1)),
            live("expert_weights_scale", F(1.7), F(1.0)),
            live("expert_weights_norm", B(true), B(false)),
            live("rope.freq_base_swa", F(1e3), F(1e6)),
            WINDOW,
        ]),
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
    small("arwkv7", &["attn_norm time_mix_lerp_fused:E,1,1,5", RWKV7, GATED]).layers(3).still().keys(&[
        key("wkv.head_size", U(64)),
        key("token_shift_count", U(1)),
        key("attention.decay_lora_rank", U(32)),
        key("attention.iclr_lora_rank", U(32)),
        key("attention.value_residual_mix_lora_rank", U(32)),
    ]),
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
    // Its base is fixed: no key takes its positions away.
    small("cogvlm", &[FUSED, "vis_attn_qkv:E,P vis_attn_output:Q,E", GATED, "vis_gate:E,F vis_up:E,F vis_down:F,E"])
        .ungrouped()
        .still(),
    small("cohere2", &[ATTN, BARE_GATED])
        .layers(5)
        .top(TIED)
        .keys(&[live("logit_scale", F(0.5), F(1.0)), WINDOW]),
    small("cohere2moe", &[ATTN, BARE_EXPERTS, SHARED]).layers(5).lead(1, &[ATTN, BARE_GATED]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_count", U(1)),
        key("leading_dense_block_count", U(1)),
        live("expert_weights_scale", F(1.7), F(1.0)),
        live("expert_weights_norm", B(true), B(false)),
        live("logit_scale", F(0.5), F(1.0)),
        key("attention.sliding_window_pattern", U(4)),
        WINDOW,
    ]),
    small("cohere2moe", &[ATTN, "ffn_gate_inp ffn_gate_up_exps ffn_down_exps"])
        .named("cohere2moe-layer-norm")
        .layers(4)
        .top(TIED)
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("leading_dense_block_count", U(0)),
            key("attention.layer_norm_rms_epsilon", F(0.0)),
            key("attention.sliding_window_pattern", A(&[1, 0, 1, 1])),
            key("logit_scale", F(1.0)),
            WINDOW,
        ]),
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
    small("deepseek2", &[ABSORBED, EXPERTS, SHARED, CHOICE])
        .layers(3)
        .rotating(16)
        .lead(1, &[ABSORBED, GATED])
        .keys(&[
            key("attention.head_count_kv", U(1)),
            key("attention.key_length", U(48)),
            key("attention.value_length", U(32)),
            key("attention.key_length_mla", U(48)),
            key("attention.value_length_mla", U(24)),
            key("attention.q_lora_rank", U(64)),
            key("attention.kv_lora_rank", U(32)),
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
        ]),
    small("deepseek2-ocr", &[ATTN, EXPERTS, SHARED, CHOICE])
        .layers(3)
        .ungrouped()
        .still()
        .lead(1, &[ATTN, GATED])
        .keys(GROUPED_MOE),
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
    small("falcon-h1", &[ATTN, MAMBA2, "!ffn_norm ffn_gate ffn_up ffn_down"]).keys(SSM2),
    small("exaone", &[ATTN, GATED]).top("output_norm output rope_freqs"),
    small("exaone-moe", &[ATTN, HEAD_NORMS, EXPERTS, SHARED, CHOICE])
        .layers(5)
        .lead(1, &[ATTN, HEAD_NORMS, GATED])
        .top("output_norm output rope_freqs")
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("leading_dense_block_count", U(1)),
            live("expert_weights_scale", F(1.7), F(1.0)),
            live("expert_weights_norm", B(true), B(false)),
            live("expert_gating_func", U(2), U(1)),
            WINDOW,
        ]),
    small("exaone4", &[BARE_ATTN, HEAD_NORMS, "post_attention_norm post_ffw_norm", BARE_GATED])
        .top("output_norm output rope_freqs"),
    small("exaone4", &[BARE_ATTN, HEAD_NORMS, ROUND_NORMS, BARE_GATED])
        .named("exaone4-windows")
        .deep(64)
        .keys(&[WINDOW]),
    small("falcon", &["attn_norm+ attn_qkv attn_output ffn_up ffn_down"]).top("output_norm+"),
    small("falcon", &["attn_norm+ attn_norm_2+ attn_qkv attn_output ffn_up ffn_down"])
        .named("falcon-two-norms")
        .top(BIASED_TOP),
    small(
        "gemma3n",
        &[
            "attn_norm attn_q attn_k attn_v attn_output attn_q_norm attn_k_norm post_attention_norm",
            SANDWICHED,
            "inp_gate:E,256 proj:256,E post_norm altup_correct_coef:4,4 altup_correct_scale:E altup_predict_coef:4,16 \
             altup_router:E,4 altup_router_norm laurel_l:E,64 laurel_r:64,E laurel_post_norm",
        ],
    )
    .deep(25)
    .embeddings(0.125)
    .top(
        "output_norm altup_proj:E,E,3 altup_unembd_proj:E,E,3 per_layer_token_embd:6400,V \
         per_layer_model_proj:E,6400 per_layer_proj_norm:256",
    )
    .keys(&[live("rope.freq_base_swa", F(1e3), F(1e6)), WINDOW]),
    small("gemma4", &[WINDOWED, WINDOWED_KV, SANDWICHED, OF_TOKENS])
        .layers(6)
        .embeddings(0.09)
        .top(
            "output_norm rope_freqs:16 per_layer_token_embd:192,V per_layer_model_proj:E,192 per_layer_proj_norm:32",
        )
        .special(&[
            (
                1,
                &[
                    WINDOWED,
                    WINDOWED_KV,
                    SANDWICHED,
                    OF_TOKENS,
                    "post_ffw_norm_1 pre_ffw_norm_2 post_ffw_norm_2 !ffn_gate_inp.scale:E",
                    BARE_EXPERTS,
                ],
            ),
            (
                3,
                &[
                    "attn_norm attn_q attn_k attn_output attn_q_norm attn_k_norm post_attention_norm",
                    SANDWICHED,
                    OF_TOKENS,
                ],
            ),
            (4, &[WINDOWED, SANDWICHED, OF_TOKENS]),
            (5, &["attn_norm attn_q attn_output attn_q_norm post_attention_norm", SANDWICHED, OF_TOKENS]),
        ])
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("attention.key_length_swa", U(16)),
            key("attention.value_length_swa", U(16)),
            key("rope.dimension_count_swa", U(16)),
            key("attention.sliding_window_pattern", A(&[1, 1, 1, 0, 1, 0])),
            key("attention.shared_kv_layers", U(2)),
            key("embedding_length_per_layer_input", U(32)),
            live("rope.freq_base_swa", F(1e3), F(1e6)),
            live("final_logit_softcapping", F(3.0), F(30.0)),
            WINDOW,
        ]),
    small("glm4", &[QKV_BIASED, "post_attention_norm ffn_norm ffn_up:E,2F ffn_down post_ffw_norm"])
        .rotating(16),
    small("glm4", &[QKV_BIASED, "post_attention_norm ffn_norm ffn_up:E,2F ffn_down post_ffw_norm"])
        .named("glm4-sections")
        .rotating(16)
        .keys(&[live("rope.dimension_sections", A(&[3, 2, 1, 2]), A(&[6, 2, 0, 0]))]),
    small("glm4moe", &[QKV_BIASED, HEAD_NORMS, "post_attention_norm", BARE_EXPERTS, SHARED, CHOICE])
        .layers(3)
        .rotating(16)
        .lead(1, &[QKV_BIASED, HEAD_NORMS, "post_attention_norm", BARE_GATED])
        .keys(GROUPED_MOE),
    small(
        "gpt-oss",
        &[
            "attn_norm attn_q+ attn_k+ attn_v+ attn_output+ attn_sinks post_attention_norm ffn_gate_inp+ \
             ffn_gate_exps+ ffn_up_exps+ ffn_down_exps+",
        ],
    )
    .layers(4)
    .keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        live("rope.freq_base_swa", F(1e3), F(1e6)),
        WINDOW,
    ]),
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
    small("granitehybrid", &["attn_norm", MAMBA2, GATED])
        .layers(3)
        .embeddings(0.33)
        .special(&[(1, &[ATTN, GATED])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(8)),
            key("ssm.group_count", U(2)),
            live("logit_scale", F(0.5), F(1.0)),
            live("residual_scale", F(0.6), F(1.0)),
            live("embedding_scale", F(3.0), F(1.0)),
            live("attention.scale", F(0.3), F(0.0)),
        ]),
    small("granitehybrid", &["attn_norm", MAMBA2, EXPERTS, SHARED])
        .named("granitehybrid-experts")
        .layers(3)
        .still()
        .wide_experts()
        .special(&[(1, &[ATTN, EXPERTS, SHARED])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(8)),
            key("ssm.group_count", U(2)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_shared_feed_forward_length", U(96)),
            live("rope.scaling.finetuned", B(false), B(true)),
        ]),
    small(
        "grok",
        &["attn_norm attn_q attn_k attn_v attn_output attn_output_norm post_ffw_norm", GATED, BARE_EXPERTS],
    )
    .wide_experts()
    .embeddings(0.0128)
    .keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        live("attn_logit_softcapping", F(2.0), F(30.0)),
        live("attention.output_scale", F(0.3), F(0.1)),
        live("logit_scale", F(1.5), F(0.577)),
    ]),
    small(
        "grok",
        &["attn_norm attn_q attn_k attn_v attn_output attn_output_norm layer_output_norm ffn_norm", BARE_EXPERTS],
    )
    .named("grok-without-dense")
    .top(TIED)
    .embeddings(0.0128)
    .keys(MOE_FF),
    small(
        "grovemoe",
        &[ATTN, HEAD_NORMS, EXPERTS, "ffn_gate_chexps:E,64,4 ffn_up_chexps:E,64,4 ffn_down_chexps:64,E,4"],
    )
    .keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_chunk_feed_forward_length", U(64)),
        key("experts_per_group", U(2)),
        live("expert_group_scale", F(0.4), F(0.0)),
    ]),
    small("hunyuan-dense", &[ATTN, HEAD_NORMS, GATED]).keys(&[live("rope.scaling.alpha", F(50.0), F(0.0))]),
    small("hunyuan-moe", &[ATTN, HEAD_NORMS, EXPERTS, SHARED]).wide_experts().keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(192)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small("hunyuan_vl", &[ATTN, HEAD_NORMS, GATED])
        .top(TIED)
        .keys(&[live("rope.scaling.alpha", F(50.0), F(0.0)), live("rope.dimension_sections", A(&[6, 4, 3, 3]), A(&[8, 8, 0, 0]))]),
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
    small("jamba", &["attn_norm ssm_dt_norm:32 ssm_b_norm:16 ssm_c_norm:16", MAMBA, GATED])
        .layers(4)
        .still()
        .wide_experts()
        .special(&[
            (1, &[ATTN, EXPERTS]),
            (2, &["attn_norm ssm_dt_norm:32 ssm_b_norm:16 ssm_c_norm:16", MAMBA, EXPERTS]),
        ])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(32)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
        ]),
    small("kimi-linear", &[KDA, EXPERTS, SHARED, CHOICE])
        .layers(4)
        .rotating(16)
        .still()
        .lead(1, &[KDA, GATED])
        .special(&[(2, &[KIMI_LATENT, EXPERTS, SHARED, CHOICE])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 0, 1, 0])),
            key("attention.key_length", U(48)),
            key("attention.value_length", U(32)),
            key("attention.key_length_mla", U(48)),
            key("attention.value_length_mla", U(24)),
            key("attention.kv_lora_rank", U(32)),
            key("ssm.conv_kernel", U(4)),
            key("kda.head_dim", U(32)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("expert_shared_count", U(1)),
            key("leading_dense_block_count", U(1)),
            live("expert_weights_scale", F(1.7), F(1.0)),
            live("expert_gating_func", U(2), U(1)),
        ]),
    small("lfm2", &[SHORT_CONV, GATED])
        .layers(4)
        .top("token_embd_norm output")
        .special(&[(1, &[ATTN, HEAD_NORMS, GATED]), (3, &[ATTN, HEAD_NORMS, GATED])])
        .keys(&[key("attention.head_count_kv", A(&[0, 2, 0, 2])), key("shortconv.l_cache", U(3))]),
    small("lfm2", &[SHORT_CONV, GATED])
        .named("lfm2-windows")
        .layers(4)
        .top("token_embd_norm")
        .special(&[(1, &[ATTN, HEAD_NORMS, GATED]), (2, &[ATTN, HEAD_NORMS, GATED])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 2, 0])),
            key("shortconv.l_cache", U(3)),
            live("attention.sliding_window", U(8), U(0)),
        ]),
    small("lfm2moe", &[SHORT_CONV, EXPERTS, CHOICE])
        .layers(4)
        .top("token_embd_norm output")
        .lead(1, &[SHORT_CONV, GATED])
        .special(&[(1, &[ATTN, HEAD_NORMS, EXPERTS, CHOICE]), (3, &[ATTN, HEAD_NORMS, EXPERTS, CHOICE])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0, 2])),
            key("shortconv.l_cache", U(3)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("leading_dense_block_count", U(1)),
            live("expert_gating_func", U(2), U(1)),
        ]),
    small("laguna", &[ATTN, HEAD_NORMS, "attn_gate:E,H", EXPERTS, SHARED, CHOICE])
        .layers(5)
        .lead(1, &[ATTN, HEAD_NORMS, "attn_gate:E,H", GATED])
        .special(&[(
            2,
            &[
                "attn_norm attn_q:E,256 attn_k attn_v attn_output:256,E attn_gate:E,8",
                HEAD_NORMS,
                EXPERTS,
                SHARED,
                CHOICE,
            ],
        )])
        .keys(LAGUNA),
    small("laguna", &[ATTN, HEAD_NORMS, "attn_gate:E,Q", EXPERTS, SHARED, CHOICE])
        .named("laguna-elements")
        .top(TIED)
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("leading_dense_block_count", U(0)),
            live("expert_weights_norm", B(true), B(false)),
        ]),
    small("llama", &[ATTN, EXPERTS]).named("llama-experts").wide_experts().keys(MOE),
    small("llama4", &[ATTN, GATED])
        .layers(5)
        .special(&[(1, &[ATTN, EXPERTS, SHARED]), (3, &[ATTN, EXPERTS, SHARED])])
        .top("output_norm output rope_freqs")
        .keys(&[
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("interleave_moe_layer_step", U(2)),
        ]),
    small("maincoder", &[ATTN, HEAD_NORMS, GATED]).top(TIED),
    small("mamba", &["attn_norm", MAMBA]).still().keys(SSM),
    small("mamba", &["attn_norm", MAMBA]).named("mamba-normed").layers(3).still().top(TIED).keys(&[
        key("ssm.conv_kernel", U(4)),
        key("ssm.inner_size", U(256)),
        key("ssm.state_size", U(16)),
        key("ssm.time_step_rank", U(32)),
        live("ssm.dt_b_c_rms", B(true), B(false)),
    ]),
    small("mamba2", &["attn_norm", MAMBA2]).layers(3).still().keys(SSM2),
    small("mellum", &[ATTN, HEAD_NORMS, EXPERTS]).layers(5).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("attention.sliding_window_pattern", U(2)),
        WINDOW,
    ]),
    small(
        "mimo2",
        &["attn_norm attn_q attn_k attn_v:E,32 attn_output:64,E attn_sinks", EXPERTS, CHOICE],
    )
    .layers(5)
    .rotating(16)
    .lead(1, &["attn_norm attn_q attn_k attn_v:E,32 attn_output:64,E", GATED])
    .keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("attention.value_length", U(16)),
        key("attention.sliding_window_pattern", A(&[0, 1, 1, 0, 1])),
        live("attention.value_scale", F(0.7), F(1.0)),
        live("rope.freq_base_swa", F(1e3), F(1e6)),
        WINDOW,
    ]),
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
    small("mistral4", &[ABSORBED, MERGED, SHARED]).rotating(16).top(TIED).keys(&[
        key("attention.head_count_kv", U(1)),
        key("attention.key_length", U(48)),
        key("attention.value_length", U(32)),
        key("attention.key_length_mla", U(48)),
        key("attention.value_length_mla", U(24)),
        key("attention.q_lora_rank", U(64)),
        key("attention.kv_lora_rank", U(32)),
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_count", U(1)),
        live("attention.temperature_scale", F(0.4), F(0.0)),
        key("attention.temperature_length", U(16)),
    ]),
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
    small("nemotron_h", &["attn_norm", MAMBA2])
        .layers(4)
        .still()
        .special(&[(1, &[ATTN]), (2, &["attn_norm ffn_up+ ffn_down+"])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0, 0])),
            key("feed_forward_length", A(&[0, 0, 192, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(8)),
            key("ssm.group_count", U(2)),
        ]),
    small("nemotron_h_moe", &["attn_norm", MAMBA2])
        .layers(4)
        .still()
        .special(&[
            (1, &[ATTN]),
            (2, &["attn_norm ffn_gate_inp ffn_up_exps ffn_down_exps ffn_up_shexp ffn_down_shexp", CHOICE]),
        ])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0, 0])),
            key("feed_forward_length", A(&[0, 0, 192, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(8)),
            key("ssm.group_count", U(2)),
            key("expert_count", U(8)),
            key("expert_used_count", U(3)),
            key("expert_feed_forward_length", U(96)),
            key("expert_shared_feed_forward_length", U(96)),
            live("expert_weights_scale", F(1.7), F(1.0)),
            live("expert_weights_norm", B(true), B(false)),
        ]),
    small("olmo", &[BARE_ATTN, BARE_GATED]).top("output").keys(&[live(
        "attention.clamp_kqv",
        F(1.0),
        F(0.0),
    )]),
    small("olmoe", &[ATTN, WHOLE_NORMS, EXPERTS]).ungrouped().wide_experts().keys(MOE),
    small("openelm", &[FUSED, HEAD_NORMS, GATED]).rotating(16).top(TIED),
    small("orion", &["attn_norm+ attn_q attn_k attn_v attn_output ffn_norm+", BARE_GATED]).top(BIASED_TOP),
    small("paddleocr", &["attn_norm attn_q attn_k attn_v attn_output+", GATED]).keys(&[SECTIONS]),
    small("pangu-embedded", &["attn_norm attn_q+ attn_k+ attn_v+ attn_output+", GATED]),
    small("phi2", &[ATTN_BIASED, "ffn_up+ ffn_down+"]).rotating(16).top("output_norm+ output+"),
    small("phimoe", &[ATTN_BIASED, "ffn_norm+", BARE_EXPERTS])
        .wide_experts()
        .top("output_norm+ output+ rope_factors_long rope_factors_short")
        .keys(MOE),
    small("plamo", &[ATTN, BARE_GATED]),
    small("plamo2", &["attn_norm", PLAMO_SCAN, PLAMO_FFN])
        .layers(3)
        .special(&[(1, &["attn_norm attn_qkv attn_output attn_q_norm:D,H attn_k_norm:D,J", PLAMO_FFN])])
        .keys(&[
            key("attention.head_count_kv", A(&[0, 2, 0])),
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(256)),
            key("ssm.state_size", U(16)),
            key("ssm.time_step_rank", U(8)),
            key("ssm.group_count", U(0)),
        ]),
    small(
        "plamo3",
        &[
            "attn_norm attn_qkv:E,224 attn_output:64,E !post_attention_norm ffn_norm ffn_up:E,2F ffn_down !post_ffw_norm",
            HEAD_NORMS,
        ],
    )
    .layers(9)
    .rotating(16)
    .keys(&[
        key("attention.value_length", U(16)),
        live("rope.freq_base_swa", F(1e3), F(1e6)),
        WINDOW,
    ]),
    // plm: the reference stops at it, in every form it can have (values reach its cache as one long row).
    small("qwen", &["attn_norm attn_qkv+ attn_output ffn_norm ffn_gate:E,96 ffn_up:E,96 ffn_down:96,E"])
        .ungrouped(),
    small("qwen2moe", &[QKV_BIASED, EXPERTS, SHARED, "ffn_gate_inp_shexp"]).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small("qwen2vl", &[QKV_BIASED, GATED]).top(TIED).keys(&[SECTIONS]),
    small("qwen3moe", &[ATTN, HEAD_NORMS, EXPERTS]).top(TIED).keys(MOE_FF),
    small("qwen3vl", &[ATTN, HEAD_NORMS, GATED]).keys(&[TURNS, key("n_deepstack_layers", U(1))]),
    small("qwen3vlmoe", &[ATTN, HEAD_NORMS, EXPERTS]).top(TIED).keys(&[
        TURNS,
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
    ]),
    small("qwen35", &["attn_norm post_attention_norm", DELTA35, BARE_GATED])
        .layers(4)
        .rotating(16)
        .special(&[(3, &["attn_norm post_attention_norm", GATED_ATTN, BARE_GATED])])
        .keys(&[
            key("ssm.conv_kernel", U(4)),
            key("ssm.inner_size", U(128)),
            key("ssm.state_size", U(32)),
            key("ssm.time_step_rank", U(4)),
            key("ssm.group_count", U(2)),
            key("rope.dimension_sections", A(&[3, 3, 2, 0])),
        ]),
    small(
        "qwen35moe",
        &["attn_norm post_attention_norm", DELTA35, BARE_EXPERTS, SHARED, "ffn_gate_inp_shexp"],
    )
    .layers(2)
    .rotating(16)
    .special(&[(
        1,
        &["attn_norm post_attention_norm", GATED_ATTN, BARE_EXPERTS, SHARED, "ffn_gate_inp_shexp"],
    )])
    .keys(&[
        key("ssm.conv_kernel", U(4)),
        key("ssm.inner_size", U(128)),
        key("ssm.state_size", U(32)),
        key("ssm.time_step_rank", U(4)),
        key("ssm.group_count", U(2)),
        key("rope.dimension_sections", A(&[3, 3, 2, 0])),
        key("full_attention_interval", U(2)),
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small(
        "qwen3next",
        &["attn_norm post_attention_norm", DELTA_NEXT, BARE_EXPERTS, SHARED, "ffn_gate_inp_shexp"],
    )
    .layers(4)
    .rotating(16)
    .special(&[(
        3,
        &["attn_norm post_attention_norm", GATED_ATTN, BARE_EXPERTS, SHARED, "ffn_gate_inp_shexp"],
    )])
    .keys(&[
        key("ssm.conv_kernel", U(4)),
        key("ssm.inner_size", U(128)),
        key("ssm.state_size", U(32)),
        key("ssm.time_step_rank", U(4)),
        key("ssm.group_count", U(2)),
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
    ]),
    small("refact", &[ATTN, GATED]).still(),
    small("rwkv6", &["attn_norm+ attn_norm_2+", RWKV6, "time_mix_first:32,4 time_mix_ln+", RWKV6_FEED])
        .layers(3)
        .ungrouped()
        .still()
        .top("token_embd_norm+ output_norm+ output")
        .keys(&[
            key("wkv.head_size", U(32)),
            key("time_mix_extra_dim", U(32)),
            key("time_decay_extra_dim", U(64)),
            live("rescale_every_n_layers", U(2), U(0)),
        ]),
    small("rwkv6qwen2", &["attn_norm", RWKV6QWEN2, GATED]).still().keys(&[
        key("wkv.head_size", U(32)),
        key("time_mix_extra_dim", U(32)),
        key("time_decay_extra_dim", U(64)),
        key("token_shift_count", U(1)),
    ]),
    small(
        "rwkv7",
        &[
            "attn_norm+ attn_norm_2+ time_mix_ln+ time_mix_lerp_fused:E,1,1,6 time_mix_g1:E,64 time_mix_g2:64,E",
            RWKV7,
            "channel_mix_lerp_k channel_mix_key:E,F channel_mix_value:F,E",
        ],
    )
    .layers(3)
    .still()
    .top("token_embd_norm+ output_norm+ output")
    .keys(&[
        key("wkv.head_size", U(64)),
        key("attention.decay_lora_rank", U(32)),
        key("attention.iclr_lora_rank", U(32)),
        key("attention.value_residual_mix_lora_rank", U(32)),
        key("attention.gate_lora_rank", U(64)),
    ]),
    small("seed_oss", &[QKV_BIASED, "post_attention_norm", BARE_GATED]),
    small("smallthinker", &[ATTN, EXPERTS]).layers(5).top(TIED).keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("attention.sliding_window", U(8)),
        live("expert_gating_func", U(2), U(1)),
    ]),
    small("smollm3", &[ATTN, GATED]).layers(5).top(TIED),
    small("starcoder", &[FUSED_BIASED, PLAIN_BIASED]).still().top("output_norm+ position_embd"),
    small(
        "step35",
        &[ATTN, HEAD_NORMS, "attn_gate:E,H", EXPERTS, SHARED, CHOICE],
    )
    .layers(4)
    .lead(1, &[ATTN, HEAD_NORMS, "attn_gate:E,H", GATED])
    .special(&[(
        2,
        &[
            "attn_norm attn_q:E,256 attn_k attn_v attn_output:256,E attn_gate:E,8",
            HEAD_NORMS,
            EXPERTS,
            SHARED,
            CHOICE,
        ],
    )])
    .top("output_norm output rope_freqs")
    .keys(&[
        key("expert_count", U(8)),
        key("expert_used_count", U(3)),
        key("expert_feed_forward_length", U(96)),
        key("expert_shared_feed_forward_length", U(96)),
        key("attention.head_count", A(&[4, 4, 8, 4])),
        key("attention.sliding_window_pattern", A(&[0, 1, 1, 0])),
        live("swiglu_clamp_exp", N(&[0.0, 0.5, 0.4, 0.3]), N(&[0.0, 0.0, 0.0, 0.0])),
        live("swiglu_clamp_shexp", N(&[0.4, 0.3, 0.5, 0.0]), N(&[0.0, 0.0, 0.0, 0.0])),
        live("expert_weights_scale", F(1.7), F(1.0)),
        live("expert_weights_norm", B(true), B(false)),
        live("rope.freq_base_swa", F(1e3), F(1e6)),
        WINDOW,
    ]),
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

/// Mamba: 256 channels, states of 16, steps of rank 32.
const MAMBA: &str =
    "ssm_in:E,512 ssm_conv1d:4,256+ ssm_x:256,64 ssm_dt:32,256+ !ssm_a:16,256 !ssm_d:256 ssm_out:256,E";
/// Mamba 2: 8 heads in two groups.
const MAMBA2: &str =
    "ssm_in:E,584 ssm_conv1d:4,320+ ssm_dt.bias:8 !ssm_a:1,8 !ssm_d:1,8 ssm_norm:128,2 ssm_out:256,E";
const PLAMO_SCAN: &str = "ssm_in:E,512 ssm_conv1d:4,256 ssm_x:256,96 ssm_dt:64,8+ !ssm_a:8 !ssm_d:8 ssm_out:256,E \
                          !ssm_dt_norm:64 !ssm_b_norm:16 !ssm_c_norm:16";
const PLAMO_FFN: &str = "!post_attention_norm ffn_norm ffn_up:E,2F ffn_down !post_ffw_norm";
const SHORT_CONV: &str =
    "attn_norm shortconv.conv.weight:3,E shortconv.in_proj.weight:E,384 shortconv.out_proj.weight:E,E";
const SSM: &[Key] = &[
    key("ssm.conv_kernel", U(4)),
    key("ssm.inner_size", U(256)),
    key("ssm.state_size", U(16)),
    key("ssm.time_step_rank", U(32)),
];
const SSM2: &[Key] = &[
    key("ssm.conv_kernel", U(4)),
    key("ssm.inner_size", U(256)),
    key("ssm.state_size", U(16)),
    key("ssm.time_step_rank", U(8)),
    key("ssm.group_count", U(2)),
];

const RWKV6: &str = "time_mix_w1:E,160 time_mix_w2:32,E,5 time_mix_lerp_x time_mix_lerp_fused:E,1,1,5 time_mix_decay \
                     time_mix_decay_w1:E,64 time_mix_decay_w2:64,E time_mix_key:E,E time_mix_value:E,E \
                     time_mix_receptance:E,E time_mix_gate:E,E time_mix_output:E,E";
const RWKV6_FEED: &str = "channel_mix_lerp_k channel_mix_lerp_r channel_mix_key:E,F channel_mix_value:F,E \
                          channel_mix_receptance:E,E";
const RWKV6QWEN2: &str = "time_mix_w1:E,160 time_mix_w2:32,E,5 time_mix_lerp_x time_mix_lerp_fused:E,1,1,5 \
                          time_mix_decay time_mix_decay_w1:E,64 time_mix_decay_w2:64,E time_mix_key:E,K+ \
                          time_mix_value:E,K+ time_mix_receptance:E,E+ time_mix_gate:E,E time_mix_output:E,E";
const RWKV7: &str = "time_mix_w0 time_mix_w1:E,32 time_mix_w2:32,E time_mix_a0 time_mix_a1:E,32 time_mix_a2:32,E \
                     time_mix_v0 time_mix_v1:E,32 time_mix_v2:32,E time_mix_k_k time_mix_k_a time_mix_r_k \
                     time_mix_key:E,E time_mix_value:E,E time_mix_receptance:E,E time_mix_output:E,E";

const FUSED_QKV: &str = "attn_qkv+ attn_output+";
const FUSED_QKV_BARE: &str = "attn_qkv attn_output";
const BERT_RANK_TOP: &str =
    "token_types position_embd token_embd_norm+ cls+ !cls.output.weight:E,3 !cls.output.bias:3";
const GEMMA: &[&str] = &[ATTN, HEAD_NORMS, "post_attention_norm", GATED, "post_ffw_norm"];

/// Queries and gates, head by head.
const GATED_ATTN: &str = "attn_q:E,256 attn_k attn_v attn_output attn_q_norm attn_k_norm";
/// A delta net: 4 heads of 32, keys for two of them.
const DELTA_NEXT: &str = "attn_qkv:E,256 attn_gate:E,128 ssm_ba:E,8 ssm_conv1d:4,256 ssm_dt.bias:4 !ssm_a:4 ssm_norm:32 \
                          ssm_out:128,E";
const DELTA35: &str = "attn_qkv:E,256 attn_gate:E,128 ssm_beta:E,4 ssm_alpha:E,4 ssm_conv1d:4,256 ssm_dt.bias:4 \
                       !ssm_a:4 ssm_norm:32 ssm_out:128,E";

const MERGED: &str = "ffn_norm ffn_gate_inp ffn_gate_up_exps ffn_down_exps";
const SCALES: &str = "!attn_q.scale:1 !attn_k.scale:1 !attn_v.scale:1 !attn_output.scale:1 !ffn_gate.scale:1 !ffn_up.scale:1 !ffn_down.scale:1";

/// Kimi's delta attention: 4 heads of 32.
const KDA: &str = "attn_norm attn_q:E,E attn_k:E,E attn_v:E,E ssm_conv1d_q:4,1,E ssm_conv1d_k:4,1,E ssm_conv1d_v:4,1,E ssm_f_a:E,32 \
                   ssm_f_b:32,E ssm_beta:E,H ssm_dt.bias:E !ssm_a:1,H ssm_g_a:E,32 ssm_g_b:32,E ssm_norm:32 attn_output:E,E";
const KIMI_LATENT: &str = "attn_norm attn_q:E,192 attn_kv_a_mqa:E,48 attn_kv_a_norm:32 attn_k_b:32,32,4 attn_v_b:32,24,4 \
                           attn_output:96,E";
