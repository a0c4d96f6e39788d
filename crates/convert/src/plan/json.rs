//! Plans as JSON: what `plan --json` prints and pages show.

use serde::ser::{Error, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::plan::decision::PlannedTensor;
use crate::plan::explain::Explanation;
use crate::plan::note::Note;
use crate::plan::plan::Plan;
use crate::plan::reason::Reason;

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for PlannedTensor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut tensor = to.serialize_struct("PlannedTensor", 6)?;
        tensor.serialize_field("name", &self.header.name)?;
        tensor.serialize_field("shape", &self.header.shape)?;
        tensor.serialize_field("dtype", self.header.stored_as())?;
        tensor.serialize_field("decision", &self.action())?;
        tensor.serialize_field("scheme", &self.scheme().map(|scheme| scheme.to_string()))?;
        tensor.serialize_field("reason", &self.because())?;
        tensor.end()
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let output_bytes = self.manifest().map_err(S::Error::custom)?.file_bytes();
        let mut plan = to.serialize_struct("Plan", 13)?;
        let model = &self.subject.detected.main;
        plan.serialize_field("architecture", &model.title)?;
        plan.serialize_field("kind", &self.subject.kind())?;
        plan.serialize_field("dialect", &self.subject.detected.dialect)?;
        plan.serialize_field("evidence", &model.evidence)?;
        plan.serialize_field("preset", &self.preset.name)?;
        plan.serialize_field("layout", &self.layout.to_string())?;
        plan.serialize_field("consumers", &self.consumers())?;
        plan.serialize_field("notes", &self.notes)?;
        plan.serialize_field("output_bytes", &output_bytes)?;
        plan.serialize_field("peak_memory_bytes", &self.memory.peak_bytes)?;
        plan.serialize_field("threads", &self.memory.threads)?;
        plan.serialize_field("weights_by_bands", &self.memory.banded_weights)?;
        plan.serialize_field("tensors", &self.tensors)?;
        plan.end()
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut explanation = to.serialize_struct("Explanation", 5)?;
        explanation.serialize_field("tensor", &self.planned.header.name)?;
        explanation.serialize_field("becomes", &self.planned.becomes())?;
        explanation.serialize_field("reason", &self.planned.because())?;
        explanation.serialize_field("made_of", &self.made_of)?;
        explanation.serialize_field("steps", &self.steps)?;
        explanation.end()
    }
}
