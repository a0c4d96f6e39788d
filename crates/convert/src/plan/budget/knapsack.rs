//! The multiple-choice knapsack: of each group exactly one option, of least total value within a limit of
//! total cost.

use std::cmp::Ordering;

/// One way to store a group of layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// What the limit is about; not negative.
    pub(crate) cost: f64,
    /// What is minimised; not negative.
    pub(crate) value: f64,
}

/// The chosen option of every group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Solution {
    /// Index of the option of each group.
    pub(crate) chosen: Vec<usize>,
    pub(crate) cost: f64,
    pub(crate) value: f64,
    /// Whether it is known that none is better.
    pub(crate) is_optimal: bool,
}

/// A step of the trade-off from the least cost to the least value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Group that changes.
    pub(crate) group: usize,
    /// Options before and after.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Value gained per cost.
    pub(crate) rate: f64,
}

/// Most partial solutions that are compared at once. Real models need a few hundred; past this those of
/// the best bounds go on, and the solution counts as not proven.
const MOST_STATES: usize = 1 << 16;

/// Solves a knapsack exactly, or as well as [`MOST_STATES`] allows; `None` where even the cheapest options
/// pass the limit.
///
/// - `groups`: each with at least one option
///
/// The relaxed problem, in which the last step may be taken in part, is solved by steps along the
/// convex hulls of all groups, the best rates first. From the steps that were taken whole, groups are then
/// freed one by one, those whose rates lie nearest to that of the partial step first; partial solutions
/// that cannot beat the best one, by the rates of the groups still to come, are dropped. Where none
/// is left the best is the optimum. Ties go to the lower index, so that the same input gives the same
/// solution.
///
/// # Source
/// Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", 1995.
pub(crate) fn solve(groups: &[Vec<Choice>], limit: f64) -> Option<Solution> {
    let steps = steps(groups);
    let mut chosen: Vec<usize> = groups.iter().map(|group| cheapest(group)).collect();
    // 1. The cheapest file. If it is too large, none fits.
    let mut total = total_of(groups, &chosen);
    if total.cost > limit {
        return None;
    }
    let mut broken = None;
    // 2. Steps of the relaxed problem, best rate first. The first that does not fit is where it
    // would be taken in part.
    for step in &steps {
        let (before, after) = (groups[step.group][step.from], groups[step.group][step.to]);
        // A step of a group whose earlier step did not fit does not begin at its present option.
        if chosen[step.group] != step.from {
            continue;
        }
        // Where costs are bytes, whole numbers below 2^53, their sums are exact. Losses are not, so
        // that what is returned is summed anew.
        if total.cost - before.cost + after.cost <= limit {
            chosen[step.group] = step.to;
            total = total_of_change(total, before, after);
        } else if broken.is_none() {
            broken = Some(*step);
        }
    }
    // Later steps that still fit have been taken: a solution to beat.
    let greedy = Solution {
        value: total_of(groups, &chosen).value,
        cost: total_of(groups, &chosen).cost,
        chosen,
        is_optimal: true,
    };
    match broken {
        // Every group has its best option.
        None => Some(greedy),
        Some(broken) => Some(finish(groups, &steps, broken, limit, greedy)),
    }
}

/// Returns the steps along the convex hulls of all groups, the best rates first.
pub(crate) fn steps(groups: &[Vec<Choice>]) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    for (group, options) in groups.iter().enumerate() {
        let hull = hull(options);
        steps.extend(hull.windows(2).map(|pair| {
            let (before, after) = (options[pair[0]], options[pair[1]]);
            let rate = (before.value - after.value) / (after.cost - before.cost);
            Step { group, from: pair[0], to: pair[1], rate }
        }));
    }
    // Stable: of equal rates the first group goes first, and its steps stay in their order.
    steps.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    steps
}

/// Returns the options of a group that are worth taking: by rising cost, each of less value than all before.
fn efficient(options: &[Choice]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..options.len()).collect();
    let by_cost = |&a: &usize, &b: &usize| {
        let by_value = options[a].value.total_cmp(&options[b].value);
        options[a].cost.total_cmp(&options[b].cost).then(by_value).then(a.cmp(&b))
    };
    order.sort_by(by_cost);
    let mut kept: Vec<usize> = vec![];
    for index in order {
        // Kept only if it is of less value than all cheaper ones.
        if kept.last().is_none_or(|&last| options[index].value < options[last].value) {
            kept.push(index);
        }
    }
    kept
}

/// Returns the efficient options on the lower convex hull, whose rates fall.
fn hull(options: &[Choice]) -> Vec<usize> {
    let mut hull: Vec<usize> = vec![];
    for index in efficient(options) {
        while let [.., before, last] = hull[..] {
            let (before, last, next) = (options[before], options[last], options[index]);
            // Rates, cross-multiplied. They have to fall strictly: of three options on one line the middle one goes.
            let is_convex = (before.value - last.value) * (next.cost - last.cost)
                > (last.value - next.value) * (last.cost - before.cost);
            if is_convex {
                break;
            }
            hull.pop();
        }
        hull.push(index);
    }
    hull
}

fn cheapest(options: &[Choice]) -> usize {
    efficient(options).first().copied().unwrap_or(0)
}

fn total_of(groups: &[Vec<Choice>], chosen: &[usize]) -> Choice {
    let chosen = groups.iter().zip(chosen).map(|(options, &index)| options[index]);
    chosen.fold(Choice { cost: 0.0, value: 0.0 }, |sum, it| Choice {
        cost: sum.cost + it.cost,
        value: sum.value + it.value,
    })
}

fn total_of_change(total: Choice, before: Choice, after: Choice) -> Choice {
    Choice {
        cost: total.cost - before.cost + after.cost,
        value: total.value - before.value + after.value,
    }
}

/// A partial solution: groups that are freed have an option of their own, the others that of the relaxed
/// problem.
#[derive(Clone, Copy)]
struct State {
    total: Choice,
    /// Last of the choices that led here, in the list of all.
    last: Option<usize>,
}

/// An option that a freed group has in some partial solution.
struct Taken {
    before: Option<usize>,
    group: usize,
    option: usize,
}

/// Finds the best solution around the relaxed one.
fn finish(
    groups: &[Vec<Choice>],
    steps: &[Step],
    broken: Step,
    limit: f64,
    greedy: Solution,
) -> Solution {
    // 1. The relaxed solution without its partial step.
    let mut base: Vec<usize> = groups.iter().map(|group| cheapest(group)).collect();
    for step in steps.iter().take_while(|step| **step != broken) {
        if base[step.group] == step.from {
            base[step.group] = step.to;
        }
    }
    // 2. Groups in the order in which changing them costs least against the rate of that step.
    let (up, down) = rates(groups.len(), steps, &base);
    // Up, a rate is at most that of the broken step; down, at least. What is nearest is most likely
    // to change.
    let distance = |group: usize| (broken.rate - up[group]).min(down[group] - broken.rate);
    let mut order: Vec<usize> = (0..groups.len()).filter(|&it| groups[it].len() > 1).collect();
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
    // The best rates that are left once the groups before are freed.
    let best_up = suffix(&order, |group| up[group], f64::max, 0.0);
    let least_down = suffix(&order, |group| down[group], f64::min, f64::INFINITY);
    // 3. Groups are freed one by one.
    let start = State { total: total_of(groups, &base), last: None };
    let (states, taken) = (vec![start], vec![]);
    let mut search = Search { groups, limit, base, best: greedy, taken, states, is_proven: true };
    for (place, &group) in order.iter().enumerate() {
        search.free(group, Rest { best_up: best_up[place + 1], least_down: least_down[place + 1] });
        if search.states.is_empty() {
            break;
        }
    }
    Solution { is_optimal: search.is_proven, ..search.best }
}

/// The rates of the groups that are still to be freed.
#[derive(Clone, Copy)]
struct Rest {
    best_up: f64,
    least_down: f64,
}

/// Partial solutions in which more and more groups are freed.
struct Search<'a> {
    groups: &'a [Vec<Choice>],
    limit: f64,
    /// Options of the relaxed solution.
    base: Vec<usize>,
    best: Solution,
    taken: Vec<Taken>,
    /// By rising cost and falling value.
    states: Vec<State>,
    is_proven: bool,
}

impl Search<'_> {
    /// Gives a group each of its options in every partial solution, and drops what cannot be the best.
    fn free(&mut self, group: usize, rest: Rest) {
        let mut next = self.with_options_of(group);
        // Sums of floating-point numbers differ by their order in the last places.
        let hopeless = self.best.value - 1e-12 * self.best.value.abs();
        next.retain(|(state, _)| {
            self.bound(state.total, rest) < hopeless
                || (state.total.cost <= self.limit && state.total.value < hopeless)
        });
        next.sort_by(by_cost);
        let mut least = f64::INFINITY;
        // A state of no lower cost and no lower value than another is dropped: any completion suits the other
        // at least as well.
        next.retain(|(state, _)| {
            let is_efficient = state.total.value < least;
            least = least.min(state.total.value);
            is_efficient
        });
        if next.len() > MOST_STATES {
            self.is_proven = false;
            let bound = |state: &State| self.bound(state.total, rest);
            next.sort_by(|(a, _), (b, _)| bound(a).total_cmp(&bound(b)));
            next.truncate(MOST_STATES);
            next.sort_by(by_cost);
        }
        self.take(group, next);
        self.remember_best(hopeless);
    }

    /// Returns all partial solutions with each option of a group that is worth taking.
    fn with_options_of(&self, group: usize) -> Vec<(State, usize)> {
        let options = &self.groups[group];
        let own = self.base[group];
        let worth_taking = efficient(options);
        let with = |state: &State, option: usize| {
            let total = match option == own {
                true => state.total,
                false => total_of_change(state.total, options[own], options[option]),
            };
            (State { total, last: state.last }, option)
        };
        let of_state = |state| worth_taking.iter().map(move |&option| with(state, option));
        self.states.iter().flat_map(of_state).collect()
    }

    /// Returns the least value that a completion may have.
    fn bound(&self, total: Choice, rest: Rest) -> f64 {
        match total.cost <= self.limit {
            // At best the room that is left is filled at the best rate to come, or what is too much
            // is taken back at the least loss.
            true => total.value - (self.limit - total.cost) * rest.best_up,
            false => total.value + (total.cost - self.limit) * rest.least_down,
        }
    }

    fn take(&mut self, group: usize, next: Vec<(State, usize)>) {
        self.states.clear();
        for (state, option) in next {
            self.taken.push(Taken { before: state.last, group, option });
            self.states.push(State { last: Some(self.taken.len() - 1), ..state });
        }
    }

    /// Keeps the best solution within the limit, where it beats what is known.
    fn remember_best(&mut self, hopeless: f64) {
        // States rise in cost and fall in value: the last one within the limit is the best.
        let within = self.states.iter().rfind(|state| state.total.cost <= self.limit);
        let Some(state) = within.filter(|state| state.total.value < hopeless) else { return };
        let chosen = retraced(&self.base, &self.taken, state.last);
        let Choice { cost, value } = total_of(self.groups, &chosen);
        // Summed anew, since states add up changes.
        if cost <= self.limit && value < self.best.value {
            self.best = Solution { chosen, cost, value, is_optimal: true };
        }
    }
}

fn by_cost((a, _): &(State, usize), (b, _): &(State, usize)) -> Ordering {
    let by_value = a.total.value.total_cmp(&b.total.value);
    a.total.cost.total_cmp(&b.total.cost).then(by_value)
}

/// Returns the rates of the next step of each group up from its option, 0 for none, and of the step that
/// led there, infinite for none.
fn rates(groups: usize, steps: &[Step], base: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let (mut up, mut down) = (vec![0.0; groups], vec![f64::INFINITY; groups]);
    for step in steps {
        if step.from == base[step.group] {
            up[step.group] = step.rate;
        }
        if step.to == base[step.group] {
            down[step.group] = step.rate;
        }
    }
    (up, down)
}

/// Folds a number of each group from each place of the order to its end.
fn suffix(
    order: &[usize],
    number: impl Fn(usize) -> f64,
    fold: impl Fn(f64, f64) -> f64,
    none: f64,
) -> Vec<f64> {
    let mut folded = vec![none; order.len() + 1];
    for place in (0..order.len()).rev() {
        folded[place] = fold(folded[place + 1], number(order[place]));
    }
    folded
}

fn retraced(base: &[usize], taken: &[Taken], last: Option<usize>) -> Vec<usize> {
    let mut chosen = base.to_vec();
    let mut next = last;
    while let Some(index) = next {
        chosen[taken[index].group] = taken[index].option;
        next = taken[index].before;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use roundwise_testkit::random::Random;

    use super::*;

    /// Groups as models have them: a few shapes, losses that fall by about 16 from 4 to 8 bits.
    fn model(seed: u64, layers: usize, schemes: usize) -> Vec<Vec<Choice>> {
        let mut random = Random::new(seed);
        (0..layers)
            .map(|layer| {
                let elements = [1_048_576.0, 4_194_304.0, 9_437_184.0, 37_748_736.0][layer % 4];
                let loss = random.gaussian().exp() * 1e-3;
                (0..schemes)
                    .map(|scheme| {
                        let bits = 4.0 + 12.0 * scheme as f64 / (schemes - 1).max(1) as f64;
                        let noise = (0.3 * random.gaussian()).exp();
                        let cost = (elements * bits / 8.0 + 4.0 * (scheme as f64) * 3072.0).round();
                        Choice { cost, value: loss * noise * 0.5_f64.powf(1.9 * (bits - 4.0)) }
                    })
                    .collect()
            })
            .collect()
    }

    fn by_trying_all(groups: &[Vec<Choice>], limit: f64) -> Option<Choice> {
        let mut all = vec![Choice { cost: 0.0, value: 0.0 }];
        for group in groups {
            all = all
                .iter()
                .flat_map(|sum| {
                    group.iter().map(move |it| Choice {
                        cost: sum.cost + it.cost,
                        value: sum.value + it.value,
                    })
                })
                .collect();
        }
        all.into_iter().filter(|it| it.cost <= limit).min_by(by_value)
    }

    fn by_value(a: &Choice, b: &Choice) -> Ordering {
        a.value.total_cmp(&b.value).then(a.cost.total_cmp(&b.cost))
    }

    #[test]
    fn the_solution_is_that_of_trying_all() {
        for seed in 0..200 {
            let groups = model(seed, 6, 2 + seed as usize % 4);
            let least: f64 = groups.iter().map(|it| it[cheapest(it)].cost).sum();
            for share in [0.9, 1.0, 1.07, 1.31, 1.6, 2.2, 4.5] {
                let limit = (least * share).round();
                let expected = by_trying_all(&groups, limit);
                let found = solve(&groups, limit);
                assert_eq!(found.is_some(), expected.is_some(), "{seed} {share}");
                let (Some(found), Some(expected)) = (found, expected) else { continue };
                assert!(found.is_optimal && found.cost <= limit, "{seed} {share}");
                let slack = 1e-9 * expected.value;
                assert!((found.value - expected.value).abs() <= slack, "{seed} {share}");
            }
        }
    }

    /// 1,000 layers with 8 schemes each take less than a second, in a build with checks, too.
    #[test]
    fn a_thousand_layers_with_eight_schemes_take_less_than_a_second() {
        let groups = model(7, 1000, 8);
        let least: f64 = groups.iter().map(|it| it[cheapest(it)].cost).sum();
        for share in [1.05, 1.3, 1.7, 2.4] {
            let started = Instant::now();
            let found = solve(&groups, least * share).unwrap();
            let seconds = started.elapsed().as_secs_f64();
            let again = solve(&groups, least * share).unwrap();
            assert_eq!(found, again);
            assert!(found.is_optimal, "{share}");
            assert!(seconds < 1.0, "{seconds} s");
        }
    }

    #[test]
    fn options_that_nothing_speaks_for_are_never_taken() {
        let choice = |cost, value| Choice { cost, value };
        let group = vec![choice(4.0, 9.0), choice(5.0, 9.5), choice(8.0, 1.0), choice(9.0, 1.0)];
        let found = solve(&[group.clone(), group], 17.0).unwrap();
        assert_eq!((found.chosen, found.cost, found.value), (vec![2, 2], 16.0, 2.0));
    }
}
