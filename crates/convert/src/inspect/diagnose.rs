use std::path::Path;

use roundwise_layout::{Defect, Layout, Repair};
use serde::{Serialize, Serializer};

use crate::error::ConvertError;
use crate::inspect::verification::Finding;
use crate::source::Source;

/// The known defects of a file, and the remedies for them.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Defects whose remedy is certain.
    #[serde(serialize_with = "as_findings")]
    pub repairs: Vec<Repair>,
    /// Defects without a remedy.
    #[serde(serialize_with = "defects_as_findings")]
    pub defects: Vec<Defect>,
    /// What the configuration beside the file says of codes that they are not, or does not say. A migration to the layout
    /// that they have writes it anew.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "defects_as_findings")]
    pub contradictions: Vec<Defect>,
    /// The layout that its first codes for servers have, where the configuration says something else.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::report::named::optional_name"
    )]
    pub servers_layout: Option<Layout>,
    /// How the repaired file is laid out.
    #[serde(serialize_with = "crate::report::named::name")]
    pub layout: Layout,
}

impl Diagnosis {
    /// Returns whether nothing is wrong with the file itself, whatever the configuration beside it says.
    pub fn is_file_sound(&self) -> bool {
        self.repairs.is_empty() && self.defects.is_empty()
    }
}

/// Looks for known defects, in headers and markers alone.
///
/// # Errors
/// [`ConvertError::File`] when the file itself cannot be read.
pub fn diagnose(path: &Path) -> Result<Diagnosis, ConvertError> {
    let source = Source::open_repaired(path)?;
    let mut layouts = source.stored.layers.values().filter_map(|layer| layer.spelling.layout());
    let theirs = layouts.find(|layout| layout.is_for_servers());
    let (defects, contradictions) = (source.stored.defects, source.stored.contradictions);
    let servers_layout = theirs.filter(|_| !contradictions.is_empty());
    let repaired = source.repaired.map(|repaired| (repaired.repairs, repaired.layout));
    let (repairs, layout) = repaired.unwrap_or_default();
    Ok(Diagnosis { repairs, defects, contradictions, servers_layout, layout })
}

#[derive(Serialize)]
struct RepairEntry<'a> {
    #[serde(flatten)]
    defect: Finding,
    remedy: &'a str,
}

fn as_findings<S: Serializer>(repairs: &[Repair], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        repairs
            .iter()
            .map(|Repair { defect, remedy }| RepairEntry { defect: defect.into(), remedy }),
    )
}

fn defects_as_findings<S: Serializer>(defects: &[Defect], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(defects.iter().map(Finding::from))
}
