//! Files for servers, opened by vLLM on the CPU.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::python::Python;
use crate::servers::{Finding, Found, binary, write_table};
use crate::workspace::Workspace;

/// What vLLM made of a folder.
#[derive(Deserialize)]
struct Opening {
    is_opened: bool,
}

/// The lines of the document between which the table stands.
const BEGIN: &str = "<!-- table of `cargo xtask servers --vllm` -->\n";
const END: &str = "<!-- end of the table of vLLM -->\n";

/// Has vLLM open and run what is converted for it, and writes the table of the document; fails if anything is wrong.
pub(super) fn run(workspace: &Workspace, python: &Path, tool: Option<&Path>) -> Result<()> {
    let python = Python::with(workspace, Some(python), &[])?;
    let mut script = python.command(&[]);
    script.arg(workspace.path("xtask/clients/served_by_vllm.py")).arg(binary(workspace, tool)?);
    script.arg(workspace.target("served-by-vllm"));
    let found = Found::<Opening>::of(&mut script)?;
    let table = found.table(vector_instructions());
    print!("{table}");
    found.refuse_defects()?;
    write_table(workspace, &table, BEGIN, END)
}

/// Names the widest instructions of the processor, which decide what vLLM has kernels for.
fn vector_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") { "AVX-512" } else { "AVX2" }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}

impl Found<Opening> {
    fn table(&self, instructions: &str) -> String {
        let mut table = format!(
            "Opened with {}, on a CPU with {instructions}.\n\n| model | scheme | layout | vLLM |\n|---|---|---|---|\n",
            self.versions()
        );
        for finding in &self.findings {
            let Finding { model, scheme, layout, change, defects, more } = finding;
            let said = match change {
                _ if !defects.is_empty() => "wrong".to_owned(),
                Some(change) => format!("writes; logarithms change by {change:.3}"),
                None if more.is_opened => {
                    "opens; this CPU has no kernel to write with it".to_owned()
                }
                None => "says that this CPU has no kernel".to_owned(),
            };
            table += &format!("| {model} | `{scheme}` | `{layout}` | {said} |\n");
        }
        table
    }
}
