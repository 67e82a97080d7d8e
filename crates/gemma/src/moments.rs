//! Descriptive statistics of a series, one value at a time.
//!
//! Answers to highway's `hwy/stats` (`hwy::Stats`), as far as gemma.cpp's analysis prints it.

/// Count, range and four moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    n: u64,
    min: f32,
    max: f32,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments { n: 0, min: f32::INFINITY, max: f32::NEG_INFINITY, mean: 0.0, m2: 0.0, m3: 0.0, m4: 0.0 }
    }
}

/// Below this a sum of squares has no shape.
const FLAT: f64 = 1e-7;

impl Moments {
    /// Takes note of a value.
    pub fn notify(&mut self, x: f32) {
        self.n += 1;
        (self.min, self.max) = (self.min.min(x), self.max.max(x));
        let n = self.n as f64;
        let d = f64::from(x) - self.mean;
        let step = d / n;
        let square = d * (n - 1.0) * step;
        self.mean += step;
        let fourth = square * (n * n - 3.0 * n + 3.0) + 6.0 * self.m2;
        self.m4 += step * (step * fourth - 4.0 * self.m3);
        self.m3 += step * (square * (n - 2.0) - 3.0 * self.m2);
        self.m2 += square;
    }

    /// Number of values.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The smallest value; infinite if there is none.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// The largest value; negatively infinite if there is none.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// The mean; 0 if there are no values.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The deviation of the population that the values were drawn from (`StandardDeviation`).
    pub fn standard_deviation(&self) -> f64 {
        (self.m2 / self.n.saturating_sub(1).max(1) as f64).sqrt()
    }

    /// Positive if the upper tail is the longer one (`Skewness`, corrected for its bias).
    pub fn skewness(&self) -> f64 {
        if self.m2.abs() < FLAT {
            return 0.0;
        }
        let n = self.n as f64;
        self.m3 * n.sqrt() / self.m2.powf(1.5) * ((n - 1.0) / n).powf(1.5)
    }

    /// 3 for a bell, larger for longer tails (`Kurtosis`, corrected for its bias).
    pub fn kurtosis(&self) -> f64 {
        if self.m2.abs() < FLAT {
            return 0.0;
        }
        let n = self.n as f64;
        self.m4 * n / (self.m2 * self.m2) * ((n - 1.0) / n).powi(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the sums that define them.
    #[test]
    fn moments_are_those_of_the_definition() {
        let values: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 * 0.01 + (i % 7) as f32).collect();
        let mut moments = Moments::default();
        for &x in &values {
            moments.notify(x);
        }
        let n = values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let sum = |power| values.iter().map(|x| (f64::from(*x) - mean).powi(power)).sum::<f64>();
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
        assert_eq!((moments.n(), moments.min(), moments.max()), (1000, 0.0, 7.0));
        assert!(near(moments.mean(), mean));
        assert!(near(moments.standard_deviation(), (sum(2) / (n - 1.0)).sqrt()));
        let bias = (n - 1.0) / n;
        assert!(near(moments.skewness(), sum(3) * n.sqrt() / sum(2).powf(1.5) * bias.powf(1.5)));
        assert!(near(moments.kurtosis(), sum(4) * n / sum(2).powi(2) * bias * bias));
    }

    #[test]
    fn few_values_have_no_shape() {
        let mut moments = Moments::default();
        assert_eq!((moments.mean(), moments.standard_deviation(), moments.kurtosis()), (0.0, 0.0, 0.0));
        moments.notify(3.0);
        assert_eq!((moments.mean(), moments.standard_deviation(), moments.skewness()), (3.0, 0.0, 0.0));
    }
}
