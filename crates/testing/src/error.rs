//! How far a result is from what was expected.

/// Normalised mean squared error of `found` against `expected`: the squares of the differences over those of the expected
/// numbers, summed in f64.
///
/// Infinite if the lengths differ or all that was expected is 0 and something else was found; NaN if there is one in either, so
/// compare with `<=`: NaN must fail.
pub fn nmse<E, F>(expected: &[E], found: &[F]) -> f64
where
    E: Copy + Into<f64>,
    F: Copy + Into<f64>,
{
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let (mut error, mut power) = (0.0, 0.0);
    for (expected, found) in expected.iter().zip(found) {
        let (expected, found): (f64, f64) = ((*expected).into(), (*found).into());
        error += (found - expected) * (found - expected);
        power += expected * expected;
    }
    if error == 0.0 { 0.0 } else { error / power }
}

#[cfg(test)]
mod tests {
    use super::nmse;

    #[test]
    fn what_is_not_equal_never_passes_unseen() {
        assert_eq!(nmse(&[1.0f32, 2.0], &[1.0f32, 2.0]), 0.0);
        assert_eq!(nmse(&[0.0f32, 2.0], &[1.0f32, 2.0]), 0.25);
        assert_eq!(nmse(&[0.0f64; 2], &[0.0f32; 2]), 0.0);
        assert_eq!(nmse(&[0.0f64; 2], &[0.0f32, 1e-30]), f64::INFINITY);
        assert_eq!(nmse(&[1.0f32], &[1.0f32, 2.0]), f64::INFINITY);
        assert!(nmse(&[1.0f32], &[f32::NAN]).is_nan());
        assert!(nmse(&[f32::NAN], &[1.0f32]).is_nan());
    }
}
