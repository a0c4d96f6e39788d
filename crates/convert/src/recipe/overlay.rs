use toml::{Table, Value};

/// Lays one table on top of another: its single values replace those below, its lists go before them,
/// tables are laid on top of tables.
pub(crate) fn overlaid(mut under: Table, over: Table) -> Table {
    for (key, value) in over {
        let value = match (under.remove(&key), value) {
            (Some(Value::Array(below)), Value::Array(above)) => {
                // Before those below, since the first rule that matches decides.
                Value::Array(above.into_iter().chain(below).collect())
            }
            (Some(Value::Table(below)), Value::Table(above)) => {
                Value::Table(overlaid(below, above))
            }
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_replace_lists_go_before_and_tables_join() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let under =
            table("scheme = 'int8'\nkeep = ['a']\nmethod_options = { top_p = 0.1, min_k = 3 }");
        let over = table("scheme = 'fp8'\nkeep = ['b']\nmethod_options = { top_p = 0.2 }");
        let expected =
            table("scheme = 'fp8'\nkeep = ['b', 'a']\nmethod_options = { min_k = 3, top_p = 0.2 }");
        assert_eq!(overlaid(under, over), expected);
    }
}
