//! Whether the help of a team pays for a small plan: found out by trying.
//!
//! A plan that takes as long as a few dozen barriers is quicker together on a quiet machine, and many times slower where other
//! programs hold the cores, because each barrier then waits for somebody's time slice. Which machine this is changes from one
//! second to the next, so both ways are tried in turn, at a small part of the time. Results do not depend on it.

/// Runs of a trial. The first wakes the team up, and is not counted.
const TRIAL_RUNS: u32 = 4;
/// How much longer than a trial takes one goes without another.
const PATIENCE: f64 = 20.0;
/// How much of a mean the newest run is.
const NEWEST: f64 = 0.125;

/// What is known of the two ways to run a plan.
#[derive(Debug)]
pub(crate) struct Pace {
    together: bool,
    /// Seconds of a run: alone, together. Infinite until it was tried.
    seconds: [f64; 2],
    /// Runs of the trial under way that are left, 0 if there is none; seconds of all of them, and of those that count.
    left: u32,
    spent: f64,
    counted: f64,
    /// Seconds until the next trial.
    patience: f64,
}

impl Pace {
    /// Nothing is known, and together is tried first.
    pub fn new() -> Pace {
        let seconds = [f64::INFINITY; 2];
        Pace { together: true, seconds, left: TRIAL_RUNS, spent: 0.0, counted: 0.0, patience: 0.0 }
    }

    /// Whether the coming run is one of the team.
    pub fn together(&self) -> bool {
        self.together
    }

    /// Learns how long that run took.
    pub fn took(&mut self, seconds: f64) {
        let way = usize::from(self.together);
        if self.left == 0 {
            self.seconds[way] += NEWEST * (seconds - self.seconds[way]);
            self.patience -= seconds;
            if self.patience <= 0.0 {
                self.try_other();
            }
            return;
        }
        if self.left < TRIAL_RUNS {
            self.counted += seconds;
        }
        self.spent += seconds;
        self.left -= 1;
        if self.left > 0 {
            return;
        }
        self.seconds[way] = self.counted / f64::from(TRIAL_RUNS - 1);
        self.patience = PATIENCE * self.spent;
        if self.seconds[1 - way].is_infinite() {
            self.try_other();
        } else {
            self.together = self.seconds[1] < self.seconds[0];
        }
    }

    fn try_other(&mut self) {
        self.together = !self.together;
        (self.left, self.spent, self.counted) = (TRIAL_RUNS, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of `n` runs in a world where a run takes that long alone and together.
    fn live(pace: &mut Pace, n: usize, [alone, together]: [f64; 2]) -> f64 {
        let mut total = 0.0;
        for _ in 0..n {
            let seconds = if pace.together() { together } else { alone };
            pace.took(seconds);
            total += seconds;
        }
        total
    }

    #[test]
    fn the_quicker_way_is_found_and_trying_costs_little() {
        for (world, best) in [([75e-6, 50e-6], 50e-6), ([75e-6, 90e-6], 75e-6), ([1e-4, 7e-3], 1e-4)] {
            let mut pace = Pace::new();
            live(&mut pace, 2 * TRIAL_RUNS as usize, world);
            let total = live(&mut pace, 100_000, world);
            assert!(total < 1.06 * 100_000.0 * best, "{total} s in {world:?}");
        }
    }

    #[test]
    fn what_changes_is_noticed() {
        let (quiet, busy) = ([75e-6, 50e-6], [1e-4, 7e-3]);
        let mut pace = Pace::new();
        live(&mut pace, 1000, quiet);
        for _ in 0..3 {
            // A few runs of the team among others show that it got slow.
            let total = live(&mut pace, 10_000, busy);
            assert!(total < 1.2 * 10_000.0 * busy[0], "{total} s");
            live(&mut pace, 5_000, quiet);
            let total = live(&mut pace, 10_000, quiet);
            assert!(total < 1.06 * 10_000.0 * quiet[1], "{total} s");
        }
    }
}
