use std::path::Path;

use roundwise_layout::{
    Defect, ForeignLayer, Layout, Repair, RepairedLayers, StoredLayer, StoredLayers, layer_of,
    layer_of_weight, weight_of,
};
use roundwise_stats::LayerShape;
use roundwise_tensor_file::{Checkpoint, TensorFileError, TensorHeader};

use crate::error::ConvertError;
use crate::model::{Dialect, FileKind, Shapes, TranslationError};
use crate::recipe::{Names, Purpose, Recipe};
use crate::source::adapter::Adapters;
use crate::source::finished::check_all_finished;
use crate::source::incomplete::Incomplete;
use crate::source::inner_wrappers::{InnerWrappers, take_off};
use crate::source::subject::{Subject, shapes};
use crate::source::translated::{
    OtherName, Translated, is_translatable, names_elsewhere, own_names, translate, why_no_table,
    why_untranslated,
};

/// An input: its tensors, and which of its layers are quantized already.
#[derive(Debug)]
pub struct Source {
    /// The tensors.
    pub checkpoint: Checkpoint,
    /// The layers that are quantized already.
    pub stored: StoredLayers,
    /// The file, as it was recognised.
    subject: Subject,
    /// What was taken off inside its names.
    inner_wrappers: Option<InnerWrappers>,
    /// Its names before they were translated.
    translated: Option<Translated>,
    /// Why they stay another dialect's, where nobody asked for that.
    names_stay: Option<NamesStay>,
    /// Adapters that are added to its weights when they are read.
    adapters: Adapters,
    /// Its defects, where they were repaired.
    pub(crate) repaired: Option<Repaired>,
}

/// Why names stay another dialect's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamesStay {
    /// No program is known to read the codes under other names.
    NoReader,
    /// They cannot be translated, for this reason.
    Untranslated(String),
}

/// The repaired defects of a file.
#[derive(Debug)]
pub(crate) struct Repaired {
    /// The defects, and what makes each good.
    pub(crate) repairs: Vec<Repair>,
    /// How the file is meant to be laid out.
    pub(crate) layout: Layout,
}

impl Source {
    /// Opens a file or a folder of shards under the names that it has, without what training code puts inside them,
    /// and reads headers and markers only.
    ///
    /// # Errors
    /// [`ConvertError::File`] when something is wrong with the file,
    /// [`ConvertError::IsStatistics`] when it holds no model.
    pub fn open(path: &Path) -> Result<Self, ConvertError> {
        Self::open_as(path, None, Some(Names::Keep))
    }

    /// Opens an output that does not have its name yet, exactly as it is stored.
    ///
    /// # Errors
    /// [`ConvertError::File`] when something is wrong with the file.
    pub(crate) fn open_unfinished(path: &Path) -> Result<Self, ConvertError> {
        Self::read(Checkpoint::open(path)?, None)
    }

    /// Opens a file as [`Source::open`] does, with names of another dialect translated into the model's
    /// own, as a conversion does.
    ///
    /// # Errors
    /// As [`Source::open`], and [`ConvertError::Names`] for a file that cannot be translated.
    pub fn open_translated(path: &Path) -> Result<Self, ConvertError> {
        Self::open_as(path, None, Some(Names::Translate))
    }

    /// Opens a file as [`Source::open`] does, with the names that a conversion to codes gives it.
    ///
    /// # Errors
    /// As [`Source::open_translated`].
    pub(crate) fn open_for_conversion(path: &Path) -> Result<Self, ConvertError> {
        Self::open_as(path, None, None)
    }

    /// Opens a file as [`Source::open`] does, as the kind that somebody insists on.
    ///
    /// - `names`: `None` keeps llama.cpp's where no program is known to take codes under the new ones,
    ///   and translates all others
    fn open_as(
        path: &Path,
        insisted: Option<FileKind>,
        names: Option<Names>,
    ) -> Result<Self, ConvertError> {
        let mut checkpoint = opened(path)?;
        let inner_wrappers = take_off(&mut checkpoint);
        let source = Self { inner_wrappers, ..Self::read(checkpoint, insisted)? };
        if names == Some(Names::Keep) {
            return Ok(source);
        }
        let is_of_llama_cpp = source.subject.detected.dialect == Dialect::LlamaCpp;
        // Translating has consumed the first one; opening it again reads headers only.
        let kept = |why| {
            let source = Self::open_as(path, insisted, Some(Names::Keep))?;
            Ok(Self { names_stay: Some(why), ..source })
        };
        match (names, source.translate(insisted)) {
            (None, Ok(source))
                if is_of_llama_cpp
                    && source.translated.is_some()
                    && !source.subject.has_reader_of_codes() =>
            {
                kept(NamesStay::NoReader)
            }
            // Nobody asked for other names, so that a file that cannot get them is no error.
            (None, Err(ConvertError::Names { problem, .. })) if is_of_llama_cpp => {
                kept(NamesStay::Untranslated(why_untranslated(&problem)))
            }
            (_, source) => source,
        }
    }

    /// Opens a file under exactly the names that it has.
    fn open_as_it_is(path: &Path, insisted: Option<FileKind>) -> Result<Self, ConvertError> {
        Self::read(opened(path)?, insisted)
    }

    /// Finds the layers of a file that are in codes.
    fn read(checkpoint: Checkpoint, insisted: Option<FileKind>) -> Result<Self, ConvertError> {
        let stored = StoredLayers::find(&checkpoint)?;
        Ok(Self::of(checkpoint, stored, insisted))
    }

    /// Returns the same file under its model's own names. One with broken codes is returned as it is:
    /// the commands that need the codes refuse it, and name what the file itself names.
    fn translate(self, insisted: Option<FileKind>) -> Result<Self, ConvertError> {
        // Messages about defects are of use only with the names that the file itself has.
        if !self.stored.defects.is_empty() {
            return Ok(self);
        }
        let Self { checkpoint, stored, subject, inner_wrappers, .. } = self;
        let (checkpoint, translated) = translate(checkpoint, &stored, &subject.detected)?;
        let stored = match translated {
            Some(_) => StoredLayers::find(&checkpoint)?,
            None => stored,
        };
        let source = Self::of(checkpoint, stored, insisted);
        Ok(Self { translated, inner_wrappers, ..source })
    }

    fn of(mut checkpoint: Checkpoint, stored: StoredLayers, insisted: Option<FileKind>) -> Self {
        // Codes of other programs go by the name of what they stand for, as all others do.
        let foreign = stored.foreign.values();
        let names = foreign.map(|layer| (layer.codes_tensor.clone(), layer.name.clone())).collect();
        checkpoint.rename(&names);
        let subject = Subject::recognise(&checkpoint, &stored, insisted);
        let adapters = Adapters::default();
        let why = why_no_table(&subject.detected, &checkpoint).map(NamesStay::Untranslated);
        Self {
            checkpoint,
            stored,
            subject,
            inner_wrappers: None,
            translated: None,
            names_stay: why,
            adapters,
            repaired: None,
        }
    }

    /// Opens a file as a recipe asks: taken for the kind it names, with its adapters added to the
    /// weights when they are read; with its defects repaired where the recipe is for that.
    ///
    /// # Errors
    /// As [`Source::open`], and [`ConvertError::Misfit`] for adapters that do not fit the model.
    pub fn open_with(path: &Path, recipe: &Recipe) -> Result<Self, ConvertError> {
        let mut source = match recipe.purpose() {
            Purpose::Repair => Self::open_repaired(path)?,
            Purpose::Quantize | Purpose::Decode(_) | Purpose::Migrate | Purpose::Edit => {
                Self::open_named(path, recipe)?
            }
        };
        source.refuse_other_numbers(recipe)?;
        source.adapters = Adapters::open(recipe, &source.checkpoint, &source.stored)?;
        Ok(source)
    }

    /// Refuses numbers that programs change before they use them, by an adapter beside them or as a configuration says:
    /// no program that reads what is written would.
    fn refuse_other_numbers(&self, recipe: &Recipe) -> Result<(), ConvertError> {
        match &self.subject.incomplete {
            Some(incomplete @ (Incomplete::Unmerged { .. } | Incomplete::Method { .. }))
                if recipe.insisted_kind().is_none() =>
            {
                Err(ConvertError::Refused {
                    path: self.checkpoint.path().to_owned(),
                    title: self.subject.detected.main.title.to_owned(),
                    reason: incomplete.reason(),
                    way_out: incomplete.way_out().into(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Opens a file under the names that a recipe asks for.
    fn open_named(path: &Path, recipe: &Recipe) -> Result<Self, ConvertError> {
        // Every program that reads the model reads plain numbers under the model's own names, so
        // that no reader has to be known, as one has to be for codes.
        let for_all = (!recipe.stores_codes()).then_some(Names::Translate);
        let source = match (recipe.names(), for_all) {
            // Nobody asked for new names: those that cannot be translated stay.
            (None, Some(Names::Translate)) => Self::open_for_all(path, recipe.insisted_kind())?,
            (Some(Names::Keep), _) => Self::open_as_it_is(path, recipe.insisted_kind())?,
            (names, _) => Self::open_as(path, recipe.insisted_kind(), names)?,
        };
        if let (Some(Names::Translate), Some(NamesStay::Untranslated(reason))) =
            (recipe.names(), source.names_stay.clone())
        {
            let dialect = source.subject.detected.dialect.to_string();
            let problem = Box::new(TranslationError::NoTable { dialect, reason });
            return Err(ConvertError::Names { path: path.to_owned(), problem });
        }
        Ok(source)
    }

    /// Opens a file under its model's own names, which every program for the model reads; names of
    /// llama.cpp that cannot be translated stay.
    fn open_for_all(path: &Path, insisted: Option<FileKind>) -> Result<Self, ConvertError> {
        match Self::open_as(path, insisted, Some(Names::Translate)) {
            Err(ConvertError::Names { path, problem }) => {
                match Self::open_as(&path, insisted, None)? {
                    // Names of llama.cpp stay; for any other file the first error says what is
                    // wrong.
                    source if source.names_stay.is_some() => Ok(source),
                    _ => Err(ConvertError::Names { path, problem }),
                }
            }
            opened => opened,
        }
    }

    /// Returns why names stay another dialect's, where nobody asked for that.
    pub(crate) fn names_stay(&self) -> Option<&NamesStay> {
        self.names_stay.as_ref()
    }

    /// Returns what was taken off inside the names.
    pub(crate) fn inner_wrappers(&self) -> Option<&InnerWrappers> {
        self.inner_wrappers.as_ref()
    }

    /// Returns what the names were before they were translated.
    pub(crate) fn translated(&self) -> Option<&Translated> {
        self.translated.as_ref()
    }

    /// Returns what else its layers are called: in the file, by the model itself, or in other dialects.
    pub(crate) fn other_names(&self) -> Vec<OtherName> {
        let detected = &self.subject.detected;
        let in_file = self.translated.iter().flat_map(|it| it.other_names.iter().cloned());
        let elsewhere = match self.translated {
            Some(_) => vec![],
            None => own_names(&self.checkpoint, &self.stored, detected),
        };
        let elsewhere =
            elsewhere.into_iter().chain(names_elsewhere(&self.checkpoint, &self.stored, detected));
        let mut names: Vec<OtherName> =
            in_file.chain(elsewhere).chain(self.module_names()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns what transformers calls the modules of its layers, where files have other names.
    fn module_names(&self) -> impl Iterator<Item = OtherName> {
        let layer = |header: &TensorHeader| Some(layer_of_weight(&header.name)?.to_owned());
        let named = self.checkpoint.tensors().iter().filter_map(move |it| Some((it, layer(it)?)));
        named.flat_map(|(header, layer)| {
            let shape = self.shape_of(header);
            let modules = self.subject.modules_of(&layer).into_iter();
            modules.filter_map(move |module| {
                let other = LayerShape::of_weight(&weight_of(&module), &shape)?;
                Some(OtherName { layer: layer.clone(), other })
            })
        })
    }

    /// Returns whether the names are not the model's own and would be translated.
    pub(crate) fn is_translatable(&self) -> bool {
        is_translatable(&self.subject.detected, &self.checkpoint)
    }

    /// Opens the original of a converted file, under whichever of its names the other has.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn open_original_of(converted: &Self, path: &Path) -> Result<Self, ConvertError> {
        let as_it_is = Self::open(path)?;
        if converted.is_translatable() || !as_it_is.is_translatable() {
            return Ok(as_it_is);
        }
        match Self::open_translated(path) {
            // Names of llama.cpp stay where no program is known to read others.
            Ok(translated) if converted.has_more_names_of(&translated, &as_it_is) => Ok(translated),
            // A conversion would have failed in the same way, so that the other file cannot come
            // from a translation.
            Ok(_) | Err(ConvertError::Names { .. }) => Ok(as_it_is),
            Err(error) => Err(error),
        }
    }

    /// Returns whether more of its weights are called as those of one file than as those of another.
    fn has_more_names_of(&self, one: &Self, other: &Self) -> bool {
        let weights = self.checkpoint.tensors().iter();
        let layers = weights.filter_map(|header| layer_of_weight(&header.name));
        let layers: Vec<&str> = layers.collect();
        let known = |source: &Self| {
            let is_there = |layer: &&&str| source.checkpoint.get(&weight_of(layer)).is_some();
            layers.iter().filter(is_there).count()
        };
        // Where both have as many, the translated one: a conversion gives its names to the output.
        known(one) >= known(other)
    }

    /// Returns the adapters that are added to the weights when they are read.
    pub(crate) fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// Opens a file that may have known defects: of markers and scales, see [`RepairedLayers::find`], and
    /// of the file itself, see [`Checkpoint::open_tolerant`].
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn open_repaired(path: &Path) -> Result<Self, ConvertError> {
        let (checkpoint, defects) = Checkpoint::open_tolerant(path)?;
        check_all_finished(&checkpoint)?;
        let checkpoint = model(checkpoint)?;
        let RepairedLayers { stored, repairs, layout } = RepairedLayers::find(&checkpoint)?;
        let of_files: Vec<_> =
            defects.iter().map(|defect| repair_of_file(&checkpoint, defect)).collect();
        let source = Self::of(checkpoint, stored, None);
        let repairs = repairs.into_iter().filter(|repair| source.counts(&repair.defect));
        let repairs: Vec<Repair> = of_files.into_iter().chain(repairs).collect();
        Ok(Self { repaired: Some(Repaired { repairs, layout }), ..source })
    }

    /// Returns whether a defect is one here: what the header lacks matters to no loader of a model behind a
    /// prefix.
    fn counts(&self, defect: &Defect) -> bool {
        !(self.subject.detected.is_behind_prefix() && defect.is_of_the_header())
    }

    /// Lists what is wrong with its layers in codes, in name order: what a repair is about.
    pub(crate) fn defects(&self) -> Vec<Defect> {
        let StoredLayers { defects, orphans, contradictions, .. } = &self.stored;
        let markers = self.stored.one_sided_markers().into_iter().chain(self.stored.missing_half());
        let markers = markers.filter(|defect| self.counts(defect));
        let mut all: Vec<Defect> =
            defects.iter().chain(orphans).chain(contradictions).cloned().chain(markers).collect();
        all.sort();
        all
    }

    /// Returns the layer whose codes this tensor holds.
    pub(crate) fn stored_layer(&self, header: &TensorHeader) -> Option<&StoredLayer> {
        self.stored.layer_of(header)
    }

    /// Returns the layer whose codes of another program this tensor holds.
    pub(crate) fn foreign_layer(&self, header: &TensorHeader) -> Option<&ForeignLayer> {
        let layer = self.stored.foreign.get(layer_of(&header.name))?;
        (layer.name == header.name).then_some(layer)
    }

    /// Returns whether the tensor holds codes of a layer, of this program or another.
    pub(crate) fn is_in_codes(&self, header: &TensorHeader) -> bool {
        self.stored_layer(header).is_some() || self.foreign_layer(header).is_some()
    }

    /// Returns the shape of the numbers that a tensor stands for, which is not its own where codes
    /// are packed or padded.
    pub(crate) fn shape_of(&self, header: &TensorHeader) -> Vec<u64> {
        if let Some(foreign) = self.foreign_layer(header) {
            return foreign.shape.clone();
        }
        let stored = self.stored_layer(header);
        stored.map_or_else(|| header.shape.clone(), |stored| stored.shape_of(header))
    }

    /// Returns names and shapes of all tensors, as they are stored.
    pub fn shapes(&self) -> Shapes<'_> {
        shapes(&self.checkpoint, &self.stored)
    }

    /// Returns what the file was recognised as.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

/// Opens a file that is whole and holds a model.
fn opened(path: &Path) -> Result<Checkpoint, ConvertError> {
    let checkpoint = Checkpoint::open(path)?;
    check_all_finished(&checkpoint)?;
    model(checkpoint)
}

/// Refuses statistics, which have the same container as weights.
fn model(checkpoint: Checkpoint) -> Result<Checkpoint, ConvertError> {
    match checkpoint.metadata().get("format").map(String::as_str) {
        Some(roundwise_stats::FORMAT) => {
            Err(ConvertError::IsStatistics { path: checkpoint.path().to_owned() })
        }
        _ => Ok(checkpoint),
    }
}

/// Returns the remedy for a defect of the file that its reader can read past.
fn repair_of_file(checkpoint: &Checkpoint, defect: &TensorFileError) -> Repair {
    let file = match checkpoint.files() {
        [_] => String::new(),
        _ => format!(" in {}", defect.path().display()),
    };
    Repair {
        defect: Defect {
            layer: String::new(),
            problem: format!("is damaged{file}: {}", defect.kind()),
            breaks: "programs that read with the safetensors library, which refuses it",
        },
        remedy: defect.kind().remedy().unwrap_or_default().to_owned(),
    }
}
