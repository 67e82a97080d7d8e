//! NONE: leaves.

use super::rule::{Form, OpRule};

pub(super) static RULE: OpRule =
    OpRule { name: "NONE", ggml_id: 0, n_src: 0..=0, can_inplace: false, overwrites: &[], form: Form::Leaf };
