use std::fmt;
use std::path::Path;

use roundwise_layout::Layout;

use crate::recipe::plain_dtype::PlainDtype;

/// Something that this program does, which a message names as a way out: a command, or a button.
///
/// Displayed, it is a noun phrase that begins or continues a sentence. A front end that calls it
/// something else asks for [`Text::worded_with`](crate::recipe::Text::worded_with).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Command {
    /// The job that was just tried, once more.
    Again,
    /// Weights become codes.
    Convert,
    /// Codes become plain numbers.
    Dequantize,
    /// Codes become plain numbers in a file of their own, and those become codes.
    DequantizeThenConvert {
        /// The file with codes.
        input: Box<Path>,
        /// The dtype of the numbers, where it must not be the one that is taken otherwise.
        dtype: Option<PlainDtype>,
    },
    /// Codes are laid out anew.
    Migrate(Layout),
    /// Defects are repaired, and the file is written anew.
    Repair,
    /// A file is looked at.
    Inspect,
    /// The program that collects statistics is printed.
    Collector,
    /// Statistics are listed.
    ShowStatistics,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Again => f.write_str("the same job"),
            Command::Convert => f.write_str("a conversion"),
            Command::Dequantize => f.write_str("decoding"),
            Command::DequantizeThenConvert { .. } => {
                f.write_str("decoding, then a conversion of the result")
            }
            Command::Migrate(layout) => write!(f, "migration to `{layout}`"),
            Command::Repair => f.write_str("a repair"),
            Command::Inspect => f.write_str("an inspection"),
            Command::Collector => f.write_str("the collector"),
            Command::ShowStatistics => f.write_str("a look at statistics"),
        }
    }
}
