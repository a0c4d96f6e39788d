use std::path::PathBuf;

/// The largest strength either way. A stronger adapter leaves nothing of the weights, and is a slip of the hand.
const MOST_STRENGTH: f32 = 1000.0;

/// Parses `FILE` or `FILE:STRENGTH`. A colon that no number follows is a part of the name, unless
/// the text before it names a file of tensors.
///
/// # Errors
/// One line for a strength that is not a finite number, or no name.
pub(crate) fn parse_adapter(text: &str) -> Result<(PathBuf, f32), String> {
    let (path, strength) = match text.rsplit_once(':').map(|(path, it)| (path, it.parse::<f32>())) {
        Some((path, Ok(strength))) => (path, strength),
        // A strength that cannot be read, which is refused below.
        Some((path, Err(_))) if path.ends_with(".safetensors") => (path, f32::NAN),
        _ => (text, 1.0),
    };
    match (path.is_empty(), strength.is_finite()) {
        (false, true) if strength.abs() > MOST_STRENGTH => Err(format!(
            "`{text}`: strengths are from -{MOST_STRENGTH} to {MOST_STRENGTH}; 1 adds the adapter as it was trained"
        )),
        (false, true) => Ok((PathBuf::from(path), strength)),
        _ => Err(format!("`{text}`: expected FILE or FILE:STRENGTH, e.g. style.safetensors:0.8")),
    }
}
