use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Bench, Figure, show};
use crate::command;
use crate::goal::{Goal, rounding as goals};

/// The output of `product_speed` and of its torch counterpart.
#[derive(Deserialize)]
struct Printed {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
}

/// Lines by name.
type Lines = BTreeMap<String, f64>;

const SQUARE: &str = "square 3072x3072x3072";
const THIN: [&str; 4] =
    ["left 614x3072x3072", "right 3072x3072x614", "core 614x3072x614", "expand 3072x614x3072"];
const PASSES: [usize; 3] = [6, 8, 10];

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let binary = bench.workspace.release_example("product_speed")?;
    let ours = lines(Command::new(binary).args(["--json", "cpu"]))?;
    let torch = match &bench.peer {
        Some(python) => {
            let script = bench.workspace.path("crates/compute/examples/product_speed_torch.py");
            lines(python.command(&[]).arg(script).arg("--json"))?
        }
        None => Lines::new(),
    };
    let figures: Vec<(&Goal, Figure)> =
        [search(&ours, &torch), square(&ours, &torch), thin(&ours, &torch)]
            .into_iter()
            .flatten()
            .collect();
    figures.iter().for_each(|(goal, figure)| show(goal, figure));
    Ok(figures.into_iter().map(|(_, figure)| figure).collect())
}

fn lines(command: &mut Command) -> Result<Lines> {
    let text = command::output(command)?;
    let printed: Printed = serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
    Ok(printed.lines.into_iter().map(|line| (line.name, line.value)).collect())
}

/// Returns the fewest passes that leave no more than torch does; all of them where there is no
/// torch.
fn search(ours: &Lines, torch: &Lines) -> Option<(&'static Goal, Figure)> {
    let residual = |passes: usize| ours.get(&format!("residual, passes {passes}")).copied();
    let theirs = torch.get("residual, iterations 4").copied();
    // Our passes and torch's iterations differ in cost and effect: compared are times at equal residuals.
    let is_enough =
        |passes: &usize| theirs.is_none_or(|t| residual(*passes).is_some_and(|r| r <= t));
    let most = PASSES[PASSES.len() - 1];
    let passes = match theirs {
        Some(_) => PASSES.into_iter().find(is_enough).unwrap_or(most),
        None => most,
    };
    let seconds = *ours.get(&format!("svd 3072 rank 614 passes {passes}"))?;
    let remark = format!(
        "{passes} passes leave {:.4} of the norm; torch.svd_lowrank, 4 iterations, {}",
        residual(passes)?,
        theirs.map_or("not run".to_owned(), |residual| format!("{residual:.4}")),
    );
    let torch = torch.get("svd 3072 rank 614 iterations 4").copied();
    Some((&goals::SEARCH, Figure::of(&goals::SEARCH, seconds, torch, remark)))
}

fn square(ours: &Lines, torch: &Lines) -> Option<(&'static Goal, Figure)> {
    let goal = &goals::SQUARE_PRODUCT;
    Some((
        goal,
        Figure::of(goal, ratio(SQUARE, ours, torch)?, None, speeds(&[SQUARE], ours, torch)),
    ))
}

fn thin(ours: &Lines, torch: &Lines) -> Option<(&'static Goal, Figure)> {
    let goal = &goals::THIN_PRODUCTS;
    let ratios: Option<Vec<f64>> = THIN.iter().map(|name| ratio(name, ours, torch)).collect();
    let slowest = ratios?.into_iter().fold(f64::INFINITY, f64::min);
    Some((goal, Figure::of(goal, slowest, None, speeds(&THIN, ours, torch))))
}

fn ratio(name: &str, ours: &Lines, torch: &Lines) -> Option<f64> {
    Some(ours.get(name)? / torch.get(name)?)
}

fn speeds(names: &[&str], ours: &Lines, torch: &Lines) -> String {
    let of = |name: &&str| format!("{name}: {:.0}, torch {:.0} GFLOP/s", ours[*name], torch[*name]);
    names.iter().map(of).collect::<Vec<_>>().join("; ")
}
