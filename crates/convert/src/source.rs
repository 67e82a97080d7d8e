//! Where a GGUF tensor's values come from, and writing them: tensors as they are, views of them in another order, stacks. What comes
//! from where is said in `parts` and `tensors`.

use std::io::{self, Write};

use quipu_quant::DType;
use safetensors::Dtype;

use super::outtype::encode;
use super::safetensors::{Checkpoint, Tensor};

/// Elements converted at once.
const CHUNK: usize = 1 << 16;

/// Elements of a tensor in an order of their own: the extents, outermost first, and how far apart neighbours are.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The first element.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// Distances, one for each extent.
    pub strides: Vec<usize>,
}

impl View {
    /// A matrix of these extents, the other way round.
    pub(super) fn transposed(rows: usize, columns: usize) -> View {
        View { offset: 0, shape: vec![columns, rows], strides: vec![1, columns] }
    }
}

/// What is done to each value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map {
    /// One is added.
    PlusOne,
    /// The negative exponential.
    NegativeExp,
}

impl Map {
    fn apply(self, dtype: Dtype, x: f32) -> f32 {
        match self {
            // Half precision stays that in the sum.
            Map::PlusOne if dtype == Dtype::F16 => half::f16::from_f32(x + 1.0).to_f32(),
            Map::PlusOne => x + 1.0,
            // Rounded once; torch's library is off by one in the last place for one value in a hundred.
            Map::NegativeExp => -(f64::from(x).exp() as f32),
        }
    }
}

/// Where values come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A tensor as it is.
    Plain(Tensor),
    /// A tensor with each value changed.
    Mapped(Tensor, Map),
    /// Views of a tensor, one behind the other.
    Views(Tensor, Vec<View>),
    /// Several tensors, one behind the other.
    Stack(Vec<Tensor>),
    /// MXFP4 as transformers stores it, in blocks of ggml's: of the rows of each expert those from `first` on in steps of `step`.
    Mxfp4 {
        /// 16 bytes for each block of 32 elements: experts, rows, blocks, bytes.
        blocks: Tensor,
        /// A scale for each block.
        scales: Tensor,
        first: usize,
        step: usize,
    },
    /// Values computed here.
    Values(Vec<f32>),
}

impl Source {
    /// Rows of each head regrouped from halves to pairs. The rows must be a multiple of twice `n_head`.
    pub(super) fn heads(tensor: Tensor, n_head: usize) -> Source {
        let view = head_view(&tensor, n_head);
        Source::Views(tensor, vec![view])
    }

    /// Writes the values as `dtype`.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, dtype: DType, checkpoint: &Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = Encoder { dtype, row: Vec::new(), pending: Vec::new(), bytes: Vec::new(), out };
        match self {
            Source::Plain(tensor) => writer.mapped(checkpoint, tensor, None),
            Source::Mapped(tensor, map) => writer.mapped(checkpoint, tensor, Some(*map)),
            Source::Stack(tensors) => {
                tensors.iter().try_for_each(|tensor| writer.mapped(checkpoint, tensor, None))
            }
            Source::Values(values) => writer.put(values),
            Source::Views(tensor, views) => {
                views.iter().try_for_each(|view| writer.view(checkpoint, tensor, view))?;
                writer.flush()
            }
            Source::Mxfp4 { blocks, scales, first, step } => {
                let (bytes, exponents) = (checkpoint.bytes(blocks), checkpoint.bytes(scales));
                write_mxfp4(bytes, exponents, &blocks.shape, *first, *step, out)
            }
        }
    }
}

/// The view of [`Source::heads`].
pub(super) fn head_view(tensor: &Tensor, n_head: usize) -> View {
    let row = tensor.row_len();
    let half = tensor.shape.first().map_or(0, |rows| rows / n_head / 2);
    View { offset: 0, shape: vec![n_head, half, 2, row], strides: vec![2 * half * row, row, half * row, 1] }
}

/// ggml's blocks: the exponent, then elements `j` and `j + 16` in a byte, where transformers has `2j` and `2j + 1`.
fn write_mxfp4(
    bytes: &[u8],
    exponents: &[u8],
    shape: &[usize],
    first: usize,
    step: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let &[_, n_rows, n_blocks, _] = shape else { return Err(io::Error::other("blocks of another shape")) };
    let blocks = bytes.as_chunks::<16>().0;
    let rows = blocks.chunks(n_blocks.max(1)).zip(exponents.chunks(n_blocks.max(1)));
    let mut line = Vec::new();
    for (index, (row, exponents)) in rows.enumerate() {
        let in_expert = index % n_rows;
        if in_expert < first || (in_expert - first) % step != 0 {
            continue;
        }
        line.clear();
        for (block, exponent) in row.iter().zip(exponents) {
            let element = |i: usize| block[i / 2] >> (4 * (i % 2)) & 15;
            line.push(*exponent);
            line.extend((0..16).map(|j| element(j) | element(j + 16) << 4));
        }
        out.write_all(&line)?;
    }
    Ok(())
}

/// Converts values and passes them on.
struct Encoder<'a> {
    dtype: DType,
    row: Vec<f32>,
    pending: Vec<f32>,
    bytes: Vec<u8>,
    out: &'a mut dyn Write,
}

impl Encoder<'_> {
    fn mapped(&mut self, checkpoint: &Checkpoint, tensor: &Tensor, map: Option<Map>) -> io::Result<()> {
        let n = tensor.n_elements();
        let mut row = std::mem::take(&mut self.row);
        for from in (0..n).step_by(CHUNK) {
            checkpoint.read(tensor, from, CHUNK.min(n - from), &mut row);
            if let Some(map) = map {
                for x in &mut row {
                    *x = map.apply(tensor.dtype, *x);
                }
            }
            self.put(&row)?;
        }
        self.row = row;
        Ok(())
    }

    /// Adds a view's elements to those pending, which are passed on in whole chunks.
    fn view(&mut self, checkpoint: &Checkpoint, tensor: &Tensor, view: &View) -> io::Result<()> {
        let (Some((&n_inner, outer)), Some((&stride, distances))) =
            (view.shape.split_last(), view.strides.split_last())
        else {
            return Ok(());
        };
        let n_outer: usize = outer.iter().product();
        let mut place = vec![0usize; outer.len()];
        for _ in 0..n_outer {
            let at =
                view.offset + place.iter().zip(distances).map(|(i, distance)| i * distance).sum::<usize>();
            if stride == 1 {
                checkpoint.read(tensor, at, n_inner, &mut self.row);
                self.pending.extend_from_slice(&self.row);
            } else {
                for i in 0..n_inner {
                    checkpoint.read(tensor, at + i * stride, 1, &mut self.row);
                    self.pending.extend_from_slice(&self.row);
                }
            }
            let whole = self.pending.len() / CHUNK * CHUNK;
            if whole > 0 {
                let rest = self.pending.split_off(whole);
                let full = std::mem::replace(&mut self.pending, rest);
                self.put(&full)?;
            }
            for (i, n) in place.iter_mut().zip(outer).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.put(&pending)
    }

    fn put(&mut self, values: &[f32]) -> io::Result<()> {
        self.bytes.clear();
        encode(self.dtype, values, &mut self.bytes).map_err(io::Error::other)?;
        self.out.write_all(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mxfp4_blocks_change_their_order() {
        let block: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
        let mut out = Vec::new();
        write_mxfp4(&[block.clone(), block].concat(), &[7, 9], &[1, 2, 1, 16], 1, 2, &mut out)
            .expect("vectors take all");
        assert_eq!(out.len(), 17, "the second row alone");
        assert_eq!(out[0], 9);
        // Elements 0 and 16 are the low halves of bytes 0 and 8; 1 and 17 their high halves.
        assert_eq!((out[1], out[2]), (0x80, 0x7f));
    }
}
