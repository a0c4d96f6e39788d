//! A report as one file that opens without a server.

use roundwise_convert::Report;
use serde::Serialize;

use crate::page;

/// Modules that show a report, in the order in which they use each other.
const REPORT_FILES: &[&str] = &[
    "element.js",
    "format.js",
    "long_table.js",
    "charts/scale.js",
    "charts/table.js",
    "charts/chart.js",
    "charts/errors.js",
    "charts/histogram.js",
    "charts/sensitivity.js",
    "charts/compare.js",
    "pages/report_view.js",
    "report_main.js",
];

/// Why a report has no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The program lacks a file of the page.
    #[error("the program lacks `{0}` of its page")]
    Missing(&'static str),
    /// The report cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Data<'a> {
    reports: &'a [Report],
}

/// Writes one report, or two to be compared, as a page of one file: it takes nothing from elsewhere,
/// and opens offline.
///
/// # Errors
/// [`PageError`].
pub fn report_page(reports: &[Report]) -> Result<String, PageError> {
    let style = file("style.css")?;
    let scripts = REPORT_FILES.iter().map(|path| file(path).map(|text| without_modules(&text)));
    let script = scripts.collect::<Result<Vec<_>, _>>()?.join("\n");
    let data = escaped(&serde_json::to_string(&Data { reports })?);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\" data-theme=\"auto\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src \
         'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; \
         form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>roundwise report</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <main id=\"main\"></main>\n\
         <script type=\"application/json\" id=\"report\">{data}</script>\n\
         <script type=\"module\">\n{script}\n</script>\n</body>\n</html>\n"
    ))
}

fn file(path: &'static str) -> Result<String, PageError> {
    page::text(path).ok_or(PageError::Missing(path))
}

/// Returns a module as a part of one script, in which the names of the modules before it are known already.
fn without_modules(text: &str) -> String {
    // Imports of the page have one line each.
    let lines = text.lines().filter(|line| !line.starts_with("import "));
    lines.map(|line| line.strip_prefix("export ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// JSON inside a script: no text in it ends the script or begins a comment. Line separators are
/// escaped for readers that take them for ends of lines.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped += &format!("\\u{:04x}", u32::from(char));
            }
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_script() {
        let hostile = r#"{"name":"</script><script>alert(1)</script><!--&\u2028"}"#;
        let hostile = format!("{hostile}\u{2028}");
        let text = escaped(&hostile);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
    }

    #[test]
    fn the_files_are_those_that_the_page_names() {
        let main = page::text("report_main.js").unwrap();
        let (_, list) = main.split_once("REPORT_FILES:").unwrap();
        let (list, _) = list.split_once("\n//\n").unwrap();
        let listed: Vec<&str> = list.split_whitespace().filter(|word| *word != "//").collect();
        assert_eq!(listed, REPORT_FILES);
        let joined: Vec<String> = REPORT_FILES.iter().map(|it| page::text(it).unwrap()).collect();
        for import in
            joined.iter().flat_map(|text| text.lines()).filter(|it| it.starts_with("import"))
        {
            let name = import.rsplit('"').nth(1).unwrap().rsplit("/").next().unwrap();
            assert!(REPORT_FILES.iter().any(|file| file.ends_with(name)), "{import}");
        }
    }

    #[test]
    fn modules_become_one_script() {
        let module = "import { a } from \"./a.js\";\nexport function b() {}\n  export x\n";
        assert_eq!(without_modules(module), "function b() {}\n  export x");
    }
}
