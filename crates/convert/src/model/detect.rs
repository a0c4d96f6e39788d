//! Recognises the model in a file from the names and shapes in its header.

use std::collections::BTreeSet;

use crate::model::dialect::Dialect;
use crate::model::kind::FileKind;
use crate::model::kind_rule::KindRule;
use crate::model::preset::{Preset, Role};
use crate::model::shapes::Shapes;
use crate::model::wrapper::{behind, behind_common_beginnings, unwrapped};

/// The models that a file holds.
#[derive(Debug, Clone)]
pub struct Detected {
    /// The kind of the file.
    pub kind: FileKind,
    /// Whose names its tensors have.
    pub dialect: Dialect,
    /// Prefix that training code put before all names; mostly empty. [`Component::prefix`] begins
    /// with it.
    pub wrapper: String,
    /// The model itself.
    pub main: Component,
    /// The other models of a whole checkpoint: text encoders, VAE, and a last component without
    /// [prefix](Component::prefix) for tensors that belong to nothing known.
    pub others: Vec<Component>,
}

/// One model inside a file.
#[derive(Debug, Clone)]
pub struct Component {
    /// The task of the model.
    pub role: Role,
    /// Short name, such as `flux2`; `unknown` when no rule fits.
    pub architecture: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Prefix of the names of all its tensors; may be empty.
    pub prefix: String,
    /// The rules that fit it.
    pub preset: &'static Preset,
    /// The tensors that decided; empty when no rule fits.
    pub evidence: Vec<String>,
    /// Why its readers take no codes of it, if so.
    pub no_codes: Option<&'static str>,
    /// Whether ComfyUI has a loader for it.
    pub is_known_to_comfyui: bool,
    /// Whether ComfyUI reads codes of its banks of experts.
    pub has_coded_banks: bool,
}

impl Detected {
    /// Returns whether loaders take a prefix off the names of the model's tensors.
    pub(crate) fn is_behind_prefix(&self) -> bool {
        matches!(self.kind, FileKind::DiffusionModel | FileKind::Checkpoint)
            && !self.main.prefix.is_empty()
    }

    /// Returns all components, the main one first.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// Returns the component that the tensor called `name` belongs to: the one with the longest
    /// prefix.
    pub fn component_of(&self, name: &str) -> &Component {
        // Among equally long ones the first counts, and the main one comes first.
        let longer = |best: &Component, next: &Component| next.prefix.len() > best.prefix.len();
        self.components()
            .filter(|component| name.starts_with(&component.prefix))
            .reduce(|best, next| if longer(best, next) { next } else { best })
            .unwrap_or(&self.main)
    }
}

impl Component {
    /// Returns whether no rule fits it.
    pub fn is_unknown(&self) -> bool {
        self.architecture == UNKNOWN
    }

    /// Returns whether it is the main model once more, such as its averaged weights.
    pub fn is_copy(&self) -> bool {
        self.architecture == COPY
    }
}

impl Detected {
    /// Returns whether the file is of a kind that its names tell by themselves: a diffusion model that
    /// ComfyUI has a loader for, or something that takes no codes.
    fn is_certain(&self) -> bool {
        let is_of_comfyui = self.main.role == Role::DiffusionModel && self.main.is_known_to_comfyui;
        let is_look_alike = self.main.role == Role::Unknown && !self.main.evidence.is_empty();
        is_of_comfyui || is_look_alike || self.main.no_codes.is_some()
    }
}

/// Short name of a model that no rule fits.
const UNKNOWN: &str = "unknown";

/// Short name of a model that stands in a file once more.
const COPY: &str = "copy";

/// Tells which model a file holds.
///
/// Look-alikes of base models come first (ControlNets, adapters, encoders of pictures: they have most
/// of the names of a base model and some of their own). Base models follow ComfyUI's loader: the same
/// prefixes, the same keys, the same order. Sentence encoders and language models that ComfyUI does
/// not know come after its own tests. Where nothing fits, wrappers of training code are taken off the
/// names. Anything else is `unknown` and gets the careful `generic` preset. Cost: some thousand
/// look-ups, and a few dozen scans of all names.
pub fn detect(shapes: &Shapes<'_>) -> Detected {
    let found = detect_plain(shapes, None);
    found_behind_wrappers(shapes, found, |inside| detect_plain(inside, None))
}

/// Detects the model of a file whose kind somebody insists on, without looking for look-alikes.
pub fn detect_as(shapes: &Shapes<'_>, kind: FileKind) -> Detected {
    let found = detect_plain(shapes, Some(kind));
    found_behind_wrappers(shapes, found, |inside| detect_plain(inside, Some(kind)))
}

/// Returns the first segments of names behind each of which there is a diffusion model; none where there are fewer than
/// two. For files that are no known model themselves.
pub(crate) fn models_behind_segments(shapes: &Shapes<'_>) -> Vec<String> {
    /// Most first segments that are looked behind: a file of models has few.
    const MOST: usize = 8;
    let segments: BTreeSet<&str> =
        shapes.names().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    if segments.len() > MOST {
        return vec![];
    }
    let is_model = |segment: &&str| {
        let found = detect_plain(&behind(shapes, segment), None);
        found.main.role == Role::DiffusionModel && found.is_certain()
    };
    let models: Vec<String> = segments.into_iter().filter(is_model).map(str::to_owned).collect();
    if models.len() > 1 { models } else { vec![] }
}

/// Looks behind wrappers of training code, where nothing is found in front of them.
fn found_behind_wrappers<'a>(
    shapes: &Shapes<'a>,
    found: Detected,
    detect: impl Fn(&Shapes<'a>) -> Detected,
) -> Detected {
    if !found.main.is_unknown() {
        return found;
    }
    let is_known = |inner: &Detected| !inner.main.is_unknown();
    let wrapped = unwrapped(shapes).into_iter();
    let wrapped = wrapped.map(|(wrapper, inside)| (wrapper, detect(&inside)));
    let wrapped = wrapped.filter(|(_, inner)| is_known(inner));
    // Behind a beginning that no list names, a few keys must not turn something else into a model.
    let common = behind_common_beginnings(shapes).into_iter();
    let common = common.map(|(wrapper, inside)| (wrapper, detect(&inside)));
    let common = common.filter(|(_, inner)| is_known(inner) && inner.is_certain());
    if let Some((wrapper, mut inner)) = wrapped.chain(common).next() {
        for component in std::iter::once(&mut inner.main).chain(&mut inner.others) {
            component.prefix.insert_str(0, &wrapper);
            component.evidence.iter_mut().for_each(|name| name.insert_str(0, &wrapper));
        }
        // What the wrapper does not cover belongs to nothing known.
        if shapes.names().any(|name| !name.starts_with(&wrapper)) {
            inner.others.push(unknown("", "unclaimed"));
        }
        return Detected { wrapper, ..inner };
    }
    found
}

fn detect_plain(shapes: &Shapes<'_>, insisted: Option<FileKind>) -> Detected {
    let wrapper = wrapper(shapes);
    // 1. Look-alikes, which have most names of a base model and some of their own.
    if insisted.is_none() {
        let prefixes = [Some(""), wrapper, Some("model.")];
        let mut prefixes = prefixes.into_iter().flatten();
        if let Some((kind, main)) = prefixes.find_map(|prefix| look_alike(shapes, prefix)) {
            return Detected {
                kind,
                dialect: Dialect::Unknown,
                wrapper: String::new(),
                main,
                others: Vec::new(),
            };
        }
    }
    // 2. Base models, in the order of ComfyUI's loader.
    let diffusion = |prefix: &&str| identify(shapes, prefix, Role::DiffusionModel);
    let found = match wrapper {
        Some(prefix) => [prefix, ""].iter().find_map(diffusion),
        // ComfyUI takes `model.` off where none of its own prefixes has enough names.
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
    // 3. The other models of a checkpoint.
    let others = match main.role {
        Role::DiffusionModel | Role::Unknown => companions(shapes, &main),
        Role::TextEncoder | Role::Vae => Vec::new(),
    };
    // 4. Dialect and kind, which the row of the table says or the role implies.
    let row = Preset::architectures().map(|(row, _)| row).find(|row| row.id == main.architecture);
    let dialect = row.and_then(|row| row.dialect).unwrap_or(match main.role {
        Role::TextEncoder => Dialect::Transformers,
        Role::DiffusionModel | Role::Vae => Dialect::Original,
        Role::Unknown => Dialect::Unknown,
    });
    // Stray tensors and averaged weights make no checkpoint of a model.
    let is_part = |other: &Component| !other.prefix.is_empty() && !other.is_copy();
    let is_checkpoint = others.iter().any(is_part);
    let kind = insisted.or(row.and_then(|row| row.kind)).unwrap_or(match main.role {
        _ if is_checkpoint => FileKind::Checkpoint,
        Role::DiffusionModel => FileKind::DiffusionModel,
        Role::TextEncoder => FileKind::TextEncoder,
        Role::Vae => FileKind::Vae,
        Role::Unknown => FileKind::Unknown,
    });
    Detected { kind, dialect, wrapper: String::new(), main, others }
}

/// Returns the look-alike that a file is, by the first rule that fits: it shares names with base
/// models but is none.
fn look_alike(shapes: &Shapes<'_>, prefix: &str) -> Option<(FileKind, Component)> {
    KindRule::all().iter().find_map(|rule| {
        let evidence = rule.evidence(shapes, prefix)?;
        let main = Component {
            architecture: &rule.id,
            title: &rule.title,
            evidence,
            ..unknown(prefix, "generic")
        };
        Some((rule.kind, main))
    })
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

/// Returns the wrapper that most tensors start with, if more than five do.
fn wrapper(shapes: &Shapes<'_>) -> Option<&'static str> {
    let holds = |start: &str| shapes.starting_with(start).next().is_some();
    // SAM 3, from whose names ComfyUI takes no prefix.
    if holds("detector.") && holds("tracker.") {
        return None;
    }
    // As ComfyUI's `unet_prefix_from_state_dict` counts, with its limit of five.
    let counted = WRAPPERS.map(|prefix| (prefix, shapes.starting_with(prefix).count()));
    let most =
        counted.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    (most.1 > 5).then_some(most.0)
}

/// Returns the first architecture of this role whose conditions hold behind `prefix`.
fn identify(shapes: &Shapes<'_>, prefix: &str, role: Role) -> Option<Component> {
    let mut rows = Preset::architectures().filter(|(_, preset)| preset.role == role);
    rows.find_map(|(architecture, preset)| {
        Some(Component {
            role,
            architecture: &architecture.id,
            title: &architecture.title,
            prefix: prefix.to_owned(),
            preset,
            evidence: architecture.evidence(shapes, prefix)?,
            no_codes: architecture.no_codes.as_deref().or(preset.refuse.as_deref()),
            is_known_to_comfyui: architecture.is_known_to_comfyui,
            has_coded_banks: architecture.has_coded_banks,
        })
    })
}

fn unknown(prefix: &str, preset: &str) -> Component {
    let preset = Preset::built_in(preset);
    Component {
        role: Role::Unknown,
        architecture: UNKNOWN,
        title: &preset.title,
        prefix: prefix.to_owned(),
        preset,
        evidence: Vec::new(),
        no_codes: preset.refuse.as_deref(),
        is_known_to_comfyui: false,
        has_coded_banks: false,
    }
}

/// Returns the other models in the file of a diffusion model.
fn companions(shapes: &Shapes<'_>, main: &Component) -> Vec<Component> {
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
    let mut others: Vec<_> = starts.into_iter().map(|prefix| companion(shapes, prefix)).collect();
    others.extend(copies(shapes, main));
    // Without a prefix the main model claims every tensor that no companion does.
    if has_strays && !main.prefix.is_empty() {
        others.push(unknown("", "unclaimed"));
    }
    others
}

/// Averaged weights as the first programs for Stable Diffusion saved them, without the dots in names.
const FLAT_AVERAGES: &str = "model_ema.";

/// Returns the places where a diffusion model stands once more in its file: prefixes behind which all the
/// tensors are that it was recognised by, and half as many as it has.
fn copies(shapes: &Shapes<'_>, main: &Component) -> Vec<Component> {
    if main.role != Role::DiffusionModel {
        return vec![];
    }
    let bare = main.evidence.iter().filter_map(|it| it.strip_prefix(main.prefix.as_str()));
    // The evidence for a dimension is the name and the shape, `x_embedder.weight [2304, 64]`.
    let bare: Vec<&str> = bare.map(|it| it.split_once(" [").map_or(it, |(name, _)| name)).collect();
    let Some(first) = bare.first() else { return vec![] };
    let is_beside = |prefix: &&str| *prefix != main.prefix && prefix.ends_with('.');
    let prefixes = shapes.names().filter_map(|name| name.strip_suffix(first)).filter(is_beside);
    let is_whole = |prefix: &&str| {
        let has = |key: &&str| shapes.shape(&format!("{prefix}{key}")).is_some();
        bare.iter().all(has)
    };
    let mut prefixes: BTreeSet<&str> = prefixes.filter(is_whole).collect();
    let count = |prefix: &str| shapes.starting_with(prefix).count();
    let of_copies: usize = prefixes.iter().map(|prefix| count(prefix)).sum();
    let of_main = match main.prefix.as_str() {
        // Without a prefix it is whatever is no copy.
        "" => count("").saturating_sub(of_copies),
        prefix => count(prefix),
    };
    prefixes.retain(|prefix| 2 * count(prefix) >= of_main);
    // Unless they have been found already, under names with dots.
    if main.prefix != FLAT_AVERAGES && !prefixes.iter().any(|it| it.starts_with(FLAT_AVERAGES)) {
        prefixes.extend((count(FLAT_AVERAGES) > 0).then_some(FLAT_AVERAGES));
    }
    prefixes.into_iter().map(copy).collect()
}

/// Returns a component that is another one once more.
fn copy(prefix: &str) -> Component {
    Component {
        architecture: COPY,
        title: "a second model of the same layers",
        no_codes: Some(
            "a second model of the same layers, such as averaged weights: loaders read the first",
        ),
        ..unknown(prefix, "unclaimed")
    }
}

/// Returns the prefix of a companion: `text_encoders.t5xxl.` for
/// `text_encoders.t5xxl.transformer.shared.weight`.
fn companion_prefix(name: &str) -> Option<&str> {
    // (where the component starts, how many more segments name it)
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

fn companion(shapes: &Shapes<'_>, prefix: &str) -> Component {
    if ["first_stage_model.", "vae.", "audio_vae.", "vocoder."].contains(&prefix) {
        let preset = Preset::built_in("vae");
        let component = unknown(prefix, "vae");
        return Component { role: Role::Vae, architecture: &preset.name, ..component };
    }
    // A checkpoint puts its own prefix before those that the encoder has in its own file.
    let inside = |start: &&str| identify(shapes, &format!("{prefix}{start}"), Role::TextEncoder);
    match TEXT_PREFIXES.iter().find_map(inside) {
        // All of it belongs to the encoder, even tensors beside its `transformer.`.
        Some(component) => Component { prefix: prefix.to_owned(), ..component },
        None => unknown(prefix, "unclaimed"),
    }
}
