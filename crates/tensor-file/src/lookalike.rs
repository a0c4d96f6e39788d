//! What a file is that was named as weights or as an index, and is neither: by what messages call it.

/// Name of a text in messages.
pub(crate) const TEXT: &str = "a text file";

/// Name of a picture in messages.
pub(crate) const PICTURE: &str = "a picture";

/// Name of what `--report` writes in messages.
pub(crate) const REPORT: &str = "a report of a conversion";

/// Name of a model's `config.json` in messages.
pub(crate) const CONFIGURATION: &str = "a configuration";

/// Name of an HTML file in messages.
pub(crate) const WEB_PAGE: &str = "a web page";

/// Name of a packed file in messages.
pub(crate) const ARCHIVE: &str = "a packed archive";

/// Name of a Git LFS pointer in messages.
pub(crate) const GIT_LFS: &str = "a Git LFS pointer";

/// Recognises, from the first bytes, the files that people most often have instead of safetensors.
pub(crate) fn recognise_start(start: [u8; 8]) -> Option<&'static str> {
    match &start {
        [0x80, 2..=5, ..] => Some("a Python pickle without tensors"),
        b"version " => Some(GIT_LFS),
        [b'<', b'!' | b'h' | b'H' | b'?', ..] => Some(WEB_PAGE),
        [0x37, 0x7a, 0xbc, 0xaf, ..] | [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Some(ARCHIVE)
        }
        [b'R', b'a', b'r', b'!', ..] => Some(ARCHIVE),
        [0x89, b'H', b'D', b'F', ..] => Some("HDF5"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some("an array of NumPy"),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Some(PICTURE),
        // A message of protocol buffers: the version, then the name of the program that wrote it.
        [0x08, 1..=20, 0x12, ..] => Some("an ONNX model"),
        // As a length these eight bytes would be far past the limit.
        text if text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            Some(TEXT)
        }
        _ => None,
    }
}

/// Recognises what people most often name in place of an index, by a key that only it has.
pub(crate) fn recognise_json(text: &[u8]) -> Option<&'static str> {
    const KEYS: [(&str, &str); 4] = [
        ("report_version", REPORT),
        ("model_type", CONFIGURATION),
        ("architectures", CONFIGURATION),
        ("_class_name", CONFIGURATION),
    ];
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    KEYS.iter().find(|(key, _)| json.contains_key(*key)).map(|(_, what)| *what)
}
