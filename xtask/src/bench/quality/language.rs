//! Statistics of a real language model's inputs: what each kind does to what it predicts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{CALIBRATION, QualityBench, Reached, remove_if_there};
use crate::command;
use crate::goal::{Goal, quality as goal};

/// The model's name among those of this measurement.
pub(in crate::bench) const MODEL: &str = "gemma";

/// Articles that statistics are of: about 50,000 tokens. With 20, 80 and 200 of them NVFP4 lost 0.35, 0.34 and
/// 0.30 of nearest codes on the 36 articles after these, INT4 0.17, 0.13 and 0.12.
const TEXTS: usize = 200;

/// What is known of the inputs: a name, and the collector's flags.
const KNOWLEDGE: [(&str, &[&str]); 4] = [
    ("forward", &[]),
    ("curvature", &["--curvature"]),
    ("forward-rank-64", &["--full-limit", "0"]),
    // As many tokens as the articles have.
    ("own-text", &["--self", "--samples", "192", "--tokens", "256", "--batch", "64"]),
];

/// Names of what is known.
pub(super) const KINDS: [&str; 4] =
    [KNOWLEDGE[0].0, KNOWLEDGE[1].0, KNOWLEDGE[2].0, KNOWLEDGE[3].0];

const NEAREST: &str = "nearest";

/// A conversion: scheme, and what is known of the inputs.
type Case = (&'static str, &'static str);

const CASES: [Case; 19] = [
    ("fp8", NEAREST),
    ("fp8", "forward"),
    ("fp8", "curvature"),
    ("fp8", "forward-rank-64"),
    ("fp8", "own-text"),
    ("int8-row", NEAREST),
    ("int8-row", "forward"),
    ("int8-row", "curvature"),
    ("int8-row-convrot", NEAREST),
    ("int8-row-convrot", "forward"),
    ("int8-row-convrot", "curvature"),
    ("int4-convrot", NEAREST),
    ("int4-convrot", "forward"),
    ("int4-convrot", "curvature"),
    ("int4-convrot", "forward-rank-64"),
    ("int4-convrot", "own-text"),
    ("nvfp4", NEAREST),
    ("nvfp4", "forward"),
    ("nvfp4", "curvature"),
];

/// The effect of statistics on a language model.
#[derive(Serialize, Deserialize)]
pub(crate) struct Language {
    pub(crate) model: String,
    /// Tokens that were read, of texts that no statistics have seen.
    pub(crate) tokens: usize,
    /// The float model's mean loss, in nats.
    pub(crate) loss: f64,
    /// Articles that statistics are of.
    pub(crate) articles: usize,
    pub(crate) rows: Vec<LanguageRow>,
    pub(crate) figures: Vec<Reached>,
}

/// One conversion.
#[derive(Serialize, Deserialize)]
pub(crate) struct LanguageRow {
    pub(crate) scheme: String,
    pub(crate) knowledge: String,
    /// KL divergence from the float model, in nats per token.
    pub(crate) kl: f64,
}

/// The output of `clients/language_model.py judge`.
#[derive(Deserialize)]
pub(in crate::bench) struct Judgement {
    pub(in crate::bench) tokens: usize,
    loss: f64,
    pub(in crate::bench) results: Vec<Divergence>,
}

#[derive(Deserialize)]
pub(in crate::bench) struct Divergence {
    pub(in crate::bench) kl: f64,
}

/// The output of `clients/language_model.py collect`.
#[derive(Deserialize)]
struct Overheads {
    ratios: Ratios,
}

/// Times of the processor while collecting, over those of the plain run.
#[derive(Deserialize)]
struct Ratios {
    plain: f64,
    mixed: f64,
    curvature: f64,
}

impl QualityBench<'_> {
    /// Collects every kind of statistics, converts, and has the model read text.
    ///
    /// - `tokens`: how many to read
    /// - `keeps_statistics`: whether those that are there stay
    /// - `asked`: names of the kinds of statistics, all where there are none
    pub(super) fn language(
        &self,
        tokens: usize,
        keeps_statistics: bool,
        asked: &[String],
    ) -> Result<Language> {
        let model = self.opened()?;
        let is_asked = |knowledge: &str| asked.is_empty() || asked.iter().any(|it| it == knowledge);
        for (knowledge, flags) in KNOWLEDGE.into_iter().filter(|(name, _)| is_asked(name)) {
            if !keeps_statistics || !self.statistics(MODEL, knowledge).exists() {
                self.collect_language(&model, knowledge, flags)?;
            }
        }
        let mut converted = Vec::new();
        let cases = CASES.iter().filter(|(_, it)| *it == NEAREST || is_asked(it));
        let cases: Vec<&Case> = cases.collect();
        for (index, (scheme, knowledge)) in cases.iter().enumerate() {
            let statistics = self.statistics(MODEL, knowledge);
            let statistics = (*knowledge != NEAREST).then_some(statistics.as_path());
            let output = self.folder.join(format!("{MODEL}-{index}.safetensors"));
            self.convert_file(&layers_of(&model), scheme, statistics, "", &output)?;
            converted.push(output);
        }
        let mut judge = self.language_model("judge", &model)?;
        judge.args(["--length", "256", "--tokens"]).arg(tokens.to_string()).args(&converted);
        let text = command::output(&mut judge)?;
        let judged: Judgement = last_line(&text)?;
        ensure!(judged.results.len() == cases.len(), "every file was judged");
        converted.iter().try_for_each(fs::remove_file)?;
        let rows = cases.iter().zip(judged.results).map(|((scheme, knowledge), divergence)| {
            let (scheme, knowledge) = ((*scheme).to_owned(), (*knowledge).to_owned());
            LanguageRow { scheme, knowledge, kl: divergence.kl }
        });
        let rows: Vec<LanguageRow> = rows.collect();
        let figures = ratios(&rows);
        for row in &rows {
            let ratio = over_nearest(&rows, &row.scheme, &row.knowledge).unwrap_or(f64::NAN);
            println!("{:<17} {:<17} {:.3e} {ratio:.3}", row.scheme, row.knowledge, row.kl);
        }
        let (tokens, loss) = (judged.tokens, judged.loss);
        let model = "Gemma 3 270M".to_owned();
        Ok(Language { model, tokens, loss, articles: TEXTS, rows, figures })
    }

    /// Returns the folder of the model, made of its GGUF file the first time.
    pub(in crate::bench) fn opened(&self) -> Result<PathBuf> {
        let folder = self.folder.join(MODEL);
        if !folder.join("model.safetensors").exists() {
            fs::create_dir_all(&folder)?;
            let gguf = self.encoders.download(MODEL, "gemma.gguf")?;
            command::run(self.language_model("open", &folder)?.arg("--gguf").arg(gguf))?;
        }
        Ok(folder)
    }

    fn collect_language(&self, model: &Path, knowledge: &str, flags: &[&str]) -> Result<()> {
        let output = self.statistics(MODEL, knowledge);
        let texts = self.calibration_texts(TEXTS)?;
        let texts = (!flags.contains(&"--self")).then_some(texts.as_path());
        self.collect_of_texts(model, texts, flags, &output)
    }

    /// Writes the first texts that statistics are of to a file.
    pub(in crate::bench) fn calibration_texts(&self, count: usize) -> Result<PathBuf> {
        let texts = self.folder.join("calibration.txt");
        let all = fs::read_to_string(self.encoders.texts()?)?;
        let lines: Vec<&str> = all.lines().skip(CALIBRATION[0]).take(count).collect();
        fs::write(&texts, lines.join("\n"))?;
        Ok(texts)
    }

    /// Collects statistics of a language model.
    ///
    /// - `texts`: a text on each line; `None` where the flags say that it writes its own
    pub(in crate::bench) fn collect_of_texts(
        &self,
        model: &Path,
        texts: Option<&Path>,
        flags: &[&str],
        output: &Path,
    ) -> Result<()> {
        remove_if_there(output)?;
        let mut collect = self.encoders.python.command(&[]);
        collect.arg(self.encoders.workspace.path(super::COLLECTOR)).arg(model).args(texts);
        // Room for whole matrices of all kinds.
        command::run(collect.args(flags).args(["--memory", "8", "-o"]).arg(output))
    }

    /// Returns the time of a run of the model while collecting over that of a plain one.
    pub(super) fn collecting_times(&self) -> Result<[Reached; 2]> {
        let model = self.opened()?;
        let text = command::output(&mut self.language_model("collect", &model)?)?;
        let Overheads { ratios } = last_line(&text)?;
        println!(
            "collecting over the plain run: {:.2} plain, {:.2} mixed, {:.2} with gradients",
            ratios.plain, ratios.mixed, ratios.curvature
        );
        let mixed = Reached::of(&goal::COLLECTING_MIXED, ratios.mixed);
        Ok([mixed, Reached::of(&goal::COLLECTING_CURVATURE, ratios.curvature)])
    }
}

/// Returns the model's weights without the embedding, which stays as it is.
fn layers_of(model: &Path) -> PathBuf {
    model.join("layers.safetensors")
}

pub(in crate::bench) fn last_line<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T> {
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("read {text}"))
}

fn kl_of(rows: &[LanguageRow], scheme: &str, knowledge: &str) -> Option<f64> {
    let mut found = rows.iter().filter(|row| row.scheme == scheme && row.knowledge == knowledge);
    found.next().map(|row| row.kl)
}

fn over_nearest(rows: &[LanguageRow], scheme: &str, knowledge: &str) -> Option<f64> {
    Some(kl_of(rows, scheme, knowledge)? / kl_of(rows, scheme, NEAREST)?)
}

fn ratios(rows: &[LanguageRow]) -> Vec<Reached> {
    let cases: [(Goal, Case); 8] = [
        (goal::KL_FORWARD_FP8, ("fp8", "forward")),
        (goal::KL_FORWARD_INT8, ("int8-row", "forward")),
        (goal::KL_FORWARD_INT4, ("int4-convrot", "forward")),
        (goal::KL_FORWARD_NVFP4, ("nvfp4", "forward")),
        (goal::KL_CURVATURE_FP8, ("fp8", "curvature")),
        (goal::KL_CURVATURE_INT8, ("int8-row", "curvature")),
        (goal::KL_CURVATURE_INT4, ("int4-convrot", "curvature")),
        (goal::KL_CURVATURE_NVFP4, ("nvfp4", "curvature")),
    ];
    let mut figures: Vec<Reached> = cases
        .into_iter()
        .filter_map(|(goal, (scheme, knowledge))| {
            Some(Reached::of(&goal, over_nearest(rows, scheme, knowledge)?))
        })
        .collect();
    let convrot = ["forward", "curvature"]
        .into_iter()
        .filter_map(|knowledge| kl_of(rows, "int8-row-convrot", knowledge))
        .reduce(f64::min);
    let over_fp8 = convrot.zip(kl_of(rows, "fp8", NEAREST)).map(|(convrot, fp8)| convrot / fp8);
    figures.extend(over_fp8.map(|reached| Reached::of(&goal::KL_CONVROT_OVER_FP8, reached)));
    figures.extend(worst(|scheme| lost_gain(rows, scheme), &goal::KL_RANK_64));
    figures.extend(worst(|scheme| over_real_text(rows, scheme), &goal::KL_OWN_TEXT));
    figures
}

fn worst(of: impl Fn(&str) -> Option<f64>, goal: &Goal) -> Option<Reached> {
    let reached = ["fp8", "int4-convrot"].into_iter().filter_map(of).reduce(f64::max)?;
    Some(Reached::of(goal, reached))
}

/// Returns the share of whole matrices' gain that rank 64 loses.
fn lost_gain(rows: &[LanguageRow], scheme: &str) -> Option<f64> {
    let full = over_nearest(rows, scheme, "forward")?;
    Some((over_nearest(rows, scheme, "forward-rank-64")? - full) / (1.0 - full))
}

fn over_real_text(rows: &[LanguageRow], scheme: &str) -> Option<f64> {
    Some(kl_of(rows, scheme, "own-text")? / kl_of(rows, scheme, "forward")?)
}
