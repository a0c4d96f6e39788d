//! Schemes are written and parsed by their names.

use std::fmt;
use std::str::FromStr;

use crate::catalog::CATALOG;
use crate::closest::is_meant;
use crate::error::SchemeError;
use crate::family::{FAMILIES, FamilyNumber, MAX_NUMBER};
use crate::scheme::Scheme;

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(name: &str) -> Result<Self, SchemeError> {
        let named = CATALOG.iter().find(|entry| entry.name == name).map(|entry| entry.scheme);
        named.or_else(|| FAMILIES.iter().find_map(|family| family.parse(name))).ok_or_else(|| {
            let meant = is_meant(name, CATALOG.iter().map(|entry| entry.name));
            SchemeError::UnknownScheme { name: name.to_owned(), meant, known: known_names() }
        })
    }
}

/// Returns every name, and the form of the names of families.
fn known_names() -> String {
    let names = CATALOG.iter().map(|entry| entry.name.to_owned());
    let families = FAMILIES.iter().map(|family| {
        let name = family.name("<N>");
        match family.number {
            FamilyNumber::Rotation => format!("{name} with N a power of 4 up to {MAX_NUMBER}"),
            FamilyNumber::BlockEdge | FamilyNumber::RowGroup => {
                format!("{name} with N from 1 to {MAX_NUMBER}")
            }
        }
    });
    names.chain(families).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = CATALOG.iter().find(|entry| entry.scheme == *self) {
            return f.pad(entry.name);
        }
        let name = FAMILIES.iter().find_map(|family| family.name_of(*self));
        f.pad(&name.unwrap_or_else(|| self.composed_name()))
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
        ] {
            assert_eq!(name.parse::<Scheme>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for name in
            ["fp9", "fp8-block-0", "fp8-block-x", "int8-block-99999999", "int4-convrot-8", ""]
        {
            let message = name.parse::<Scheme>().unwrap_err().to_string();
            assert!(message.contains("int8-block-128"), "{message}");
        }
    }
}
