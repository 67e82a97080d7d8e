//! One line for each small model.

use super::recipe::Value::{A, B, F, N, U};
use super::recipe::{Key, Small, key, live, small};

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
    small("refact", &[ATTN, GATED]).still(),
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
];

const MERGED: &str = "ffn_norm ffn_gate_inp ffn_gate_up_exps ffn_down_exps";
const SCALES: &str = "!attn_q.scale:1 !attn_k.scale:1 !attn_v.scale:1 !attn_output.scale:1 !ffn_gate.scale:1 !ffn_up.scale:1 !ffn_down.scale:1";
