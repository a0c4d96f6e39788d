use std::fmt::Write as _;
use std::fs;

use anyhow::{Result, ensure};

use crate::bench::{
    Budgets, Comparison, ConvertBench, DEVICES, Devices, Diffusion, DiffusionRow, EncodeBench,
    Figure, FileLoss, Growth, Language, LanguageRow, LayerLosses, MODELS, Measurement, Outputs,
    Profile, Quality, Reached, Row, growth, profile, records_of,
};
use crate::clients::{Finding, Judged};
use crate::figure::{self, Series};
use crate::goal::{self, Goal};
use crate::gpu::layer::{LayerRun, OperationRun};
use crate::gpu::{self, GpuBench};
use crate::machine::Machine;
use crate::measured_run::Runs;
use crate::record::{self, Outcome, Record};
use crate::workspace::Workspace;
use crate::{distributed, fuzz, torture};

const MIB: f64 = (1 << 20) as f64;

const INTRODUCTION: &str = "\
# Results

Written by `cargo xtask report` from what `cargo xtask bench …`, `clients`, `torture`, `fuzz` and
`distributed` stored.
Figures that fall short are printed like the others. Every section names
its machine and its commit; `+changes` means that files differed from the commit.
";

const ROUNDING_INTRODUCTION: &str = "
## Rounding

The projected error is ‖UᵀEV‖ over that of nearest codes, computed from the stored codes of both
programs by the same code, with the true singular vectors of the matrix. The peer is convert-to-quant
1.3.4 with its `original` optimizer, 500 iterations at most, or torch.
";

/// Titles of the tests that count survivals, and the names of their records.
const SURVIVED: [(&str, &str); 3] = [
    ("Crashes, full disks, damaged files", torture::RECORD),
    ("Fuzzing", fuzz::RECORD),
    ("Parts", distributed::RECORD),
];

/// Writes docs/results.md from the stored measurements.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let convert: Option<Record<ConvertBench>> = record::read(workspace, "convert")?;
    let encode: Option<Record<EncodeBench>> = record::read(workspace, "encode")?;
    let profiles: Option<Record<Vec<Profile>>> = record::read(workspace, profile::RECORD)?;
    let growth: Option<Record<Growth>> = record::read(workspace, growth::RECORD)?;
    let clients: Option<Record<Vec<Finding>>> = record::read(workspace, "clients")?;
    let devices: Option<Record<Devices>> = record::read(workspace, DEVICES)?;
    let gpu: Option<Record<GpuBench>> = record::read(workspace, gpu::RECORD)?;
    let layouts: Option<Record<Vec<Figure>>> = record::read(workspace, "layouts")?;
    let studio: Option<Record<Vec<Figure>>> = record::read(workspace, "studio")?;
    let recognition: Option<Record<Vec<Figure>>> = record::read(workspace, "recognition")?;
    let outputs = MODELS.iter().flat_map(|model| records_of(model));
    let outputs = outputs.map(|name| record::read(workspace, &name)).collect::<Result<Vec<_>>>()?;
    let outputs: Vec<Record<Vec<Outputs>>> = outputs.into_iter().flatten().collect();
    let rounding = rounding_records(workspace)?;
    let quality: Option<Record<Quality>> = record::read(workspace, "quality")?;
    let language: Option<Record<Language>> = record::read(workspace, "language")?;
    let budgets: Option<Record<Budgets>> = record::read(workspace, "budget")?;
    let diffusion: Option<Record<Diffusion>> = record::read(workspace, "diffusion")?;
    let survived = SURVIVED.map(|(title, name)| Ok((title, record::read(workspace, name)?)));
    let survived = survived.into_iter().collect::<Result<Vec<_>>>()?;

    let mut text = INTRODUCTION.to_owned();
    let statistics = quality.iter().flat_map(|record| &record.measured.figures);
    let statistics = statistics.chain(language.iter().flat_map(|record| &record.measured.figures));
    let statistics = statistics.chain(budgets.iter().flat_map(|record| &record.measured.figures));
    let statistics: Vec<&Reached> = statistics.collect();
    text += &goals(convert.as_ref(), encode.as_ref(), layouts.as_ref(), &rounding, &statistics);
    text += &convert.map(|record| convert_section(&record)).unwrap_or_default();
    text += &encode.map(|record| encode_section(&record)).unwrap_or_default();
    text += &layouts.map(|record| layouts_section(&record)).unwrap_or_default();
    let goals = |title: &str, goals: &[&Goal], record: Option<Record<Vec<Figure>>>| {
        record.map(|record| goals_section(title, goals, &record)).unwrap_or_default()
    };
    text += &goals("Studio", &goal::studio::ALL, studio);
    text += &goals("Recognition", &goal::recognition::ALL, recognition);
    for part in Comparison::ALL {
        text += &goals(part.title(), &goal::servers::ALL, record::read(workspace, part.record())?);
    }
    text += &rounding_section(&rounding);
    text += &profiles.map(|record| profiles_section(&record)).unwrap_or_default();
    text += &growth.map(|record| growth_section(&record)).unwrap_or_default();
    text += &gpu.map(|record| gpu_section(&record)).unwrap_or_default();
    text += &devices.map(|record| devices_section(&record)).unwrap_or_default();
    text += &clients.map(|record| clients_section(&record)).unwrap_or_default();
    text += &outputs_section(&outputs);
    for (title, record) in survived {
        text += &record.map(|record| survived_section(title, &record)).unwrap_or_default();
    }
    if let Some(record) = &quality {
        text += &quality_section(record);
        fs::write(workspace.path(FIGURE), quality_figure(record)?)?;
    }
    text += &language.map(|record| language_section(&record)).unwrap_or_default();
    text += &diffusion.map(|record| diffusion_section(&record)).unwrap_or_default();
    text += &budgets.map(|record| budget_section(&record)).unwrap_or_default();
    ensure!(text != INTRODUCTION, "nothing was measured yet: see `cargo xtask bench --help`");
    fs::write(workspace.path("docs/results.md"), text)?;
    println!("docs/results.md written");
    Ok(())
}

type RoundingRecord = (Measurement, Record<Vec<Figure>>);

/// Returns the parts of the rounding bench that were measured.
fn rounding_records(workspace: &Workspace) -> Result<Vec<RoundingRecord>> {
    let mut records = Vec::new();
    for part in Measurement::ALL {
        records.extend(record::read(workspace, part.record())?.map(|record| (part, record)));
    }
    Ok(records)
}

fn goals(
    convert: Option<&Record<ConvertBench>>,
    encode: Option<&Record<EncodeBench>>,
    layouts: Option<&Record<Vec<Figure>>>,
    rounding: &[RoundingRecord],
    statistics: &[&Reached],
) -> String {
    let mut rows = Vec::new();
    if let Some(Record { measured, .. }) = convert {
        rows.push(goal::TIME_OVER_CAT.row(measured.ratio_to_cat()).to_vec());
        let without_sync = measured.ratio_to_cat_without_sync();
        rows.push(goal::TIME_OVER_CAT_WITHOUT_SYNC.row(without_sync).to_vec());
        rows.extend(
            measured.times_faster_than_peer().map(|x| goal::FASTER_THAN_PEER.row(x).to_vec()),
        );
        let share = measured.ours.peak_bytes as f64 / measured.allowed_bytes() as f64;
        rows.push(goal::MEMORY_OVER_ALLOWED.row(share).to_vec());
        rows.push(goal::MEMORY_GROWTH.row(measured.memory_growth()).to_vec());
    }
    let kernel = encode.and_then(|record| record.measured.kernels.get("encode_bf16_slice e4m3"));
    if let Some((kernel, torch)) = kernel.and_then(|kernel| Some((kernel, kernel.torch?))) {
        rows.push(goal::ENCODE_OVER_TORCH.row(kernel.ours.memory / torch.memory).to_vec());
        let in_cache = kernel.ours.cache / torch.cache;
        rows.push(goal::ENCODE_IN_CACHE_OVER_TORCH.row(in_cache).to_vec());
    }
    let mut add = |goals: &[&Goal], name: &str, reached: f64| {
        let goal = goals.iter().find(|goal| goal.name == name);
        rows.extend(goal.map(|goal| goal.row(reached).to_vec()));
    };
    for figure in layouts.iter().flat_map(|record| &record.measured) {
        add(&goal::layouts::ALL, &figure.name, figure.reached);
    }
    for figure in rounding.iter().flat_map(|(_, record)| &record.measured) {
        add(&goal::rounding::ALL, &figure.name, figure.reached);
    }
    for figure in statistics {
        add(&goal::quality::ALL, &figure.name, figure.reached);
    }
    if rows.is_empty() {
        return String::new();
    }
    let table = table(&["figure", "must", "aim", "reached", ""], &rows);
    format!("\n## Figures\n\n{table}")
}

fn convert_section(record: &Record<ConvertBench>) -> String {
    let bench = &record.measured;
    let row = |name: &str, runs: &Runs| {
        vec![
            name.to_owned(),
            format!("{:.2}", runs.median_seconds),
            format!("{:.0}", runs.peak_bytes as f64 / MIB),
            runs.seconds.len().to_string(),
        ]
    };
    let mut rows = vec![
        row("`cat in > out`", &bench.cat),
        row("`roundwise convert --scheme fp8 --rounding nearest`", &bench.ours),
        row("the same, model of twice the size", &bench.double),
    ];
    rows.extend(
        bench
            .peer
            .as_ref()
            .map(|runs| row("`convert_to_quant --comfy_quant --simple` 1.3.4", runs)),
    );
    let table = table(&["1 GiB BF16 to FP8, warm cache", "median s", "peak MiB", "runs"], &rows);
    let mut text = section("Conversion", record, &table);
    let _ = write!(
        text,
        "\nThe input has {:.0} MiB in matrices of 12288 × 3072 and 3072 × 3072. Of our time, {:.2} s \
         is the final sync to disk, which the others leave to the system; without it the time over \
         `cat` is {:.2} instead of {:.2}. With {} threads, 200 MiB + 3 × largest matrix in F32 × \
         threads allows {:.0} MiB.\n",
        bench.input_bytes as f64 / MIB,
        bench.sync_seconds,
        bench.ratio_to_cat_without_sync(),
        bench.ratio_to_cat(),
        bench.threads,
        bench.allowed_bytes() as f64 / MIB,
    );
    text
}

fn encode_section(record: &Record<EncodeBench>) -> String {
    let pair = |ours: f64, torch: Option<f64>| {
        let ratio = torch.map_or("–".to_owned(), |torch| format!("{:.2}", ours / torch));
        [format!("{ours:.2}"), torch.map_or("–".to_owned(), |torch| format!("{torch:.2}")), ratio]
    };
    let rows: Vec<Vec<String>> = record
        .measured
        .kernels
        .iter()
        .map(|(name, kernel)| {
            let memory = pair(kernel.ours.memory, kernel.torch.map(|speed| speed.memory));
            let cache = pair(kernel.ours.cache, kernel.torch.map(|speed| speed.cache));
            [vec![format!("`{name}`")], memory.to_vec(), cache.to_vec()].concat()
        })
        .collect();
    let heads = ["kernel", "in memory", "torch", "ratio", "in cache", "torch", "ratio"];
    let body = table(&heads, &rows);
    let note = format!(
        "\nG elements per second on one thread; torch is {}. In memory, encoding BF16 moves four bytes \
         per element (two read, one fetched to be written, one written), as `absmax` reads four: both \
         end at what one core gets from memory.\n",
        record.measured.torch
    );
    section("Kernels", record, &body) + &note
}

fn layouts_section(record: &Record<Vec<Figure>>) -> String {
    let row = |figure: &Figure| {
        vec![figure.name.clone(), goal::number(figure.reached), figure.remark.clone()]
    };
    let rows: Vec<Vec<String>> = record.measured.iter().map(row).collect();
    let note = "\nThe model is that of the conversion above. Reading the output again and syncing it to disk \
        are not part of the figures.\n";
    section("Layouts", record, &table(&["figure", "reached", "of this run"], &rows)) + note
}

fn goals_section(title: &str, goals: &[&Goal], record: &Record<Vec<Figure>>) -> String {
    let goal_of = |figure: &Figure| {
        goals.iter().find(|goal| goal.name == figure.name).map(|goal| goal.row(figure.reached))
    };
    let row = |figure: &Figure| {
        let [name, must, _, reached, verdict] = goal_of(figure)?;
        Some(vec![name, must, reached, verdict, figure.remark.clone()])
    };
    let rows: Vec<Vec<String>> = record.measured.iter().filter_map(row).collect();
    let head = ["figure", "must", "reached", "", "of this run"];
    section(title, record, &table(&head, &rows))
}

fn rounding_section(records: &[RoundingRecord]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut text = ROUNDING_INTRODUCTION.to_owned();
    for (part, Record { machine, commit, measured }) in records {
        let rows: Vec<Vec<String>> = measured
            .iter()
            .map(|figure| {
                let peer = figure.peer.map_or("–".to_owned(), goal::number);
                vec![figure.name.clone(), goal::number(figure.reached), peer, figure.remark.clone()]
            })
            .collect();
        let table = table(&["figure", "ours", "peer", "of this run"], &rows);
        let _ = write!(
            text,
            "\n### {}\n\n{}, {} cores; commit {commit}.\n\n{table}",
            part.title(),
            machine.cpu,
            machine.cores
        );
    }
    text
}

fn profiles_section(record: &Record<Vec<Profile>>) -> String {
    let percent = |share: &f64| format!("{:.0} %", share * 100.0);
    let row = |profile: &Profile| {
        let first = [profile.name.clone(), format!("{:.2}", profile.seconds)];
        first.into_iter().chain(profile.shares.iter().map(percent)).collect()
    };
    let rows: Vec<Vec<String>> = record.measured.iter().map(row).collect();
    let heads: Vec<&str> =
        ["one layer in `fp8`", "s"].into_iter().chain(profile::heads()).collect();
    let note = "\nShares of the time of all processors, sampled by `perf` in a build that optimises no calls across crates; \
                told by the names of functions.\n";
    section("Where the time of learned rounding goes", record, &table(&heads, &rows)) + note
}

fn growth_section(record: &Record<Growth>) -> String {
    let Growth { layers, threads, schedules } = &record.measured;
    let layers = layers.iter().map(|layer| {
        vec![
            layer.method.clone(),
            format!("{} × {}", layer.shape[0], layer.shape[1]),
            format!("{:.2}", layer.seconds),
            format!("{:.1}", layer.nanoseconds_per_weight),
            format!("{:.0}", layer.gigaflops),
        ]
    });
    let heads = ["one layer in `fp8`", "shape", "s", "ns for a weight", "GFLOP/s of products"];
    let mut text = table(&heads, &layers.collect::<Vec<_>>());
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let threads = threads.iter().map(|run| {
        vec![
            run.method.clone(),
            format!("{:.2}", run.seconds_of_one),
            format!("{:.2}", run.seconds_of_all),
            percent(run.efficiency()),
            percent(run.alone()),
        ]
    });
    let heads =
        ["3072 × 3072", "s with one thread", "s with all", "efficiency", "work for one alone"];
    text += &format!("\n{}", table(&heads, &threads.collect::<Vec<_>>()));
    let schedules = schedules.iter().map(|it| {
        vec![
            it.method.clone(),
            it.in_flight.to_string(),
            percent(it.idle_shares[0]),
            percent(it.idle_shares[1]),
        ]
    });
    let heads = ["200 layers on 16 threads, modelled", "in flight", "idle", "idle, largest first"];
    text += &format!("\n{}", table(&heads, &schedules.collect::<Vec<_>>()));
    text += "\nWork for one alone is what Amdahl's law makes of the two times; the model takes it as the same for all layers.\n";
    section("How learned rounding grows", record, &text)
}

fn gpu_section(record: &Record<GpuBench>) -> String {
    let GpuBench { device, driver, product_gigaflops, layers, models } = &record.measured;
    let mut text = match product_gigaflops {
        Some(gigaflops) => format!(
            "`{device}`, {driver}: a product of 3072³ at {gigaflops:.0} GFLOP/s.\n\n{}",
            layer_table(layers, Some(*gigaflops), true)
        ),
        None => format!(
            "No GPU has measured this yet: layers were rounded on the CPU, and counted is what a GPU would be given \
             and asked for.\n\n{}",
            layer_table(layers, None, false)
        ),
    };
    if !models.is_empty() {
        let row = |model: &gpu::ModelTime| {
            vec![model.method.clone(), format!("{:.1}", model.seconds / 60.0)]
        };
        let rows: Vec<Vec<String>> = models.iter().map(row).collect();
        let heads = ["12 billion parameters, extrapolated", "minutes"];
        text += &format!("\n{}", table(&heads, &rows));
    }
    section("Learned rounding on a GPU", record, &text)
}

/// Formats layers on devices, with the share of the time that their products would take alone; times only where
/// they are those of the device.
fn layer_table(layers: &[LayerRun], gigaflops: Option<f64>, is_timed: bool) -> String {
    let mega = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let row = |layer: &LayerRun| {
        let share = gigaflops.map(|it| format!("{:.1} %", layer.share_of_peak(it) * 100.0));
        vec![
            layer.method.clone(),
            format!("{} × {}", layer.shape[0], layer.shape[1]),
            format!("`{}`", layer.device),
            if is_timed { format!("{:.0}", layer.seconds * 1e3) } else { "–".to_owned() },
            mega(layer.uploaded_bytes),
            mega(layer.downloaded_bytes),
            layer.peak_bytes.map_or_else(|| "–".to_owned(), mega),
            layer.synchronisations.to_string(),
            format!("{:.1}", layer.product_operations as f64 / 1e9),
            share.unwrap_or_else(|| "–".to_owned()),
            format!("{:.4}", layer.objective_ratio()),
        ]
    };
    let heads = [
        "one layer in `fp8`",
        "shape",
        "device",
        "ms",
        "MB there",
        "MB back",
        "MB at once",
        "waits",
        "10⁹ operations of products",
        "share of a product's speed",
        "objective over nearest",
    ];
    table(&heads, &layers.iter().map(row).collect::<Vec<_>>())
}

fn devices_section(record: &Record<Devices>) -> String {
    let Devices { side, devices, layers } = &record.measured;
    let mut text = format!(
        "Matrices of {side} × {side}. The difference is the largest one from the CPU's result, over the largest \
         value; times are the fastest of three. llvmpipe is Mesa's lavapipe, which computes on the CPU: its times say \
         nothing of GPUs.\n"
    );
    for runs in devices {
        let row = |operation: &OperationRun| {
            let OperationRun { name, seconds, cpu_seconds, is_exact, difference } = operation;
            let difference = match is_exact {
                true if *difference == 0.0 => "none".to_owned(),
                _ => format!("{difference:.1e}"),
            };
            let milliseconds = |seconds: &f64| format!("{:.2}", seconds * 1e3);
            vec![name.clone(), difference, milliseconds(seconds), milliseconds(cpu_seconds)]
        };
        let rows: Vec<Vec<String>> = runs.operations.iter().map(row).collect();
        let head = format!("`{}`, {}", runs.device, runs.driver);
        let table = table(&[&head, "difference", "ms", "ms on the CPU"], &rows);
        text += &format!("\n{table}");
    }
    if !layers.is_empty() {
        text += &format!("\n{}", layer_table(layers, None, true));
    }
    section("Devices", record, &text)
}

fn clients_section(record: &Record<Vec<Finding>>) -> String {
    let rows: Vec<Vec<String>> = record.measured.iter().map(client_row).collect();
    let heads = [
        "model",
        "scheme",
        "layout",
        "layers",
        "checks",
        "weight error",
        "of the worst layer",
        "layers in comfy-kitchen",
        "worst product difference",
        "defects",
    ];
    let note = "\nThe weight error is ‖Ŵ − W‖ / ‖W‖ of all converted weights. The product difference is that \
        of `x Ŵᵀ` computed by comfy-kitchen 0.2.40, which rounds the inputs of INT8 layers too, from \
        ours in F64.\n";
    section("Files in their clients", record, &table(&heads, &rows)) + note
}

fn client_row(finding: &Finding) -> Vec<String> {
    let Judged { layers, checks, worst_weight_error, kitchen_layers, worst_linear_error, defects } =
        &finding.judged;
    let percent = |error: Option<f64>| {
        error.map_or("–".to_owned(), |error| format!("{:.2} %", error * 100.0))
    };
    vec![
        finding.model.clone(),
        format!("`{}`", finding.scheme),
        format!("`{}`", finding.layout),
        layers.to_string(),
        checks.to_string(),
        percent(finding.weight_error),
        percent(*worst_weight_error),
        if *kitchen_layers == 0 { "–".to_owned() } else { kitchen_layers.to_string() },
        worst_linear_error.map_or("–".to_owned(), |error| format!("{error:.1e}")),
        defects.len().to_string(),
    ]
}

/// Output error by layer.
const FIGURE: &str = "docs/quality.svg";

fn quality_section(record: &Record<Quality>) -> String {
    let rows = &record.measured.rows;
    let nearest = |row: &Row| {
        // The first case of each scheme is that of nearest codes.
        let mut others = rows.iter().filter(|it| it.model == row.model && it.scheme == row.scheme);
        others.next().map(|other| &other.held_out)
    };
    let texts: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let ratio = |of: fn(&crate::bench::Judged) -> f64| {
                nearest(row)
                    .map_or("–".to_owned(), |it| format!("{:.3}", of(&row.held_out) / of(it)))
            };
            vec![
                row.model.clone(),
                format!("`{}`", row.scheme),
                row.knowledge.clone(),
                if row.flags.is_empty() { "–".to_owned() } else { format!("`{}`", row.flags) },
                format!("{:.2e}", row.held_out.output_error),
                ratio(|judged| judged.output_error),
                format!("{:.2e}", row.held_out.embedding_error),
                ratio(|judged| judged.embedding_error),
            ]
        })
        .collect();
    let heads = [
        "model",
        "scheme",
        "statistics",
        "flags",
        "output error²",
        "÷ nearest",
        "1 − cosine",
        "÷ nearest",
    ];
    let samples: Vec<Vec<String>> = record
        .measured
        .samples
        .iter()
        .map(|row| {
            let share = |ratio: f64| format!("{ratio:.3}");
            vec![row.texts.to_string(), share(row.sampled), share(row.held_out)]
        })
        .collect();
    let samples = table(&["texts", "on the sampled texts", "on held-out texts"], &samples);
    let note = "\nStatistics are of news articles 64 on, errors of articles 0 to 63, which no statistics \
        have seen. The figures above are the worse of the models.\n\n\
        ![Output error by layer](quality.svg)\n\n\
        How many samples it takes: MiniLM, `fp8`, full statistics of so many texts (about 126 tokens each, \
        columns are 384 and 1536), output error² over that of nearest codes.\n\n";
    section("Statistics of real inputs", record, &table(&heads, &texts)) + note + &samples
}

fn language_section(record: &Record<Language>) -> String {
    let Language { model, tokens, loss, articles, rows, .. } = &record.measured;
    let nearest = |row: &LanguageRow| {
        // The first case of each scheme is that of nearest codes.
        let mut others = rows.iter().filter(|other| other.scheme == row.scheme);
        others.next().map_or(f64::NAN, |other| other.kl)
    };
    let cells = |row: &LanguageRow| {
        let ratio = format!("{:.3}", row.kl / nearest(row));
        vec![format!("`{}`", row.scheme), row.knowledge.clone(), format!("{:.2e}", row.kl), ratio]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let table = table(&["scheme", "statistics", "KL, nats per token", "÷ nearest"], &rows);
    let note = format!(
        "\n{model}, of its GGUF file's numbers, reading {tokens} tokens of articles that no statistics have seen; \
         the float model's loss is {loss:.3} nats. Statistics are of {articles} other articles: of inputs as they are and as \
         attention mixes them (`forward`), with gradients as well (`curvature`), of text that the model wrote \
         itself (`own text`).\n"
    );
    section("Statistics of a language model's inputs", record, &table) + &note
}

fn diffusion_section(record: &Record<Diffusion>) -> String {
    let Diffusion { training_steps, rows } = &record.measured;
    let cells = |row: &DiffusionRow| {
        let nearest = rows.iter().find(|other| other.scheme == row.scheme).unwrap_or(row);
        let ratio = |of: f64, nearest: f64| format!("{:.3}", of / nearest);
        vec![
            format!("`{}`", row.scheme),
            row.knowledge.clone(),
            format!("{:.2e}", row.step),
            ratio(row.step, nearest.step),
            format!("{:.2e}", row.pictures),
            ratio(row.pictures, nearest.pictures),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let heads = ["scheme", "statistics", "one step", "÷ nearest", "pictures", "÷ nearest"];
    let note = format!(
        "\nA transformer with 4 blocks of attention that makes pictures of digits, 8×8, trained here in \
         {training_steps} steps. Squared error, as a share of the energy of what the float model makes, of one step's \
         output and of what 20 steps make of noise that no statistics have seen. Statistics are of 256 other pictures.\n"
    );
    section("Statistics of a diffusion model's inputs", record, &table(&heads, &lines)) + &note
}

fn budget_section(record: &Record<Budgets>) -> String {
    let Budgets { model, tokens, files, layers, .. } = &record.measured;
    let [tokens, layer_tokens] = tokens;
    let cells = |file: &FileLoss| {
        vec![
            file.name.clone(),
            format!("{:.2}", file.bits),
            format!("{:.2e}", file.predicted),
            format!("{:.2e}", file.measured),
            format!("{:.2}", file.measured / file.predicted),
        ]
    };
    let lines: Vec<Vec<String>> = files.iter().map(cells).collect();
    let heads = ["file", "bits", "predicted", "measured", "÷ predicted"];
    let mut note = format!(
        "\n`{model}`: KL from the float model, in nats per token, predicted from statistics with gradients and measured \
         on {tokens} tokens of articles that no statistics have seen.\n"
    );
    if let Some(LayerLosses { count, rank_correlation, median_ratio }) = layers {
        note += &format!(
            "\n{count} layers alone, in INT4, on {layer_tokens} tokens: rank correlation of predicted with measured KL \
             {rank_correlation:.3}, predicted over measured {median_ratio:.2} in the median.\n"
        );
    }
    section("Budgets", record, &table(&heads, &lines)) + &note
}

fn quality_figure(record: &Record<Quality>) -> Result<String> {
    let rows = &record.measured.rows;
    let Some(first) = rows.first() else { return Ok(String::new()) };
    let shown = rows.iter().filter(|row| row.model == first.model && row.scheme == first.scheme);
    let name = |row: &Row| match (row.knowledge.as_str(), row.flags.as_str()) {
        ("full" | "rank 64", "") => Some(format!("activations, {}", row.knowledge)),
        (_, "") if row.knowledge.starts_with("rank") => None,
        (_, "") => Some("nearest".to_owned()),
        (_, flags) if flags.contains("principal") => Some("principal".to_owned()),
        _ => None,
    };
    let series: Vec<Series> = shown
        .filter_map(|row| {
            let values = row.held_out.layers.values().copied().collect();
            Some(Series { name: name(row)?, values })
        })
        .collect();
    let title = format!("Error of layer outputs, {} in {}", first.model, first.scheme);
    figure::by_layer(&title, "relative error² on held-out texts", &series)
}

fn outputs_section(records: &[Record<Vec<Outputs>>]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let heads = [
        "method",
        "model",
        "scheme",
        "seconds",
        "‖E‖/‖W‖",
        "objective over nearest",
        "kept nearest",
        "output error²",
        "1 − cosine",
    ];
    let mut text = "\n## Outputs of real models\n\nReal sentence encoders on news articles. The output error² of a layer is \
        ‖x(Ŵ − W)ᵀ‖² / ‖xWᵀ‖² on the float model's own inputs x, here the mean over layers; the last \
        column is the mean over articles for the embeddings of the whole model. The objective is the \
        method's own, on the stored codes.\n"
        .to_owned();
    for record in records {
        let rows: Vec<Vec<String>> = record.measured.iter().map(output_row).collect();
        text += &format!("\n{}\n\n", place(record));
        text += &table(&heads, &rows);
    }
    text
}

fn output_row(row: &Outputs) -> Vec<String> {
    vec![
        format!("`{}`", row.method),
        row.model.clone(),
        format!("`{}`", row.scheme),
        format!("{:.1}", row.seconds),
        format!("{:.3} %", row.weight_error * 100.0),
        row.objective_ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}")),
        row.kept_nearest.to_string(),
        format!("{:.3e}", row.judged.output_error),
        format!("{:.3e}", row.judged.embedding_error),
    ]
}

fn survived_section(title: &str, record: &Record<Vec<Outcome>>) -> String {
    let Machine { cpu, cores, memory_gib, platform } = &record.machine;
    let row = |outcome: &Outcome| {
        let Outcome { test, result, commit } = outcome;
        format!("| {test} | {result} | {commit} |\n")
    };
    let rows: String = record.measured.iter().map(row).collect();
    format!(
        "\n## {title}\n\n{cpu}, {cores} cores, {memory_gib} GiB, {platform}.\n\n\
         | test | result | commit |\n|---|---|---|\n{rows}"
    )
}

fn section<T>(title: &str, record: &Record<T>, body: &str) -> String {
    format!("\n## {title}\n\n{}\n\n{body}", place(record))
}

/// Describes where something was measured, and of what.
fn place<T>(record: &Record<T>) -> String {
    let Machine { cpu, cores, memory_gib, platform } = &record.machine;
    format!("{cpu}, {cores} cores, {memory_gib} GiB, {platform}; commit {}.", record.commit)
}

/// Formats a Markdown table; all columns but the first are right-aligned.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|---|", heads.join(" | "));
    text += &"--:|".repeat(heads.len() - 1);
    text.push('\n');
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}
