//! The container without a magic number (`.dat`), which newer programs write on request.

use roundwise_tensor_file::PlainFile;

use super::cursor::Cursor;
use super::{Entry, Position, module_of};
use crate::{StatsError, StatsErrorKind as Kind};

/// Tokens of one call. The file does not say; llama.cpp assumes its default context as well.
const CALL_TOKENS: u64 = 512;

/// Finds every entry's place.
///
/// The file is `i32 n`; n times `i32 length, name, i32 calls, i32 n_values, f32 values`; then
/// nothing, or `i32 last_call`, or that and `i32 length, data set`.
///
/// A value is `E[x_j²] · calls`. Experts lie one after the other, as if they were more columns.
pub(super) fn entries(file: &PlainFile) -> Result<Vec<Entry>, StatsError> {
    let mut cursor = Cursor::new(file);
    // Before the first name nothing shows that the file is an importance matrix.
    let unknown = || Kind::UnknownContainer.at(file.path());
    if cursor.available() < 8 {
        return Err(unknown());
    }
    let n_entries = positive(&mut cursor, "number of entries").map_err(|_| unknown())?;
    let mut entries = Vec::new();
    for number in 0..n_entries {
        let length = positive(&mut cursor, "length of a name");
        // A file of any other kind fails at the first entry, and is reported as unknown.
        let length = if number == 0 { length.map_err(|_| unknown())? } else { length? };
        let name = cursor.text("name of an entry", length);
        let name = if number == 0 { name.map_err(|_| unknown())? } else { name? };
        let calls = positive(&mut cursor, "number of calls")?;
        let columns = positive(&mut cursor, "number of values")?;
        let squares = cursor.offset();
        // At most 2³¹ values: the product cannot overflow.
        cursor.skip("values of an entry", columns * 4)?;
        entries.push(Entry {
            module: module_of(&name).to_owned(),
            columns,
            count: calls * CALL_TOKENS,
            divisor: calls as f64,
            squares: Position { tensor: 0, offset: squares },
            sums: None,
        });
    }
    if cursor.available() > 0 {
        cursor.skip("number of the last call", 4)?;
    }
    if cursor.available() > 0 {
        let offset = cursor.offset();
        let length = cursor.i32("length of the data set's name")?;
        let available = cursor.available();
        if u64::try_from(length).ok() != Some(available) {
            let what = "length of the data set's name";
            return Err(cursor.field(what, i128::from(length), offset, "the rest of the file"));
        }
    }
    Ok(entries)
}

fn positive(cursor: &mut Cursor<'_>, what: &'static str) -> Result<u64, StatsError> {
    let offset = cursor.offset();
    let found = cursor.i32(what)?;
    let is_positive = u64::try_from(found).ok().filter(|&found| found > 0);
    is_positive.ok_or_else(|| cursor.field(what, i128::from(found), offset, "1 or more"))
}
