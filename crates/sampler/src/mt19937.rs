//! The 32-bit Mersenne Twister, as `std::mt19937`, and the doubles libstdc++ draws from it.

const N: usize = 624;
const M: usize = 397;

/// MT19937 with the standard's parameters and seeding.
#[derive(Clone)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl std::fmt::Debug for Mt19937 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mt19937").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Mt19937 {
    /// Seeds like `std::mt19937(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let prev = state[i - 1];
            state[i] = (prev ^ (prev >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    /// A double in [0, 1) out of two draws, low word first: libstdc++'s `uniform_real_distribution<double>`.
    pub fn next_f64(&mut self) -> f64 {
        let low = f64::from(self.next_u32());
        let high = f64::from(self.next_u32());
        let value = (low + high * 4_294_967_296.0) / 18_446_744_073_709_551_616.0;
        // The sum rounds, so two all-one words would give exactly 1.
        if value >= 1.0 { 1.0_f64.next_down() } else { value }
    }

    /// A float in [0, 1) out of one draw: libstdc++'s `uniform_real_distribution<float>`.
    pub fn next_f32(&mut self) -> f32 {
        let value = self.next_u32() as f32 / 4_294_967_296.0;
        if value >= 1.0 { 1.0_f32.next_down() } else { value }
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7FFF_FFFF);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_B0DF };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_output_is_the_one_the_cpp_standard_fixes() {
        let mut rng = Mt19937::new(5489);
        let last = (0..10_000).map(|_| rng.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn floats_stay_below_one() {
        let mut rng = Mt19937::new(7);
        let (mut least, mut most) = (1.0_f32, 0.0_f32);
        for _ in 0..100_000 {
            let value = rng.next_f32();
            (least, most) = (least.min(value), most.max(value));
        }
        assert!((0.0..0.001).contains(&least) && (0.999..1.0).contains(&most));
    }

    #[test]
    fn doubles_use_two_words_low_first() {
        let mut words = Mt19937::new(7);
        let mut rng = Mt19937::new(7);
        for _ in 0..1000 {
            let (low, high) = (words.next_u32(), words.next_u32());
            let exact = (u64::from(high) << 32 | u64::from(low)) as f64 / 2f64.powi(64);
            assert_eq!(rng.next_f64(), exact);
        }
    }
}
