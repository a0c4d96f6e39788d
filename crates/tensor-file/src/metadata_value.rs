use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::TensorFileErrorKind as Kind;
use crate::header::{METADATA_KEY, Pairs};

/// Value of an entry of `__metadata__`, which should be a text.
#[derive(Debug, PartialEq)]
pub(crate) enum MetadataValue {
    Text(String),
    /// Anything else, as compact JSON.
    Other {
        what: &'static str,
        json: String,
    },
}

impl MetadataValue {
    /// Describes the value for a message.
    fn found(&self) -> String {
        match self {
            Self::Text(_) => "a text".to_owned(),
            Self::Other { what: what @ ("a list" | "an object"), .. } => (*what).to_owned(),
            Self::Other { what, json } => format!("{what}{json}"),
        }
    }

    fn into_json(self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::String(text).to_string(),
            Self::Other { json, .. } => json,
        }
    }
}

/// A value that is no text, by its key.
pub(crate) struct OddValue {
    pub(crate) key: String,
    pub(crate) found: String,
}

/// Returns metadata as a map. Values that are no text stand as their JSON and are listed; a
/// repeated key is an error, `__metadata__` itself included.
pub(crate) fn checked_metadata(
    raw: Vec<Pairs<MetadataValue>>,
) -> Result<(BTreeMap<String, String>, Vec<OddValue>), Kind> {
    if raw.len() > 1 {
        return Err(Kind::DuplicateMetadata { key: METADATA_KEY.to_owned() });
    }
    let mut metadata = BTreeMap::new();
    let mut odd = vec![];
    for (key, value) in raw.into_iter().flat_map(|object| object.0) {
        if metadata.contains_key(&key) {
            return Err(Kind::DuplicateMetadata { key });
        }
        let text = match value {
            MetadataValue::Text(text) => text,
            value @ MetadataValue::Other { .. } => {
                odd.push(OddValue { key: key.clone(), found: value.found() });
                value.into_json()
            }
        };
        metadata.insert(key, text);
    }
    Ok((metadata, odd))
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

/// Keeps a value that is no text as its JSON, which takes no more memory than the file has bytes for
/// it; a tree of values would take many times that.
struct ValueVisitor;

impl ValueVisitor {
    fn number<E>(number: impl fmt::Display) -> Result<MetadataValue, E> {
        Ok(MetadataValue::Other { what: "the number ", json: number.to_string() })
    }
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = MetadataValue;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MetadataValue, E> {
        Ok(MetadataValue::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<MetadataValue, E> {
        Ok(MetadataValue::Text(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<MetadataValue, E> {
        Ok(MetadataValue::Other { what: "", json: value.to_string() })
    }

    fn visit_unit<E: Error>(self) -> Result<MetadataValue, E> {
        Ok(MetadataValue::Other { what: "", json: "null".to_owned() })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<MetadataValue, E> {
        Self::number(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<MetadataValue, E> {
        Self::number(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<MetadataValue, E> {
        // As JSON writes it, so that it is read back as the same number.
        Self::number(serde_json::Value::from(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<MetadataValue, A::Error> {
        let mut json = String::from("[");
        while let Some(value) = list.next_element::<MetadataValue>()? {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&value.into_json());
        }
        json.push(']');
        Ok(MetadataValue::Other { what: "a list", json })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<MetadataValue, A::Error> {
        let mut json = String::from("{");
        while let Some((key, value)) = object.next_entry::<String, MetadataValue>()? {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::String(key).to_string());
            json.push(':');
            json.push_str(&value.into_json());
        }
        json.push('}');
        Ok(MetadataValue::Other { what: "an object", json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn odd(json: &str, found: &str, text: &str) {
        let value: MetadataValue = serde_json::from_str(json).unwrap();
        assert_eq!(value.found(), found);
        assert_eq!(value.into_json(), text);
    }

    #[test]
    fn what_is_no_text_is_named_and_keeps_its_json() {
        odd("1200", "the number 1200", "1200");
        odd("-3", "the number -3", "-3");
        odd("0.5", "the number 0.5", "0.5");
        odd("true", "true", "true");
        odd("null", "null", "null");
        odd("[]", "a list", "[]");
        odd(r#" [1, "a\n", [null]]"#, "a list", r#"[1,"a\n",[null]]"#);
        odd(r#"{"a" : {"b": 1}, "c": ""}"#, "an object", r#"{"a":{"b":1},"c":""}"#);
    }
}
