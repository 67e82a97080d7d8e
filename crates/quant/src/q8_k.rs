//! Blocks of Q8_K, which only activations are in.

use crate::blocks::{BlockQ8K, QK_K};
use crate::convert::nearest_int;
use crate::search::signed_max;

pub(crate) fn q8_k(x: &[f32]) -> BlockQ8K {
    let max = signed_max(x);
    if max == 0.0 {
        return bytemuck::Zeroable::zeroed();
    }
    let iscale = -127.0 / max;
    let qs: [i8; QK_K] = std::array::from_fn(|j| nearest_int(iscale * x[j]).min(127) as i8);
    let bsums = std::array::from_fn(|j| qs[16 * j..16 * (j + 1)].iter().map(|&q| i16::from(q)).sum());
    BlockQ8K { d: 1.0 / iscale, qs, bsums }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_k_of_zeros_has_zero_sums() {
        let b = q8_k(&[0.0; QK_K]);
        assert_eq!((b.d, b.bsums), (0.0, [0; 16]));
    }

    #[test]
    fn q8_k_scale_has_the_opposite_sign_of_the_largest() {
        let mut x = [1.0; QK_K];
        x[7] = 4.0;
        let b = q8_k(&x);
        assert_eq!(b.qs[7], -127);
        assert_eq!(b.bsums[1], -32 * 16);
        assert!(b.d < 0.0);
    }
}
