//! FLASH_ATTN_EXT: attention without a score matrix.
//!
//! Work is split by batch, key head, tile of queries, and, where there are few of these, chunks of cells
//! of a fixed length. All query heads that share a key head are done together, so that the cache is read
//! once. Neither tiles nor chunks depend on the number of threads, and chunks are combined in their
//! order: so is the result the same for any number of threads.

use super::attention_tile::{Rows, TILE_CELLS, Tile};
#[cfg(test)]
use super::battery::{Battery, Case, Layout, halved};
use super::soft_max::slope;
use super::{BadRow, Context, OpKernel, Operand, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::quantize;
use crate::vec::{lanes, with_isa};
use half::{bf16, f16};
use quipu_backend::check::ensure;
use quipu_graph::{DType, Op, Tensor};
use quipu_quant::{dequantize_row, quantize_row_cpu};

pub(super) static KERNEL: OpKernel = OpKernel {
    takes: |_, src| {
        let kept = |t: &Tensor| t.dtype.is_computed() && t.dtype.is_storable();
        ensure(
            kept(src[1]) && kept(src[2]),
            "keys and values of a type that rows can be converted to, rows without gaps",
        )
    },
    scratch_bytes,
    ..OpKernel::of(run)
};

/// Parameters of the op.
#[derive(Clone, Copy, Debug)]
struct Params {
    scale: f32,
    max_bias: f32,
    logit_softcap: f32,
}

/// Query rows of a tile, at least: rows of all heads that share a key head.
const TILE_ROWS: usize = 32;
/// Cells of a chunk.
const CHUNK_CELLS: usize = 512;
/// Chunks are used if there are fewer pieces of work than this without them.
const FEW_ITEMS: usize = 32;

/// How a call is cut into pieces: a function of its shape only.
#[derive(Clone, Copy, Debug)]
struct Shape {
    n_tokens: usize,
    n_kv: usize,
    n_head: usize,
    n_head_kv: usize,
    /// Query heads per key head.
    group: usize,
    /// Queries per tile.
    tile_tokens: usize,
    n_tiles: usize,
    n_chunks: usize,
    n_items: usize,
    /// Head sizes padded to whole lanes.
    dk: usize,
    dv: usize,
}

impl Shape {
    fn new(step: &Step) -> Option<Shape> {
        let (q, k, v) = (&step.src[0], &step.src[1], &step.src[2]);
        let (n_tokens, n_kv, n_head, n_head_kv) = (q.ne[1], k.ne[1], q.ne[2], k.ne[2]);
        let group = (n_head / n_head_kv).max(1);
        let tile_tokens = (TILE_ROWS / group).clamp(1, n_tokens.max(1));
        let n_tiles = n_tokens.div_ceil(tile_tokens);
        let whole = n_tiles.checked_mul(n_head_kv)?.checked_mul(q.ne[3])?;
        let n_chunks = if whole < FEW_ITEMS { n_kv.div_ceil(CHUNK_CELLS).max(1) } else { 1 };
        Some(Shape {
            n_tokens,
            n_kv,
            n_head,
            n_head_kv,
            group,
            tile_tokens,
            n_tiles,
            n_chunks,
            n_items: whole.checked_mul(n_chunks)?,
            dk: k.ne[0].checked_next_multiple_of(lanes::N)?,
            dv: v.ne[0].checked_next_multiple_of(lanes::N)?,
        })
    }

    /// Rows of the largest tile.
    fn max_rows(&self) -> usize {
        self.tile_tokens * self.group
    }

    /// Floats of one row's partial result: its values, largest score and sum of powers.
    fn partial_floats(&self) -> usize {
        self.dv + lanes::N
    }

    /// Floats of scratch of one thread: queries, keys, values, scores, masks and the rows' state.
    fn thread_floats(&self) -> Option<usize> {
        let rows = self.tile_tokens.checked_mul(self.group)?;
        let queries = rows.checked_mul(self.dk)?;
        let cells = TILE_CELLS.checked_mul(self.dk.checked_add(self.dv)?)?;
        let scores = rows.checked_mul(TILE_CELLS)?.checked_mul(2)?;
        let state = rows.checked_mul(self.partial_floats())?;
        queries.checked_add(cells)?.checked_add(scores)?.checked_add(state)
    }

    fn partials(&self) -> Option<usize> {
        if self.n_chunks == 1 {
            return Some(0);
        }
        self.n_items.checked_mul(self.max_rows())?.checked_mul(self.partial_floats())
    }
}

fn scratch_bytes(step: &Step, n_threads: usize) -> Option<usize> {
    let shape = Shape::new(step)?;
    shape.thread_floats()?.checked_mul(n_threads)?.checked_add(shape.partials()?)?.checked_mul(4)
}

/// One piece of work.
#[derive(Clone, Copy)]
struct Item {
    index: usize,
    batch: usize,
    head_kv: usize,
    tokens: (usize, usize),
    cells: (usize, usize),
}

impl Item {
    fn new(shape: &Shape, index: usize) -> Item {
        let chunk = index % shape.n_chunks;
        let rest = index / shape.n_chunks;
        // Later tiles of a causal prompt see more cells: start them first.
        let tile = shape.n_tiles - 1 - rest / shape.n_head_kv % shape.n_tiles;
        let first = tile * shape.tile_tokens;
        let cells = if shape.n_chunks == 1 {
            (0, shape.n_kv)
        } else {
            (chunk * CHUNK_CELLS, (chunk + 1) * CHUNK_CELLS)
        };
        Item {
            index,
            batch: rest / shape.n_head_kv / shape.n_tiles,
            head_kv: rest % shape.n_head_kv,
            tokens: (first, shape.n_tokens.min(first + shape.tile_tokens)),
            cells: (cells.0, cells.1.min(shape.n_kv)),
        }
    }
}

/// Attention of all queries (`ggml_compute_forward_flash_attn_ext_f16`).
unsafe fn run(step: &Step, context: Context, part: Part, team: &Team<'_>) -> Result<(), BadRow> {
    let Op::FlashAttn { scale, max_bias, logit_softcap } = step.op else { return Ok(()) };
    let params = Params { scale, max_bias, logit_softcap };
    let shape = Shape::new(step).expect("the plan sized the scratch");
    let floats = shape.thread_floats().expect("the plan sized the scratch");
    let scratch = context.scratch.cast::<f32>();
    // SAFETY: the scratch holds `thread_floats` for each thread, then the partial results.
    let (own, partials) = unsafe { (scratch.add(floats * part.ith), scratch.add(floats * part.nth)) };
    let area = Area::new(&shape, own);
    loop {
        let index = team.next_chunk();
        if index >= shape.n_items {
            break;
        }
        let item = Item::new(&shape, index);
        // SAFETY: the item's tokens, cells and heads exist; the area is this thread's own, and each item
        // has one thread, so its results have one writer.
        unsafe {
            attend(step, context.isa, &shape, &area, item, params);
            if shape.n_chunks == 1 {
                finish(step, &shape, item, area.rows.state);
            } else {
                let len = shape.max_rows() * shape.partial_floats();
                std::ptr::copy_nonoverlapping(area.rows.state, partials.add(item.index * len), len);
            }
        }
    }
    if shape.n_chunks > 1 {
        team.barrier();
        for group in part.share(shape.n_items / shape.n_chunks) {
            let item = Item::new(&shape, group * shape.n_chunks);
            // SAFETY: all partial results were written before the barrier; each group has one thread.
            unsafe {
                combine(&shape, item, partials);
                let len = shape.max_rows() * shape.partial_floats();
                finish(step, &shape, item, partials.add(item.index * len));
            }
        }
    }
    Ok(())
}

/// One thread's scratch.
struct Area {
    rows: Rows,
    keys: *mut f32,
    values: *mut f32,
    masks: *mut f32,
}

impl Area {
    fn new(shape: &Shape, base: *mut f32) -> Area {
        let rows = shape.max_rows();
        let keys = base.wrapping_add(rows * shape.dk);
        let values = keys.wrapping_add(TILE_CELLS * shape.dk);
        let scores = values.wrapping_add(TILE_CELLS * shape.dv);
        let masks = scores.wrapping_add(rows * TILE_CELLS);
        let state = masks.wrapping_add(rows * TILE_CELLS);
        let rows = Rows { queries: base, scores, state, dk: shape.dk, dv: shape.dv };
        Area { rows, keys, values, masks }
    }
}

/// Attention of the item's queries over its cells, left in the area's state.
unsafe fn attend(step: &Step, isa: Isa, shape: &Shape, area: &Area, item: Item, params: Params) {
    let (q, k, v, mask) = (&step.src[0], &step.src[1], &step.src[2], step.optional(3));
    let n_tokens = item.tokens.1 - item.tokens.0;
    let n_rows = n_tokens * shape.group;
    let cap = params.logit_softcap;
    let scale = if cap == 0.0 { params.scale } else { params.scale / cap };
    // SAFETY: all pointers stay inside the area or the operands' checked extents.
    unsafe {
        for row in 0..n_rows {
            let (head, token) = (item.head_kv * shape.group + row / n_tokens, item.tokens.0 + row % n_tokens);
            let out = area.rows.queries.add(row * shape.dk);
            load_query(isa, q.row([token, head, item.batch]).cast(), q.ne[0], k.dtype, out, shape.dk);
            area.rows.reset(row);
        }
        for start in (item.cells.0..item.cells.1).step_by(TILE_CELLS) {
            let n_cells = TILE_CELLS.min(item.cells.1 - start);
            if let Some(mask) = mask
                && !load_masks(isa, mask, item, start, n_cells, area.masks)
            {
                continue;
            }
            load_cells(isa, k, [start, item.head_kv, item.batch], n_cells, area.keys, shape.dk);
            load_cells(isa, v, [start, item.head_kv, item.batch], n_cells, area.values, shape.dv);
            for row in 0..n_rows {
                let head = item.head_kv * shape.group + row / n_tokens;
                let masks = if mask.is_some() {
                    area.masks.add(row % n_tokens * TILE_CELLS).cast_const()
                } else {
                    std::ptr::null()
                };
                let tile = Tile {
                    rows: &area.rows,
                    row,
                    keys: area.keys,
                    values: area.values,
                    n_cells,
                    scale,
                    cap,
                    masks,
                    slope: slope(head, shape.n_head, params.max_bias),
                };
                with_isa(isa, tile);
            }
        }
    }
}

/// A query as the dot product with keys of `dtype` wants it, padded with zeros: rounded to f16 for f16 keys, and for others to what their
/// products in a matrix are made with.
unsafe fn load_query(isa: Isa, src: *const f32, n: usize, dtype: DType, out: *mut f32, padded: usize) {
    // SAFETY: the caller promises `n` floats at `src` and `padded >= n` at `out`.
    let (src, out) =
        unsafe { (std::slice::from_raw_parts(src, n), std::slice::from_raw_parts_mut(out, padded)) };
    let (out, padding) = out.split_at_mut(n);
    padding.fill(0.0);
    if dtype == DType::F16 {
        let mut halves = [f16::ZERO; 64];
        for (src, out) in src.chunks(64).zip(out.chunks_mut(64)) {
            let halves = &mut halves[..src.len()];
            quantize::f32_to_f16_row(isa, src, halves);
            quantize::f16_to_f32_row(isa, halves, out);
        }
    } else if dtype == DType::BF16 {
        src.iter().zip(out).for_each(|(x, out)| *out = bf16::from_f32(*x).to_f32());
    } else if dtype.is_quantized() {
        // 32 elements at a time, in 8 bits.
        let mut block = [0; 34];
        for (src, out) in src.chunks(32).zip(out.chunks_mut(32)) {
            quantize_row_cpu(DType::Q8_0, src, &mut block).expect("heads are whole blocks");
            dequantize_row(DType::Q8_0, &block, out).expect("heads are whole blocks");
        }
    } else {
        out.copy_from_slice(src);
    }
}

/// Keys or values of consecutive cells as f32, padded with zeros.
unsafe fn load_cells(isa: Isa, t: &Operand, at: [usize; 3], n: usize, out: *mut f32, padded: usize) {
    for cell in 0..n {
        // SAFETY: the cells exist; `out` has room for `n` padded rows.
        unsafe {
            let src = t.row([at[0] + cell, at[1], at[2]]);
            let out = std::slice::from_raw_parts_mut(out.add(cell * padded), padded);
            let (out, padding) = out.split_at_mut(t.ne[0]);
            padding.fill(0.0);
            super::rows::read_row(isa, t.dtype, src, out);
        }
    }
}

/// Masks of the item's tokens for a tile of cells; false if no token sees any of them.
unsafe fn load_masks(
    isa: Isa,
    mask: &Operand,
    item: Item,
    start: usize,
    n_cells: usize,
    out: *mut f32,
) -> bool {
    let mut any = false;
    let stream = item.batch.min(mask.ne[3] - 1);
    for (i, token) in (item.tokens.0..item.tokens.1).enumerate() {
        // SAFETY: the mask covers the tokens and cells; `out` has a tile row for each token.
        unsafe {
            let src = mask.row([token, 0, stream]).cast::<f16>().add(start);
            let out = std::slice::from_raw_parts_mut(out.add(i * TILE_CELLS), n_cells);
            quantize::f16_to_f32_row(isa, std::slice::from_raw_parts(src, n_cells), out);
            any |= out.iter().any(|m| *m != f32::NEG_INFINITY);
        }
    }
    any
}

/// Adds up the chunks of one tile, in order, into the first one's state.
unsafe fn combine(shape: &Shape, item: Item, partials: *mut f32) {
    let row_floats = shape.partial_floats();
    let len = shape.max_rows() * row_floats;
    let n_rows = (item.tokens.1 - item.tokens.0) * shape.group;
    for row in 0..n_rows {
        // SAFETY: partial results of all chunks lie behind each other; the slices are apart.
        unsafe {
            let state = |chunk: usize| partials.add((item.index + chunk) * len + row * row_floats);
            let total = std::slice::from_raw_parts_mut(state(0), row_floats);
            for chunk in 1..shape.n_chunks {
                let next = std::slice::from_raw_parts(state(chunk), row_floats);
                let (max, sum) = (shape.dv, shape.dv + 1);
                if next[max] == f32::NEG_INFINITY {
                    continue;
                }
                let top = lanes::larger(total[max], next[max]);
                let (ours, theirs) =
                    (lanes::exp::<false>(total[max] - top), lanes::exp::<false>(next[max] - top));
                for (a, b) in total[..shape.dv].iter_mut().zip(next) {
                    *a = *a * ours + b * theirs;
                }
                total[sum] = total[sum] * ours + next[sum] * theirs;
                total[max] = top;
            }
        }
    }
}

/// Divides by the sum of powers and stores the rows: 0 where a query saw no cell.
unsafe fn finish(step: &Step, shape: &Shape, item: Item, state: *const f32) {
    let dst = &step.dst;
    let n_tokens = item.tokens.1 - item.tokens.0;
    for row in 0..n_tokens * shape.group {
        let (head, token) = (item.head_kv * shape.group + row / n_tokens, item.tokens.0 + row % n_tokens);
        // SAFETY: the state holds a partial result for each row; head and token exist in `dst`.
        unsafe {
            let state = std::slice::from_raw_parts(state.add(row * shape.partial_floats()), shape.dv + 2);
            let out =
                std::slice::from_raw_parts_mut(dst.row([head, token, item.batch]).cast::<f32>(), dst.ne[0]);
            let (mut sum, mut shrink) = (state[shape.dv + 1], 1.0);
            if let Some(sinks) = step.optional(4) {
                // A sink is one more score, without a value.
                let (sink, max) = (*sinks.ptr.cast::<f32>().add(head), state[shape.dv]);
                let top = lanes::larger(max, sink);
                shrink = lanes::exp::<false>(max - top);
                sum = sum * shrink + lanes::exp::<false>(sink - top);
            }
            let scale = if sum == 0.0 { 0.0 } else { shrink / sum };
            for (out, value) in out.iter_mut().zip(state) {
                *out = value * scale;
            }
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for (d, n_tokens, n_head, n_head_kv, n_kv) in
        [(64, 1, 8, 2, 40), (17, 5, 3, 3, 101), (32, 3, 4, 1, 1100), (96, 40, 2, 2, 64)]
    {
        for dtype in [DType::F16, DType::F32] {
            for (masked, nan) in [(true, false), (false, false), (true, true), (false, true)] {
                let sinks = masked && n_head != 3;
                let c = Config { d, n_tokens, n_head, n_head_kv, n_kv, dtype, masked, nan, sinks };
                attention_case(battery, c);
            }
        }
    }
}

#[cfg(test)]
#[derive(Clone, Copy, Debug)]
struct Config {
    d: usize,
    n_tokens: usize,
    n_head: usize,
    n_head_kv: usize,
    n_kv: usize,
    dtype: DType,
    masked: bool,
    /// NaN in the keys of a cell that some queries see.
    nan: bool,
    /// Each head has a score without a value.
    sinks: bool,
}

#[cfg(test)]
fn attention_case(battery: &mut Battery, c: Config) {
    let mut case = Case::new(18);
    let rounded = |x: f32| if c.dtype == DType::F16 { halved(x) } else { f64::from(x) };
    let (q, vq) = case.values([c.d, c.n_tokens, c.n_head, 1], Layout::Permuted, 1.0, false);
    let n = c.d * c.n_head_kv * c.n_kv;
    let cache = |case: &mut Case, spoiled: Option<usize>| {
        let mut values: Vec<f32> = (0..n).map(|_| case.noise()).collect();
        if let Some(cell) = spoiled {
            values[cell * c.d * c.n_head_kv] = f32::NAN;
        }
        let ne = [c.d, c.n_head_kv, c.n_kv, 1];
        let id = if c.dtype == DType::F16 {
            let halves: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
            case.leaf(DType::F16, ne, &halves)
        } else {
            case.leaf(DType::F32, ne, &values)
        };
        (case.graph.permute(id, [0, 2, 1, 3]).unwrap(), values)
    };
    let spoiled = c.n_kv / 2;
    let (k, vk) = cache(&mut case, c.nan.then_some(spoiled));
    let (v, vv) = cache(&mut case, None);
    // The last query sees all but some cells, the first one cell, and that is the spoiled one.
    let sees = |token: usize, cell: usize| {
        let last = token + 1 == c.n_tokens;
        !c.masked || (if last { cell % 7 != 3 } else { cell == (spoiled + token) % c.n_kv })
    };
    let mask = c.masked.then(|| {
        let bias = |i: usize| if sees(i / c.n_kv, i % c.n_kv) { f16::ZERO } else { f16::NEG_INFINITY };
        let halves: Vec<f16> = (0..c.n_kv * c.n_tokens).map(bias).collect();
        case.leaf(DType::F16, [c.n_kv, c.n_tokens, 1, 1], &halves)
    });
    let sinks: Vec<f32> = (0..c.n_head).map(|head| head as f32 - 1.5).collect();
    let out = match mask {
        Some(mask) if c.sinks => {
            let sinks = case.f32([c.n_head, 1, 1, 1], Layout::Dense, &sinks);
            case.graph.flash_attn_with_sinks(q, k, v, mask, sinks, 0.25, 0.0, 0.0).unwrap()
        }
        mask => case.graph.flash_attn(q, k, v, mask, 0.25, 0.0, 0.0).unwrap(),
    };
    let mut expected = Vec::new();
    for token in 0..c.n_tokens {
        for head in 0..c.n_head {
            let at = |cell: usize| (cell * c.n_head_kv + head / (c.n_head / c.n_head_kv)) * c.d;
            let q = &vq[(head * c.n_tokens + token) * c.d..][..c.d];
            let cells: Vec<usize> = (0..c.n_kv).filter(|cell| sees(token, *cell)).collect();
            let score = |cell: &usize| {
                let k = &vk[at(*cell)..][..c.d];
                q.iter().zip(k).map(|(q, k)| rounded(*q) * rounded(*k)).sum::<f64>() * 0.25
            };
            let scores: Vec<f64> = cells.iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            let sink = if c.sinks { (f64::from(sinks[head]) - top).exp() } else { 0.0 };
            let sum = powers.iter().sum::<f64>() + sink;
            for d in 0..c.d {
                let weighted = cells.iter().zip(&powers).map(|(cell, p)| p * rounded(vv[at(*cell) + d]));
                expected.push(weighted.sum::<f64>() / sum);
            }
        }
    }
    battery.close(&format!("{c:?}"), &mut case, out, &expected, 1e-10);
}
