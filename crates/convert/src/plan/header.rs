use std::collections::BTreeMap;

use roundwise_layout::{Layout, QUANTIZATION_METADATA};

use crate::plan::decision::PlannedTensor;
use crate::plan::provenance::Provenance;
use crate::plan::run_facts::RunFacts;
use crate::recipe::Recipe;
use crate::recipe::edit::PROVENANCE_KEY;
use crate::source::Source;

/// Entries of the output's header.
#[derive(Clone, Debug)]
pub(crate) struct PlannedHeader {
    metadata: BTreeMap<String, String>,
    provenance: Option<Provenance>,
}

impl PlannedHeader {
    pub(crate) fn new(
        metadata: BTreeMap<String, String>,
        source: &Source,
        recipe: &Recipe,
        has_statistics: bool,
    ) -> Self {
        let provenance = recipe
            .tells_provenance()
            .then(|| Provenance::planned(recipe.file(), &source.checkpoint, has_statistics));
        Self { metadata, provenance }
    }

    pub(crate) fn entries(&self, facts: Option<&RunFacts>) -> BTreeMap<String, String> {
        let mut metadata = self.metadata.clone();
        if let Some(planned) = &self.provenance {
            let provenance = match facts {
                Some(facts) => planned.clone().with(facts),
                None => planned.clone(),
            };
            metadata.insert(PROVENANCE_KEY.to_owned(), provenance.to_json());
        }
        metadata
    }
}

/// Returns the input's entries, with the layout's entry in place of an older one.
pub(super) fn header_metadata(
    source: &Source,
    layout: Layout,
    tensors: &[PlannedTensor],
) -> BTreeMap<String, String> {
    let mut metadata = source.checkpoint.metadata().clone();
    // The entry is written anew for what the output holds; that of the input speaks of other codes.
    metadata.remove(QUANTIZATION_METADATA);
    for foreign in source.stored.foreign.values() {
        foreign.metadata.iter().for_each(|key| drop(metadata.remove(key)));
    }
    let layers = tensors.iter().filter_map(|planned| {
        let (scheme, products) = planned.codes()?;
        Some((planned.layer(), scheme, planned.layer_shape(), products))
    });
    // Loaders that read nothing else do not find names behind a prefix there, and later ones would
    // apply the entry twice: once before they take the prefix off, once after.
    if !source.subject().detected.is_behind_prefix() {
        metadata.extend(layout.header_entry(layers));
    }
    if layout.is_for_servers() {
        // transformers refuses a file that does not say so.
        // Its value names the framework that tensors are for. An entry of the input stays.
        metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    }
    metadata
}
