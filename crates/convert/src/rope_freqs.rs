//! The `rope_freqs` tensor of llama 3's rotary scaling: by how much each frequency is divided. Answers to
//! `LlamaModel.generate_extra_tensors`.
//!
//! The reference computes in torch, in f32, and the file holds every bit of it. So the arithmetic follows
//! torch: a number over a tensor is a reciprocal and a product, and powers are those of SLEEF (`Sleef_powf_u10`
//! with fused multiply-add), whose last bit is not always the nearest, in whole runs of two vectors and
//! those of the C library behind them. The reference's bits so depend on its machine; these are the ones of AVX-512.

use serde_json::Value as Json;

use super::config::Config;
use super::error::Result;
use super::json::{JsonFile, float};

/// Elements that torch takes through its vector loop at once: two vectors of 16.
const RUN: usize = 32;

/// The factors, one for each pair of rotated dimensions, or `None` for other scalings.
pub(super) fn factors(config: &Config) -> Result<Option<Vec<f32>>> {
    let rope = config.rope_full()?;
    let kind = rope.get("rope_type").and_then(Json::as_str).unwrap_or_default();
    if !kind.eq_ignore_ascii_case("llama3") {
        return Ok(None);
    }
    let number = |key: &str, default: f64| number(&rope, key, default);
    let base = number("rope_theta", 10000.0)?;
    let dim = config.rope_dim()?;
    let factor = number("factor", 8.0)? as f32;
    let low = number("low_freq_factor", 1.0)?;
    let high = number("high_freq_factor", 4.0)?;
    let n_ctx = number("original_max_position_embeddings", 8192.0)?;
    let (low_wavelen, high_wavelen) = ((n_ctx / low) as f32, (n_ctx / high) as f32);
    let two_pi = (2.0 * std::f64::consts::PI) as f32;
    let factors = powers(base as f32, dim).map(|power| {
        let freq = 1.0 / power;
        let wavelen = (1.0 / freq) * two_pi;
        if wavelen < high_wavelen {
            1.0
        } else if wavelen > low_wavelen {
            factor
        } else {
            let smooth = ((1.0 / wavelen) * n_ctx as f32 - low as f32) / (high - low) as f32;
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    Ok(Some(factors.collect()))
}

fn number(rope: &JsonFile, key: &str, default: f64) -> Result<f64> {
    match rope.map.get(key) {
        None => Ok(default),
        Some(value) => {
            float(value).filter(|x| *x > 0.0).ok_or_else(|| rope.wrong(key, value, "a positive number"))
        }
    }
}

/// A sum of two f32, the second far below the first.
#[derive(Clone, Copy)]
struct Pair {
    hi: f32,
    lo: f32,
}

impl Pair {
    const fn new(hi: f32, lo: f32) -> Pair {
        Pair { hi, lo }
    }

    fn normalized(self) -> Pair {
        let hi = self.hi + self.lo;
        Pair { hi, lo: (self.hi - hi) + self.lo }
    }

    /// Sum, where `self` is the larger.
    fn plus(self, other: Pair) -> Pair {
        let hi = self.hi + other.hi;
        Pair { hi, lo: (((self.hi - hi) + other.hi) + self.lo) + other.lo }
    }

    /// Sum of two numbers of any order.
    fn sum(x: f32, y: f32) -> Pair {
        let hi = x + y;
        let v = hi - x;
        Pair { hi, lo: (x - (hi - v)) + (y - v) }
    }

    /// Sum, where the order is unknown.
    fn plus_any(self, other: Pair) -> Pair {
        let sum = Pair::sum(self.hi, other.hi);
        Pair { hi: sum.hi, lo: sum.lo + (self.lo + other.lo) }
    }

    fn plus_any_one(self, y: f32) -> Pair {
        let sum = Pair::sum(self.hi, y);
        Pair { hi: sum.hi, lo: sum.lo + self.lo }
    }

    fn times(self, other: Pair) -> Pair {
        let hi = self.hi * other.hi;
        let lo = self.lo.mul_add(other.hi, self.hi.mul_add(other.hi, -hi));
        Pair { hi, lo: self.hi.mul_add(other.lo, lo) }
    }

    fn times_one(self, y: f32) -> Pair {
        let hi = self.hi * y;
        Pair { hi, lo: self.lo.mul_add(y, self.hi.mul_add(y, -hi)) }
    }

    fn square(self) -> Pair {
        let hi = self.hi * self.hi;
        Pair { hi, lo: (self.hi + self.hi).mul_add(self.lo, self.hi.mul_add(self.hi, -hi)) }
    }

    fn over(self, other: Pair) -> Pair {
        let t = 1.0 / other.hi;
        let hi = self.hi * t;
        let u = t.mul_add(self.hi, -hi);
        let v = (-other.hi).mul_add(t, 1.0);
        let v = (-other.lo).mul_add(t, v);
        Pair { hi, lo: hi.mul_add(v, self.lo.mul_add(t, u)) }
    }
}

/// `base` to the powers 0, 2/dim, 4/dim, ... as a torch tensor has them.
fn powers(base: f32, dim: usize) -> impl Iterator<Item = f32> {
    let in_vectors = dim.div_ceil(2) / RUN * RUN;
    (0..dim.div_ceil(2)).map(move |i| {
        let exponent = (2 * i) as f32 / dim as f32;
        if i < in_vectors { powf(base, exponent) } else { nearest_powf(base, exponent) }
    })
}

/// The power as a good C library has it.
fn nearest_powf(base: f32, exponent: f32) -> f32 {
    f64::from(base).powf(f64::from(exponent)) as f32
}

/// `base` to the power of `exponent` for positive, normal `base`, as `Sleef_powf_u10`.
fn powf(base: f32, exponent: f32) -> f32 {
    exp(log(base).times_one(exponent))
}

fn log(d: f32) -> Pair {
    let e = (d * (1.0 / 0.75)).to_bits() as i32 >> 23 & 0xff;
    let e = (e - 127) as f32;
    // The mantissa in 0.75 to 1.5.
    let m = f32::from_bits((d.to_bits() as i32 - ((e as i32) << 23)) as u32);
    let x = Pair::sum(-1.0, m).over(Pair::sum(1.0, m));
    let x2 = x.square();
    let t = 0.240_320_35_f32;
    let t = t.mul_add(x2.hi, 0.285_112_68);
    let t = t.mul_add(x2.hi, 0.400_008);
    let c = Pair::new(0.666_666_6, 3.691_838_6e-9);
    let s = Pair::new(std::f32::consts::LN_2, -1.904_654_2e-9).times_one(e);
    let s = s.plus(Pair::new(x.hi * 2.0, x.lo * 2.0));
    s.plus(x2.times(x).times(x2.times_one(t).plus_any(c)))
}

fn exp(d: Pair) -> f32 {
    let q = ((d.hi + d.lo) * std::f32::consts::LOG2_E).round_ties_even();
    let s = d.plus_any_one(q * -0.693_145_75);
    let s = s.plus_any_one(q * -1.428_606_8e-6).normalized();
    let u = 0.001_363_246_5_f32;
    let u = u.mul_add(s.hi, 0.008_365_969);
    let u = u.mul_add(s.hi, 0.041_671_082);
    let u = u.mul_add(s.hi, 0.166_665_52);
    let u = u.mul_add(s.hi, 0.499_999_85);
    let t = s.plus(s.square().times_one(u));
    let t = Pair::new(1.0, 0.0).plus(t);
    (t.hi + t.lo) * 2f32.powi(q as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the bits of the powers.
    fn hash(base: f32, dim: usize) -> u64 {
        let bytes = powers(base, dim).flat_map(|power| power.to_bits().to_le_bytes());
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
    }

    #[test]
    fn powers_are_torchs_to_the_last_bit() {
        // `base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)` of torch 2.6 with AVX-512.
        let cases = include!("rope_powers.in");
        for (base, dim, expected) in cases {
            assert_eq!(hash(base, dim), expected, "{base} {dim}");
        }
    }
}
