use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::recipe::complaint::{Complaint, RecipeError};
use crate::recipe::file::in_plain_words;
use crate::recipe::setting::Setting;

/// Returns the keys of the settings that a structure has, as they are typed.
///
/// ```
/// use roundwise_convert::{RecipeFile, recipe::setting_names};
///
/// assert!(setting_names::<RecipeFile>().contains(&"scheme"));
/// ```
pub fn setting_names<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // A derived `Deserialize` names its fields before it asks for any value.
    let _ = T::deserialize(Asking { names: &mut names });
    names
}

struct Asking<'a> {
    names: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Asking<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.names = fields;
        Err(Error::custom("the names were all"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("no structure"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Reads settings, and where that fails tells for each what is wrong with it.
///
/// - `prefix`: what stands before the keys in complaints
///
/// # Errors
/// A complaint for every key that is not known and every value of a wrong type.
pub fn read_settings<T: for<'de> Deserialize<'de>>(
    settings: &Map<String, Value>,
    prefix: &str,
) -> Result<T, RecipeError> {
    let error = match T::deserialize(Value::Object(settings.clone())) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let mut complaints = vec![];
    // A reader stops at its first error. Each key is read alone, so that every error is told.
    for (key, value) in settings {
        collect(key, value, prefix, &mut complaints, &|part| T::deserialize(part).err());
    }
    // Each is right by itself, so that the error is about them together.
    if complaints.is_empty() {
        complaints.push(Complaint::of_all(in_plain_words(&error.to_string())));
    }
    Err(RecipeError { complaints })
}

/// Adds what is wrong with a setting by itself, or with those of the table that it is.
fn collect(
    key: &str,
    value: &Value,
    prefix: &str,
    complaints: &mut Vec<Complaint>,
    error_of: &dyn Fn(Value) -> Option<serde_json::Error>,
) {
    let one = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    match value {
        Value::Object(fields) => {
            // Wrapped in its tables again, so that the reader meets the key where it belongs.
            for (inner, value) in fields {
                let wrapped = |part| error_of(one(key, part));
                collect(inner, value, &format!("{prefix}{key}."), complaints, &wrapped);
            }
        }
        value => complaints.extend(error_of(one(key, value.clone())).map(|error| {
            let setting = Setting::new(format!("{prefix}{key}"));
            Complaint::about(setting, in_plain_words(&error.to_string()))
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::file::RecipeFile;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_told_at_its_setting() {
        let settings = json!({
            "scheme": 8,
            "keep": ["a"],
            "colour": "red",
            "method_options": { "top_p": "much", "min_k": 4, "x": 1 },
        });
        let read = read_settings::<RecipeFile>(settings.as_object().unwrap(), "");
        let complaints = read.unwrap_err().complaints;
        let found: Vec<String> =
            complaints.iter().map(|it| it.setting.as_ref().unwrap().to_string()).collect();
        assert_eq!(found, ["scheme", "colour", "method_options.top_p", "method_options.x"]);
        assert_eq!(complaints[0].problem, "wrong type: integer `8`, expected text in quotes");
    }
}
