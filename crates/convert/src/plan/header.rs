use std::collections::BTreeMap;

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
