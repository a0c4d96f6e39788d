//! Which model a file holds, told from the names and shapes in its header.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub(crate) use crate::model::condition::Condition;
use crate::model::preset::{Preset, Role};

/// Names and shapes of all tensors of a model: everything that detection may look at.
#[derive(Debug, Clone, Default)]
pub struct Shapes<'a>(BTreeMap<&'a str, &'a [u64]>);

impl<'a> FromIterator<(&'a str, &'a [u64])> for Shapes<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u64])>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl<'a> Shapes<'a> {
    /// The shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.0.get(name).copied()
    }

    /// All names in byte order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// The names that start with `start`, in byte order.
    pub fn starting_with(&self, start: &str) -> impl Iterator<Item = &'a str> {
        let from = (Bound::Included(start), Bound::Unbounded);
        let names = self.0.range::<str, _>(from).map(|(name, _)| *name);
        names.take_while(move |name| name.starts_with(start))
    }
}

/// One row of the detection table; rows are tried in rising `order`, and the first hit wins.
#[derive(Debug)]
pub struct Architecture {
    /// Short name, unique among all presets.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Place in the table, unique among all presets.
    pub order: u32,
    pub(crate) when: Vec<Condition>,
    pub(crate) unless: Vec<Condition>,
}

impl Architecture {
    /// What a file must hold: `KEY` a tensor of this name, `KEY*` of one that starts so,
    /// `KEY[d] = n` one whose dimension `d` is `n`, `A | B` one of these.
    pub fn conditions(&self) -> Vec<String> {
        self.when.iter().map(ToString::to_string).collect()
    }

    /// What it must not hold, in the same words.
    pub fn exceptions(&self) -> Vec<String> {
        self.unless.iter().map(ToString::to_string).collect()
    }

    /// The tensors that decided, or nothing when the file is something else.
    fn evidence(&self, shapes: &Shapes<'_>, prefix: &str) -> Option<Vec<String>> {
        if self.unless.iter().any(|condition| condition.evidence(shapes, prefix).is_some()) {
            return None;
        }
        self.when.iter().map(|condition| condition.evidence(shapes, prefix)).collect()
    }
}

/// What a file holds.
#[derive(Debug, Clone)]
pub struct Detected {
    /// The model itself.
    pub main: Part,
    /// What else a whole checkpoint carries: text encoders, VAE, and a last part without
    /// [prefix](Part::prefix) for tensors that belong to nothing known.
    pub others: Vec<Part>,
}

/// One model inside a file.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it does.
    pub role: Role,
    /// Short name, such as `flux2`; `unknown` when no rule fits.
    pub architecture: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What the names of all its tensors start with; may be empty.
    pub prefix: String,
    /// The rules that fit it.
    pub preset: &'static Preset,
    /// The tensors that decided; empty when no rule fits.
    pub evidence: Vec<String>,
}

impl Detected {
    /// All parts, the main one first.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// The part that the tensor called `name` belongs to: the one with the longest prefix.
    pub fn part_of(&self, name: &str) -> &Part {
        self.parts()
            .filter(|part| name.starts_with(&part.prefix))
            .reduce(|best, part| if part.prefix.len() > best.prefix.len() { part } else { best })
            .unwrap_or(&self.main)
    }
}

/// Tells which model a file holds.
///
/// Follows ComfyUI's loader: the same prefixes, the same keys, the same order. Sentence encoders
/// and language models that ComfyUI does not know come after its own tests. Anything else is
/// `unknown` and gets the careful `generic` preset. Cost: some hundred look-ups.
pub fn detect(shapes: &Shapes<'_>) -> Detected {
    let wrapper = wrapper(shapes);
    let diffusion = |prefix: &&str| identify(shapes, prefix, Role::DiffusionModel);
    let found = match wrapper {
        Some(prefix) => [prefix, ""].iter().find_map(diffusion),
        None => ["", "model."].iter().find_map(diffusion),
    };
    let text = |prefix: &&str| identify(shapes, prefix, Role::TextEncoder);
    let found = found.or_else(|| match wrapper {
        Some(_) => None,
        None => TEXT_PREFIXES
            .iter()
            .find_map(text)
            .or_else(|| identify(shapes, "", Role::Vae))
            .or_else(|| identify(shapes, "", Role::Unknown)),
    });
    let main = found.unwrap_or_else(|| unknown(wrapper.unwrap_or_default(), "generic"));
    let others = match main.role {
        Role::DiffusionModel | Role::Unknown => companions(shapes, &main),
        Role::TextEncoder | Role::Vae => Vec::new(),
    };
    Detected { main, others }
}

/// Prefixes that ComfyUI strips from a diffusion model.
const WRAPPERS: [&str; 3] = ["model.diffusion_model.", "model.model.", "net."];

/// Where a text encoder may start inside its file, or inside its part of a checkpoint.
const TEXT_PREFIXES: [&str; 10] = [
    "",
    "transformer.",
    "model.",
    "text_encoder.",
    "language_model.",
    "bert.",
    "roberta.",
    "mpnet.",
    "auto_model.",
    "0.auto_model.",
];

/// The wrapper that most tensors start with, if more than five do.
fn wrapper(shapes: &Shapes<'_>) -> Option<&'static str> {
    let holds = |start: &str| shapes.starting_with(start).next().is_some();
    if holds("detector.") && holds("tracker.") {
        return None;
    }
    let counted = WRAPPERS.map(|prefix| (prefix, shapes.starting_with(prefix).count()));
    let most =
        counted.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    (most.1 > 5).then_some(most.0)
}

/// The first architecture of this role whose conditions hold behind `prefix`.
fn identify(shapes: &Shapes<'_>, prefix: &str, role: Role) -> Option<Part> {
    let mut rows = Preset::architectures().filter(|(_, preset)| preset.role == role);
    rows.find_map(|(architecture, preset)| {
        Some(Part {
            role,
            architecture: &architecture.id,
            title: &architecture.title,
            prefix: prefix.to_owned(),
            preset,
            evidence: architecture.evidence(shapes, prefix)?,
        })
    })
}

fn unknown(prefix: &str, preset: &str) -> Part {
    let preset = Preset::built_in(preset);
    Part {
        role: Role::Unknown,
        architecture: "unknown",
        title: &preset.title,
        prefix: prefix.to_owned(),
        preset,
        evidence: Vec::new(),
    }
}

/// The other models in the file of a diffusion model.
fn companions(shapes: &Shapes<'_>, main: &Part) -> Vec<Part> {
    let inside_main = |name: &str| !main.prefix.is_empty() && name.starts_with(&main.prefix);
    let mut starts = BTreeSet::new();
    let mut has_strays = false;
    for name in shapes.names().filter(|name| !inside_main(name)) {
        match companion_prefix(name) {
            Some(prefix) => {
                starts.insert(prefix);
            }
            None => has_strays = true,
        }
    }
    let mut parts: Vec<_> = starts.into_iter().map(|prefix| companion(shapes, prefix)).collect();
    if has_strays && !main.prefix.is_empty() {
        parts.push(unknown("", "unclaimed"));
    }
    parts
}

/// `text_encoders.t5xxl.transformer.shared.weight` → `text_encoders.t5xxl.`
fn companion_prefix(name: &str) -> Option<&str> {
    // (where the part starts, how many more segments name it)
    const STARTS: [(&str, usize); 7] = [
        ("cond_stage_model.", 0),
        ("conditioner.embedders.", 1),
        ("text_encoders.", 1),
        ("first_stage_model.", 0),
        ("vae.", 0),
        ("audio_vae.", 0),
        ("vocoder.", 0),
    ];
    let (start, more) = STARTS.into_iter().find(|(start, _)| name.starts_with(start))?;
    let rest = &name[start.len()..];
    let named: usize = rest.split_inclusive('.').take(more).map(str::len).sum();
    Some(&name[..start.len() + named])
}

fn companion(shapes: &Shapes<'_>, prefix: &str) -> Part {
    if ["first_stage_model.", "vae.", "audio_vae.", "vocoder."].contains(&prefix) {
        let preset = Preset::built_in("vae");
        let part = unknown(prefix, "vae");
        return Part { role: Role::Vae, architecture: &preset.name, ..part };
    }
    let inside = |start: &&str| identify(shapes, &format!("{prefix}{start}"), Role::TextEncoder);
    match TEXT_PREFIXES.iter().find_map(inside) {
        // The part is all of the encoder, also what stands beside its `transformer.`.
        Some(part) => Part { prefix: prefix.to_owned(), ..part },
        None => unknown(prefix, "unclaimed"),
    }
}
