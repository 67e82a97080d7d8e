//! Each op's launches: which kernels, with which arguments.
//!
//! A node was checked by `support` before it comes here.

use quipu_backend::Error;
use quipu_graph::{Graph, Op, RopeMode, TensorId};

use crate::driver::Value;
use crate::kernels::{
    MAT_VEC_COLUMNS, TensorArg, attention_grid, attention_partial_bytes, k_padded, q8_1_bytes, rounded_bytes,
};
use crate::plan::{Activations, Plan, RowNode, Source};
use crate::support;
use crate::types::{self, Prepare};

/// Columns up to which weights are read once per few columns rather than by tensor cores (`MMVQ_MAX_BATCH_SIZE`).
const MAX_MAT_VEC_COLUMNS: usize = 8;
/// Query rows of a key head up to which warps share a tile of them and split the cells instead.
const MAX_DECODE_ROWS: usize = 64;
/// Cells that a split has at least.
const MIN_SPLIT_CELLS: usize = 64;
const MAX_SPLITS: usize = 64;

/// Adds the launches of a node.
pub(crate) fn plan(plan: &mut Plan, source: Source<'_>, id: TensorId) -> Result<(), Error> {
    let Source { shared, graph, .. } = source;
    let tensor = &graph[id];
    let dst = Value::Tensor(source.arg(tensor)?);
    let src = |i: usize| operand(source, id, i).map(Value::Tensor);
    match tensor.op {
        Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => Ok(()),
        Op::Add | Op::Mul => {
            let name = if tensor.op == Op::Add { "add" } else { "mul" };
            let values = [dst, src(0)?, src(1)?];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::Scale { scale, bias } => {
            let values = [dst, src(0)?, Value::F32(scale), Value::F32(bias)];
            plan.push(shared, "scale", tensor.ne, 0, &values)
        }
        Op::Unary(op) => {
            let name =
                support::unary_kernel(op).ok_or_else(|| Error::node(tensor, "a function with a kernel"))?;
            let values = [dst, src(0)?];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::Glu { op, .. } => {
            let name = support::glu_kernel(op).ok_or_else(|| Error::node(tensor, "a gate with a kernel"))?;
            let values = [dst, src(0)?, src(1)?];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::Norm { eps } | Op::RmsNorm { eps } => {
            let name = if matches!(tensor.op, Op::Norm { .. }) { "layer_norm" } else { "rms_norm" };
            let values = [dst, src(0)?, Value::F32(eps)];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::Rope(params) => {
            let factors = if tensor.src.len() > 2 { operand(source, id, 2)?.data } else { 0 };
            let name = if params.mode == RopeMode::Norm { "rope_norm" } else { "rope_neox" };
            let angles = params.angles();
            let values = [
                dst,
                src(0)?,
                src(1)?,
                Value::Ptr(factors),
                Value::I32(params.n_dims as i32),
                Value::F32(angles.theta_scale),
                Value::F32(params.freq_scale),
                Value::F32(params.ext_factor),
                Value::F32(angles.magnitude),
                Value::F32(angles.ramp.0),
                Value::F32(angles.ramp.1),
            ];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::SoftMax { scale, max_bias } => {
            let mask = tensor.src.get(1).map(|mask| &graph[*mask]);
            let is_f16 = mask.is_some_and(|mask| mask.dtype == quipu_graph::DType::F16);
            let mask = mask.map_or(Ok(TensorArg::default()), |mask| source.arg(mask))?;
            let values = [
                dst,
                src(0)?,
                Value::Tensor(mask),
                Value::I32(i32::from(is_f16)),
                Value::Ptr(0),
                Value::F32(scale),
                Value::F32(max_bias),
            ];
            plan.push(shared, "soft_max", tensor.ne, 0, &values)
        }
        Op::GetRows => {
            let dtype = graph[tensor.src[0]].dtype;
            let name = types::find(dtype).map_or("get_rows_32", |kernels| kernels.get_rows);
            let values = [dst, src(0)?, src(1)?, Value::Ptr(0)];
            plan.push(shared, name, tensor.ne, 0, &values)?;
            plan.count_rows(3, row_node(graph, id));
            Ok(())
        }
        Op::SetRows => {
            let rows = &graph[tensor.src[0]];
            let name = support::set_rows_kernel(tensor.dtype)
                .ok_or_else(|| Error::node(tensor, "a table of f32, f16 or bf16"))?;
            let values = [dst, src(0)?, src(1)?, Value::Ptr(0)];
            plan.push(shared, name, rows.ne, 0, &values)?;
            plan.count_rows(3, row_node(graph, id));
            Ok(())
        }
        Op::Cpy | Op::Cont => {
            let name = support::copy_kernel(graph[tensor.src[0]].dtype, tensor.dtype)
                .ok_or_else(|| Error::node(tensor, "a copy among f32, f16 and bf16, or of i32"))?;
            let values = [dst, src(0)?];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        Op::MulMat => mul_mat(plan, source, id),
        Op::FlashAttn { scale, max_bias, logit_softcap } => {
            let floats = [Value::F32(scale), Value::F32(max_bias), Value::F32(logit_softcap)];
            flash_attn(plan, source, id, floats)
        }
        _ => Err(Error::node(tensor, "an op with kernels")),
    }
}

/// Operand `i` of a node.
fn operand(source: Source<'_>, id: TensorId, i: usize) -> Result<TensorArg, Error> {
    let tensor = &source.graph[id];
    let src = tensor.src.get(i).ok_or_else(|| Error::node(tensor, "as many operands as the op has"))?;
    source.arg(&source.graph[*src])
}

/// What an error needs of a node with row numbers.
fn row_node(graph: &Graph, id: TensorId) -> RowNode {
    let node = &graph[id];
    let set = node.op == Op::SetRows;
    let table = node.src.get(if set { 2 } else { 0 }).map(|id| &graph[*id]);
    RowNode {
        op: node.op,
        name: table.map_or_else(|| node.label(), |table| &table.name).to_owned(),
        ids: node.src.get(1).map(|id| graph[*id].clone()),
        n_rows: if set { node.ne[1] } else { table.map_or(0, |table| table.ne[1]) },
    }
}

/// Warps that share a row of weights: more where there are few rows to keep the device busy with. A guess that no device was
/// asked about yet.
fn warps_per_row(n_rows: usize, n_multiprocessors: usize, k: usize) -> usize {
    let wanted = n_multiprocessors * 32;
    if k < 1024 || n_rows >= wanted {
        1
    } else if n_rows * 2 >= wanted {
        2
    } else {
        4
    }
}

fn mul_mat(plan: &mut Plan, source: Source<'_>, id: TensorId) -> Result<(), Error> {
    let Source { shared, graph, .. } = source;
    let tensor = &graph[id];
    let (w_id, x_id) = (tensor.src[0], tensor.src[1]);
    let (w, x) = (&graph[w_id], &graph[x_id]);
    let kernels =
        types::find(w.dtype).ok_or_else(|| Error::node(tensor, "weights of a type with kernels"))?;
    let (dst, w_arg) = (Value::Tensor(source.arg(tensor)?), Value::Tensor(source.arg(w)?));
    let columns = x.ne[1];
    let few = columns <= MAX_MAT_VEC_COLUMNS;
    let how = if few { kernels.vec_prepare } else { kernels.mat_prepare };
    let prepared = prepare(plan, source, x_id, how)?;
    let padded = Value::I64(k_padded(x.ne[0]) as i64);
    let n_multiprocessors = shared.driver.info().n_multiprocessors as usize;
    let split = warps_per_row(w.ne[1], n_multiprocessors, x.ne[0]);
    let split_value = Value::I32(split as i32);
    let name = if few {
        let at = MAT_VEC_COLUMNS.iter().position(|n| *n >= columns).unwrap_or(MAT_VEC_COLUMNS.len() - 1);
        kernels.mat_vec[at]
    } else {
        kernels.mat_mul
    };
    match (prepared, few) {
        (None, true) => {
            let values = [dst, w_arg, Value::Tensor(source.arg(x)?), split_value];
            plan.push(shared, name, tensor.ne, split, &values)
        }
        (None, false) => {
            let values = [dst, w_arg, Value::Tensor(source.arg(x)?)];
            plan.push(shared, name, tensor.ne, 0, &values)
        }
        (Some(offset), true) => {
            let values = [dst, w_arg, Value::Ptr(offset as u64), padded, split_value];
            plan.push(shared, name, tensor.ne, split, &values)?;
            plan.in_scratch(2);
            Ok(())
        }
        (Some(offset), false) => {
            let values = [dst, w_arg, Value::Ptr(offset as u64), padded];
            plan.push(shared, name, tensor.ne, 0, &values)?;
            plan.in_scratch(2);
            Ok(())
        }
    }
}

/// Prepares activations, unless the product before did; their offset in the scratch.
fn prepare(
    plan: &mut Plan,
    source: Source<'_>,
    x_id: TensorId,
    how: Prepare,
) -> Result<Option<usize>, Error> {
    let Source { shared, graph, .. } = source;
    let x = &graph[x_id];
    let (n_rows, k) = (x.n_rows(), x.ne[0]);
    let (kernel, bytes) = match how {
        Prepare::Nothing => return Ok(None),
        Prepare::Q8 => ("quantize_q8_1", q8_1_bytes(k, n_rows)),
        Prepare::F16 => ("round_f16", rounded_bytes(k, n_rows)),
        Prepare::Bf16 => ("round_bf16", rounded_bytes(k, n_rows)),
    };
    if let Some(offset) = plan.activations(x_id, how) {
        return Ok(Some(offset));
    }
    let offset = plan.reserve(bytes, 0);
    let padded = k_padded(k);
    let values = [Value::Tensor(source.arg(x)?), Value::Ptr(offset as u64), Value::I64(padded as i64)];
    plan.push(shared, kernel, x.ne, padded, &values)?;
    plan.in_scratch(1);
    plan.set_activations(Some(Activations { x: x_id, how, offset }));
    Ok(Some(offset))
}

fn flash_attn(plan: &mut Plan, source: Source<'_>, id: TensorId, floats: [Value; 3]) -> Result<(), Error> {
    let Source { shared, graph, .. } = source;
    let tensor = &graph[id];
    let (q, k, v) = (&graph[tensor.src[0]], &graph[tensor.src[1]], &graph[tensor.src[2]]);
    let mask = match tensor.src.get(3) {
        Some(mask) => source.arg(&graph[*mask])?,
        None => TensorArg::default(),
    };
    let tensors =
        [source.arg(tensor)?, source.arg(q)?, source.arg(k)?, source.arg(v)?, mask].map(Value::Tensor);
    let (n_tokens, n_head, n_head_kv, n_batch) = (q.ne[1], q.ne[2], k.ne[2], q.ne[3]);
    let d = k.ne[0].max(v.ne[0]);
    let size = if d <= 64 { 0 } else { usize::from(d > 128) + 1 };
    let rows = n_tokens * (n_head / n_head_kv);
    let [scale, max_bias, softcap] = floats;
    let [dst, q_arg, k_arg, v_arg, mask] = tensors;
    if rows > MAX_DECODE_ROWS {
        let name = ["flash_attn_prefill_64", "flash_attn_prefill_128", "flash_attn_prefill_256"][size];
        let (kernel, function) = shared.kernel(name)?;
        let grid = attention_grid(kernel.grid, n_tokens, n_head, n_head_kv, 1, n_batch);
        let values = [dst, q_arg, k_arg, v_arg, mask, Value::Ptr(0), scale, max_bias, softcap];
        return plan.push_grid(shared, (kernel, function), grid, &values);
    }
    let tiles = rows.div_ceil(16) * n_head_kv * n_batch;
    let wanted = (2 * shared.driver.info().n_multiprocessors as usize).div_ceil(tiles.max(1));
    let n_splits = wanted.min(k.ne[1].div_ceil(MIN_SPLIT_CELLS)).clamp(1, MAX_SPLITS);
    let name = ["flash_attn_decode_64", "flash_attn_decode_128", "flash_attn_decode_256"][size];
    let (kernel, function) = shared.kernel(name)?;
    let grid = attention_grid(kernel.grid, n_tokens, n_head, n_head_kv, n_splits, n_batch);
    let n = Value::I32(n_splits as i32);
    let mut values =
        [dst, q_arg, k_arg, v_arg, mask, Value::Ptr(0), Value::Ptr(0), scale, max_bias, softcap, n];
    if n_splits == 1 {
        return plan.push_grid(shared, (kernel, function), grid, &values);
    }
    // The scratch is taken from its start: what was prepared there is gone.
    plan.set_activations(None);
    let offset = plan.reserve(attention_partial_bytes(v.ne[0], n_tokens, n_head, n_batch, n_splits), 0);
    values[6] = Value::Ptr(offset as u64);
    plan.push_grid(shared, (kernel, function), grid, &values)?;
    plan.in_scratch(6);
    let values = [dst, Value::Ptr(offset as u64), Value::Ptr(0), n];
    plan.push(shared, "flash_attn_combine", tensor.ne, 0, &values)?;
    plan.in_scratch(1);
    Ok(())
}
