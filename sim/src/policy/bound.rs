//! The probability that a campaign has missed a bug of some depth: how many ordered events it takes to show it.

/// What was run, with the greatest numbers measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bound {
    /// What is prioritised: channels or activities (PCT), chains (PCTCP).
    pub n: u64,
    /// Steps of a run: where a priority can change.
    pub k: u64,
    /// The depth aimed at.
    pub d: u32,
    /// Runs.
    pub runs: u64,
}

impl Bound {
    /// The least probability that one run hits a bug of the depth, if there is one: 1 / (n k^(d-1)).
    pub fn hit(&self) -> f64 {
        1.0 / (self.n.max(1) as f64 * (self.k.max(1) as f64).powi(self.d.max(1) as i32 - 1))
    }

    /// The greatest probability that all runs missed it.
    pub fn miss(&self) -> f64 {
        ((-self.hit()).ln_1p() * self.runs as f64).exp()
    }

    /// Runs for which that is at most `miss`.
    pub fn runs_for(&self, miss: f64) -> u64 {
        (miss.ln() / (-self.hit()).ln_1p()).ceil().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_for_95_percent() {
        let runs = |n, k, d| Bound { n, k, d, runs: 0 }.runs_for(0.05);
        assert_eq!([1, 2, 3, 4].map(|d| runs(2, 30, d)), [5, 179, 5_391, 161_769]);
        assert_eq!([1, 2, 3].map(|d| runs(3, 60, d)), [8, 538, 32_353]);
        assert_eq!([1, 2, 3].map(|d| runs(4, 200, d)), [11, 2_396, 479_316]);
        assert_eq!([1, 2].map(|d| runs(8, 500, d)), [23, 11_982]);
        assert_eq!([1, 2].map(|d| runs(16, 2_000, d)), [47, 95_862]);
        let near = |runs: u64, text: f64| assert!((runs as f64 / text - 1.0).abs() < 0.01, "{runs} {text}");
        near(runs(3, 60, 4), 1.94e6);
        near(runs(8, 500, 4), 3.0e9);
        near(runs(16, 2_000, 3), 192e6);
    }

    #[test]
    fn what_those_runs_miss() {
        for (n, k, d) in [(2, 30, 1), (4, 200, 2), (8, 500, 3)] {
            let bound = Bound { n, k, d, runs: 0 };
            let enough = bound.runs_for(0.05);
            assert!(Bound { runs: enough, ..bound }.miss() <= 0.05);
            assert!(Bound { runs: enough - 1, ..bound }.miss() > 0.05);
        }
        assert_eq!(Bound { n: 9, k: 9, d: 2, runs: 0 }.miss(), 1.0);
        assert_eq!(Bound { n: 1, k: 9, d: 1, runs: 1 }.miss(), 0.0);
    }
}
