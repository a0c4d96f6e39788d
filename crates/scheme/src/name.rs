//! Schemes are written and parsed by their names.

use std::fmt;
use std::str::FromStr;

use crate::catalog::CATALOG;
use crate::closest::is_meant;
use crate::error::SchemeError;
use crate::family::{FAMILIES, MAX_NUMBER};
use crate::scheme::Scheme;

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(name: &str) -> Result<Self, SchemeError> {
        let named = CATALOG.iter().find(|entry| entry.name == name).map(|entry| entry.scheme);
        named.or_else(|| FAMILIES.iter().find_map(|family| family.parse(name))).ok_or_else(|| {
            let meant = is_meant(name, CATALOG.iter().map(|entry| entry.name));
            SchemeError::UnknownScheme {
                name: name.into(),
                meant: meant.into(),
                known: known_names().into(),
            }
        })
    }
}

/// Returns every name, and the form of the names of families.
fn known_names() -> String {
    let names = CATALOG.iter().map(|entry| entry.name);
    let families = FAMILIES.iter().map(|family| family.name("<N>")).collect::<Vec<_>>().join(", ");
    format!(
        "{}; with N from 1 to {MAX_NUMBER}, of rotations a power of 4: {families}",
        names.collect::<Vec<_>>().join(", ")
    )
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.named_as();
        if let Some(entry) = CATALOG.iter().find(|entry| entry.scheme == scheme) {
            return f.pad(entry.name);
        }
        let name = FAMILIES.iter().find_map(|family| family.name_of(scheme));
        f.pad(&name.unwrap_or_else(|| scheme.composed_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_itself() {
        for entry in CATALOG {
            assert_eq!(entry.name.parse::<Scheme>().unwrap(), entry.scheme);
            assert_eq!(entry.scheme.to_string(), entry.name);
        }
        for name in [
            "fp8-block-32",
            "fp8-block-32-pow2",
            "int8-block-7",
            "int8-row-convrot-16",
            "int4-convrot-64",
            "int4-asym-16",
            "fp8-block3d-32",
            "int4-group-16",
            "int8-group-64",
        ] {
            assert_eq!(name.parse::<Scheme>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_names_tell_the_one_that_is_likely_meant_or_all() {
        for (name, told) in [
            ("fp9", "is `fp8` meant?"),
            ("fp8-block-0", "is `fp8-block-"),
            ("int8-block-99999999", "is `int8"),
            ("int4-convrot-8", "is `int4-convrot"),
            ("", "int8-block-128"),
        ] {
            let message = name.parse::<Scheme>().unwrap_err().to_string();
            assert!(message.contains(told), "{message}");
        }
    }
}
