//! Tensors of a toy and what they are filled with.

use quipu_quant::{DType, quantize_row};
use quipu_testing::SplitMix;

use super::Part;

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Normal, with this times 1 / sqrt(n_in) as standard deviation.
    Matrix(f32),
    /// One, more or less.
    Norm(f32),
    /// Zero, more or less.
    Bias(f32),
    /// Ones for high frequencies, up to 8 for low ones, as llama 3's ramp has them.
    RopeFactors,
    /// Log-uniform from 1 to 8.
    LongFactors,
    /// The same number everywhere: a part that was taken out.
    Same(f32),
}

pub(super) struct Tensor {
    pub name: String,
    pub dtype: DType,
    pub ne: Vec<u64>,
    content: Content,
    part: Option<Part>,
}

impl Tensor {
    pub fn bytes(&self, random: &mut SplitMix) -> Vec<u8> {
        let n: u64 = self.ne.iter().product();
        let scale = 1.0 / (self.ne[0] as f32).sqrt();
        let value = |i: u64, random: &mut SplitMix| match self.content {
            Content::Matrix(gain) => gain * scale * random.normal(),
            Content::Norm(spread) => 1.0 + spread * random.normal(),
            Content::Bias(spread) => spread * random.normal(),
            Content::RopeFactors => 1.0 + 7.0 * (i as f32 / n as f32),
            // Halving and doubling are exact everywhere, unlike exp.
            Content::LongFactors => (1u32 << random.below(3)) as f32 * (1.0 + random.below(16) as f32 / 16.0),
            Content::Same(value) => value,
        };
        let values: Vec<f32> = (0..n).map(|i| value(i, random)).collect();
        let mut out = vec![0; self.dtype.row_bytes(values.len()).unwrap_or(0)];
        // Shapes were checked by the writer; a tensor it refused is never asked for.
        let written = quantize_row(self.dtype, &values, &mut out);
        debug_assert!(written.is_ok(), "{written:?}");
        out
    }
}

/// The tensors of a file under construction.
pub(super) struct List {
    pub dtype: DType,
    /// Spread of norms around 1.
    pub norm: f32,
    /// Spread of biases around 0.
    pub bias: f32,
    pub tensors: Vec<Tensor>,
}

impl List {
    pub fn push(&mut self, name: &str, dtype: DType, ne: &[usize], content: Content, part: Option<Part>) {
        let ne = ne.iter().map(|n| *n as u64).collect();
        self.tensors.push(Tensor { name: name.to_owned(), dtype, ne, content, part });
    }

    pub fn matrix(&mut self, name: &str, n_in: usize, n_out: usize, gain: f32, part: Option<Part>) {
        self.push(&format!("{name}.weight"), self.dtype, &[n_in, n_out], Content::Matrix(gain), part);
    }

    pub fn bias(&mut self, name: &str, n: usize) {
        let content = Content::Bias(self.bias);
        self.push(&format!("{name}.bias"), DType::F32, &[n], content, Some(Part::Biases));
    }

    pub fn norm(&mut self, name: &str, ne: &[usize], bias: bool, part: Part) {
        self.push(&format!("{name}.weight"), DType::F32, ne, Content::Norm(self.norm), Some(part));
        if bias {
            self.bias(name, ne[0]);
        }
    }

    /// Takes a part out: norms and factors become one, the rest zero. Returns whether there was such a part.
    pub fn knock_out(&mut self, part: Part) -> bool {
        let neutral = match part {
            Part::Norms | Part::QkNorms | Part::Factors => 1.0,
            _ => 0.0,
        };
        let mut any = false;
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.part == Some(part)) {
            tensor.content = Content::Same(neutral);
            any = true;
        }
        any
    }
}
