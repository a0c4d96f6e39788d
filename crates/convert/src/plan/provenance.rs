use std::borrow::Cow;
use std::collections::BTreeMap;

use roundwise_tensor_file::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::run_facts::RunFacts;
use crate::recipe::RecipeFile;
use crate::recipe::edit::PROVENANCE_KEY;

/// The program that made a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `roundwise`.
    pub name: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
}

impl Tool {
    /// This build.
    pub const THIS: Tool = Tool {
        name: Cow::Borrowed("roundwise"),
        version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
    };
}

/// How a file was made: the JSON in its header under `roundwise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of this program.
    pub version: String,
    /// The recipe; what was not given is left out.
    pub recipe: RecipeFile,
    /// BLAKE3 of every file of the input, as `b3sum` prints it, in the order of the files' names.
    pub input_blake3: Vec<String>,
    /// BLAKE3 of the file of statistics, where one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics_blake3: Option<String>,
    /// The entry of the input, where that was made by this program, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
}

impl Provenance {
    /// Returns the entry of a file that this build makes from `input`. Its hashes are not known
    /// yet; zeros hold their place.
    pub(crate) fn planned(recipe: &RecipeFile, input: &Checkpoint, has_statistics: bool) -> Self {
        const DIGITS: usize = 64;
        // Text that is no JSON stays text.
        let parsed = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        };
        Self {
            version: Tool::THIS.version.into_owned(),
            recipe: recipe.clone(),
            // Zeros of the same length, so that the header keeps its length when the hashes are
            // known.
            input_blake3: vec!["0".repeat(DIGITS); input.files().len()],
            statistics_blake3: has_statistics.then(|| "0".repeat(DIGITS)),
            before: input.metadata().get(PROVENANCE_KEY).map(parsed),
        }
    }

    /// Puts hashes in the place of zeros.
    pub(crate) fn with(mut self, facts: &RunFacts) -> Self {
        // Files are hashed beside the work: at its beginning the hashes are not there yet.
        if facts.input.len() == self.input_blake3.len() {
            self.input_blake3 = facts.input.iter().map(|hash| hash.blake3.clone()).collect();
        }
        self.statistics_blake3.clone_from(&facts.statistics);
        self
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }

    /// Reads the entry of a header. Returns `None` where there is none, or none that this version
    /// understands.
    pub(crate) fn read(metadata: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(metadata.get(PROVENANCE_KEY)?).ok()
    }
}
