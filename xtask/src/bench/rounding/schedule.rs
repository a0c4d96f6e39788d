//! What threads do while layers are rounded: a model of it, for machines with more of them than this one.

/// Times that work on a layer goes from one thread to all of them and back.
const TURNS: usize = 20;

/// How layers are worked on.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    pub(super) threads: usize,
    /// Layers that are begun and not finished, at most.
    pub(super) in_flight: usize,
    /// Share of a layer's work that one thread does alone.
    pub(super) alone: f64,
}

/// A layer in flight.
struct Work {
    /// Of a turn: what one thread does, then what all share.
    turn: [f64; 2],
    /// Parts of turns that are done.
    done: usize,
    /// Of the part that is being done.
    left: f64,
}

impl Work {
    fn new(work: f64, alone: f64) -> Self {
        let turn = [alone, 1.0 - alone].map(|share| work * share / TURNS as f64);
        Self { turn, done: 0, left: turn[0] }
    }

    fn is_alone(&self) -> bool {
        self.done.is_multiple_of(2)
    }

    /// Goes on to the next part; `None` after the last.
    fn next(mut self) -> Option<Self> {
        self.done += 1;
        self.left = self.turn[self.done % 2];
        (self.done < 2 * TURNS).then_some(self)
    }
}

impl Schedule {
    /// Returns the share of all threads' time, from the first layer to the end of the last, in which they have
    /// nothing to do.
    ///
    /// - `layers`: the work of each, in thread-seconds, in the order in which they are begun
    pub(super) fn idle_share(self, layers: &[f64]) -> f64 {
        let mut waiting = layers.iter().map(|&work| Work::new(work, self.alone));
        let mut active: Vec<Work> = waiting.by_ref().take(self.in_flight).collect();
        let mut seconds = 0.0;
        while !active.is_empty() {
            let alone = active.iter().filter(|work| work.is_alone()).count();
            let shared = (active.len() - alone).max(1);
            let rest = self.threads.saturating_sub(alone).max(1) as f64 / shared as f64;
            let pace = |work: &Work| if work.is_alone() { 1.0 } else { rest };
            let step = active.iter().map(|work| work.left / pace(work)).fold(f64::MAX, f64::min);
            seconds += step;
            let (mut going_on, mut ended) = (vec![], 0);
            for mut work in active {
                work.left -= step * pace(&work);
                let is_done = work.left <= 1e-12 * work.turn[work.done % 2].max(step);
                match if is_done { work.next() } else { Some(work) } {
                    Some(work) => going_on.push(work),
                    None => ended += 1,
                }
            }
            going_on.extend(waiting.by_ref().take(ended));
            active = going_on;
        }
        1.0 - layers.iter().sum::<f64>() / (self.threads as f64 * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_all_share_leaves_nobody_idle() {
        let schedule = Schedule { threads: 16, in_flight: 2, alone: 0.0 };
        assert!(schedule.idle_share(&[1.0, 5.0, 2.0]).abs() < 1e-9);
    }

    #[test]
    fn work_of_one_thread_leaves_all_others_idle() {
        let schedule = Schedule { threads: 4, in_flight: 1, alone: 1.0 };
        assert!((schedule.idle_share(&[1.0, 2.0]) - 0.75).abs() < 1e-9);
        // Two at once, of which the longer one is alone half of the time: 3 of 8 thread-seconds are worked.
        let schedule = Schedule { threads: 4, in_flight: 2, alone: 1.0 };
        assert!((schedule.idle_share(&[1.0, 2.0]) - 5.0 / 8.0).abs() < 1e-9);
    }

    #[test]
    fn the_largest_layer_is_better_begun_first() {
        let schedule = Schedule { threads: 2, in_flight: 2, alone: 1.0 };
        assert!(schedule.idle_share(&[4.0, 1.0, 1.0, 1.0, 1.0]) < 1e-9);
        assert!(schedule.idle_share(&[1.0, 1.0, 1.0, 1.0, 4.0]) > 0.3);
    }
}
