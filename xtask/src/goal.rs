pub(crate) mod layouts;
pub(crate) mod quality;
pub(crate) mod recognition;
pub(crate) mod rounding;
pub(crate) mod servers;
pub(crate) mod studio;

/// A figure that has to be reached.
pub(crate) struct Goal {
    /// Name of the figure, with its unit.
    pub(crate) name: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
    /// Worse than this is a fault.
    pub(crate) must: Option<f64>,
    /// The figure that we aim at.
    pub(crate) aim: Option<f64>,
}

#[derive(Clone, Copy)]
pub(crate) enum Better {
    Lower,
    Higher,
}

const fn at_least(name: &'static str, must: Option<f64>, aim: Option<f64>) -> Goal {
    Goal { name, better: Better::Higher, must, aim }
}

const fn at_most(name: &'static str, must: Option<f64>, aim: Option<f64>) -> Goal {
    Goal { name, better: Better::Lower, must, aim }
}

/// Time of a conversion over that of copying the same file. A copy moves two bytes where a
/// conversion moves one and a half, so half its rate is one and a half times its time.
pub(crate) const TIME_OVER_CAT: Goal = at_most("FP8 conversion, time over `cat`", None, Some(1.5));

/// Time of a conversion without the final sync, which a copy does not do, over that of copying.
pub(crate) const TIME_OVER_CAT_WITHOUT_SYNC: Goal =
    at_most("the same without the final sync", None, Some(1.5));

/// The peer's time over ours.
pub(crate) const FASTER_THAN_PEER: Goal =
    at_least("FP8 conversion, times faster than convert-to-quant", Some(10.0), None);

/// Peak memory over what the formula allows.
pub(crate) const MEMORY_OVER_ALLOWED: Goal =
    at_most("peak memory over 200 MiB + 3 × largest matrix in F32 × threads", Some(1.0), None);

/// Peak memory on twice the model over peak memory on the model.
pub(crate) const MEMORY_GROWTH: Goal =
    at_most("peak memory, 2 GiB model over 1 GiB model", Some(1.1), None);

/// Speed of BF16 → E4M3 over torch's cast, arrays in memory.
pub(crate) const ENCODE_OVER_TORCH: Goal =
    at_least("BF16 → E4M3 on one thread, arrays in memory, speed over torch", Some(4.0), Some(8.0));

/// [`ENCODE_OVER_TORCH`] with arrays in cache: the speed of the kernel when memory does not hold
/// it up.
pub(crate) const ENCODE_IN_CACHE_OVER_TORCH: Goal =
    Goal { name: "the same, arrays in cache", ..ENCODE_OVER_TORCH };

impl Goal {
    /// Returns `must` and `aim` as text, and how far `reached` got.
    pub(crate) fn row(&self, reached: f64) -> [String; 5] {
        let bound = |figure: Option<f64>| {
            let sign = match self.better {
                Better::Lower => '≤',
                Better::Higher => '≥',
            };
            figure.map_or("–".to_owned(), |figure| format!("{sign} {figure}"))
        };
        [
            self.name.to_owned(),
            bound(self.must),
            bound(self.aim),
            number(reached),
            self.verdict(reached).to_owned(),
        ]
    }

    fn verdict(&self, reached: f64) -> &'static str {
        let holds = |bound: f64| match self.better {
            Better::Lower => reached <= bound,
            Better::Higher => reached >= bound,
        };
        match (self.must, self.aim) {
            (Some(must), _) if !holds(must) => "short of must",
            (_, Some(aim)) if !holds(aim) => "short of aim",
            (None, None) => "–",
            _ => "reached",
        }
    }
}

/// Formats a figure with two decimals, or two digits where these would say nothing.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_name_the_first_bound_that_is_missed() {
        let goal = Goal { name: "time", better: Better::Lower, must: Some(2.0), aim: Some(1.5) };
        assert_eq!(goal.verdict(2.5), "short of must");
        assert_eq!(goal.verdict(1.8), "short of aim");
        assert_eq!(goal.verdict(1.5), "reached");
        let goal = Goal { better: Better::Higher, ..goal };
        assert_eq!(goal.verdict(1.8), "short of must");
        assert_eq!(goal.verdict(f64::NAN), "short of must");
    }

    #[test]
    fn numbers_keep_two_digits() {
        let found = [0.0, 12.345, 0.5, 0.0512, 0.00012].map(number);
        assert_eq!(found, ["0.00", "12.35", "0.50", "0.051", "1.2e-4"]);
    }
}
