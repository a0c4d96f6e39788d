//! Which scheme each layer gets, so that the file keeps a limit and loses least.

mod knapsack;

use std::collections::BTreeMap;

use roundwise_scheme::Scheme;
use serde::Serialize;

use crate::plan::budget::knapsack::{Choice, solve, steps};
use crate::plan::sensitivity::{Measure, Predicted};

/// What a file may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Bytes of the whole file, at most.
    Size(u64),
    /// Bits of a converted weight, scales included, on average and at most.
    Bits(f64),
    /// Predicted loss, at most; the smallest such file is wanted.
    Loss(f64),
}

impl Budget {
    /// Returns the key of the setting.
    pub fn key(self) -> &'static str {
        match self {
            Self::Size(_) => "size",
            Self::Bits(_) => "bits",
            Self::Loss(_) => "loss",
        }
    }

    /// Returns whether it limits anything.
    pub(crate) fn is_positive(self) -> bool {
        match self {
            Self::Size(size) => size > 0,
            Self::Bits(limit) | Self::Loss(limit) => limit > 0.0 && limit.is_finite(),
        }
    }
}

/// A scheme that a layer can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerOption {
    pub(crate) scheme: Scheme,
    /// Bytes of all tensors of the layer.
    pub(crate) bytes: u64,
    pub(crate) predicted: Predicted,
}

/// A layer and all that it can become.
#[derive(Clone, Debug)]
pub(crate) struct LayerOptions {
    pub(crate) layer: String,
    /// The layers that need one scheme, where it does not stand alone.
    pub(crate) stack: Option<String>,
    /// Weights.
    pub(crate) elements: u64,
    pub(crate) options: Vec<LayerOption>,
}

/// The scheme of a layer, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AssignedLayer {
    /// Name without `.weight`.
    pub name: String,
    /// Its scheme, by name.
    pub scheme: String,
    /// Bytes of all its tensors.
    pub bytes: u64,
    /// Predicted loss.
    pub loss: f64,
    /// Whether its statistics lack what the measure needs, so that `‖E‖²` stands for it.
    pub is_proxy: bool,
    /// The next larger choice, with the loss that it would save and the bytes that it would cost.
    pub larger: Option<Exchange>,
    /// The next smaller choice, with the loss that it would cost and the bytes that it would save.
    pub smaller: Option<Exchange>,
}

/// Another choice for a layer, or for the layers that are one with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// The scheme.
    pub scheme: String,
    /// Difference of the losses, not negative.
    pub loss: f64,
    /// Difference of the bytes, not negative.
    pub bytes: u64,
}

/// A file as large as it would be, with its predicted loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TradeOff {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bits of a converted weight, scales included, on average.
    pub bits: f64,
    /// Predicted loss.
    pub loss: f64,
    /// The one scheme of all layers, where there is one.
    pub scheme: Option<String>,
}

/// The schemes of all layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assignment {
    /// What losses are measured in: `nats`, `half-squared-error`, `output-error`, `weight-error`.
    pub measure: &'static str,
    /// The file, as it is planned.
    pub file: TradeOff,
    /// Whether it is proven that no other assignment within the limit loses less.
    pub is_optimal: bool,
    /// Layers in the order of the file.
    pub layers: Vec<AssignedLayer>,
    /// Best mixes from the smallest file to that of least loss.
    pub curve: Vec<TradeOff>,
    /// One scheme for all layers that it covers, the smallest of its choices for the others.
    pub uniform: Vec<TradeOff>,
}

impl Assignment {
    /// Returns the schemes for all layers that are not larger than the mix and are predicted to lose less. Only
    /// schemes that the mix may not choose can be among them.
    pub fn better_uniform(&self) -> Vec<&TradeOff> {
        let is_better =
            // A thousandth is less than a prediction can tell, and would not be worth another
            // recipe.
            |it: &&TradeOff| it.bytes <= self.file.bytes && it.loss < self.file.loss * 0.999;
        self.uniform.iter().filter(is_better).collect()
    }
}

/// Why no assignment keeps a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutOfReach {
    /// Bytes of the layers, or predicted loss, at least.
    pub(crate) least: f64,
}

/// Layers that share a scheme, and their common choices.
struct Group {
    members: Vec<usize>,
    /// Of each common scheme, one of the option of every member.
    options: Vec<Vec<usize>>,
    choices: Vec<Choice>,
}

/// All layers, in groups that share a scheme.
pub(crate) struct Problem<'a> {
    layers: &'a [LayerOptions],
    groups: Vec<Group>,
    allowed: Vec<Scheme>,
}

/// What a problem is solved for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Bytes of all layers; the least loss is wanted.
    Bytes(f64),
    /// Predicted loss of all layers; the fewest bytes are wanted.
    Loss(f64),
}

/// The option of every layer.
#[derive(Clone, Debug)]
pub(crate) struct Solved {
    /// Index of the option of each layer.
    pub(crate) options: Vec<usize>,
    pub(crate) is_optimal: bool,
}

impl<'a> Problem<'a> {
    /// Groups layers.
    ///
    /// - `layers`: with at least one option each
    /// - `allowed`: schemes that may be chosen; others are measured for comparison
    pub(crate) fn new(layers: &'a [LayerOptions], allowed: &[Scheme]) -> Self {
        let mut by_name = BTreeMap::<&str, Vec<usize>>::new();
        for (index, layer) in layers.iter().enumerate() {
            // By name first, so that layers of one stack come together wherever they stand in the
            // file.
            let stack = layer.stack.as_ref().unwrap_or(&layer.layer);
            by_name.entry(stack).or_default().push(index);
        }
        let groups = by_name.into_values();
        let groups = groups.flat_map(|members| Self::groups_of(layers, members, allowed));
        let mut groups: Vec<Group> = groups.collect();
        // In the order of the file, which breaks ties.
        groups.sort_by_key(|group| group.members[0]);
        Self { layers, groups, allowed: allowed.to_vec() }
    }

    /// Returns one group of layers that have a choice in common, else each by itself.
    fn groups_of(layers: &[LayerOptions], members: Vec<usize>, allowed: &[Scheme]) -> Vec<Group> {
        let group = Group::of(layers, members.clone(), allowed);
        match group.options.is_empty() {
            false => vec![group],
            // A stack whose layers have no scheme in common cannot be one; each then takes what it
            // can.
            true => members
                .into_iter()
                .map(|member| Group::of(layers, vec![member], allowed))
                .filter(|group| !group.options.is_empty())
                .collect(),
        }
    }

    /// Chooses.
    ///
    /// # Errors
    /// When nothing keeps the limit: what is possible at least.
    pub(crate) fn solve(&self, limit: Limit) -> Result<Solved, OutOfReach> {
        // A knapsack minimises one number within a limit of the other: for a limit of loss, cost
        // and value change places.
        let turned = |choice: &Choice| Choice { cost: choice.value, value: choice.cost };
        let choices = self.groups.iter().map(|group| match limit {
            Limit::Bytes(_) => group.choices.clone(),
            Limit::Loss(_) => group.choices.iter().map(turned).collect(),
        });
        let choices: Vec<Vec<Choice>> = choices.collect();
        let (Limit::Bytes(most) | Limit::Loss(most)) = limit;
        let Some(solution) = solve(&choices, most) else {
            let least = |group: &Vec<Choice>| {
                group.iter().map(|choice| choice.cost).fold(f64::INFINITY, f64::min)
            };
            return Err(OutOfReach { least: choices.iter().map(least).sum() });
        };
        // Every layer is in a group: 16 bits are open to each of them.
        let mut options = vec![0; self.layers.len()];
        for (group, &choice) in self.groups.iter().zip(&solution.chosen) {
            for (&member, &option) in group.members.iter().zip(&group.options[choice]) {
                options[member] = option;
            }
        }
        Ok(Solved { options, is_optimal: solution.is_optimal })
    }

    /// Returns bytes and loss of all layers with these options.
    pub(crate) fn total(&self, options: &[usize]) -> (u64, f64) {
        let chosen = self.layers.iter().zip(options).map(|(layer, &option)| layer.options[option]);
        chosen.fold((0, 0.0), |(bytes, loss), it| (bytes + it.bytes, loss + it.predicted.loss))
    }

    /// Returns the sum of the layers' weights.
    pub(crate) fn elements(&self) -> u64 {
        self.layers.iter().map(|layer| layer.elements).sum()
    }

    /// Describes a solution.
    ///
    /// - `overhead`: bytes of the file beside the layers
    pub(crate) fn describe(&self, solved: &Solved, measure: Measure, overhead: u64) -> Assignment {
        let trade_off = |(bytes, loss): (u64, f64), scheme| TradeOff {
            bytes: overhead + bytes,
            // Of the layers alone: the header and what is kept are not converted weights.
            bits: 8.0 * bytes as f64 / self.elements().max(1) as f64,
            loss,
            scheme,
        };
        let exchanges = self.exchanges(solved);
        let layers = self.layers.iter().zip(&solved.options).enumerate();
        let layers = layers.map(|(index, (layer, &option))| {
            let LayerOption { scheme, bytes, predicted } = layer.options[option];
            let (larger, smaller) = exchanges.get(&index).cloned().unwrap_or_default();
            AssignedLayer {
                name: layer.layer.clone(),
                scheme: scheme.to_string(),
                bytes,
                loss: predicted.loss,
                is_proxy: predicted.is_proxy,
                larger,
                smaller,
            }
        });
        Assignment {
            measure: measure.name(),
            file: trade_off(self.total(&solved.options), None),
            is_optimal: solved.is_optimal,
            layers: layers.collect(),
            curve: self.curve().into_iter().map(|point| trade_off(point, None)).collect(),
            uniform: self.uniform(&trade_off),
        }
    }

    /// Returns the next larger and the next smaller choice of every layer, from those of its group.
    fn exchanges(&self, solved: &Solved) -> BTreeMap<usize, (Option<Exchange>, Option<Exchange>)> {
        let mut exchanges = BTreeMap::new();
        for group in &self.groups {
            let first = group.members[0];
            // The first member stands for all: they have the scheme in common.
            let own = group.options.iter().position(|it| it[0] == solved.options[first]);
            let Some(own) = own else { continue };
            let now = group.choices[own];
            let exchange = |other: usize| {
                let choice = group.choices[other];
                Exchange {
                    scheme: self.layers[first].options[group.options[other][0]].scheme.to_string(),
                    loss: (choice.value - now.value).abs(),
                    bytes: (choice.cost - now.cost).abs() as u64,
                }
            };
            let others = || (0..group.choices.len()).filter(|&other| other != own);
            // More bytes that save no loss are no offer; fewer bytes always are one.
            let is_larger = |&other: &usize| {
                group.choices[other].cost > now.cost && group.choices[other].value < now.value
            };
            let is_smaller = |&other: &usize| group.choices[other].cost < now.cost;
            // Loss saved per byte, by which the mix itself was chosen.
            let rate = |other: usize| {
                let choice = group.choices[other];
                (choice.value - now.value) / (now.cost - choice.cost)
            };
            let larger = others().filter(is_larger).max_by(|&a, &b| rate(a).total_cmp(&rate(b)));
            let smaller = others().filter(is_smaller).min_by(|&a, &b| rate(a).total_cmp(&rate(b)));
            for &member in &group.members {
                exchanges.insert(member, (larger.map(exchange), smaller.map(exchange)));
            }
        }
        exchanges
    }

    /// Returns bytes and loss of the best mixes, from the fewest bytes to the least loss.
    fn curve(&self) -> Vec<(u64, f64)> {
        let choices: Vec<Vec<Choice>> =
            self.groups.iter().map(|group| group.choices.clone()).collect();
        let cheapest = |group: &Vec<Choice>| {
            let by_cost = |a: &Choice, b: &Choice| {
                a.cost.total_cmp(&b.cost).then(a.value.total_cmp(&b.value))
            };
            group.iter().copied().min_by(by_cost).unwrap_or(Choice { cost: 0.0, value: 0.0 })
        };
        let start = choices
            .iter()
            .map(cheapest)
            .fold((0.0, 0.0), |(cost, value), it| (cost + it.cost, value + it.value));
        // At each step of the relaxed problem the mix is the best of its size.
        let mut points = vec![start];
        for step in steps(&choices) {
            let (before, after) = (choices[step.group][step.from], choices[step.group][step.to]);
            let (cost, value) = points[points.len() - 1];
            points.push((cost + after.cost - before.cost, value + after.value - before.value));
        }
        // Sums of steps may end a rounding below 0.
        thinned(&points).into_iter().map(|(cost, value)| (cost as u64, value.max(0.0))).collect()
    }

    /// Returns one point for each scheme that was measured.
    fn uniform(&self, trade_off: &dyn Fn((u64, f64), Option<String>) -> TradeOff) -> Vec<TradeOff> {
        let mut schemes: Vec<Scheme> = vec![];
        for option in self.layers.iter().flat_map(|layer| &layer.options) {
            if !schemes.contains(&option.scheme) {
                schemes.push(option.scheme);
            }
        }
        let of_scheme = |scheme: Scheme| {
            let chosen = self.layers.iter().map(|layer| {
                let own = layer.options.iter().position(|option| option.scheme == scheme);
                // A layer without this scheme is as small as it may be, so that no comparison is
                // won by leaving layers large.
                own.unwrap_or_else(|| smallest(layer, &self.allowed))
            });
            let chosen: Vec<usize> = chosen.collect();
            trade_off(self.total(&chosen), Some(scheme.to_string()))
        };
        let mut points: Vec<TradeOff> = schemes.into_iter().map(of_scheme).collect();
        points.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)));
        points
    }
}

impl Group {
    fn of(layers: &[LayerOptions], members: Vec<usize>, allowed: &[Scheme]) -> Self {
        let position = |member: usize, scheme: Scheme| {
            layers[member].options.iter().position(|option| option.scheme == scheme)
        };
        // A scheme that one member cannot have is no choice for any of them.
        let of_all = |scheme: &Scheme| -> Option<Vec<usize>> {
            members.iter().map(|&member| position(member, *scheme)).collect()
        };
        let options: Vec<Vec<usize>> = allowed.iter().filter_map(of_all).collect();
        let total = |options: &Vec<usize>| {
            let chosen = members.iter().zip(options).map(|(&it, &at)| layers[it].options[at]);
            chosen.fold(Choice { cost: 0.0, value: 0.0 }, |sum, it| Choice {
                cost: sum.cost + it.bytes as f64,
                value: sum.value + it.predicted.loss,
            })
        };
        let choices = options.iter().map(total).collect();
        Self { members, options, choices }
    }
}

/// Returns the option of fewest bytes among those that may be chosen.
fn smallest(layer: &LayerOptions, allowed: &[Scheme]) -> usize {
    let options = layer.options.iter().enumerate();
    let options = options.filter(|(_, option)| allowed.contains(&option.scheme));
    options.min_by_key(|(_, option)| option.bytes).map_or(0, |(index, _)| index)
}

/// Points of a curve that are shown: evenly spaced in their bytes.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    // As many as a chart or a table of one screen shows apart.
    const SHOWN: usize = 16;
    let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
        return vec![];
    };
    let mut shown: Vec<(f64, f64)> = vec![];
    for index in 0..=SHOWN {
        let wanted = first + (last - first) * index as f64 / SHOWN as f64;
        // The last point within each step of bytes, so that what is shown is a mix that exists.
        let Some(&point) = points.iter().rfind(|(cost, _)| *cost <= wanted) else { continue };
        if shown.last() != Some(&point) {
            shown.push(point);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use roundwise_layout::Layout;

    use super::*;
    use crate::plan::card::Card;

    fn option(scheme: &str, bytes: u64, loss: f64) -> LayerOption {
        let predicted = Predicted { loss, is_proxy: false };
        LayerOption { scheme: scheme.parse().unwrap(), bytes, predicted }
    }

    fn layer(name: &str, losses: [f64; 3]) -> LayerOptions {
        let options = vec![
            option("int4-convrot", 500, losses[0]),
            option("int8-row-convrot", 1000, losses[1]),
            option("bf16", 2000, losses[2]),
        ];
        LayerOptions { layer: name.to_owned(), stack: None, elements: 1000, options }
    }

    fn schemes(assignment: &Assignment) -> Vec<&str> {
        assignment.layers.iter().map(|layer| layer.scheme.as_str()).collect()
    }

    /// The layer whose loss falls most per byte gets the bytes, and layers that a program joins go together.
    #[test]
    fn bytes_go_where_they_save_most_and_stacked_layers_share_a_scheme() {
        let mut layers = [
            layer("l.0.self_attn.q_proj", [9.0, 0.1, 0.0]),
            layer("l.0.self_attn.k_proj", [0.1, 0.0, 0.0]),
            layer("l.0.self_attn.v_proj", [0.1, 0.0, 0.0]),
            layer("l.0.self_attn.o_proj", [2.0, 0.1, 0.0]),
        ];
        for layer in &mut layers[..3] {
            layer.stack = Some("l.0.self_attn.q_proj+k_proj+v_proj".to_owned());
        }
        let problem = Problem::new(&layers, &Card::Any.schemes(Layout::Comfy));
        let solved = |bytes: f64| {
            let solved = problem.solve(Limit::Bytes(bytes)).unwrap();
            problem.describe(&solved, Measure::OutputError, 100)
        };
        let small = solved(2500.0);
        let (int4, int8) = ("int4-convrot", "int8-row-convrot");
        assert_eq!(schemes(&small), [int4, int4, int4, int8]);
        assert_eq!((small.file.bytes, small.file.bits), (2600, 5.0));
        assert_eq!(schemes(&solved(3999.0)), [int8, int8, int8, int4]);
        let larger = small.layers[0].larger.as_ref().unwrap();
        assert_eq!((larger.scheme.as_str(), larger.bytes), (int8, 1500));
        assert!(problem.solve(Limit::Bytes(1999.0)).is_err_and(|it| it.least == 2000.0));
        let smallest = problem.solve(Limit::Loss(2.5)).unwrap();
        assert_eq!(problem.total(&smallest.options).0, 3500);
    }

    #[test]
    fn the_curve_falls_and_uniform_schemes_lie_on_it_or_above() {
        let layers = [layer("a", [3.0, 0.3, 0.0]), layer("b", [7.0, 0.2, 0.0])];
        let problem = Problem::new(&layers, &Card::Any.schemes(Layout::Comfy));
        let solved = problem.solve(Limit::Bytes(2000.0)).unwrap();
        let assignment = problem.describe(&solved, Measure::WeightError, 0);
        let curve: Vec<(u64, f64)> =
            assignment.curve.iter().map(|point| (point.bytes, point.loss)).collect();
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1), "{curve:?}");
        for point in &assignment.uniform {
            let best = problem.solve(Limit::Bytes(point.bytes as f64)).unwrap();
            assert!(problem.total(&best.options).1 <= point.loss + 1e-12);
        }
        assert!(assignment.better_uniform().is_empty());
    }

    /// A scheme that may not be chosen is shown where it would do better.
    #[test]
    fn a_uniform_scheme_that_beats_the_mix_is_told() {
        let mut layers = vec![layer("a", [3.0, 0.3, 0.0]), layer("b", [7.0, 0.2, 0.0])];
        for layer in &mut layers {
            layer.options.push(option("nvfp4", 700, 0.4));
        }
        let problem = Problem::new(&layers, &Card::Any.schemes(Layout::Comfy));
        let solved = problem.solve(Limit::Bytes(1600.0)).unwrap();
        let assignment = problem.describe(&solved, Measure::OutputError, 0);
        let better: Vec<_> =
            assignment.better_uniform().iter().map(|it| it.scheme.clone().unwrap()).collect();
        assert_eq!(better, ["nvfp4"]);
    }
}
