use sha2::{Digest, Sha256};

/// The name and shape of a layer's weight, as far as statistics of its inputs depend on them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerShape {
    /// The weight's name without `.weight`.
    pub module: String,
    /// Outputs; 0 where the source does not say, as in importance matrices.
    pub rows: u64,
    /// Inputs: the product of the weight's other extents, so that a convolution's are
    /// channels (of one group) × kernel height × kernel width.
    pub columns: u64,
}

impl LayerShape {
    /// Returns the shape of a weight `module.weight`; `None` for other tensors and for those of fewer
    /// than two dimensions.
    pub fn of_weight(name: &str, shape: &[u64]) -> Option<Self> {
        let module = name.strip_suffix(".weight")?;
        let (&rows, others) = shape.split_first()?;
        let columns = others.iter().try_fold(1_u64, |product, &n| product.checked_mul(n))?;
        let is_matrix = !others.is_empty() && rows > 0 && columns > 0;
        is_matrix.then(|| Self { module: module.to_owned(), rows, columns })
    }

    /// Returns whether both can be the same layer; rows that are unknown agree with any.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let rows_agree = self.rows == other.rows || self.rows == 0 || other.rows == 0;
        rows_agree && self.columns == other.columns
    }

    /// Writes `[rows, columns]` in words.
    pub(crate) fn extents(&self) -> String {
        match self.rows {
            0 => format!("[?, {}]", self.columns),
            rows => format!("[{rows}, {}]", self.columns),
        }
    }
}

/// Writes the text that a side-car holds as metadata `layers` and that [`fingerprint`] hashes: a line
/// `module rows columns\n` for each layer, in the order of the modules' UTF-8 bytes.
pub fn layers_text(layers: &[LayerShape]) -> String {
    let mut sorted: Vec<&LayerShape> = layers.iter().collect();
    sorted.sort_by(|a, b| a.module.cmp(&b.module));
    sorted.iter().map(|l| format!("{} {} {}\n", l.module, l.rows, l.columns)).collect()
}

/// Returns the identity of a set of layers: `sha256:` and the hash of [`layers_text`] in hexadecimal.
///
/// Covers the layers that statistics hold and nothing else, so that neither the weights' dtype nor
/// further tensors of the model change it.
pub fn fingerprint(layers: &[LayerShape]) -> String {
    fingerprint_of_text(&layers_text(layers))
}

pub(crate) fn fingerprint_of_text(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Reads [`layers_text`]: sorted, each module once. `None` for anything else.
pub(crate) fn parse_layers(text: &str) -> Option<Vec<LayerShape>> {
    if !text.is_empty() && !text.ends_with('\n') {
        return None;
    }
    let layers: Vec<LayerShape> =
        text.split_terminator('\n').map(parse_line).collect::<Option<_>>()?;
    // Strictly: a module that occurs twice would be found once by a binary search.
    layers.is_sorted_by(|a, b| a.module < b.module).then_some(layers)
}

/// Reads one line from its end, since a module's name may hold spaces.
fn parse_line(line: &str) -> Option<LayerShape> {
    let mut parts = line.rsplitn(3, ' ');
    let columns = parse_number(parts.next()?)?;
    let rows = parse_number(parts.next()?)?;
    let module = parts.next()?.to_owned();
    (!module.is_empty() && columns > 0).then_some(LayerShape { module, rows, columns })
}

/// Reads a number in its one spelling, or the hash would depend on the writer.
fn parse_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(module: &str, rows: u64, columns: u64) -> LayerShape {
        LayerShape { module: module.into(), rows, columns }
    }

    #[test]
    fn the_layers_text_comes_back_sorted() {
        let layers = [layer("b 1", 0, 3), layer("a", 5, 7)];
        let text = layers_text(&layers);
        assert_eq!(text, "a 5 7\nb 1 0 3\n");
        assert_eq!(parse_layers(&text), Some(vec![layers[1].clone(), layers[0].clone()]));
        assert_eq!(parse_layers(""), Some(vec![]));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "a 5 7",
            "b 5 7\na 5 7\n",
            "a 1 1\na 1 1\n",
            "a 05 7\n",
            "a +5 7\n",
            "a 5 0\n",
            " 5 7\n",
            "a 5\n",
            "\n",
            "a 5 -7\n",
            "a 5 99999999999999999999\n",
        ] {
            assert_eq!(parse_layers(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_fingerprint_is_that_of_hashlib() {
        // hashlib.sha256(b"a 5 7\nb 3 2\n").hexdigest()
        let hash = "bde5a7448ef267195f298bda5ba31cdde80141592f16416e84d1632e7504b1a5";
        assert_eq!(fingerprint(&[layer("b", 3, 2), layer("a", 5, 7)]), format!("sha256:{hash}"));
    }

    #[test]
    fn only_weights_of_two_or_more_dimensions_are_layers() {
        assert_eq!(LayerShape::of_weight("x.weight", &[4, 3, 2, 2]), Some(layer("x", 4, 12)));
        assert_eq!(LayerShape::of_weight("x.weight", &[4]), None);
        assert_eq!(LayerShape::of_weight("x.bias", &[4, 4]), None);
        assert_eq!(LayerShape::of_weight("x.weight", &[1, u64::MAX, 2]), None);
    }
}
